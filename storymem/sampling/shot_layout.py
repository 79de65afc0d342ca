"""Where a shot's memory stands, for each expert: the bank's frames put in order and placed."""

from __future__ import annotations

from collections.abc import Sequence

from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from .continuity import ShotPlan
from .memory_layout import (
    MemoryLayout,
    in_order_of_time,
    memento_layout,
    moments_of,
    storymem_layout,
)
from .methods import MEMENTO
from .request import ShotRequest
from .rope import MEMORY_ROPE_SHIFT

Memory = tuple[MemoryFrame, ...]


def seen_memories(
    bank: MemoryBank | None, method: str, shot: ShotPlan | None = None
) -> tuple[Memory, Memory | None]:
    """The frames that the high-noise and the low-noise expert see, ``None`` for the same ones.

    StoryMem has them in the bank's order, Memento in order of time.
    """
    if bank is None:
        return (), None
    high, low = bank.memories()
    if method == MEMENTO:
        high, low = (in_order_of_time(part, _story(shot))[0] for part in (high, low))
    same = len(high) == len(low) and all(a is b for a, b in zip(high, low, strict=True))
    return high, None if same else low


def shot_layouts(
    request: ShotRequest,
    method: str,
    shot: ShotPlan | None = None,
    *,
    rope_shift: int = MEMORY_ROPE_SHIFT,
    has_identity: bool = False,
) -> tuple[MemoryLayout, MemoryLayout]:
    """What stands before the shot, for the high-noise and the low-noise expert.

    Args:
        shot: the shot of a story, which knows when it begins. ``None``: one by itself, which begins
            right after the latest moment that is remembered.
        rope_shift: of StoryMem.

    Raises:
        ValueError: for an identity frame with StoryMem, which has none.
    """
    check_identity_method(method, has_identity=has_identity)
    memories = (
        request.memory,
        request.memory if request.memory_low is None else request.memory_low,
    )
    if method != MEMENTO:
        return tuple(storymem_layout(len(memory), rope_shift) for memory in memories)
    begin = _begin(memories, shot)
    return tuple(
        memento_layout(moments_of(memory, _story(shot)), begin, has_identity=has_identity)
        for memory in memories
    )


def check_identity_method(method: str, *, has_identity: bool) -> None:
    """Raise ValueError for an identity frame with StoryMem, which has none."""
    if has_identity and method != MEMENTO:
        raise ValueError(
            "identity_positive is connected, but only Memento has an identity frame, and the "
            f"method is {method}; load Memento's LoRA, set method to memento, or disconnect it"
        )


def _story(shot: ShotPlan | None) -> str | None:
    return None if shot is None else shot.story


def _begin(memories: Sequence[Memory], shot: ShotPlan | None) -> int:
    if shot is not None:
        return shot.begin
    known = [f.moment for memory in memories for f in memory if f.moment is not None]
    return max(known, default=-1) + 1
