"""How visible the seam between two shots is: its jump against the steps inside the shots.

For a shot that goes on without a cut the step over the seam should be a step like any other. Both
figures are ratios to the shots' own median step: 1 is a seam that cannot be seen, a cut is far
above.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from ..files.packages import pip_install
from ..files.video import read_frames

FLOW_SIDE = 256  # pixels of the longest side that flow is measured at
MIN_STEP = 1e-3  # of the pixel range: below it a shot stands still, and no ratio means anything
MIN_FLOW = 0.02  # pixels a frame, likewise
WINDOW = 16  # frames on each side of a seam that give the usual step: one second


@dataclass(frozen=True)
class Seam:
    """The step over a seam, and the usual step beside it.

    Pixel steps are mean absolute differences in [0, 1]; flow jumps are the mean length of the
    change in motion from one step to the next, in pixels a frame at ``FLOW_SIDE``.
    """

    pixel_step: float
    usual_pixel_step: float
    flow_jump: float
    usual_flow_jump: float

    @property
    def pixel_ratio(self) -> float | None:
        """Step over the seam by the usual step; None for shots that stand still."""
        return self.pixel_step / self.usual_pixel_step if self.usual_pixel_step > MIN_STEP else None

    @property
    def flow_ratio(self) -> float | None:
        """Change of motion at the seam by the usual one; None where there is no motion."""
        return self.flow_jump / self.usual_flow_jump if self.usual_flow_jump > MIN_FLOW else None


def measure_seam(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> Seam:
    """The seam between the last frames of a shot and the first of the next.

    Args:
        before, after: ``uint8 [H, W, 3]`` frames, of which the last and first ``WINDOW`` are
            looked at; repeated frames have come off. Frames of another size are resized.

    Raises:
        ValueError: for fewer than three frames on a side.
    """
    before, after = list(before)[-WINDOW:], list(after)[:WINDOW]
    if min(len(before), len(after)) < 3:
        raise ValueError(
            f"a seam needs three frames on each side, but there are {len(before)} and {len(after)}"
        )
    frames = [_small(frame, before[-1].shape) for frame in (*before, *after)]
    steps = [_pixel_step(a, b) for a, b in pairwise(frames)]
    flows = [_flow(a, b) for a, b in pairwise(frames)]
    jumps = [_length(b - a) for a, b in pairwise(flows)]
    seam = len(before) - 1  # the step from the last frame before to the first after
    usual_steps = [step for i, step in enumerate(steps) if i != seam]
    usual_jumps = [jump for i, jump in enumerate(jumps) if i not in (seam - 1, seam)]
    return Seam(
        steps[seam],
        median(usual_steps),
        (jumps[seam - 1] + jumps[seam]) / 2,  # into the seam's step, and out of it
        median(usual_jumps),
    )


def measure_films(films: Iterable[str | Path]) -> list[Seam]:
    """The seams between video files, in order; reads each file once and keeps a second of it."""
    seams: list[Seam] = []
    before: list[np.ndarray] | None = None
    for film in films:
        last: deque[np.ndarray] = deque(maxlen=WINDOW)
        first: list[np.ndarray] = []
        for frame in read_frames(film):
            last.append(frame)
            if len(first) < WINDOW:
                first.append(frame)
        if before is not None:
            seams.append(measure_seam(before, first))
        before = list(last)
    return seams


def _small(frame: np.ndarray, shape) -> np.ndarray:
    from PIL import Image

    height, width = shape[:2]
    scale = min(1.0, FLOW_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def _pixel_step(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean() / 255)


def _flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dense optical flow ``[H, W, 2]`` in pixels (DIS, Kroeger et al. 2016)."""
    try:
        import cv2
    except ImportError:
        raise ImportError(
            f"measuring seams needs OpenCV: {pip_install('opencv-python-headless')}"
        ) from None
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator.calc(*grey, None)


def _length(flow: np.ndarray) -> float:
    return float(np.linalg.norm(flow, axis=-1).mean())
