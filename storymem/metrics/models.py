"""The models behind the metrics, from local files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..models.clip_parts import OPEN_CLIP, ClipParts, TokenIds
from ..models.clip_text import load_clip_text
from ..models.clip_vision import load_clip
from ..models.laion import load_head
from ..models.viclip import load_viclip
from .scores import AestheticQuality, FilmFeatures, FrameAverage, MetricModels, ViClipFeatures

FEATURES = ("viclip", "open_clip_frame_average")
Wrap = Callable[[torch.nn.Module], Callable[[torch.Tensor], torch.Tensor]]


@dataclass(frozen=True)
class MetricFiles:
    """Which files measure. ``clip`` serves the aesthetic head and the stand-in."""

    viclip: str | Path | None = None
    clip: str | Path | None = None
    laion: str | Path | None = None


def load_metric_models(
    files: MetricFiles,
    features: str,
    *,
    wrap: Wrap,
    every: int = 1,
    parts: ClipParts = OPEN_CLIP,
) -> MetricModels:
    """Load what ``files`` name. ``wrap`` puts a module on its device and gives what calls it.

    Args:
        features: ``viclip``, the paper's, or ``open_clip_frame_average``, a stand-in.
        every: the aesthetic head looks at one frame in so many.
        parts: make CLIP's towers and the tokens of texts.

    Raises:
        ValueError: for files that are missing or of another kind, and for missing packages.
    """
    if every < 1:
        raise ValueError(f"aesthetic_every must be 1 or more, but it is {every}")
    parts.token_ids("")  # what it lacks is told before gigabytes are read
    tower = load_clip(files.clip, parts=parts) if files.clip else None
    encode = wrap(tower.module) if tower else None
    aesthetic = None
    if files.laion:
        if tower is None:
            raise ValueError("the aesthetic head needs CLIP ViT-L/14; choose that file, too")
        aesthetic = AestheticQuality(encode, tower.shape, load_head(files.laion))
    if features == "viclip":
        return MetricModels(_viclip(files, wrap, parts.token_ids), aesthetic, every)
    if features not in FEATURES:
        raise ValueError(f"features must be one of {', '.join(FEATURES)}, but it is {features!r}")
    if tower is None:
        raise ValueError("the open_clip frame average needs a CLIP file; choose one")
    text = load_clip_text(files.clip, tower, parts=parts)
    label = tower.shape.name + ("" if tower.openai else ", not OpenAI's")
    context = text.context_length if text is not None else 0
    average: FilmFeatures = FrameAverage(
        encode,
        None if text is None else wrap(text),
        tower.shape.image,
        context,
        label,
        parts.token_ids,
    )
    return MetricModels(average, aesthetic, every)


def _viclip(files: MetricFiles, wrap: Wrap, token_ids: TokenIds) -> ViClipFeatures:
    if not files.viclip:
        raise ValueError("features is viclip, but there is no ViCLIP file; choose one")
    model = load_viclip(files.viclip)
    return ViClipFeatures(
        wrap(model.video), wrap(model.text), model.shape, model.text.context, token_ids
    )
