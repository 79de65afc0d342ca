"""What CLIP's towers are made of and how texts become tokens: open_clip's, unless a host gives its
own. The towers' weights have open_clip's names whoever makes the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch

from ..files.packages import missing, pip_install

START, END = 49406, 49407  # tokens around every text
TokenIds = Callable[[str], list[int]]  # a text's tokens, without those two


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of an image tower: channels, blocks, heads, channels inside an MLP, and pixels."""

    width: int
    layers: int
    heads: int
    hidden: int
    features: int
    patch: int
    image: int


@dataclass(frozen=True)
class TextSizes:
    """Sizes of a text tower; ``context`` is the most tokens of a text."""

    width: int
    layers: int
    heads: int
    hidden: int
    features: int
    vocabulary: int
    context: int

    def names(self) -> set[str]:
        """The weights that it has."""
        block = ("attn.in_proj_", "attn.out_proj.", "ln_1.", "ln_2.", "mlp.c_fc.", "mlp.c_proj.")
        return {
            "token_embedding.weight",
            "positional_embedding",
            "text_projection",
            "ln_final.weight",
            "ln_final.bias",
            *(
                f"transformer.resblocks.{layer}.{part}{kind}"
                for layer in range(self.layers)
                for part in block
                for kind in ("weight", "bias")
            ),
        }


class ClipParts(Protocol):
    """Makes towers that compute in float32, and turns texts into tokens."""

    def check(self) -> None:
        """Raise ValueError, with what helps, when a package is missing."""

    def image_tower(
        self, weights: dict[str, torch.Tensor], sizes: ImageSizes, activation: str
    ) -> torch.nn.Module:
        """``module(pixels [N, 3, S, S]) -> features [N, D]``; ``activation``: quick_gelu or gelu.

        Raises:
            RuntimeError: when weights are missing, too many or of another shape.
        """

    def text_tower(
        self, weights: dict[str, torch.Tensor], sizes: TextSizes, activation: str
    ) -> torch.nn.Module:
        """``module(tokens [N, L]) -> features [N, D]``, with its ``context_length``."""

    def token_ids(self, text: str) -> list[int]:
        """CLIP's tokens of a text of any length, without those around it.

        Raises:
            ValueError: when a package is missing.
        """


class OpenClipParts:
    """The package open_clip_torch."""

    def check(self) -> None:
        if missing(("open_clip",)):
            raise ValueError(
                "CLIP needs the package open_clip_torch; install it with: "
                + pip_install("open_clip_torch")
            )

    def image_tower(self, weights, sizes: ImageSizes, activation: str) -> torch.nn.Module:
        from open_clip.transformer import VisionTransformer

        with torch.device("meta"):  # the file's tensors become the module's: no second copy
            module = VisionTransformer(
                image_size=sizes.image,
                patch_size=sizes.patch,
                **_common(sizes, activation),
            )
        module.load_state_dict(weights, assign=True)
        return module

    def text_tower(self, weights, sizes: TextSizes, activation: str) -> torch.nn.Module:
        from open_clip.transformer import TextTransformer

        module = TextTransformer(
            context_length=sizes.context,
            vocab_size=sizes.vocabulary,
            **_common(sizes, activation),
        )
        module.load_state_dict({**weights, "attn_mask": module.attn_mask}, strict=False)
        return module

    def token_ids(self, text: str) -> list[int]:
        self.check()
        return _open_clip_tokenizer().encode(text)


def _common(sizes: ImageSizes | TextSizes, activation: str) -> dict:
    """What open_clip's image and text towers are both told."""
    from open_clip.transformer import QuickGELU

    return {
        "width": sizes.width,
        "layers": sizes.layers,
        "heads": sizes.heads,
        "mlp_ratio": sizes.hidden / sizes.width,
        "output_dim": sizes.features,
        "act_layer": QuickGELU if activation == "quick_gelu" else torch.nn.GELU,
    }


@lru_cache(maxsize=1)
def _open_clip_tokenizer():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


OPEN_CLIP = OpenClipParts()


def rows_of(texts: Sequence[Sequence[int]], context: int) -> torch.Tensor:
    """Tokens of texts as ``int64 [N, context]``, start and end around each, zeros after it.

    A longer text is cut, its last token the end.
    """
    rows = torch.zeros(len(texts), context, dtype=torch.long)
    for row, ids in zip(rows, texts, strict=True):
        whole = [START, *ids[: context - 2], END]
        row[: len(whole)] = torch.tensor(whole)
    return rows
