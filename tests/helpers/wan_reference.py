"""The Wan diffusion transformer in float64, written from the paper's equations.

Independent of the host on purpose: no module of it is used, time positions are an argument, and
rotations are complex numbers. Used to judge the host with our patch on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

HEAD_DIM = 128
EPS = 1e-6
FREQ_DIM = 256  # of the timestep's sinusoids
PATCH = 2  # height and width; 1 in time


@dataclass(frozen=True)
class Split:
    """Who reads whom when the first frames are an identity frame and memory: as matrices.

    A token's result is the mean over the groups that it stands in; in each it reads all others.
    """

    memory: int  # latent frames after the identity frame
    identity: int = 1  # latent frames; 0: memory reads itself, and is read by the shot

    def groups(self, frames: int) -> torch.Tensor:
        """``[2, frames]``: who stands in the first group, and in the second."""
        frame = torch.arange(frames)
        before = self.identity + self.memory
        return torch.stack([frame < before, frame >= self.identity])

    def combine(self, results: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """``results [2, heads, tokens, d]`` of each group, as one."""
        weights = groups.double() / groups.sum(0)
        return (results * weights[:, None, :, None]).sum(0)

    def reads_identity_text(self, frames: int) -> torch.Tensor:
        """``[frames]``: whether a frame reads the identity text, and not the prompt."""
        return torch.arange(frames) < self.identity


class WanReference:
    """``WanReference(state)(x, t, context, positions)``: the velocity ``[1, 16, F, h, w]``.

    With ``split=Split(memory)`` self-attention is Memento's, with ``identity_text`` its first frame
    reads a text of its own.
    """

    def __init__(self, state: Mapping[str, torch.Tensor]):
        self.state = {key: value.double() for key, value in state.items()}
        self._texts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.blocks = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks."))

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def _text(self, embedding) -> torch.Tensor:
        """``[1, L, 4096]`` as the blocks read it; computed once for each of the last."""
        if id(embedding) not in self._texts:
            while len(self._texts) > 3:
                self._texts.pop(next(iter(self._texts)))
            text = _gelu(self._linear("text_embedding.0", embedding[0].double()))
            text = self._linear("text_embedding.2", text)
            self._texts[id(embedding)] = embedding, text  # kept, so that no other gets its number
        return self._texts[id(embedding)][1]

    def _heads(self, name, x, source):
        """q, k and v ``[heads, tokens, d]``; q and k are RMS-normed over all heads at once."""
        q = _rms(self._linear(f"{name}.q", x), self.state[f"{name}.norm_q.weight"])
        k = _rms(self._linear(f"{name}.k", source), self.state[f"{name}.norm_k.weight"])
        v = self._linear(f"{name}.v", source)
        return tuple(a.unflatten(-1, (-1, HEAD_DIM)).transpose(0, 1) for a in (q, k, v))

    def _attention(self, name, x, source, rotation=None) -> torch.Tensor:
        """Softmax(q k^T / sqrt(d)) v per head."""
        q, k, v = self._heads(name, x, source)
        if rotation is not None:
            q, k = _rotate(q, rotation), _rotate(k, rotation)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM)).softmax(-1)
        return self._linear(f"{name}.o", (scores @ v).transpose(0, 1).flatten(1))

    def _split_self(self, name, x, rotation, split: Split, per_frame: int) -> torch.Tensor:
        """Self-attention within the groups of ``split``."""
        q, k, v = self._heads(name, x, x)
        scores = _rotate(q, rotation) @ _rotate(k, rotation).transpose(-1, -2)
        groups = split.groups(len(x) // per_frame).repeat_interleave(per_frame, dim=1)
        shut = (~groups).double() * -1e30  # who is not read
        results = (scores / math.sqrt(HEAD_DIM) + shut[:, None, None]).softmax(-1) @ v
        return self._linear(f"{name}.o", split.combine(results, groups).transpose(0, 1).flatten(1))

    def _split_cross(self, name, x, prompt, identity, split: Split, per_frame: int):
        """Cross-attention of the two kinds of tokens, each to its text."""
        is_own = split.reads_identity_text(len(x) // per_frame).repeat_interleave(per_frame)
        own, others = (self._attention(name, x, text) for text in (identity, prompt))
        return torch.where(is_own[:, None], own, others)

    def _block(self, name, x, texts, rotation, time, split, per_frame) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.state[f"{name}.modulation"][0] + time
        y = _layer_norm(x) * (1 + scale1) + shift1
        if split is None:
            x = x + gate1 * self._attention(f"{name}.self_attn", y, y, rotation)
        else:
            y = self._split_self(f"{name}.self_attn", y, rotation, split, per_frame)
            x = x + gate1 * y
        y = _layer_norm(x) * self.state[f"{name}.norm3.weight"] + self.state[f"{name}.norm3.bias"]
        if len(texts) == 1:
            x = x + self._attention(f"{name}.cross_attn", y, *texts)
        else:
            x = x + self._split_cross(f"{name}.cross_attn", y, *texts, split, per_frame)
        y = _layer_norm(x) * (1 + scale2) + shift2
        return x + gate2 * self._linear(f"{name}.ffn.2", _gelu(self._linear(f"{name}.ffn.0", y)))

    def __call__(
        self, x, t: float, context, positions, *, split: Split | None = None, identity_text=None
    ) -> torch.Tensor:
        """``x [1, C, F, h, w]``, texts ``[1, L, 4096]``, ``positions [F]`` in time."""
        _, channels, frames, height, width = x.shape
        rows, columns = height // PATCH, width // PATCH
        patches = (
            x[0]
            .double()
            .reshape(channels, frames, rows, PATCH, columns, PATCH)
            .permute(1, 2, 4, 0, 3, 5)
            .reshape(frames * rows * columns, -1)
        )
        weight = self.state["patch_embedding.weight"].flatten(1)
        tokens = patches @ weight.T + self.state["patch_embedding.bias"]

        angles = t * 10000.0 ** (-torch.arange(FREQ_DIM // 2).double() / (FREQ_DIM // 2))
        time = torch.cat([angles.cos(), angles.sin()])
        time = self._linear("time_embedding.2", _silu(self._linear("time_embedding.0", time)))
        modulation = self._linear("time_projection.1", _silu(time)).reshape(6, -1)

        texts = [self._text(context)]
        if identity_text is not None:
            texts.append(self._text(identity_text))

        rotation = _rotation(positions.double(), rows, columns)
        for block in range(self.blocks):
            tokens = self._block(
                f"blocks.{block}", tokens, texts, rotation, modulation, split, rows * columns
            )

        shift, scale = self.state["head.modulation"][0] + time
        out = self._linear("head.head", _layer_norm(tokens) * (1 + scale) + shift)
        out = out.reshape(frames, rows, columns, PATCH, PATCH, -1).permute(5, 0, 1, 3, 2, 4)
        return out.reshape(1, -1, frames, height, width)


def _rotation(positions: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Unit complex numbers ``[tokens, 64]``: 22 pairs for time, 21 for height, 21 for width."""
    side = 2 * (HEAD_DIM // 6)
    axes = (
        (positions, HEAD_DIM - 2 * side),
        (torch.arange(rows).double(), side),
        (torch.arange(columns).double(), side),
    )
    grid = torch.meshgrid(*(axis for axis, _ in axes), indexing="ij")
    angles = []
    for position, (_, size) in zip(grid, axes, strict=True):
        rates = 10000.0 ** (-torch.arange(0, size, 2).double() / size)
        angles.append(position.flatten()[:, None] * rates)
    return torch.polar(torch.ones(1).double(), torch.cat(angles, 1))


def _rotate(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)


def _rms(x, weight):
    return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * weight


def _layer_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + EPS).rsqrt()


def _silu(x):
    return x / (1 + (-x).exp())


def _gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
