"""StoryMem LoRA files with all that is known of their scale, and what an update made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..files.weights_file import SAFETENSORS, read_metadata, read_outline, read_state_dict
from .lora import LoraModule, read_lora
from .lora_scale import LORA_ALPHA, storymem_scale


def load_lora(
    path: Path, name: str | None = None, *, is_outline: bool = False
) -> dict[str, LoraModule]:
    """LoRA modules of a ``.safetensors`` or ``.pth`` file, by the checkpoint's names.

    Args:
        name: of the file, in errors.
        is_outline: take only the header of a ``.safetensors`` file: matrices are on the meta
            device, and their numbers are not looked at.

    Raises:
        ValueError: when the file cannot be read, or is no LoRA.
    """
    has_header = path.suffix.lower() in SAFETENSORS
    state = read_outline(path) if is_outline and has_header else read_state_dict(path)
    modules = read_lora(state, name or path.name)
    if any(pair.alpha is not None or not pair.is_peft for pair in modules.values()):
        return modules
    ranks = {pair.rank for pair in modules.values()}
    rank = ranks.pop() if len(ranks) == 1 else 0
    stated = storymem_scale(path, read_metadata(path) if has_header else {}, rank)
    return {module: replace(pair, stated=stated) for module, pair in modules.items()}


def scale_change(modules: Mapping[str, LoraModule], choice: str) -> str:
    """``8 instead of 16`` for a file that earlier versions applied at another scale, else empty.

    They took 128 for the alpha of a file without one, whatever its rank, and read nothing beside
    the weights. A shot's key holds this, so that none made at the other scale passes for one made
    at this, and those of all other files stay as they are.
    """
    changes = {(pair.scale(choice), _earlier_scale(pair, choice)) for pair in modules.values()}
    told = sorted(f"{now:.6g} instead of {was:.6g}" for now, was in changes
                  if not math.isclose(now, was))  # fmt: skip
    return ", ".join(told)


def assumed(modules: Mapping[str, LoraModule], choice: str, name: str) -> str:
    """What was taken for a file's alpha that nothing states, in words; empty when all is known.

    The released files do not state it either, and are known.
    """
    scales = sorted({(p.rank, p.scale(choice)) for p in modules.values() if p.is_guess(choice)})
    scales = [(rank, scale) for rank, scale in scales if rank != LORA_ALPHA]
    if not scales:
        return ""
    rank, scale = scales[0]
    return (
        f"{name} does not say its alpha, which is taken to be its rank, {rank}, as the release "
        f"trains: scale {scale:.4g}; if it was trained with another alpha, set the strength to "
        f"that alpha / {rank}"
    )


def _earlier_scale(pair: LoraModule, choice: str) -> float:
    is_rooted = choice == "rslora" or (choice == "auto" and pair.is_peft and pair.alpha is None)
    if is_rooted:
        return (LORA_ALPHA if pair.alpha is None else pair.alpha) / math.sqrt(pair.rank)
    return 1.0 if pair.alpha is None else pair.alpha / pair.rank
