"""One shot on diffusers' Wan: schedule, two experts in one multistep run, guidance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from ..sampling.conditioning import LATENT_CHANNELS, ShotConditioning, draw_noise_before
from ..sampling.experts import is_high_noise
from ..sampling.memory_flow import on_flow
from ..sampling.memory_layout import MemoryLayout
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
from .identity_frame import split_of
from .positions import set_memory_frames, set_memory_layout

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

    ``condition [1, 20, M+F, h, w]`` is mask and normalised latents, ``None`` for text to video; M
    counts all frames before the shot, an identity frame too. Without ``layouts`` memory stands as
    StoryMem has it. Where the experts have memories of their own, ``condition`` is what the
    high-noise one is told and ``condition_low`` what the other is.
    """

    noise: torch.Tensor  # [1, 16, M+F, h, w]
    positive: torch.Tensor  # [1, 512, text_dim]
    negative: torch.Tensor | None
    condition: torch.Tensor | None
    memory_frames: int
    layouts: tuple[MemoryLayout, MemoryLayout] | None = None  # of the high- and low-noise expert
    condition_low: torch.Tensor | None = None
    identity: torch.Tensor | None = None  # [1, 512, text_dim], the text of the identity frame
    identity_negative: torch.Tensor | None = None


def draw_noise(
    seed: int,
    memory_frames: int,
    shot_frames: int,
    height: int,
    width: int,
    *,
    has_identity: bool = False,
) -> torch.Tensor:
    """``[1, 16, M+F, h, w]``: the shot's noise depends on the seed alone, as in the nodes.

    M counts the identity frame, which has noise of its own.
    """
    shot = torch.randn(
        1,
        LATENT_CHANNELS,
        shot_frames,
        height,
        width,
        generator=torch.Generator().manual_seed(seed),
    )
    before = draw_noise_before(
        seed, memory_frames, (1, LATENT_CHANNELS, height, width), has_identity=has_identity
    )
    return torch.cat([before, shot], dim=2)


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


def lay_out_texts(inputs: ShotInputs, device: torch.device | str) -> dict[str, torch.Tensor]:
    """What each pass reads, ``[1, L, text_dim]``: the prompt, and behind it the identity text."""
    pairs = {
        "cond": (inputs.positive, inputs.identity),
        "uncond": (inputs.negative, inputs.identity_negative),
    }
    return {
        kind: torch.cat([text for text in pair if text is not None], dim=1).to(device)
        for kind, pair in pairs.items()
        if pair[0] is not None
    }


def keep_memory(
    latents: torch.Tensor,
    noise: torch.Tensor,
    clean: torch.Tensor,
    layout: MemoryLayout,
    sigma: float,
) -> torch.Tensor:
    """``latents [1, 16, M+F, h, w]`` with memory where it is on the flow from its own noise, as
    Memento has it in every step.

    Args:
        noise: what the run began with.
        clean: memory among its M frames, normalised.
        sigma: noise level, 0 ... 1.
    """
    memory = slice(int(layout.has_identity), layout.frames)
    level = torch.full((len(latents),), sigma)
    moved = on_flow(clean[:, :, memory], noise[:, :, memory], level)
    before, shot = latents[:, :, : memory.start], latents[:, :, memory.stop :]
    return torch.cat([before, moved, shot], dim=2)


@torch.no_grad()
def denoise(
    experts: Sequence[torch.nn.Module],
    inputs: ShotInputs,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] | None = None,
    on_identity: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """The shot's latents ``[1, 16, F, h, w]``, normalised, float32, on the CPU (memory taken off).

    ``experts`` is ``(high, low)`` or one model for all noise levels. Both work in one run with one
    multistep history. ``on_step(done, steps)`` is called after each step, and ``on_identity`` with
    the identity frame's latents ``[1, 16, 1, h, w]``, where there is one.

    Raises:
        ValueError: when the result holds NaN or infinite values, and for an identity frame on
            several GPUs.
    """
    high, low = experts[0], experts[-1]
    scheduler = make_scheduler(recipe)
    levels = [float(timestep) / TRAIN_STEPS for timestep in scheduler.timesteps]
    frames, refresh = inputs.memory_frames, recipe.refresh(len(levels))
    layouts = inputs.layouts
    has_identity = layouts is not None and layouts[0].has_identity
    noise = inputs.noise.to(device, torch.float32)
    latents = noise
    conditions = [
        None if one is None else one.to(device, torch.float32)
        for one in (inputs.condition, inputs.condition_low)
    ]
    if conditions[1] is None:
        conditions[1] = conditions[0]
    texts = lay_out_texts(inputs, device)

    def is_of_high(sigma: float) -> bool:
        return is_high_noise(sigma, recipe.boundary, whole=recipe.sampler in WHOLE)

    cached = None
    if refresh.is_cached and frames:
        if why := why_exact(experts, has_identity=has_identity):
            logger.warning("memory runs along in every step (--memory-refresh exact): %s", why)
        else:
            ends = [level for level in levels if is_of_high(level)] if high is not low else levels
            parts = {high: ends} if high is low else {high: ends, low: levels[len(ends) :]}
            cached = ShotCache(parts, frames, refresh)
    for done, timestep in enumerate(scheduler.timesteps, start=1):
        sigma = float(timestep) / TRAIN_STEPS
        is_high = is_of_high(sigma)
        expert = high if is_high else low
        condition = conditions[not is_high]
        layout = layouts[not is_high] if layouts else None
        if layout is None:
            set_memory_frames(expert, frames)
        else:
            set_memory_layout(expert, layout)
        guidance = recipe.guidance(high=is_high)
        if layout and layout.is_kept:
            latents = keep_memory(latents, noise, condition[:, MASK_CHANNELS:], layout, sigma)
        model_input = latents if condition is None else torch.cat([latents, condition], dim=1)

        refreshes = cached is None or cached.is_refresh(expert, sigma)
        around = partial(cached.step, expert, latents, refreshes=refreshes) if cached else None
        if not refreshes:
            model_input = model_input[:, :, frames:]
        split = partial(split_of, expert, layout, *latents.shape[-2:], inputs.positive.shape[1])

        def predict(
            kind: str,
            expert=expert,
            model_input=model_input,
            timestep=timestep,
            around=around,
            split=split,
        ):
            with expert.cache_context(kind), around(kind) if around else nullcontext(), split():
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
    if on_identity and has_identity:
        on_identity(latents[:, :, :1].cpu())
    latents = latents[:, :, frames:].cpu()
    if not torch.isfinite(latents).all():
        raise ValueError(
            "the model made NaN or infinite latents; try --dtype bfloat16 or float32, and check "
            "that the weights are complete"
        )
    return latents
