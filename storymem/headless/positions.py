"""Negative temporal positions in diffusers' Wan: its rope module replaced, diffusers untouched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ..sampling.memory_layout import MemoryLayout
from ..sampling.rope import (
    MEMORY_ROPE_SHIFT,
    check_memory_span,
    check_reach,
    check_table,
    temporal_positions,
)


class MemoryRotaryEmbed(nn.Module):
    """diffusers' ``WanRotaryPosEmbed`` with memory positions before the shot's (paper 3.3).

    Same tables, same output: ``(cos, sin)``, each ``[1, tokens, 1, head_dim]``. A negative position
    needs no table of its own: cos is even and sin is odd. S is fixed when it is built;
    ``memory_frames`` and ``layout`` are plain attributes, set once per shot: compiled graphs are
    guarded on them. A layout says where every frame before the shot stands, in place of S.
    """

    def __init__(self, original: nn.Module, rope_shift: int = MEMORY_ROPE_SHIFT):
        super().__init__()
        check_memory_span(0, rope_shift)
        self.original = original  # its buffers move along with the model
        self.rope_shift = int(rope_shift)
        self.memory_frames = 0
        self.layout: MemoryLayout | None = None

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary tables of ``hidden_states [B, C, M+F, h, w]`` (latent sizes)."""
        table = self.original
        _, _, frames, height, width = hidden_states.shape
        frames, height, width = (
            size // patch
            for size, patch in zip((frames, height, width), table.patch_size, strict=True)
        )
        shot_frames = frames - self.memory_frames
        if self.layout is None:
            check_reach(self.memory_frames, self.rope_shift, shot_frames, table.max_seq_len)
            positions = temporal_positions(self.memory_frames, shot_frames, offset=self.rope_shift)
        else:
            before = self.layout.all_positions
            check_positions(before, shot_frames, table.max_seq_len)
            positions = self.layout.with_shot(shot_frames)
        return rotary_tables(table, positions[None].long(), height, width)


def check_positions(before: Sequence[int], shot_frames: int, positions: int) -> None:
    """Raise ValueError when a model's table of ``positions`` ends before memory or shot do.

    Args:
        before: the temporal positions of the frames in front of the shot.
    """
    farthest = max((abs(position) for position in before), default=0)
    advice = "use a model with more positions, or a shorter shot"
    check_table(positions, farthest, "memory frames", shot_frames, advice)


def rotary_tables(
    table, positions: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(cos, sin)``, each ``[B, tokens, 1, head_dim]``, of frames at ``positions`` int64 [B, F],
    which may be negative, with ``height`` x ``width`` tokens each.

    Args:
        table: diffusers' ``WanRotaryPosEmbed``.
    """
    positions = positions.to(table.freqs_cos.device)
    sizes = (table.t_dim, table.h_dim, table.w_dim)
    sign = torch.where(positions < 0, -1.0, 1.0).to(table.freqs_sin.dtype)[..., None]

    def lay_out(time: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        grid = (*positions.shape, height, width, -1)
        parts = (
            time[:, :, None, None].expand(grid),
            rows[:height][:, None].expand(grid),
            columns[:width].expand(grid),
        )
        return torch.cat(parts, dim=-1).flatten(1, 3)[:, :, None]

    time, rows, columns = table.freqs_cos.split(sizes, dim=1)
    cos = lay_out(time[positions.abs()], rows, columns)
    time, rows, columns = table.freqs_sin.split(sizes, dim=1)
    sin = lay_out(time[positions.abs()] * sign, rows, columns)
    return cos, sin


def install_memory_positions(
    transformer: nn.Module, *, rope_shift: int = MEMORY_ROPE_SHIFT
) -> MemoryRotaryEmbed:
    """Give a ``WanTransformer3DModel`` memory positions; before context parallelism is enabled."""
    original = transformer.rope
    if isinstance(original, MemoryRotaryEmbed):
        original = original.original
    transformer.rope = MemoryRotaryEmbed(original, rope_shift)
    return transformer.rope


def set_memory_frames(transformer: nn.Module, memory_frames: int) -> None:
    """How many of the latent frames at the start of the next calls are memory, S apart.

    Raises:
        ValueError: when the transformer has no memory positions but frames of memory.
    """
    _set(transformer, memory_frames, None)


@contextmanager
def shot_alone(transformer: nn.Module) -> Iterator[None]:
    """Calls whose latent holds the shot without what stands before it."""
    rope = transformer.rope
    frames, layout = rope.memory_frames, rope.layout
    rope.memory_frames, rope.layout = 0, None
    try:
        yield
    finally:
        rope.memory_frames, rope.layout = frames, layout


def set_memory_layout(transformer: nn.Module, layout: MemoryLayout) -> None:
    """Where the latent frames in front of the shot stand in the next calls.

    Raises:
        ValueError: when the transformer has no memory positions but frames of memory.
    """
    _set(transformer, layout.frames, layout)


def _set(transformer: nn.Module, frames: int, layout: MemoryLayout | None) -> None:
    rope = transformer.rope
    if isinstance(rope, MemoryRotaryEmbed):
        check_memory_span(frames, rope.rope_shift)
        rope.memory_frames, rope.layout = frames, layout
    elif frames:
        raise ValueError("this transformer has no memory positions: install_memory_positions first")
