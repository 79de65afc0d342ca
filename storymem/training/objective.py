"""Rectified flow for memory-to-video: what is noised, predicted and counted (paper 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..headless.positions import set_memory_frames
from ..headless.sampling import TRAIN_STEPS, lay_out_condition
from ..sampling.conditioning import ShotConditioning
from ..sampling.recipe import I2V_BOUNDARY, SHIFT

EXPERTS = ("high", "low")


@dataclass(frozen=True)
class NoiseLevels:
    """Which noise levels an expert is trained on."""

    expert: str = "high"
    boundary: float = I2V_BOUNDARY  # the sampler's: high from here up, low below
    shift: float = SHIFT  # of the uniform times, as in sampling

    def __post_init__(self) -> None:
        if self.expert not in EXPERTS:
            raise ValueError(f"expert must be high or low, but it is {self.expert!r}")
        if not 0 < self.boundary < 1 or not 0 < self.shift < math.inf:
            raise ValueError(
                "boundary must be between 0 and 1 and shift above 0 and finite, but they are "
                f"{self.boundary} and {self.shift}"
            )

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """A sigma in the expert's range: uniform in unshifted time, then shifted."""
        edge = self.boundary / (self.shift - (self.shift - 1) * self.boundary)
        first, last = (edge, 1.0) if self.expert == "high" else (0.0, edge)
        time = first + (last - first) * torch.rand((), generator=generator)
        return self.shift * time / (1 + (self.shift - 1) * time)


@dataclass(frozen=True)
class TrainingInputs:
    """One example as the expert sees it; all normalised latents, ``[1, C, M+F, h, w]``."""

    latents: torch.Tensor
    condition: torch.Tensor
    text: torch.Tensor
    memory_frames: int


def lay_out(conditioning: ShotConditioning, shot: torch.Tensor, text, normalise) -> TrainingInputs:
    """Join memory and shot latents (raw) as in sampling: memory first, denoised along."""
    memory = conditioning.latents[:, :, : conditioning.memory_frames]
    return TrainingInputs(
        latents=normalise(torch.cat([memory, shot], dim=2)),
        condition=lay_out_condition(conditioning, normalise),
        text=text,
        memory_frames=conditioning.memory_frames,
    )


def flow_loss(
    expert: torch.nn.Module, inputs: TrainingInputs, noise: torch.Tensor, sigma: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of the velocity on the shot's frames alone, never on the memory's.

    ``z_sigma = (1 - sigma) z_0 + sigma eps``; the expert predicts ``eps - z_0``, which is Wan's
    sign (the paper writes the same difference the other way round, on both sides).
    """
    device = inputs.latents.device
    sigma = sigma.to(device, torch.float32)
    noisy = (1 - sigma) * inputs.latents + sigma * noise
    module = getattr(expert, "module", expert)  # below a distributed wrapper
    set_memory_frames(module, inputs.memory_frames)
    velocity = expert(
        hidden_states=torch.cat([noisy, inputs.condition], dim=1).to(module.dtype),
        timestep=(sigma * TRAIN_STEPS).expand(1),
        encoder_hidden_states=inputs.text.to(module.dtype),
        return_dict=False,
    )[0]
    target = noise - inputs.latents
    first = inputs.memory_frames
    return F.mse_loss(velocity[:, :, first:].float(), target[:, :, first:])
