"""Keyframes at even distances over a shot: the candidates that Memento's memory is chosen from."""

from __future__ import annotations

import torch

from ..memory.frame import MemoryFrame
from .keyframes import Keyframes
from .preprocess import ShotFrames

SEMANTIC, EVEN = "semantic", "even"
SELECTIONS = (SEMANTIC, EVEN)
EVEN_FRAMES = 8  # Memento's released number of candidates of a shot


def even_indices(count: int, frames: int = EVEN_FRAMES) -> tuple[int, ...]:
    """Indices of ``frames`` of ``count`` frames, the first and the last among them; all of few.

    Raises:
        ValueError: for less than one frame.
    """
    if frames < 1 or count < 1:
        raise ValueError(f"frames must be 1 or more, but they are {frames} of {count}")
    if count <= frames:
        return tuple(range(count))
    if frames == 1:
        return (0,)
    return tuple(round(i * (count - 1) / (frames - 1)) for i in range(frames))


def choose_evenly(
    images: torch.Tensor,
    *,
    frames: int = EVEN_FRAMES,
    story: str = "",
    shot: int = 0,
    overlap: int = 0,
    begin: int | None = None,
) -> Keyframes:
    """``frames`` keyframes of one shot as it was made, whatever they show.

    Args:
        images: float ``[T, H, W, 3]`` in [0, 1] or uint8, with the frames that repeat the shot
            before: they count, as in Memento's release.
        overlap: how many of ``images`` repeat the shot before.
        begin: the moment of the first of ``images``, where that is known.

    Raises:
        ValueError: for frames with NaN, or that are not images.
    """
    shot_frames = ShotFrames(images)
    shot_frames.check()
    indices = even_indices(len(shot_frames), frames)
    return Keyframes(
        tuple(
            MemoryFrame(
                shot_frames.original(i),
                story=story,
                shot=shot,
                frame=max(0, i - overlap),
                moment=None if begin is None else begin + i,
                reason=f"evenly spaced, {number} of {len(indices)}"
                + (", repeats the shot before" if i < overlap else ""),
            )
            for number, i in enumerate(indices, 1)
        )
    )
