"""The released sampler and its schedule: UniPC of order 2, B(h) = exp(h) - 1, predicting x0.

UniPC: Zhao et al., arXiv 2302.04867. On a flow, ``x = (1 - sigma) * x0 + sigma * noise`` and the
model tells the velocity ``noise - x0``. What the released run of StoryMem adds: sigmas of its own,
and a model that is asked at *whole* timesteps of 1000 while the solver walks the exact sigmas.
Predictor and corrector are of order 1 in the first and the last step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

SAMPLER = "storymem_unipc"  # its name in ComfyUI and in the headless runner
SCHEDULER = "storymem"
TRAIN_STEPS = 1000  # timestep = sigma * 1000
FIRST = float(np.float32(0.999))  # of the schedule before the shift: the highest of 1000 levels
ROUNDING = 1e-7  # of a sigma in float32: 0.9 is 0.8999999762
NEVER_ZERO = 2.0**-14  # asked instead of timestep 0, where no velocity can be read from x0
HIGHEST = 1 + 1e-6  # pure noise, as rounding may leave it
NEVER_ONE = 1 - 1e-6  # instead of pure noise, whose log-SNR is infinite


def released_sigmas(steps: int, shift: float, denoise: float = 1.0) -> torch.Tensor:
    """Sigmas of the released schedule, from high to 0: float32 ``[steps + 1]``.

    Args:
        steps: that run; 1 or more.
        shift: of the noise schedule; above 0.
        denoise: share of the schedule that runs, above 0: the last ``steps`` of ``steps /
            denoise``.

    Raises:
        ValueError: for numbers outside these ranges.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, but it is {steps}")
    if not 0 < shift < math.inf:
        raise ValueError(f"shift must be above 0 (the recipe's is 4), but it is {shift}")
    if not 0 < denoise <= 1:
        raise ValueError(f"denoise must be above 0 and at most 1, but it is {denoise}")
    total = steps if denoise == 1 else int(steps / denoise)
    levels = np.linspace(FIRST, 0, total + 1)[-(steps + 1) : -1]  # torch's differs in the last bit
    exact = torch.from_numpy(shift * levels / (1 + (shift - 1) * levels))
    sigmas = exact.float()
    # A float32 may be read as the whole timestep above the one that its sigma lies on.
    whole = (exact * TRAIN_STEPS).long()
    below = ((whole + 1).double() / TRAIN_STEPS - 2 * ROUNDING).float()
    sigmas = torch.where(whole_timesteps(sigmas) > whole, below, sigmas)
    return torch.cat([sigmas, torch.zeros(1)])


def whole_timesteps(sigmas: torch.Tensor) -> torch.Tensor:
    """Whole timesteps, 0 to 1000, that the model is asked at for sigmas: int64, rounded down, on
    the CPU (some devices have no float64)."""
    return ((sigmas.cpu().double() + ROUNDING) * TRAIN_STEPS).floor().long()


def asked_sigmas(sigmas: torch.Tensor) -> torch.Tensor:
    """Sigmas of the whole timesteps, float32, where ``sigmas`` is; above 0 wherever that is."""
    asked = (whole_timesteps(sigmas).double() / TRAIN_STEPS).float().to(sigmas.device)
    return torch.where(sigmas > 0, asked.clamp_min(NEVER_ZERO), torch.zeros_like(asked))


class UniPC:
    """The solver's state over one run.

    Args:
        sigmas: ``[steps + 1]``, falling, on the CPU; as ``released_sigmas`` or any other schedule.

    Raises:
        ValueError: when a flow has no such sigmas.
    """

    def __init__(self, sigmas: Sequence[float] | torch.Tensor):
        self.sigmas = [float(sigma) for sigma in sigmas]
        _check_flow(self.sigmas)
        self.steps = len(self.sigmas) - 1
        self.index = 0
        self._predictions: list[torch.Tensor] = []  # of x0, the latest last
        self._last_x: torch.Tensor | None = None
        self._order = 0

    def step(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The sample at the next sigma.

        Args:
            x0: what the model predicts at the present sigma, of any shape.
            x: the sample that it was asked with, of the same shape.

        Raises:
            ValueError: when all steps were made.
        """
        if self.index >= self.steps:
            raise ValueError(f"all {self.steps} steps of this run were made")
        if self._last_x is not None:
            x = self._move(self.index - 1, self._last_x, self._order, corrected_by=x0)
        self._predictions = [*self._predictions[-1:], x0]
        self._order = min(2, self.steps - self.index, self.index + 1)
        self._last_x = x
        self.index += 1
        return self._move(self.index - 1, x, self._order)

    def _move(
        self, start: int, x: torch.Tensor, order: int, corrected_by: torch.Tensor | None = None
    ) -> torch.Tensor:
        """From ``sigmas[start]`` to the next one; with its prediction there: the corrector."""
        sigma, target = self.sigmas[start], self.sigmas[start + 1]
        log_snr, target_snr = _log_snr(sigma), _log_snr(target)
        h = target_snr - log_snr
        if h == 0:
            return x
        here = self._predictions[-1]
        growth = math.expm1(-h)  # minus h * phi_1, and B(h)
        moved = target / sigma * x - (1 - target) * growth * here
        slope = None
        if order == 2:
            ratio = (_log_snr(self.sigmas[start - 1]) - log_snr) / h
            if ratio != 0:
                slope = (self._predictions[-2] - here) / ratio
        if corrected_by is None:
            change = None if slope is None else 0.5 * slope
        elif slope is None:
            change = 0.5 * (corrected_by - here)
        else:
            first, second = _moments(h)
            weight = (second - first) / (ratio - 1)
            change = weight * slope + (first - weight) * (corrected_by - here)
        return moved if change is None else moved - (1 - target) * growth * change


def _check_flow(sigmas: Sequence[float]) -> None:
    """Raise ValueError for sigmas that this solver would make noise of, or nothing."""
    *levels, last = sigmas or [0.0]
    if all(0 < level <= HIGHEST for level in levels) and 0 <= last <= HIGHEST:
        return
    said = ", ".join(f"{sigma:.4g}" for sigma in sigmas[:8])
    raise ValueError(
        f"{SAMPLER} walks sigmas of a flow, at most 1 and above 0 until the last, but these are "
        f"{said}{', ...' if len(sigmas) > 8 else ''}; use the schedule storymem, or simple"
    )


def _log_snr(sigma: float) -> float:
    """Half the log of the signal-to-noise ratio of a flow at ``sigma``."""
    if sigma == 0:
        return math.inf
    sigma = min(sigma, NEVER_ONE)
    return math.log1p(-sigma) - math.log(sigma)


def _moments(h: float) -> tuple[float, float]:
    """Right side of the corrector's two conditions, ``k! * h * phi_{k+1} / B(h)`` for k = 1, 2."""
    growth = math.expm1(-h)
    phi_2 = growth / -h - 1
    phi_3 = phi_2 / -h - 0.5
    return phi_2 / growth, 2 * phi_3 / growth
