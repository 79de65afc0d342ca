"""One shot on diffusers' Wan: schedule, two experts in one multistep run, guidance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from ..sampling.conditioning import LATENT_CHANNELS, ShotConditioning, draw_memory_noise
from ..sampling.experts import is_high_noise
from ..sampling.recipe import SHIFT, Recipe
from ..sampling.unipc import (
    SAMPLER,
    SCHEDULER,
    TRAIN_STEPS,
    UniPC,
    released_sigmas,
    whole_timesteps,
)
from .cached_memory import ShotCache, shot_velocity, why_exact
from .positions import set_memory_frames

SCHEDULER_OF_SAMPLER = {SAMPLER: SCHEDULER, "uni_pc": "simple", "euler": "simple"}
SAMPLERS = tuple(SCHEDULER_OF_SAMPLER)
WHOLE = (SAMPLER, "uni_pc")  # these hand the model whole timesteps
MASK_CHANNELS = 4
logger = logging.getLogger(__name__)


def check_recipe(recipe: Recipe) -> None:
    """Raise ValueError for what the nodes can do with the host's samplers and this cannot."""
    if recipe.sampler not in SAMPLERS:
        raise ValueError(
            f"sampler must be one of {', '.join(SAMPLERS)}, but it is {recipe.sampler!r}"
        )
    if recipe.shift == 0:
        raise ValueError(f"shift must be above 0 (the recipe's is {SHIFT:g}), but it is 0")
    scheduler = SCHEDULER_OF_SAMPLER[recipe.sampler]
    for name, only in (("scheduler", scheduler), ("denoise", 1.0)):
        if (value := getattr(recipe, name)) != only:
            raise ValueError(f"{name} must be {only} here with {recipe.sampler}, but it is {value}")


@dataclass(frozen=True)
class ShotInputs:
    """What every process that samples a shot needs; all on the CPU.

    ``condition [1, 20, M+F, h, w]`` is mask and normalised latents, ``None`` for text to video.
    """

    noise: torch.Tensor  # [1, 16, M+F, h, w]
    positive: torch.Tensor  # [1, 512, text_dim]
    negative: torch.Tensor | None
    condition: torch.Tensor | None
    memory_frames: int


def draw_noise(
    seed: int, memory_frames: int, shot_frames: int, height: int, width: int
) -> torch.Tensor:
    """``[1, 16, M+F, h, w]``: the shot's noise depends on the seed alone, as in the nodes."""
    shot = torch.randn(
        1,
        LATENT_CHANNELS,
        shot_frames,
        height,
        width,
        generator=torch.Generator().manual_seed(seed),
    )
    memory = draw_memory_noise(seed, memory_frames, (1, LATENT_CHANNELS, height, width))
    return torch.cat([memory, shot], dim=2)


def lay_out_condition(
    conditioning: ShotConditioning, normalise: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Mask, then latents, on the channel axis as Wan I2V reads them: ``[1, 4 + 16, M+F, h, w]``."""
    mask = conditioning.mask.expand(-1, MASK_CHANNELS, -1, -1, -1)
    return torch.cat([mask, normalise(conditioning.latents)], dim=1)


class ReleasedScheduler:
    """The released sampler in the form of diffusers' schedulers."""

    def __init__(self, steps: int, shift: float):
        self.sigmas = released_sigmas(steps, shift)
        self.timesteps = whole_timesteps(self.sigmas)[:-1]
        self._solver = UniPC(self.sigmas)

    def step(self, velocity, timestep, latents, return_dict=False):
        """``(next latents,)`` from the velocity at the present timestep."""
        sigma = float(self.sigmas[self._solver.index])
        return (self._solver.step(latents - sigma * velocity, latents),)


def make_scheduler(recipe: Recipe):
    """The scheduler with its timesteps set.

    ``storymem_unipc`` is the released one. ``uni_pc`` is diffusers' UniPC on its own flow sigmas,
    for stories that were begun with it. ``euler`` walks the sigmas of ComfyUI's ``simple`` schedule
    with exact timesteps.
    """
    check_recipe(recipe)
    if recipe.sampler == SAMPLER:
        return ReleasedScheduler(recipe.steps, recipe.shift)
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if recipe.sampler == "uni_pc":
        scheduler = UniPCMultistepScheduler(
            num_train_timesteps=TRAIN_STEPS,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=recipe.shift,
        )
        scheduler.set_timesteps(recipe.steps)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(TRAIN_STEPS, shift=recipe.shift)
        # ComfyUI's "simple" picks from its table of 1000, so times are whole thousandths.
        picks = [i * TRAIN_STEPS // recipe.steps for i in range(recipe.steps)]
        scheduler.set_timesteps(sigmas=[1 - pick / TRAIN_STEPS for pick in picks])
    scheduler.set_begin_index(0)
    return scheduler


@torch.no_grad()
def denoise(
    experts: Sequence[torch.nn.Module],
    inputs: ShotInputs,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """The shot's latents ``[1, 16, F, h, w]``, normalised, float32, on the CPU (memory taken off).

    ``experts`` is ``(high, low)`` or one model for all noise levels. Both work in one run with one
    multistep history. ``on_step(done, steps)`` is called after each step.

    Raises:
        ValueError: when the result holds NaN or infinite values.
    """
    high, low = experts[0], experts[-1]
    scheduler = make_scheduler(recipe)
    levels = [float(timestep) / TRAIN_STEPS for timestep in scheduler.timesteps]
    for expert in dict.fromkeys(experts):
        set_memory_frames(expert, inputs.memory_frames)
    latents = inputs.noise.to(device, torch.float32)
    condition = None if inputs.condition is None else inputs.condition.to(device, torch.float32)
    texts = {"cond": inputs.positive.to(device)}
    if inputs.negative is not None:
        texts["uncond"] = inputs.negative.to(device)

    def is_of_high(sigma: float) -> bool:
        return is_high_noise(sigma, recipe.boundary, whole=recipe.sampler in WHOLE)

    frames, refresh = inputs.memory_frames, recipe.refresh(len(levels))
    cached = None
    if refresh.is_cached and frames:
        if why := why_exact(experts):
            logger.warning("memory runs along in every step (--memory-refresh exact): %s", why)
        else:
            ends = [level for level in levels if is_of_high(level)] if high is not low else levels
            parts = {high: ends} if high is low else {high: ends, low: levels[len(ends) :]}
            cached = ShotCache(parts, frames, refresh)
    for done, timestep in enumerate(scheduler.timesteps, start=1):
        sigma = float(timestep) / TRAIN_STEPS
        is_high = is_of_high(sigma)
        expert = high if is_high else low
        guidance = recipe.guidance(high=is_high)
        model_input = latents if condition is None else torch.cat([latents, condition], dim=1)

        refreshes = cached is None or cached.is_refresh(expert, sigma)
        around = partial(cached.step, expert, latents, refreshes=refreshes) if cached else None
        if not refreshes:
            model_input = model_input[:, :, frames:]

        def predict(
            kind: str, expert=expert, model_input=model_input, timestep=timestep, around=around
        ):
            with expert.cache_context(kind), around(kind) if around else nullcontext():
                return expert(
                    hidden_states=model_input.to(expert.dtype),
                    timestep=timestep.to(device).expand(1),
                    encoder_hidden_states=texts[kind].to(expert.dtype),
                    return_dict=False,
                )[0].float()

        velocity = predict("cond")
        if guidance != 1 and "uncond" in texts:
            unconditional = predict("uncond")
            velocity = unconditional + guidance * (velocity - unconditional)
        if not refreshes:
            clean = condition[:, MASK_CHANNELS:, :frames]
            velocity = shot_velocity(velocity, latents, clean, sigma)
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        if on_step:
            on_step(done, len(scheduler.timesteps))
    if cached is not None:
        cached.free()
    latents = latents[:, :, frames:].cpu()
    if not torch.isfinite(latents).all():
        raise ValueError(
            "the model made NaN or infinite latents; try --dtype bfloat16 or float32, and check "
            "that the weights are complete"
        )
    return latents
