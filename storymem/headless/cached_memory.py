"""Memory run along in few steps only, on diffusers' Wan: self-attention's keys and values of the
memory's tokens are kept in a refresh, and read by the shot's tokens in the steps between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ..sampling.memory_refresh import RefreshClock, refresh_schedule
from .positions import shot_alone

OFF, KEEPS, READS = "off", "keeps", "reads"


class KeptMemory:
    """What one transformer keeps, and what its next forwards do with it."""

    def __init__(self):
        self.mode = OFF
        self.tokens = 0  # of the memory, in front of the shot's
        self.pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # block -> [B, L, H, d] each

    @contextmanager
    def keeping(self, tokens: int) -> Iterator[None]:
        """Forwards of memory and shot keep the keys and values of the first ``tokens``."""
        self.pairs.clear()
        self.mode, self.tokens = KEEPS, tokens
        try:
            yield
        finally:
            self.mode = OFF

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Forwards of the shot alone read what was kept, before their own."""
        self.mode = READS
        try:
            yield
        finally:
            self.mode = OFF

    def free(self) -> None:
        """Let go of everything."""
        self.pairs.clear()


class KeepingProcessor:
    """Self-attention of one block, by diffusers' processor unless keys and values are kept or read.

    Its equations are those of ``WanAttnProcessor`` for self-attention.
    """

    def __init__(self, original, kept: KeptMemory, block: int):
        self.original, self.kept, self.block = original, kept, block

    def __getattr__(self, name):  # diffusers sets the backend of attention on its processors
        return getattr(self.__dict__["original"], name)

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None
    ):
        if self.kept.mode == OFF or encoder_hidden_states is not None:
            return self.original(
                attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
            )
        query, key, value = (
            layer(hidden_states) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )  # fmt: skip
        query, key = attn.norm_q(query), attn.norm_k(key)
        query, key, value = (a.unflatten(2, (attn.heads, -1)) for a in (query, key, value))
        query, key = _rotated(query, rotary_emb), _rotated(key, rotary_emb)
        if self.kept.mode == KEEPS:
            count = self.kept.tokens
            self.kept.pairs[self.block] = key[:, :count].clone(), value[:, :count].clone()
        else:
            keys, values = self.kept.pairs[self.block]
            key = torch.cat([keys.to(key), key], dim=1)
            value = torch.cat([values.to(value), value], dim=1)
        out = torch.nn.functional.scaled_dot_product_attention(
            *(a.transpose(1, 2) for a in (query, key, value))
        )
        out = out.transpose(1, 2).flatten(2).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))


def _rotated(a: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Pairs of ``a [B, L, H, d]`` turned by the angles of ``(cos, sin)``."""
    cos, sin = (table[..., ::2] for table in tables)
    even, odd = a.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).type_as(a)


def install_cached_memory(transformer: nn.Module) -> KeptMemory:
    """Give a ``WanTransformer3DModel`` a store; the same one when it has one."""
    kept = getattr(transformer, "storymem_kept", None)
    if kept is None:
        kept = transformer.storymem_kept = KeptMemory()
        for i, block in enumerate(transformer.blocks):
            block.attn1.processor = KeepingProcessor(block.attn1.processor, kept, i)
    return kept


def tokens_of(transformer: nn.Module, frames: int, height: int, width: int) -> int:
    """How many tokens so many latent frames of ``height`` x ``width`` have."""
    _, rows, columns = transformer.config.patch_size
    return frames * (height // rows) * (width // columns)


def shot_velocity(
    velocity: torch.Tensor, latents: torch.Tensor, clean: torch.Tensor, sigma: float
) -> torch.Tensor:
    """The velocity of memory and shot, where the model gave that of the shot alone: memory moves by
    the exact rectified flow towards what the condition holds.

    Args:
        velocity: ``[B, C, F, h, w]`` of the shot.
        latents: ``[B, C, M+F, h, w]`` as they are.
        clean: ``[B, C, M, h, w]``, the memory in the condition.
        sigma: noise level, above 0.
    """
    memory = latents[:, :, : clean.shape[2]].float()
    return torch.cat([(memory - clean.float()) / sigma, velocity.float()], dim=2)


class ShotCache:
    """The memory of one shot on its experts: when it runs along, and what of it is kept."""

    def __init__(self, parts: Mapping[nn.Module, Sequence[float]], memory_frames: int, refresh):
        """``parts``: the noise levels at which each expert works, falling."""
        self.memory_frames = memory_frames
        self._kept = {expert: install_cached_memory(expert) for expert in parts}
        self._clocks = {}
        for expert, levels in parts.items():
            steps = refresh.steps
            if steps is None:
                steps = refresh_schedule(len(levels), refresh.whole)
            self._clocks[expert] = RefreshClock([levels[s] for s in steps if s < len(levels)])

    def is_refresh(self, expert: nn.Module, sigma: float) -> bool:
        """Whether memory runs along at this noise level."""
        return self._clocks[expert].is_refresh(sigma)

    @contextmanager
    def step(self, expert: nn.Module, latents: torch.Tensor, kind: str, *, refreshes: bool):
        """Around one forward of ``expert``: of memory and shot in a refresh, else of the shot.

        Args:
            latents: ``[B, C, M+F, h, w]``.
            kind: ``cond`` for the prompt, whose keys and values are kept and read by all.
        """
        kept = self._kept[expert]
        if refreshes:
            tokens = tokens_of(expert, self.memory_frames, *latents.shape[-2:])
            with kept.keeping(tokens) if kind == "cond" else nullcontext():
                yield
            return
        with shot_alone(expert), kept.reading():
            yield

    def free(self) -> None:
        """Let go of everything: the shot is finished, or was stopped."""
        for kept in self._kept.values():
            kept.free()


def why_exact(experts: Sequence[nn.Module], *, has_identity: bool = False) -> str:
    """Why memory must run along in every step; empty when it need not."""
    if has_identity:
        return "the identity frame is denoised with it"
    for expert in experts:
        if getattr(expert, "_parallel_config", None) is not None:
            return "a shot's frames are shared by several GPUs"
        if hasattr(expert, "_orig_mod"):
            return "the model is compiled"
    return ""
