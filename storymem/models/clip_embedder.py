"""CLIP as an embedder of frames and of texts (paper 3.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..memory.embedders import Embedder
from .clip_parts import OPEN_CLIP, TokenIds
from .clip_text import embed_text
from .clip_vision import ClipShape, squashed


class ClipEmbedder(Embedder):
    """CLIP image features. ``encode(pixels [N, 3, S, S]) -> [N, D]`` is the model.

    ``encode_tokens(tokens [N, 77]) -> [N, D]`` is the text tower of the same CLIP, where the file
    has one; ``token_ids(text)`` gives a text's tokens.
    """

    def __init__(
        self,
        encode: Callable[[torch.Tensor], torch.Tensor],
        shape: ClipShape,
        *,
        openai: bool = True,
        encode_tokens: Callable[[torch.Tensor], torch.Tensor] | None = None,
        token_ids: TokenIds = OPEN_CLIP.token_ids,
        identity: str = "",
        release: Callable[[], None] | None = None,
    ):
        super().__init__(release)
        self.identity = identity
        self._encode, self._image = encode, shape.image
        self._encode_tokens, self._token_ids = encode_tokens, token_ids
        self.calibrated = shape.name == "ViT-B/32" and openai
        self.name = f"CLIP {shape.name}" + ("" if openai else " (not OpenAI's)")

    def _embed(self, frames: torch.Tensor) -> torch.Tensor:
        return self._encode(squashed(frames, self._image))

    def _embed_text(self, text: str) -> torch.Tensor:
        if self._encode_tokens is None:
            return super()._embed_text(text)
        return embed_text(self._encode_tokens, text, self._token_ids)
