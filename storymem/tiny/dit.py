"""The tiny Wan2.2-I2V-shaped DiT: diffusers' module, inputs, a sampler, the host's key layout."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from contextlib import nullcontext

import torch
from einops import rearrange

from ..files.weights_file import read_state_dict
from ..headless.cached_memory import install_cached_memory, tokens_of
from . import vae

MASK_CHANNELS = 4
IN_CHANNELS = vae.CHANNELS * 2 + MASK_CHANNELS
POSITIONS = 1024  # temporal positions in its rotary table, on either side of 0
FURTHEST = 512  # latent frames: where memory is put that is as old, older, or without a moment
SHIFT = 3.0  # of the noise schedule, in training and in sampling


def build(*, layers: int = 6, ffn: int = 832, heads: int = 2):
    """An untrained WanTransformer3DModel: 7.3 M parameters, 14.6 MB in fp16."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=128,
        in_channels=IN_CHANNELS,
        out_channels=vae.CHANNELS,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=ffn,
        num_layers=layers,
        cross_attn_norm=True,
        rope_max_seq_len=POSITIONS,
    )


class KnownPositions(torch.nn.Module):
    """Rotary tables with memory positions, made once per shape and S, or for given ``moments``."""

    def __init__(self, original: torch.nn.Module):
        super().__init__()
        self.original = original
        self.memory_frames, self.rope_shift = 0, 5
        self.moments: torch.Tensor | None = None  # [B, M], in place of S
        self._tables: dict = {}

    def forward(self, hidden_states: torch.Tensor):
        from ..headless.positions import MemoryRotaryEmbed

        if self.moments is not None:
            return _tables_at(self.original, hidden_states.shape[2:], self.moments)
        key = (self.memory_frames, self.rope_shift, hidden_states.shape[2:], hidden_states.device)
        if key not in self._tables:
            embed = MemoryRotaryEmbed(self.original, self.rope_shift)
            embed.memory_frames = self.memory_frames
            self._tables[key] = embed(hidden_states)
        return self._tables[key]


def _tables_at(table, shape: tuple[int, int, int], moments: torch.Tensor):
    """Rotary tables, each [B, tokens, 1, head_dim], of latents of ``shape`` (frames, h, w) whose
    first frames are memory at the negative positions ``moments`` [B, M]."""
    from ..headless.positions import rotary_tables

    frames, *sides = (size // patch for size, patch in zip(shape, table.patch_size, strict=True))
    own = torch.arange(frames - moments.shape[1], device=moments.device)
    positions = torch.cat([moments, own.expand(len(moments), -1)], 1)
    return rotary_tables(table, positions, *sides)


def predict(
    model, noisy, mask, known, sigma, text, *, memory_frames: int, rope_shift: int = 5, moments=None
):
    """The velocity (noise minus clean), [B, M + F, 16, h, w].

    Args:
        noisy, known: [B, M + F, 16, h, w], normalised latents.
        mask: [B, M + F], 1 where ``known`` holds what is to be shown.
        sigma: [B], 0 ... 1.
        text: [B, 5, 4096].
        moments: int64 [B, M], the memory's positions, below 0; by default they follow from
            ``rope_shift``.
    """
    model.rope.memory_frames, model.rope.rope_shift = memory_frames, rope_shift
    model.rope.moments = moments
    spread = mask[:, :, None, None, None].expand(-1, -1, MASK_CHANNELS, *noisy.shape[-2:])
    joined = rearrange(torch.cat([noisy, spread.to(noisy), known], 2), "b f c h w -> b c f h w")
    velocity = model(joined, timestep=sigma * 1000, encoder_hidden_states=text, return_dict=False)[
        0
    ]
    return rearrange(velocity, "b c f h w -> b f c h w")


def shifted(u: torch.Tensor) -> torch.Tensor:
    """Noise levels from even ones."""
    return SHIFT * u / (1 + (SHIFT - 1) * u)


@torch.no_grad()
def sample(
    model,
    mask,
    known,
    text,
    *,
    memory_frames: int,
    generator: torch.Generator | None = None,
    noise: torch.Tensor | None = None,
    rope_shift: int = 5,
    steps: int = 20,
    empty_text: torch.Tensor | None = None,
    cfg: float = 1.0,
    moments: torch.Tensor | None = None,
    refreshes: Collection[int] | None = None,
) -> torch.Tensor:
    """Euler from noise to the shot's latents, [B, F, 16, h, w]; memory runs along and is dropped.

    Begins from ``noise``, of ``known``'s shape, or draws it. ``cfg`` other than 1 needs
    ``empty_text``, [B, 5, 4096]. With ``refreshes`` memory runs along in these steps alone (the
    first is always one), and its kept keys and values of the prompt are read in the others.
    """
    x = noise
    if x is None:
        x = torch.randn(known.shape, generator=generator, device=known.device)
    sigmas = shifted(torch.linspace(1, 0, steps + 1)).tolist()
    place = {"memory_frames": memory_frames, "rope_shift": rope_shift, "moments": moments}
    kept = None
    if refreshes is not None and memory_frames:
        kept = install_cached_memory(model)
    for step, (now, after) in enumerate(itertools.pairwise(sigmas)):
        sigma = torch.full((len(x),), now, device=x.device)
        if kept is None or step == 0 or step in refreshes:
            tokens = tokens_of(model, memory_frames, *x.shape[-2:]) if kept else 0
            with kept.keeping(tokens) if kept else nullcontext():
                velocity = predict(model, x, mask, known, sigma, text, **place).float()
            other_place, at = place, slice(None)
            reading = nullcontext
        else:
            at, other_place = slice(memory_frames, None), {**place, "memory_frames": 0}
            other_place["moments"] = None
            reading = kept.reading
            parts = x[:, at], mask[:, at], known[:, at], sigma
            with reading():
                velocity = predict(model, *parts, text, **other_place).float()
        if cfg != 1:
            parts = x[:, at], mask[:, at], known[:, at], sigma
            with reading():
                other = predict(model, *parts, empty_text, **other_place).float()
            velocity = other + cfg * (velocity - other)
        if velocity.shape[1] < x.shape[1]:
            memory = (x[:, :memory_frames] - known[:, :memory_frames].float()) / now
            velocity = torch.cat([memory, velocity], 1)
        x = x + (after - now) * velocity
    if kept is not None:
        kept.free()
    return x[:, memory_frames:]


_TOP = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "patch_embedding": "patch_embedding",
}
_IN_BLOCK = {
    **{
        f"{ours}.{a}": f"{theirs}.{b}"
        for ours, theirs in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for a, b in (
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "o"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}


def host_key(key: str) -> str:
    """The name in the host's (Wan's own) layout of a parameter of WanTransformer3DModel."""
    if key == "scale_shift_table":
        return "head.modulation"
    if key.startswith("blocks."):
        _, number, rest = key.split(".", 2)
        if rest == "scale_shift_table":
            return f"blocks.{number}.modulation"
        module, _, leaf = rest.rpartition(".")
        if module in _IN_BLOCK:
            return f"blocks.{number}.{_IN_BLOCK[module]}.{leaf}"
    else:
        module, _, leaf = key.rpartition(".")
        if module in _TOP:
            return f"{_TOP[module]}.{leaf}"
    raise ValueError(f"{key!r} is no parameter of a Wan DiT in diffusers' layout.")


def to_host(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A diffusers Wan DiT state in the layout that the host's UNETLoader reads."""
    return {host_key(key): value for key, value in state.items()}


def load_host_file(path):
    """The DiT of a file in the host's layout, float32, in its own size.

    Raises:
        ValueError: for a file that is no Wan I2V DiT of this shape.
    """
    try:
        found = read_state_dict(path)
        layers = 1 + max(int(key.split(".")[1]) for key in found if key.startswith("blocks."))
        dim, channels = found["patch_embedding.weight"].shape[:2]
        model = build(layers=layers, ffn=found["blocks.0.ffn.0.weight"].shape[0], heads=dim // 128)
        own = model.state_dict()
        if channels != IN_CHANNELS:
            raise ValueError(f"it takes {channels} channels, not {IN_CHANNELS}")
        model.load_state_dict({key: found[host_key(key)].to(own[key].dtype) for key in own})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no tiny M2V model in the host's layout: {error}") from error
    return model.eval().requires_grad_(False)
