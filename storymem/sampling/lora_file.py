"""LoRA files of memory models with all that is known of them, and what an update made of it.

A file is StoryMem's or Memento's by what it holds: beside its LoRA, Memento's has a keyframe query.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..files.messages import listed
from ..files.weights_file import SAFETENSORS, read_metadata, read_outline, read_state_dict
from .lora import LoraModule, check_lora, content_digest, read_lora
from .lora_scale import LORA_ALPHA, storymem_scale
from .methods import MEMENTO, STORYMEM
from .query_weights import QUERIES, check_query, split_query

TITLES = {STORYMEM: "StoryMem", MEMENTO: "Memento"}
LICENCES = {MEMENTO: "Apache-2.0 by its pages"}  # of files that say nothing of it themselves


@dataclass(frozen=True)
class MemoryLora:
    """What a file holds: low-rank pairs by the checkpoint's names, and Memento's keyframe query."""

    modules: Mapping[str, LoraModule]
    query: Mapping[str, torch.Tensor] | None = None  # by their names in it

    @property
    def method(self) -> str:
        """The memory model that the file was trained for: ``storymem`` or ``memento``."""
        return STORYMEM if self.query is None else MEMENTO

    @property
    def digest(self) -> str:
        """The same for the same weights, whatever the file's name, date, layout or format."""
        return content_digest(self.modules, self.query)

    def check(
        self, weights: Mapping[str, tuple[int, ...] | None], width: int, name: str = "the file"
    ) -> None:
        """Raise ValueError unless the file fits a model.

        Args:
            weights: as in ``check_lora``.
            width: of the model, 5120 in Wan 2.2 A14B.
        """
        check_lora(self.modules, weights, name)
        if self.query is not None:
            check_query(self.query, width, name)


def describe_method(method: str) -> str:
    """``method: Memento; its licence: Apache-2.0 by its pages``."""
    licence = LICENCES.get(method)
    return f"method: {TITLES[method]}" + (f"; its licence: {licence}" if licence else "")


def load_lora(
    path: Path, name: str | None = None, *, is_outline: bool = False
) -> dict[str, LoraModule]:
    """The low-rank pairs alone of a file, as ``load_memory_lora`` reads them."""
    return dict(load_memory_lora(path, name, is_outline=is_outline).modules)


def load_memory_lora(
    path: Path, name: str | None = None, *, is_outline: bool = False
) -> MemoryLora:
    """What a ``.safetensors`` or ``.pth`` file of StoryMem or Memento holds.

    Args:
        name: of the file, in errors.
        is_outline: take only the names and shapes, and all of what is no matrix: matrices are on
            the meta device, and their numbers are not looked at.

    Raises:
        ValueError: when the file cannot be read, or is no LoRA.
    """
    name = name or path.name
    has_header = path.suffix.lower() in SAFETENSORS
    state = read_outline(path) if is_outline and has_header else read_state_dict(path)
    if is_outline:
        state = {key: _outlined(tensor) for key, tensor in state.items()}
    pairs, query = split_query(state, name)
    modules = read_lora(pairs, name)
    if query:
        if not modules:
            raise ValueError(
                f"{name} holds Memento's keyframe query but no LoRA; choose the file that has both"
            )
        check_query(query, _width_of(query), name)
    if all(pair.alpha is None and pair.is_peft for pair in modules.values()):
        ranks = {pair.rank for pair in modules.values()}
        rank = ranks.pop() if len(ranks) == 1 else 0
        stated = storymem_scale(path, read_metadata(path) if has_header else {}, rank)
        modules = {module: replace(pair, stated=stated) for module, pair in modules.items()}
    return MemoryLora(modules, query or None)


def one_method(files: Mapping[str, MemoryLora]) -> str:
    """The method of all ``files``, by the expert that each is for.

    Raises:
        ValueError: for files of both.
    """
    found = {file.method for file in files.values()}
    if len(found) > 1:
        told = listed([f"{expert}: {TITLES[file.method]}" for expert, file in files.items()], 4)
        raise ValueError(
            f"the two experts have LoRAs of two memory models ({told}); load both files of "
            "StoryMem, or both of Memento"
        )
    return found.pop() if found else STORYMEM


def _outlined(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to("meta") if tensor.ndim > 1 else tensor


def _width_of(query: Mapping[str, torch.Tensor]) -> int:
    """The width that a query's own weights agree on, or should."""
    return query[QUERIES].shape[-1] if QUERIES in query and query[QUERIES].ndim else 0


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
