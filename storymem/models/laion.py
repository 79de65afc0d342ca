"""The LAION aesthetic predictor: a small head on CLIP ViT-L/14 features, 1 (poor) to 10 (good)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

from ..files.weights_file import read_state_dict
from ..selection.scorers import Scorer
from .clip_vision import ClipShape, cropped


def load_head(path: str | Path) -> torch.nn.Sequential:
    """The head of a local file: one linear layer, or the published MLPs (with or without ReLU).

    Raises:
        ValueError: when the file is no such head, naming it.
    """
    state = read_state_dict(path)
    found = {}
    for key, value in state.items():
        name, _, leaf = key.rpartition(".")
        if leaf == "weight" and value.ndim == 2:
            bias = state.get(key.removesuffix("weight") + "bias")
            number = name.rpartition(".")[2]
            found[int(number) if number.isdecimal() else 0] = (
                value.float(),
                None if bias is None else bias.float(),
            )
    order = sorted(found)
    chain = [found[i][0].shape for i in order]
    fits = all(a[0] == b[1] for a, b in pairwise(chain))
    if not chain or not fits or chain[-1][0] != 1 or len(found) * 2 < len(state):
        raise ValueError(
            f"{path} is not a LAION aesthetic head (linear layers that end in one score); choose "
            "sac+logos+ava1-l14-linearMSE.pth or sa_0_4_vit_l_14_linear.pth"
        )
    # The published MLPs: dropout after a layer (next index +2), or ReLU and dropout (+3).
    has_relu = len(order) > 1 and order[1] - order[0] == 3
    layers: list[torch.nn.Module] = []
    for i in order:
        weight, bias = found[i]
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        layers.append(layer)
        if has_relu and i != order[-1]:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


class LaionScorer(Scorer):
    """LAION's predictor on whole frames (middle cut out). ``encode`` gives CLIP features."""

    name = "laion"

    def __init__(
        self,
        encode: Callable[[torch.Tensor], torch.Tensor],
        shape: ClipShape,
        head: torch.nn.Sequential,
        *,
        threshold: float | None = None,
        release: Callable[[], None] | None = None,
    ):
        super().__init__(threshold, release)
        if head[0].in_features != shape.features:
            raise ValueError(
                f"the LAION head takes {head[0].in_features} features, but CLIP {shape.name} gives "
                f"{shape.features}; the published heads are for CLIP ViT-L/14"
            )
        self._encode, self._head, self._image = encode, head, shape.image

    def _score(self, frames: torch.Tensor) -> torch.Tensor:
        features = self._encode(cropped(frames, self._image)).float().cpu()
        return self._head(F.normalize(features, dim=-1))[:, 0]
