"""Records ``tests/golden/keyframe_query.json`` with Memento's released code itself.

    git clone https://github.com/ernie-research/Memento <checkout>
    python tests/tools/make_keyframe_query.py <checkout>

Runs its ``KeyframeQuery`` and, on its result, what ``WanM2V.filter_memory_by_query`` makes of it,
on the tiny seeded cases of ``tests/helpers/keyframe_queries.py``, on the CPU in float32. Needs
torch and diffusers. Flash attention is replaced by torch's attention in float32 (it computes in
half precision, on CUDA); modules that only training needs are empty.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import types
from pathlib import Path

import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
from helpers.keyframe_queries import CASES, HEADS, WIDTH, case_inputs  # noqa: E402

ABOUT = (
    "Scores and choices of KeyframeQuery of the released Memento code (ernie-research/Memento, "
    "wan/modules/model_memory.py and what filter_memory_by_query does with its result), run on the "
    "tiny seeded cases of tests/helpers/keyframe_queries.py on the CPU in float32 by "
    "tests/tools/make_keyframe_query.py. For each case: the scores that it prints, and the frames "
    "of the pool that it would keep, in the order in which it keeps them. Equality of scores to "
    "1e-5 is meant, and of choices exactly."
)


def attention(q, k, v, **_):
    """[B, L, heads, size], as the released flash_attention takes and gives it."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def released_module(checkout: Path):
    """Its file of the model, without its package, which needs CUDA."""
    for name in ("wan", "wan.modules", "diffsynth", "diffsynth.core", "diffsynth.core.gradient"):
        sys.modules[name] = types.ModuleType(name)
    stub = types.ModuleType("wan.modules.attention")
    stub.flash_attention = attention
    sys.modules["wan.modules.attention"] = stub
    stub = types.ModuleType("diffsynth.core.gradient.gradient_checkpoint")
    stub.gradient_checkpoint_forward = None
    sys.modules["diffsynth.core.gradient.gradient_checkpoint"] = stub
    path = checkout / "wan" / "modules" / "model_memory.py"
    spec = importlib.util.spec_from_file_location("released_model_memory", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frequencies(released) -> torch.Tensor:
    """The table that its model makes for keys: times from -512 on, rows and columns from 0."""
    size, half = WIDTH // HEADS, released.ROPE_MAX_LEN // 2
    span = torch.arange(released.ROPE_MAX_LEN)
    return torch.cat(
        [
            released.rope_params(span - half, size - 4 * (size // 6)),
            released.rope_params(span, 2 * (size // 6)),
            released.rope_params(span, 2 * (size // 6)),
        ],
        dim=1,
    )


def record(released, name: str) -> dict:
    """Scores and kept frames of one case."""
    case = case_inputs(name)
    _, count, global_count, _ = CASES[name]
    module = released.KeyframeQuery(
        WIDTH, count + global_count, num_heads=HEADS, global_query_num=global_count,
        split_learnable_query=bool(global_count),
    ).eval()  # fmt: skip
    module.load_state_dict(case["weights"])
    scores = []
    matmul = torch.matmul

    def noted(a, b):
        result = matmul(a, b)
        scores.append(result)
        return result

    texts = {"context": case["prompt"][None]}
    if global_count:
        texts["context_global"] = case["global_prompt"][None]
    torch.matmul = noted
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            rows = module(
                case["memory"].transpose(0, 1)[None], frequencies(released),
                time_indices=[[512 + position for position in case["positions"]]], **texts,
            )[0]  # fmt: skip
    finally:
        torch.matmul = matmul
    (met,) = scores  # the module multiplies once by that function
    frames = len(case["memory"])
    by_frame = (met / (WIDTH // HEADS) ** 0.5).mean(1)[0].view(-1, frames, 12).mean(-1)
    chosen = rows.argmax(-1).tolist()
    local = sorted(set(chosen[:6]))
    kept = local + [i for i in dict.fromkeys(chosen[6:]) if i not in local]
    return {
        "local": by_frame[:count].mean(0).tolist(),
        "global": by_frame[count:].mean(0).tolist() if global_count else None,
        "kept": kept,
    }


def main(checkout: Path) -> None:
    released = released_module(checkout)
    found = {"about": ABOUT, "cases": {name: record(released, name) for name in CASES}}
    path = TESTS / "golden" / "keyframe_query.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
