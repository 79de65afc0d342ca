"""Which of the two experts of Wan 2.2 A14B works at a noise level."""

from __future__ import annotations

import torch

from .unipc import ROUNDING, TRAIN_STEPS, whole_timesteps


def is_high_noise(sigma: float, boundary: float, *, whole: bool = False) -> bool:
    """Whether the high-noise expert works at ``sigma``, from 0 to 1.

    Args:
        sigma: noise level; float32 rounding is allowed for.
        boundary: from 0 to 1.
        whole: the released rule, of a model that is asked at whole timesteps: high noise while the
            timestep is at or above ``boundary * 1000``. Otherwise, while sigma is above
            ``boundary``: where a step of another schedule meets it exactly, the released schedule
            lies just below, so that both give each expert the same number of steps.
    """
    if whole:
        return int(whole_timesteps(torch.tensor([sigma]))) >= boundary * TRAIN_STEPS
    return sigma > boundary + ROUNDING


def split_sigmas(
    sigmas: torch.Tensor, boundary: float, *, whole: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The schedule of each expert, sharing the sigma where they meet; empty when it has no step."""
    steps = len(sigmas) - 1
    high = sum(is_high_noise(sigma, boundary, whole=whole) for sigma in sigmas[:steps].tolist())
    empty = sigmas[:0]
    return (sigmas[: high + 1] if high else empty), (sigmas[high:] if high < steps else empty)
