"""What stands before the shot on the time axis, and at which positions, for each memory model.

StoryMem (paper 3.3) sets its memory frames ``rope_shift`` apart, right before the shot. Memento
(its section on real-time positions) sets each where it happened: as many latent frames before the
shot as the story ran between both. It may put one frame more first, which shows the cast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..memory.frame import MemoryFrame
from .conditioning import TIME_STRIDE
from .methods import MEMENTO, STORYMEM
from .rope import MEMORY_ROPE_SHIFT, check_memory_span, temporal_positions

FARTHEST = 512  # latent frames before the shot: the released table has 512 positions on each side
IDENTITY_POSITION = -FARTHEST


@dataclass(frozen=True)
class MemoryLayout:
    """Latent frames before the shot, in order: the identity frame, if there is one, then memory.

    ``positions`` are those of the memory frames, in latent frames; the shot's first is 0.

    Raises:
        ValueError: for positions that are not whole numbers.
    """

    positions: tuple[int, ...] = ()
    has_identity: bool = False
    method: str = STORYMEM

    def __post_init__(self) -> None:
        if any(position != int(position) for position in self.positions):
            raise ValueError(
                f"memory positions must be whole latent frames, but they are {self.positions}"
            )

    @property
    def memory_frames(self) -> int:
        """Latent frames of memory, without the identity frame."""
        return len(self.positions)

    @property
    def frames(self) -> int:
        """Latent frames that stand before the shot and come off after sampling."""
        return len(self.positions) + self.has_identity

    @property
    def is_kept(self) -> bool:
        """Whether memory is set back onto its way from noise in every step, as Memento does."""
        return self.method == MEMENTO and bool(self.positions)

    @property
    def all_positions(self) -> tuple[int, ...]:
        """Positions of all frames before the shot, the identity frame's first."""
        return (IDENTITY_POSITION,) * self.has_identity + self.positions

    def with_shot(self, shot_frames: int) -> torch.Tensor:
        """Positions of all latent frames, float32 ``[frames + F]``; the shot's are 0 ... F-1."""
        shot = temporal_positions(0, shot_frames)
        return torch.cat([torch.tensor(self.all_positions, dtype=torch.float32), shot])


def storymem_layout(memory_frames: int, rope_shift: int = MEMORY_ROPE_SHIFT) -> MemoryLayout:
    """The layout of StoryMem: ``-M*S, ..., -2S, -S``.

    Raises:
        ValueError: for negative numbers.
    """
    check_memory_span(memory_frames, rope_shift)
    return MemoryLayout(tuple(-rope_shift * i for i in range(memory_frames, 0, -1)))


def memento_layout(
    moments: Sequence[int], begin: int, *, has_identity: bool = False
) -> MemoryLayout:
    """The layout of Memento for memory frames of these moments, in the given order."""
    return MemoryLayout(real_time_positions(moments, begin), has_identity, MEMENTO)


def real_time_positions(moments: Sequence[int], begin: int) -> tuple[int, ...]:
    """Latent frames between each remembered moment and the shot's begin, from -512 to -1.

    Both are counted in whole latent frames from the story's begin before they are subtracted. A
    moment that falls into the shot's own first latent frame stands right before it: position 0 is
    the shot's alone.

    Args:
        moments: pixel frames from the story's begin, as made: frames that repeat the shot before
            count again. Negative before the begin.
        begin: the moment of the shot's first frame.
    """
    return tuple(min(-1, position) for position in query_positions(moments, begin))


def query_positions(moments: Sequence[int], begin: int) -> tuple[int, ...]:
    """The same as KeyframeQuery counts them when it chooses: from -512 to 511, 0 allowed."""
    now = begin // TIME_STRIDE
    return tuple(
        max(-FARTHEST, min(FARTHEST - 1, moment // TIME_STRIDE - now)) for moment in moments
    )


def moments_of(frames: Sequence[MemoryFrame], story: str | None = None) -> tuple[int, ...]:
    """The moment of each frame, in pixel frames from the story's begin.

    Frames without one (the artist's references), and those of other stories, stand before the
    story's begin in their order, one latent frame apart, the last of them right before it.

    Args:
        story: the story whose moments count, beside those of the clip that it begins from;
            ``None``: those of any.
    """

    def is_known(frame: MemoryFrame) -> bool:
        return frame.moment is not None and (story is None or frame.story in ("", story))

    left = sum(not is_known(frame) for frame in frames)
    earliest = min((frame.moment for frame in frames if is_known(frame)), default=0)
    before = min(0, earliest // TIME_STRIDE)
    found = []
    for frame in frames:
        if is_known(frame):
            found.append(frame.moment)
        else:
            found.append((before - left) * TIME_STRIDE)
            left -= 1
    return tuple(found)


def in_order_of_time(
    frames: Sequence[MemoryFrame], story: str | None = None
) -> tuple[tuple[MemoryFrame, ...], tuple[int, ...]]:
    """``frames`` sorted by their moments, which come along; those of one moment stay in order."""
    moments = moments_of(frames, story)
    order = sorted(range(len(frames)), key=moments.__getitem__)
    return tuple(frames[i] for i in order), tuple(moments[i] for i in order)
