"""A shot is sampled: models prepared, memory before the noise, one run, memory taken off."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import comfy.utils
import latent_preview

from ...storymem.sampling.memory_layout import MemoryLayout
from ...storymem.sampling.memory_refresh import EVERY_STEP, Refresh
from ...storymem.sampling.recipe import Recipe
from ...storymem.sampling.request import ShotRequest
from ..host.cards import copies_of
from .conditioning import MemoryNoise, condition_on_memory, empty_latent
from .expert_guider import OneExpertGuider, TwoExpertGuider, require_same_sampling
from .model_patch import place_memory
from .unipc_sampler import sampler_object

NO_MEMORY = MemoryLayout()


@dataclass(frozen=True)
class Seen:
    """What one expert samples a shot from: the prompts with its memory, and where that stands."""

    positive: list
    negative: list
    layout: MemoryLayout = NO_MEMORY


def prepare_model(model, layout: MemoryLayout, shift: float, refresh: Refresh = EVERY_STEP):
    """A clone of the model with its memory placed and the schedule's shift."""
    model = place_memory(model, layout, refresh)
    return patch_shift(model, shift) if shift > 0 else model


def patch_shift(model, shift: float):
    """What the stock ModelSamplingSD3 node does: flow sampling with this shift."""

    class ShiftedFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    patched = model.clone()
    original = patched.get_model_object("model_sampling")
    sampling = ShiftedFlow(patched.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1000)
    if hasattr(original, "noise_scale") and hasattr(sampling, "set_noise_scale"):
        sampling.set_noise_scale(original.noise_scale)
    patched.add_object_patch("model_sampling", sampling)
    return patched


def make_guider(model_high, model_low, positive, negative, recipe: Recipe, low=None):
    """A guider for one model, else one that routes by sigma.

    Args:
        low: positive and negative of the low-noise expert, where they are others.
    """
    if model_low is None:
        kind = OneExpertGuider if copies_of(model_high) else comfy.samplers.CFGGuider
        guider = kind(model_high)
        guider.set_cfg(recipe.cfg)
        guider.set_conds(positive, negative)
    else:
        require_same_sampling(model_high, model_low)
        guider = TwoExpertGuider(model_high, model_low, recipe.boundary)
        guider.set_cfg(recipe.guidance(high=True), recipe.guidance(high=False))
        guider.set_conds(positive, negative, low)
    return guider


def shot_callback(model, steps: int, memory_frames: int):
    """The host's progress and preview, shown the shot and not a memory frame."""
    report = latent_preview.prepare_callback(model, steps)

    def callback(step, x0, x, total_steps):
        report(step, x0[:, :, memory_frames:], x, total_steps)

    return callback


def sample_shot(models, seen: tuple[Seen, Seen], request: ShotRequest, sigmas, recipe: Recipe):
    """Run the sampler over memory and shot: the latents of the shot ``[1, 16, F, h, w]`` and of the
    identity frame ``[1, 16, 1, h, w]``, ``None`` without one.

    ``seen`` is what each expert samples from: one thing, or a memory for each of one length.
    """
    refresh = recipe.refresh(len(sigmas) - 1)
    high, low = (
        None if model is None else prepare_model(model, one.layout, recipe.shift, refresh)
        for model, one in zip(models, seen, strict=True)
    )
    of_high, of_low = seen
    frames, has_identity = of_high.layout.frames, of_high.layout.has_identity
    latent = empty_latent(request, frames)
    noise = MemoryNoise(request.seed, frames, has_identity)
    noise = noise.generate_noise({"samples": latent})
    of_low = None if of_low is of_high else (of_low.positive, of_low.negative)
    guider = make_guider(high, low, of_high.positive, of_high.negative, recipe, of_low)
    samples = guider.sample(
        noise,
        latent,
        sampler_object(recipe.sampler),
        sigmas,
        callback=shot_callback(high, len(sigmas) - 1, frames),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=request.seed,
    )
    samples = samples.to(comfy.model_management.intermediate_device())
    identity = samples[:, :, :1].contiguous() if has_identity else None
    return samples[:, :, frames:].contiguous(), identity  # memory comes off once, here


def see_memory(
    positive, negative, vae, request: ShotRequest, layouts, identity=None
) -> tuple[Seen, Seen]:
    """What each expert samples from, by its memory and where that stands; ``identity`` are the
    texts of an identity frame."""
    memories = (None,) if request.memory_low is None else (None, request.memory_low)
    seen = [
        Seen(*condition_on_memory(positive, negative, vae, request, memory, identity)[:2], layout)
        for memory, layout in zip(memories, layouts, strict=False)
    ]
    return seen[0], seen[-1]
