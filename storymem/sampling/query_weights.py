"""The keyframe query in Memento's LoRA files: a small module of its own beside the LoRA.

Its weights are named ``keyframe_query.*`` and are whole, not low-rank: each expert learned its own.
What they compute is in :mod:`storymem.selection.keyframe_query`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from ..files.messages import listed, short
from .lora import LISTED, LONGEST_KEY, PREFIXES, check_numbers

LATENT_CHANNELS = 16
PATCH = (1, 2, 2)  # frames, rows and columns of latent that become one token
QUERIES, GLOBAL_QUERIES = "queries", "queries_global"
_QUERY = re.compile(
    rf"^(?:{'|'.join(map(re.escape, PREFIXES))})*keyframe_query\."
    r"(?:modules_to_save\.default\.)?(?P<name>.+)$"
)


def split_query(
    state: Mapping[str, torch.Tensor], name: str = "the file"
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights of a file without its keyframe query; and the query's, by their names in it.

    Raises:
        ValueError: for a weight of the query that comes twice.
    """
    rest, query, keys = {}, {}, {}
    for key, tensor in state.items():
        match = _QUERY.match(key) if isinstance(key, str) else None
        if match is None:
            rest[key] = tensor
            continue
        if match["name"] in query:
            twice = listed([keys[match["name"]], key], LISTED, LONGEST_KEY)
            raise ValueError(
                f"{name} holds {short(match['name'])} of the keyframe query twice ({twice}); use a "
                "file of one expert"
            )
        query[match["name"]], keys[match["name"]] = tensor, key
    return rest, query


def query_shapes(width: int, queries: int, global_queries: int) -> dict[str, tuple[int, ...]]:
    """Shape of each weight of a keyframe query.

    Args:
        width: of the model, 5120 in Wan 2.2 A14B.
        queries: local ones.
        global_queries: 0 for a file without.
    """
    shapes = {
        "memory_patcher.weight": (width, LATENT_CHANNELS, *PATCH),
        "memory_patcher.bias": (width,),
        QUERIES: (queries, width),
    }
    if global_queries:
        shapes[GLOBAL_QUERIES] = (global_queries, width)
    for attention in ("query_to_text", "query_to_visual"):
        for part in "qkvo":
            shapes[f"{attention}.{part}.weight"] = (width, width)
            shapes[f"{attention}.{part}.bias"] = (width,)
        for part in ("norm_q", "norm_k"):
            shapes[f"{attention}.{part}.weight"] = (width,)
    return shapes


def check_query(query: Mapping[str, torch.Tensor], width: int, name: str = "the file") -> None:
    """Raise ValueError unless the weights are a whole keyframe query of a model of that width.

    The numbers of tensors on the meta device (a header read before the weights) are not looked at.
    """
    counts = [
        tensor.shape[0] if tensor is not None and tensor.ndim else 0
        for tensor in (query.get(QUERIES), query.get(GLOBAL_QUERIES))
    ]
    wanted = query_shapes(width, *counts)
    if missing := [key for key in wanted if key not in query]:
        raise ValueError(
            f"{name} is incomplete: of its keyframe query {_listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; download it again"
        )
    if extra := [key for key in query if key not in wanted]:
        raise ValueError(
            f"{name} holds a keyframe query of another kind than Memento's released one: "
            f"{_listed(extra)} {'is' if len(extra) == 1 else 'are'} not known"
        )
    for key, tensor in query.items():
        check_numbers(f"keyframe_query.{key}", tensor, name)
    wrong = [
        f"{key} {list(query[key].shape)} (model: {list(shape)})"
        for key, shape in wanted.items()
        if tuple(query[key].shape) != shape
    ]
    if wrong:
        raise ValueError(f"{name}: its keyframe query was made for another model: {_listed(wrong)}")


def _listed(names: list[str]) -> str:
    return listed(names, LISTED, LONGEST_KEY)
