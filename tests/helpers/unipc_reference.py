"""The released sampling loop in float64, written from UniPC's equations (order 2, B(h) = e^h - 1).

In x0 form, with lambda = log((1 - sigma) / sigma). Independent of the product on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

FIRST = float(np.float32(0.999))  # the largest of the release's thousand training sigmas


def released_schedule(steps: int, shift: float) -> tuple[list[int], list[float]]:
    """Whole timesteps (cut, not rounded), and sigmas in float32, 0 at the end."""
    plain = np.linspace(FIRST, 0.0, steps + 1)[:-1]
    shifted = shift * plain / (1 + (shift - 1) * plain)
    sigmas = np.append(shifted, 0.0).astype(np.float32)
    return [int(t) for t in shifted * 1000], [float(s) for s in sigmas]


@dataclass
class UniPC:
    """``step(x0, x)`` of each noise level in turn; the last one gives the clean sample."""

    sigmas: list[float]
    index: int = 0
    order: int = 0  # of the last step
    start: torch.Tensor | None = None  # the corrected sample that the last step began with
    older: torch.Tensor | None = None  # the x0 before the newest
    newest: torch.Tensor | None = None

    def step(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """From noise level ``index`` to the next, having corrected the sample that led here."""
        if self.index > 0:
            x = self._correct(x0)
        self.older, self.newest = self.newest, x0
        left = len(self.sigmas) - 1 - self.index
        self.order = min(2, left, self.order + 1)
        self.start = x
        growth, h = self._growth(self.index)
        slope = 0.0
        if self.order == 2:
            slope = 0.5 * (self.older - x0) / (-self._width(self.index - 1) / h)
        self.index += 1
        return self._move(self.index - 1, x, growth * (x0 + slope))

    def _correct(self, x0: torch.Tensor) -> torch.Tensor:
        """The step that led here once more, with what the model says here."""
        before = self.index - 1
        growth, h = self._growth(before)
        change = x0 - self.newest
        if self.order == 1:
            return self._move(before, self.start, growth * (self.newest + 0.5 * change))
        ratio = -self._width(before - 1) / h
        first = -1 / h - 1 / growth  # of both equations' right sides
        second = 2 * (-(growth / -h - 1) / h - 0.5) / growth
        old_weight = (first - second) / (1 - ratio)
        slope = old_weight * (self.older - self.newest) / ratio
        slope = slope + (first - old_weight) * change
        return self._move(before, self.start, growth * (self.newest + slope))

    def _move(self, index: int, x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        here, there = self.sigmas[index : index + 2]
        return there / here * x - (1 - there) * change

    def _width(self, index: int) -> float:
        """The step's width h in lambda."""
        here, there = self.sigmas[index : index + 2]
        if there == 0:
            return math.inf
        return math.log((1 - there) / there) - math.log((1 - here) / here)

    def _growth(self, index: int) -> tuple[float, float]:
        """``e^-h - 1`` and h."""
        h = self._width(index)
        return math.expm1(-h), h


Predict = Callable[[torch.Tensor, int, str], torch.Tensor]


def released_loop(
    predict: Predict,
    noise: torch.Tensor,
    *,
    steps: int,
    shift: float,
    boundary: float,
    cfg: float,
    cfg_low: float,
) -> tuple[torch.Tensor, list[int], str]:
    """The released loop over both experts with one history.

    Args:
        predict: velocity of ``(x, whole timestep, "high positive")``: expert and text by name.
        noise: where it starts, ``[1, 16, M+F, h, w]``.
        boundary: of 1; the high-noise expert while t >= 1000 * boundary.

    Returns:
        The last sample in float64, the timesteps, and a letter a step for its expert.
    """
    timesteps, sigmas = released_schedule(steps, shift)
    solver = UniPC(sigmas)
    x, experts = noise.double(), ""
    for t, sigma in zip(timesteps, sigmas[:-1], strict=True):
        expert = "high" if t >= boundary * 1000 else "low"
        guidance = cfg if expert == "high" else cfg_low or cfg
        positive, negative = (
            predict(x, t, f"{expert} {text}") for text in ("positive", "negative")
        )
        velocity = negative + guidance * (positive - negative)
        x = solver.step(x - sigma * velocity, x)
        experts += expert[0]
    return x, timesteps, experts
