"""CLIP text towers from the same local files as the image towers, for words beside pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from ..files.messages import short
from ..files.weights_file import read_state_dict
from .clip_parts import OPEN_CLIP, ClipParts, TextSizes, TokenIds, rows_of
from .clip_vision import ClipTower, encoder_blocks

HEAD_WIDTH = 64  # channels of an attention head, in every CLIP text tower
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")


def text_tower(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The text tower of ``state`` under open_clip's names, float32; None where there is none."""
    for key in state:
        if key.endswith("text_model.embeddings.token_embedding.weight"):
            return _from_transformers(state, key.removesuffix("embeddings.token_embedding.weight"))
    for key in state:
        if key.endswith("token_embedding.weight"):
            prefix = key.removesuffix("token_embedding.weight")
            parts = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.")
            return {
                name: value.float()
                for name, value in ((k.removeprefix(prefix), v) for k, v in state.items())
                if name.startswith((*parts, "text_projection"))
            }
    return None


def _from_transformers(state: dict, prefix: str) -> dict[str, torch.Tensor] | None:
    projection = prefix.removesuffix("text_model.") + "text_projection.weight"
    if projection not in state:
        return None
    tower = {"text_projection": state[projection].float().T.contiguous()}
    for old, new in (
        ("embeddings.token_embedding.weight", "token_embedding.weight"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm.weight", "ln_final.weight"),
        ("final_layer_norm.bias", "ln_final.bias"),
    ):
        tower[new] = state[prefix + old].float()
    return tower | encoder_blocks(state, prefix)


def load_clip_text(
    path: str | Path, image: ClipTower, *, parts: ClipParts = OPEN_CLIP
) -> torch.nn.Module | None:
    """The text tower beside ``image``: ``module(tokens [N, 77]) -> features [N, D]``.

    Its ``context_length`` says how many tokens it reads. None when the file holds an image tower
    only, as many files in ``clip_vision`` do.

    Raises:
        ValueError: for a file that cannot be read, or a text tower that does not fit the image
            tower.
    """
    tower = text_tower(read_state_dict(path))
    if tower is None:
        return None
    try:
        vocabulary, width = tower["token_embedding.weight"].shape
        sizes = TextSizes(
            width=width,
            layers=1 + max(int(k.split(".")[2]) for k in tower if ".resblocks." in k),
            heads=max(1, width // HEAD_WIDTH),
            hidden=tower["transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
            features=tower["text_projection"].shape[1],
            vocabulary=vocabulary,
            context=tower["positional_embedding"].shape[0],
        )
        if missing := sizes.names() - set(tower):
            raise ValueError(f"it lacks {min(missing)}")
        module = parts.text_tower({k: tower[k] for k in sizes.names()}, sizes, image.activation)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = short(str(error), 300)
        raise ValueError(
            f"{path} cannot be used: its CLIP text tower is broken: {reason}"
        ) from None
    if sizes.features != image.shape.features:
        raise ValueError(f"{path} cannot be used: its image and text towers do not fit together")
    return module.eval().requires_grad_(False)


def embed_text(
    encode: Callable[[torch.Tensor], torch.Tensor],
    text: str,
    token_ids: TokenIds = OPEN_CLIP.token_ids,
) -> torch.Tensor:
    """Features ``[D]`` of a text of any length: the mean over parts that fit CLIP's 77 tokens."""
    features = encode(tokenise(text, token_ids=token_ids)).float().cpu()
    return F.normalize(features, dim=-1).mean(0)


def tokenise(
    text: str, context: int = 77, token_ids: TokenIds = OPEN_CLIP.token_ids
) -> torch.Tensor:
    """CLIP tokens ``int64 [N, context]``: whole sentences, as many in a row as fit.

    CLIP itself would cut a prompt off after its first 75 tokens. ``token_ids`` gives
    the tokens of a text.
    """
    room = context - 2
    parts: list[list[int]] = [[]]
    for sentence in SENTENCE_END.split(text):
        ids = token_ids(sentence)
        for start in range(0, len(ids), room):  # a sentence that is longer is cut
            piece = ids[start : start + room]
            if len(parts[-1]) + len(piece) > room:
                parts.append([])
            parts[-1] += piece
    return rows_of(parts, context)
