"""Temporal positions with a memory: the negative RoPE shift (paper 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

SHOT_ONLY = "storymem_shot_only"  # in transformer_options: the latent comes without its memory
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


def check_reach(memory_frames: int, rope_shift: int, shot_frames: int, positions: int) -> None:
    """Raise ValueError when a model's table of ``positions`` ends before memory or shot do."""
    farthest, what = memory_frames * rope_shift, f"{memory_frames} memory frames {rope_shift} apart"
    advice = "use fewer memory frames, a smaller rope_shift or a shorter shot"
    check_table(positions, farthest, what, shot_frames, advice)


def check_table(positions: int, farthest: int, what: str, shot_frames: int, advice: str) -> None:
    """Raise ValueError when a table of ``positions`` ends before the shot does, or before the
    position that is ``farthest`` from it, which ``what`` is at."""
    for reached, who in (
        (farthest, what),
        (shot_frames - 1, f"{shot_frames} latent frames of a shot"),
    ):
        if reached >= positions:
            raise ValueError(
                f"{who} reach position {reached}, but the model's table ends at {positions - 1}; "
                f"{advice}"
            )


def encode_at(original: Callable, positions: Sequence[int]) -> Callable:
    """``rope_encode`` with the frames before the shot at ``positions`` and the shot from 0.

    The positions are closed over: read from ``transformer_options`` they would go stale under
    torch.compile, which guards closures but not that dict. The original is called for all parts,
    so that its own scaling, and patches of other packs, apply to memory and shot alike: once for
    positions at equal steps, which are a grid of it, else once for each frame.
    """
    positions, memory_frames = tuple(positions), len(positions)
    steps = {after - before for before, after in pairwise(positions)}
    if len(steps) > 1:
        grids = [(first, 1, 1) for first in positions]  # where it begins, its span, its frames
    else:
        grids = (
            [(positions[0], positions[-1] - positions[0] + 1, memory_frames)] if positions else []
        )

    def rope_encode(t, h, w, t_start=0, steps_t=None, **kwargs):
        if memory_frames == 0 or t_start or steps_t is not None or kwargs.get("source_id"):
            if steps_t is not None:
                kwargs["steps_t"] = steps_t
            return original(t, h, w, t_start=t_start, **kwargs)
        kwargs["dtype"] = torch.float32  # bf16 rounds positions beyond 256 and scaled ones
        if (kwargs.get("transformer_options") or {}).get(SHOT_ONLY):
            return original(t, h, w, **kwargs)
        if t <= memory_frames:
            raise ValueError(
                f"the latent has {t} frames, but M2V Model Patch expects {memory_frames} memory "
                "frames before the shot; use the latent and memory_frames from the same M2V "
                "Conditioning"
            )
        options = (kwargs.get("transformer_options") or {}).get("rope_options") or {}
        scale = options.get("scale_t", 1.0)
        memory = [
            original(span, h, w, t_start=first * scale, steps_t=frames, **kwargs)
            for first, span, frames in grids
        ]
        shot = original(t - memory_frames, h, w, **kwargs)
        return torch.cat([*memory, shot], dim=1)  # tokens: memory first

    rope_encode.storymem_original = original
    return rope_encode


def original_encode(encode: Callable) -> Callable | None:
    """What ``encode_at`` was given; None when ``encode`` is not what it returned."""
    if hasattr(encode, "__wrapped__"):  # functools.wraps copies our attribute to what wraps us
        return None
    return getattr(encode, "storymem_original", None)
