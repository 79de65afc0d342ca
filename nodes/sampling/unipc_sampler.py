"""The released sampler as a sampler of the host: UniPC that asks the model at whole timesteps."""

from __future__ import annotations

import comfy.model_patcher
import comfy.samplers
import torch
from tqdm.auto import trange

from ...storymem.sampling.unipc import SAMPLER, UniPC, asked_sigmas

WHOLE_TIMESTEPS = "storymem_whole_timesteps"  # in model_options: the sigmas asked are whole
NEARLY_ONE = 0.99  # a first sigma from which nothing of the latent is meant to be kept


@torch.no_grad()
def sample_unipc(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Sample as the released run does, in the form of the host's own samplers (k-diffusion).

    The model is called at the sigma of the whole timestep; its velocity there takes the solver
    over the schedule's own sigma. An empty latent starts from pure noise: the host has multiplied
    it by the first sigma.

    Args:
        model: ``model(x, sigma [B], **extra_args)`` predicts x0.
        x: ``[B, ...]``, noised to the first sigma.
        sigmas: ``[steps + 1]``, falling.
        callback: called after each prediction with ``x``, ``i``, ``sigma``, ``sigma_hat``,
            ``denoised``.
        disable: no progress bar.
    """
    asked = asked_sigmas(sigmas)
    extra_args = {**(extra_args or {})}
    extra_args["model_options"] = _whole_options(extra_args.get("model_options"), asked)
    mask = extra_args.get("denoise_mask")
    solver = UniPC(sigmas)
    ones = x.new_ones([x.shape[0]])
    at = asked.tolist()
    x = _start(model, x, sigmas)
    for i in trange(solver.steps, disable=disable):
        denoised = model(x, asked[i] * ones, **extra_args)
        # x - sigma * velocity, written so that little is subtracted from much
        change = (1 - solver.sigmas[i] / at[i]) * (x - denoised)
        denoised = denoised + (change if mask is None else mask * change)
        if callback is not None:
            callback(
                {"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised}
            )
        x = solver.step(denoised, x)
    return x


def sampler_object(name: str):
    """The host's sampler of that name, or the released one."""
    if name == SAMPLER:
        return comfy.samplers.KSAMPLER(sample_unipc)
    return comfy.samplers.sampler_object(name)


def is_whole(sampler) -> bool:
    """Whether a sampler asks the model at whole timesteps."""
    return getattr(sampler, "sampler_function", None) is sample_unipc


def _whole_options(model_options: dict | None, asked: torch.Tensor) -> dict:
    options = comfy.model_patcher.create_model_options_clone(model_options or {})
    options[WHOLE_TIMESTEPS] = True
    # Other packs find the step that they are at by the sigma that the model is called with.
    options.setdefault("transformer_options", {})["sample_sigmas"] = asked
    return options


def _start(model, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    latent = getattr(model, "latent_image", None)
    if latent is None or torch.count_nonzero(latent) > 0 or not NEARLY_ONE <= float(sigmas[0]) < 1:
        return x
    return x / sigmas[0]
