"""Records ``tests/golden/memento_run.json`` and ``.safetensors`` with the released code itself.

    git clone https://github.com/ernie-research/Memento <checkout>  # recorded as of June 2026
    python tests/tools/make_memento_run.py <checkout>

Runs its ``WanM2V.generate`` (memory2video_learnable_rope_fine) on the tiny seeded models of
``tests/helpers/released_run.py``, on the CPU in float32. Needs torch, torchvision, diffusers,
transformers, peft, av, einops, ftfy and safetensors. What is put in the place of its parts:

- flash attention: torch's attention in float32 (flash attention computes in bfloat16, on CUDA);
- the noise that it draws, and the text encoder: given tensors; the weights: tiny ones;
- the VAE: its own tiny one, behind a resize to 64x32, since the release works at 832x480 only (a
  stride of 120 and 104 pixels makes its latents as small); what is decoded is noted and left;
- ``easydict`` and ``decord``: a few lines, so that neither has to be installed.

Without an identity frame the release splits self-attention on one card (memory alone, memory and
shot, the mean of both) and does not on several; both are recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]
from make_released_run import CPU, AttributeDict, PictureReader, attend  # noqa: E402

from helpers import memento_run as run  # noqa: E402
from helpers import released_run  # noqa: E402

STRIDE = (run.TIME_STRIDE, 480 // run.ROWS, 832 // run.COLUMNS)
CENTRE = 512  # the released table's row of position 0
TEXTS = {"global caption: a; shot caption: b": "positive", "the cast": "identity", "": "empty"}
ABOUT = (
    "The generate() of the released Memento code (ernie-research/Memento, June 2026), run on tiny "
    "seeded models on the CPU in float32 by tests/tools/make_memento_run.py; inputs are those of "
    "tests/helpers/memento_run.py. For each case: whole timesteps, the expert of each step (h, l), "
    "and each expert's temporal positions, the shot's first being 0. In the .safetensors file: "
    "the shot's latents and the identity frame's at the end (normalised), and what the VAE gave. "
    "Equality to 1e-5 relative is meant."
)


class NotedVae:
    """The released VAE with tiny weights, behind a resize."""

    def __init__(self, module):
        model = module.WanVAE_(
            dim=released_run.VAE_DIM, z_dim=run.CHANNELS, temperal_downsample=[False, True, True]
        )
        model.load_state_dict(released_run.vae_weights())
        with mock.patch.object(module, "_video_vae", return_value=model):
            self.inner = module.Wan2_1_VAE(device=CPU)
        self.encoded: list[torch.Tensor] = []
        self.decoded: list[torch.Tensor] = []

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        """``[B, 3, T, 480, 832]`` in [-1, 1]."""
        size = (videos.shape[2], run.HEIGHT, run.WIDTH)
        self.encoded.append(
            self.inner.encode(torch.nn.functional.interpolate(videos, size, mode="area"))
        )
        return self.encoded[-1]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Any picture will do: what matters is noted."""
        self.decoded.append(latents.clone())
        return torch.zeros(1, 3, 4 * latents.shape[2] - 3, run.HEIGHT, run.WIDTH)


def import_released(checkout: Path) -> types.SimpleNamespace:
    """The released modules, without the packages' own ``__init__`` and what they would need."""
    for name in ("wan", "wan.modules"):
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
    sys.path.insert(0, str(checkout))
    sys.modules.setdefault("easydict", types.ModuleType("easydict")).EasyDict = AttributeDict
    decord = sys.modules["decord"] = types.ModuleType("decord")
    decord.VideoReader, decord.cpu = PictureReader, lambda: None
    with mock.patch.object(torch.cuda, "current_device", return_value=CPU):  # a default argument
        import wan.memory2video_learnable_rope_fine as pipeline
        from wan.configs.wan_m2v_A14B import m2v_A14B
        from wan.modules import model_memory, vae2_1

    model_memory.flash_attention = attend
    return types.SimpleNamespace(pipeline=pipeline, model=model_memory, vae=vae2_1, config=m2v_A14B)


def make_expert(released, index: int, is_split: bool, calls: list):
    model = released.model.WanModel_Memory(
        model_type="i2v",
        in_dim=released_run.EXPERTS["i2v"][0],
        dim=released_run.DIM,
        ffn_dim=released_run.FFN,
        num_heads=released_run.DIM // 128,
        num_layers=released_run.LAYERS,
        num_keyframes=12,
        split_identity_attn=is_split,
        split_learnable_query=True,
        global_query_num=2,
    )
    wrong = model.load_state_dict(released_run.experts("i2v")[index], strict=False)
    if wrong.unexpected_keys or any("keyframe_query" not in key for key in wrong.missing_keys):
        raise ValueError(f"the released model has other weights: {wrong}")

    def note(module, args, kwargs):
        calls.append(types.SimpleNamespace(expert="hl"[index], **kwargs))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return model.eval().requires_grad_(False)


def make_pipeline(released, case: run.Case, vae: NotedVae, calls: list):
    """A released pipeline with tiny parts; only its ``__init__``, which loads files, is not run."""
    config = released.config
    if (config.boundary, config.sample_shift) != (run.BOUNDARY, run.SHIFT):
        raise ValueError(f"released are {config.boundary} and shift {config.sample_shift}")
    texts = {**TEXTS, config.sample_neg_prompt: "negative"}
    pipeline = object.__new__(released.pipeline.WanM2V)
    pipeline.__dict__ |= {
        "device": CPU,
        "config": config,
        "rank": 0,
        "sp_size": 1,
        "t5_cpu": True,
        "init_on_cpu": False,
        "param_dtype": torch.float32,
        "num_train_timesteps": config.num_train_timesteps,
        "boundary": config.boundary,
        "vae_stride": STRIDE,
        "patch_size": config.patch_size,
        "sample_neg_prompt": config.sample_neg_prompt,
        "text_encoder": lambda wanted, _: [run.text(texts[w], padded=False)[0] for w in wanted],
        "vae": vae,
        "use_both_query": bool(case.pool_high),
        "high_noise_model": make_expert(released, 0, case.is_split, calls),
        "low_noise_model": make_expert(released, 1, case.is_split, calls),
    }
    return pipeline


def write_inputs(case: run.Case, folder: Path) -> dict:
    """The files that ``generate`` reads, as its arguments."""
    memory_dir = folder / "memory"
    memory_dir.mkdir()
    pool = {"current_time": case.begin - case.previous}
    if case.pool_high:
        pool["use_both_query"] = True
        for level, moments in (("low", case.pool), ("high", case.pool_high)):
            pool[f"pool_raw_{level}"] = run.pool_latents(moments)
            pool[f"absolute_indices_raw_{level}"] = list(moments)
    else:
        pool |= {"pool": run.pool_latents(case.pool), "absolute_indices": list(case.pool)}
    torch.save(pool, memory_dir / "memory_pool.pt")
    files = {"memory_dir": str(memory_dir)}
    if case.previous:
        files["prev_shot_video_path"] = str(folder / "previous.pt")
        torch.save(run.previous_frames(case), files["prev_shot_video_path"])
    if case.given == 1:
        files["first_frame_file"] = str(folder / "first.png")
        Image.fromarray(run.given_pictures(case)[0].numpy()).save(files["first_frame_file"])
    elif case.given:
        files["motion_frames_file"] = str(folder / "motion.npy")
        np.save(files["motion_frames_file"], run.given_pictures(case).numpy())
    return files


def record(released, case: run.Case) -> tuple[dict, dict]:
    """Run one case; what goes into the JSON, and latents by name."""
    calls: list = []
    vae = NotedVae(released.vae)
    pipeline = make_pipeline(released, case, vae, calls)
    noise = run.noise(case)[0]

    def given_noise(*size, **options):
        if size != tuple(noise.shape):
            raise ValueError(f"noise of {size} was wanted, but {case} has {tuple(noise.shape)}")
        return noise.clone()

    settings = {
        "frame_num": run.LENGTH, "shift": run.SHIFT, "sampling_steps": case.steps,
        "guide_scale": case.cfg, "seed": 0, "offload_model": False, "max_memory_size": 8,
        "num_sample_frames": run.CANDIDATES,
        "reconstruct_caption": "the cast" if case.has_identity else None,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings |= write_inputs(case, Path(folder))
        prompt = next(iter(TEXTS))
        told = contextlib.redirect_stdout(None)
        with told, mock.patch.object(torch, "randn", side_effect=given_noise) as draws:
            pipeline.generate(prompt, **settings)
    if draws.call_count != 1:
        raise ValueError(f"{case} drew noise {draws.call_count} times")
    steps = calls[::2]
    if [step.t.tolist() for step in steps] != [step.t.tolist() for step in calls[1::2]]:
        raise ValueError(f"{case} has passes of different timesteps")
    return describe(case, vae, steps)


def describe(case: run.Case, vae: NotedVae, steps: list) -> tuple[dict, dict]:
    """What is recorded of a run."""
    shown = vae.decoded[-(1 + case.has_identity + case.memory_frames) :]
    tensors = {f"shot {case}": shown[int(case.has_identity)]}
    if case.has_identity:
        tensors[f"identity {case}"] = shown[0]
        tensors["grey frame"] = vae.encoded[-1]
    video = vae.encoded[-1 - case.has_identity]
    tensors[f"video {case}" if case.given else "video grey"] = video
    if case.previous:
        tensors[f"candidates {case}"] = vae.encoded[0].transpose(0, 2)
    used = {name: next(s for s in steps if s.expert == name[0]) for name in ("high", "low")}
    for level, step in used.items():
        tensors[f"condition {case} {level}"] = step.y[0][None]
    found = {
        "timesteps": [int(step.t) for step in steps],
        "experts": "".join(step.expert for step in steps),
        "positions": {
            level: [index - CENTRE for index in step.time_indices[0]]
            for level, step in used.items()
        },
    }
    return found, tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="a checkout of the released repository")
    parser.add_argument("--out", type=Path, default=run.GOLDEN)
    args = parser.parse_args()
    if not (args.checkout / "wan" / "memory2video_learnable_rope_fine.py").is_file():
        parser.error(f"{args.checkout} is no checkout of Memento")
    released = import_released(args.checkout)
    cases, tensors = {}, {}
    for case in run.CASES:
        cases[str(case)], found = record(released, case)
        for name, value in found.items():
            if not torch.equal(tensors.setdefault(name, value), value):
                raise ValueError(f"{name} differs between cases")
        print(case, cases[str(case)], flush=True)  # noqa: T201
    names = [name for name in tensors if name.startswith("condition")]
    conditions = {name: tensors.pop(name) for name in names}
    tensors = {name: value.float().contiguous().clone() for name, value in tensors.items()}
    for name, value in tensors.items():
        if name.startswith("shot") or name.startswith("identity"):
            tensors[name] = value.reshape(1, run.CHANNELS, -1, run.ROWS, run.COLUMNS)
    save_file(tensors, args.out / "memento_run.safetensors")
    parts = {"about": ABOUT, "cases": cases}
    text = json.dumps(parts, separators=(",", ":")).replace("},", "},\n")
    (args.out / "memento_run.json").write_text(text + "\n", encoding="utf-8")
    for case in run.CASES:  # as the helper puts together
        for level in ("high", "low"):
            wanted = conditions[f"condition {case} {level}"]
            torch.testing.assert_close(run.condition(case, level), wanted, rtol=0, atol=1e-5)


if __name__ == "__main__":
    main()
