"""Scorers: how good a frame looks. Each has a scale and a threshold of its own, and says its name.

Scores of two scorers are never compared and a threshold never travels from one to another: HPSv3
calls 3.0 good enough, the LAION predictor 5.0, and sharpness counts in other units altogether.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ..memory.frame import MemoryFrame
from .preprocess import in_batches, selection_frame

HPSV3_THRESHOLD = 3.0  # released selection: score < 3.0 is bad
LAION_THRESHOLD = 5.0  # the predictor's scale is 1 to 10, and its training images average 5.4
SHARPNESS_THRESHOLD = 1.0  # per cent of white; see SharpnessScorer
DEFAULT_THRESHOLDS = {
    "hpsv3": HPSV3_THRESHOLD,
    "laion": LAION_THRESHOLD,
    "sharpness": SHARPNESS_THRESHOLD,
}


class Scorer:
    """Scores frames; ``name`` labels every score, ``threshold`` is the lowest that is good enough.

    Subclasses implement ``_score``. Frames are scored on the smaller copies that selection uses.
    """

    name = ""
    batch = 8

    def __init__(
        self, threshold: float | None = None, release: Callable[[], None] | None = None
    ) -> None:
        self._release = release
        self.threshold = DEFAULT_THRESHOLDS[self.name] if threshold is None else float(threshold)
        if not math.isfinite(self.threshold):
            raise ValueError(f"the threshold of {self.name} must be a number, not {threshold}")

    def release(self) -> None:
        """Give back what the model holds on the device; it returns by itself when next used."""
        if self._release:
            self._release()

    def _score(self, frames: torch.Tensor) -> torch.Tensor:
        """``uint8 [N, H, W, 3]`` -> scores ``[N]``."""
        raise NotImplementedError

    def score(self, frames: torch.Tensor) -> list[float]:
        """Scores of ``uint8 [N, H, W, 3]``, in bounded batches.

        Raises:
            ValueError: when a score is not finite.
        """
        scores = [float(s) for part in frames.split(self.batch) for s in self._score(part)]
        if not all(map(math.isfinite, scores)):
            raise ValueError(
                f"{self.name} gave a score that is not finite; its weights file may be damaged, "
                "or the precision too low"
            )
        return scores

    def is_good(self, score: float) -> bool:
        """Whether ``score`` is good enough: bad means strictly below the threshold."""
        return not score < self.threshold


class SharpnessScorer(Scorer):
    """No weights: root mean square of the luminance's Laplacian, in per cent of white.

    Even frames score 0 and blurred ones well under 1, photographs and renders 3 to 15. It measures
    sharpness only: noise is sharp, too, and beauty is nothing it knows of.
    """

    name = "sharpness"

    def _score(self, frames: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([0.299, 0.587, 0.114])
        luminance = (frames.float() / 255 @ weights)[:, None]  # BHW -> B1HW
        kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
        edges = F.conv2d(luminance, kernel)
        return edges.square().mean(dim=(1, 2, 3)).sqrt() * 100


@dataclass(frozen=True, eq=False)
class Filtered:
    """Frames that are good enough, those that are not, each with its score and the reason."""

    kept: tuple[MemoryFrame, ...]
    rejected: tuple[MemoryFrame, ...]


def filter_frames(
    frames: Sequence[MemoryFrame], scorer: Scorer, *, threshold: float | None = None
) -> Filtered:
    """Split ``frames`` by ``scorer``; a score that the same scorer gave before is used again.

    ``threshold`` replaces the scorer's own for this call.
    """
    limit = scorer.threshold if threshold is None else float(threshold)
    if not math.isfinite(limit):
        raise ValueError(f"the threshold must be a number, not {threshold}")
    scores = {
        i: frame.score
        for i, frame in enumerate(frames)
        if frame.scorer == scorer.name and frame.score is not None
    }
    small = {i: selection_frame(frame.image) for i, frame in enumerate(frames) if i not in scores}
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, image in small.items():
        by_size.setdefault(tuple(image.shape), []).append(i)
    for indices in by_size.values():
        for batch in in_batches(indices, scorer.batch):
            scores.update(
                zip(batch, scorer.score(torch.stack([small[i] for i in batch])), strict=True)
            )
    kept, rejected = [], []
    for i, frame in enumerate(frames):
        good = not scores[i] < limit
        reason = f"{scorer.name} {scores[i]:.2f}, {'at least' if good else 'below'} {limit:g}"
        labelled = replace(
            frame,
            score=scores[i],
            scorer=scorer.name,
            reason=f"{frame.reason}; {reason}" if frame.reason and good else reason,
        )
        (kept if good else rejected).append(labelled)
    return Filtered(tuple(kept), tuple(rejected))
