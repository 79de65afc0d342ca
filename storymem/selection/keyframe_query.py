"""Memento's learned choice of memory: a small module that scores each remembered frame for a shot.

A few learned vectors ask the prompt what the shot is about, then look at the memory frames; how
well they meet a frame's tokens, before any softmax, is its score. Some of them ask the whole prompt
(local: what this shot shows), the others the story's global caption (who is in it). KeyframeQuery
of arXiv 2606.14667; the equations are the released code's, written anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange

LOCAL_FRAMES = 6  # chosen by local score (released: selected_local_num)
GLOBAL_FRAMES = 2  # by global score among the others, one for each global query
POOL_FRAMES = 8  # a pool of no more is used whole (released: max_memory_size)
TEXT_TOKENS = 512  # shorter texts are filled up with zeros before the model's text_embedding
LOCAL, GLOBAL, PINNED, WHOLE = "local", "global", "pinned", "whole"
_PATCH = (1, 2, 2)
_EPS = 1e-6
_THETA = 10_000.0


@dataclass(frozen=True)
class QueryScores:
    """One score for each memory frame, in their order; higher is closer to the shot."""

    local: tuple[float, ...]
    whole_story: tuple[float, ...] | None  # by the global queries; None: the file has none


@dataclass(frozen=True)
class Chosen:
    """A frame of the pool that was chosen, and as what: one of the four words above."""

    index: int
    part: str


@dataclass(frozen=True)
class KeyframeQuery:
    """The module of one expert.

    ``weights``: by their names in it, all ``D`` wide:
    ``memory_patcher`` Conv3d(16 -> D, 1x2x2), ``queries`` [K, D], ``queries_global`` [G, D] (may be
    missing), ``query_to_text`` and ``query_to_visual`` with ``q k v o norm_q norm_k``.
    ``heads``: attention heads of the model, 40 in Wan 2.2 A14B.
    """

    weights: Mapping[str, torch.Tensor]
    heads: int

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % (2 * self.heads):
            raise ValueError(
                f"a keyframe query of width {self.width} cannot have {self.heads} heads; load the "
                "LoRA that was made for this model"
            )

    @property
    def width(self) -> int:
        """Of the model that it belongs to, 5120 in Wan 2.2 A14B."""
        return self.weights["queries"].shape[-1]

    @property
    def has_global(self) -> bool:
        """Whether some queries read the story's global caption."""
        return "queries_global" in self.weights

    @torch.no_grad()
    def score(
        self,
        memory: torch.Tensor,
        positions: Sequence[int],
        prompt: torch.Tensor,
        global_prompt: torch.Tensor | None = None,
    ) -> QueryScores:
        """Score every memory frame. Computed in the type of ``memory``, on its device.

        Args:
            memory: [M, 16, h, w] latents as the model sees them (normalised), encoded one by one.
            positions: of each frame, in latent frames from the shot's begin: -512 ... 511
                (``query_positions``; zero and above are allowed here).
            prompt: [L, D] the whole prompt behind the model's text_embedding, L = 512 with
                padding, which is read like the rest.
            global_prompt: [L, D] the story's global caption, the same way.

        Raises:
            ValueError: for tensors of other shapes, or scores that are no numbers.
        """
        self._check(memory, positions, prompt, global_prompt)
        queries = self._tensor("queries", memory)
        queries = queries + self._attend("query_to_text", queries, prompt.to(memory))
        if self.has_global:
            others = self._tensor("queries_global", memory)
            others = others + self._attend("query_to_text", others, global_prompt.to(memory))
            queries = torch.cat([queries, others])

        scores = self._met(queries, memory, self._turns(positions, memory))  # [K + G, M]
        if not scores.isfinite().all():
            raise ValueError(
                "the keyframe query's scores are not finite numbers; a picture of the memory, a "
                "text or the LoRA's weights hold NaN: load the LoRA file again"
            )
        count = self.weights["queries"].shape[0]
        local, whole_story = scores[:count].mean(0), None
        if self.has_global:
            whole_story = tuple(scores[count:].mean(0).tolist())
        return QueryScores(tuple(local.tolist()), whole_story)

    def _met(
        self, queries: torch.Tensor, memory: torch.Tensor, turns: torch.Tensor
    ) -> torch.Tensor:
        """How well each query meets each frame, [K, M], once it has seen all of them.

        Frame by frame, so that the tokens of one are there at a time, and not those of all.
        """
        name, size = "query_to_visual", math.sqrt(self.width / self.heads)
        to_keys, to_values = (self._layer(f"{name}.{part}", memory) for part in "kv")
        weight, bias = (self._tensor(f"memory_patcher.{p}", memory) for p in ("weight", "bias"))

        def frames():
            """Tokens [T, D] of each frame, and their rotation."""
            for latent, turn in zip(memory, turns, strict=True):
                patches = F.conv2d(latent[None], weight[:, :, 0], bias, stride=_PATCH[1:])
                yield rearrange(patches, "1 d r c -> (r c) d"), turn

        asked = self._heads(self._normed(f"{name}.norm_q", self._linear(f"{name}.q", queries)))
        heeded = [
            asked @ _turned(self._heads(self._normed(f"{name}.norm_k", to_keys(tokens))), turn)
            for tokens, turn in frames()
        ]
        shares = (torch.stack(heeded) / size).transpose(0, 2)  # [M, n, K, T] -> [K, n, M, T]
        shares = shares.flatten(2).softmax(-1).unflatten(2, shares.shape[2:]).transpose(0, 2)
        seen = sum(
            share @ self._heads(to_values(tokens))
            for share, (tokens, _) in zip(shares, frames(), strict=True)
        )
        queries = queries + self._linear(f"{name}.o", rearrange(seen, "n k d -> k (n d)"))

        asked = self._heads(self._linear(f"{name}.q", queries))  # and neither side is normed now
        met = [
            (asked @ _turned(self._heads(to_keys(tokens)), turn)).mean((0, -1)) / size
            for tokens, turn in frames()
        ]
        return torch.stack(met, dim=-1)

    def _check(self, memory, positions, prompt, global_prompt) -> None:
        if memory.ndim != 4 or memory.shape[1] != 16 or not len(memory):
            raise ValueError(f"memory must be [M, 16, h, w] latents, but is {list(memory.shape)}")
        if len(positions) != len(memory):
            raise ValueError(f"{len(memory)} memory frames came with {len(positions)} positions")
        texts = {"prompt": prompt, **({"global_prompt": global_prompt} if self.has_global else {})}
        for name, text in texts.items():
            if text is None or text.ndim != 2 or text.shape[1] != self.width:
                found = "nothing" if text is None else str(list(text.shape))
                raise ValueError(f"{name} must be [L, {self.width}] embedded text, but is {found}")

    def _tensor(self, name: str, like: torch.Tensor) -> torch.Tensor:
        return self.weights[name].to(like.device, like.dtype)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._layer(name, x)(x)

    def _layer(self, name: str, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        weight, bias = (self._tensor(f"{name}.{part}", like) for part in ("weight", "bias"))
        return lambda x: F.linear(x, weight, bias)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return rearrange(x, "l (n d) -> n l d", n=self.heads)

    def _normed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """RMS norm over all heads together."""
        length = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(length + _EPS) * self._tensor(f"{name}.weight", x)

    def _attend(self, name: str, queries: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Cross-attention of Wan: [K, D] of ``queries`` over [L, D] of ``text``."""
        asked = self._heads(self._normed(f"{name}.norm_q", self._linear(f"{name}.q", queries)))
        keys = self._heads(self._normed(f"{name}.norm_k", self._linear(f"{name}.k", text)))
        values = self._heads(self._linear(f"{name}.v", text))
        found = F.scaled_dot_product_attention(asked[None], keys[None], values[None])[0]
        return self._linear(f"{name}.o", rearrange(found, "n l d -> l (n d)"))

    def _turns(self, positions: Sequence[int], memory: torch.Tensor) -> torch.Tensor:
        """Rotation of each token by time, row and column: complex [M, rows columns, d / 2]."""
        rows, columns = memory.shape[2] // _PATCH[1], memory.shape[3] // _PATCH[2]
        pairs = self.width // self.heads // 2
        of_space = pairs // 3
        axes = (
            (torch.tensor(list(positions)), pairs - 2 * of_space),
            (torch.arange(rows), of_space),
            (torch.arange(columns), of_space),
        )
        times, of_rows, of_columns = (
            at.double()[:, None] * _THETA ** (-torch.arange(count).double() / count)
            for at, count in axes
        )
        shape = (len(positions), rows, columns, -1)
        angles = torch.cat(
            [
                times[:, None, None].expand(shape),
                of_rows[None, :, None].expand(shape),
                of_columns[None, None].expand(shape),
            ],
            dim=-1,
        ).flatten(1, 2)
        kind = torch.complex128 if memory.dtype is torch.float64 else torch.complex64
        return torch.polar(torch.ones_like(angles), angles).to(memory.device, kind)


def choose(
    local: Sequence[float],
    whole_story: Sequence[float] | None,
    *,
    local_count: int = LOCAL_FRAMES,
    global_count: int = GLOBAL_FRAMES,
    most: int = POOL_FRAMES,
    fixed: Collection[int] = (),
) -> tuple[Chosen, ...]:
    """The frames of a pool that stay: pinned and local ones in order of time, then global ones.

    The best by local score, then the best of the others by global score; of equal scores the
    earlier frame. A pool of at most ``most`` frames stays whole.

    Two deliberate differences from the released ``fix``, which keeps the pool's first frames: pins
    may be any frames, and what is left of the local places goes to the best scores, where the
    release takes the earliest of its best six and so drops the newest.

    Args:
        whole_story: global scores; ``None``: no frame is chosen by them.
        most: frames a shot sees; below 8 the global places go first.
        fixed: indices of pinned frames. They take local places first, and all of them stay.
    """
    count, fixed = len(local), sorted(set(fixed))
    if count <= most:
        return tuple(Chosen(i, PINNED if i in fixed else WHOLE) for i in range(count))
    local_count = min(local_count, most)
    others = [i for i in range(count) if i not in fixed]
    best = _best(local, others, max(0, local_count - len(fixed)))
    left = [i for i in others if i not in best]
    places = min(global_count, most - local_count) if whole_story is not None else 0
    kept = sorted([*(Chosen(i, PINNED) for i in fixed), *(Chosen(i, LOCAL) for i in best)],
                  key=lambda one: one.index)  # fmt: skip
    return (*kept, *(Chosen(i, GLOBAL) for i in _best(whole_story, left, places)))


def _best(scores: Sequence[float] | None, indices: Sequence[int], count: int) -> list[int]:
    return sorted(indices, key=lambda i: (-scores[i], i))[:count] if count else []


def _turned(keys: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Keys [n, T, d], neighbouring numbers as pairs, turned by complex [T, d / 2]; [n, d, T]."""
    pairs = torch.view_as_complex(rearrange(keys, "n l (d two) -> n l d two", two=2).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).transpose(-2, -1)
