"""What a LoRA file is by the names and shapes in it, and the scale it is applied at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..files.outline import Outline
from ..sampling.lora import TARGETS, LoraModule, module_name, read_lora
from ..sampling.lora_file import load_memory_lora
from ..sampling.lora_kinds import fault_of_wan_lora, is_lora_part, other_adapter
from ..sampling.lora_release import released
from ..sampling.lora_scale import LORA_ALPHA, TRAINED_KEY
from ..sampling.noise_names import noise_of
from ..sampling.query_weights import split_query

BLOCKS = 40  # of Wan 14B
LAYERS = BLOCKS * len(TARGETS)  # that a memory LoRA changes: 400
WHOLE = f"{LAYERS} of {LAYERS} layers"
RELEASED_RANK = int(LORA_ALPHA)
FEW_STEPS = re.compile(r"lightx2v|lightning|distill|causvid|fusionx|\d[\W_]*steps?", re.IGNORECASE)
_PAIR = re.compile(r"(.+)\.(?:lora_A|lora_down)(?:\.default)?(?:\.weight)?$")
_EXPERTS = {"high_noise_model.": "high noise", "low_noise_model.": "low noise"}
_INPUTS = {"ffn.2": 13824}  # of a layer, in numbers; of all others the width
_WIDTH = 5120


def is_lora(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file holds changes of weights, not weights."""
    return any(map(is_lora_part, shapes))


def lora_kind(
    shapes: Mapping[str, tuple[int, ...]], notes: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """A LoRA's kind, and what else its header says.

    Args:
        shapes: of every tensor, by the name it has in the file.
        notes: the texts of its header.
    """
    if found := other_adapter(shapes):
        return "other_lora", (found[0],)
    rest, query = split_query(dict.fromkeys(shapes))
    rest = {key: shapes[key] for key in rest}
    if fault := fault_of_wan_lora(rest):
        return "other_lora", (fault,)
    pairs = {module_name(m[1]): shapes[key] for key in rest if (m := _PAIR.match(key))}
    targets = {f"blocks.{n}.{part}" for n in range(BLOCKS) for part in TARGETS}
    if any(len(s) != 2 or s[1] != _INPUTS.get(m.split(".", 2)[-1], _WIDTH)
           for m, s in pairs.items() if m in targets):  # fmt: skip
        return "other_lora", ("its layers have other sizes than those of Wan 14B",)
    covered, ranks = targets & pairs.keys(), {shape[0] for shape in pairs.values() if shape}
    details = [f"{len(covered)} of {LAYERS} layers"]
    if len(ranks) == 1:
        details.append(f"rank {next(iter(ranks))}")
    experts = {what for part, what in _EXPERTS.items() if any(part in key for key in shapes)}
    if len(experts) == 1:
        details.append(f"{experts.pop()}, by its content")
    if query:
        return "memento_lora", tuple(details)
    is_plain = set(pairs) == targets and all("lora_" in key or ".alpha" in key for key in rest)
    is_peft = not any(key.endswith(".alpha") or "lora_down" in key for key in rest)
    if TRAINED_KEY in notes:
        return "storymem_lora", (*details, "trained with this package")
    if is_plain and is_peft and ranks == {RELEASED_RANK}:
        return "storymem_lora", tuple(details)
    if is_plain and is_peft:
        details.append("StoryMem's have this form; nothing in the file says whose it is")
    return "wan_lora", tuple(details)


def scale_of(path: Path, outline: Outline) -> str:
    """``scale 11.31``, as a memory LoRA is applied at strength 1; empty when it cannot be known
    from the header."""
    if outline.form == "safetensors":
        modules: Mapping[str, LoraModule] = load_memory_lora(path, is_outline=True).modules
    else:
        if any(key.endswith(".alpha") for key in outline.shapes):
            return ""
        state = {key: torch.empty(shape, device="meta") for key, shape in outline.shapes.items()}
        modules = read_lora(split_query(state)[0])
    found = {round(pair.scale(), 4) for pair in modules.values()}
    guess = any(pair.is_guess() and pair.rank != RELEASED_RANK for pair in modules.values())
    if len(found) != 1:
        return "several scales"
    return f"scale {found.pop():.4g}" + (", if its alpha is its rank" if guess else "")


def by_name(name: str, kind: str) -> list[str]:
    """What only a LoRA's or an expert's name says, and that it does."""
    noise, told = noise_of(name), []
    found = released(name)
    if noise:
        told.append(f"{noise} noise, by its name only")
    elif found:
        told.append(f"{found.noise} noise, by its name only")
    elif kind in ("i2v_a14b", "storymem_lora", "memento_lora"):
        told.append("high or low noise: nothing tells")
    if found and kind == "storymem_lora" and found.family in ("mi2v", "mm2v"):
        told.append(f"{found.family.upper()}, by its name only")
    if kind == "wan_lora" and FEW_STEPS.search(name):
        told.append("for few steps (lightx2v and the like), by its name only")
    return told
