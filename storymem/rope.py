"""Temporal positions with a memory: the negative RoPE shift (paper 3.3)."""

from __future__ import annotations

import torch

MEMORY_ROPE_SHIFT = 5  # the authors' fixed code: positions between two memory frames


def temporal_positions(
    memory_frames: int, shot_frames: int, *, offset: int = MEMORY_ROPE_SHIFT
) -> torch.Tensor:
    """Time indices ``-M*S, ..., -2S, -S, 0, 1, ..., F-1`` as float32 ``[M + F]``.

    Float32 because bf16 rounds every integer beyond 256. ``offset`` is S; 1 gives plain contiguous
    indices (RoPE is relative), 0 puts every memory frame on the first frame of the shot.

    Raises:
        ValueError: for negative counts or offset, or a shot without frames.
    """
    check_memory_span(memory_frames, offset)
    if shot_frames < 1:
        raise ValueError(
            f"a shot needs at least one latent frame, but shot_frames is {shot_frames}"
        )
    memory = torch.arange(-memory_frames, 0, dtype=torch.float32) * offset
    return torch.cat([memory, torch.arange(shot_frames, dtype=torch.float32)])


def check_memory_span(memory_frames: int, offset: int) -> None:
    """Raise ValueError unless both are whole numbers of 0 or more."""
    for name, value in (("memory_frames", memory_frames), ("rope_shift", offset)):
        if value != int(value) or value < 0:
            raise ValueError(f"{name} must be a whole number of 0 or more, but it is {value}")
