"""Two experts in one sampler run: the host's guider, routed by sigma, so that history is one.

The host's own parts do the work: each expert has its own guider with its own model_options,
wrappers, callbacks and hooks. The low-noise guider's sampling context is opened inside the
high-noise one's, but its model is loaded only when the first sigma below the boundary arrives,
because two 14B experts rarely fit a card together. Copies of an expert on further cards are loaded
with it.
"""

from __future__ import annotations

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import torch

from ...storymem.sampling.experts import is_high_noise, split_sigmas
from ...storymem.sampling.recipe import I2V_BOUNDARY
from ...storymem.sampling.unipc import asked_sigmas
from ..host.cards import (
    COPIES,
    copies_of,
    end_cards,
    keep_places,
    on_card,
    ready_copies,
    stop_together,
)
from .unipc_sampler import WHOLE_TIMESTEPS, is_whole


class OneExpertGuider(comfy.samplers.CFGGuider):
    """The host's guider of one model, all of whose cards stop when one of them does."""

    def __init__(self, model):
        if copies_of(model):
            model = model.clone()
            keep_places(model)
        super().__init__(model)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        model_options = {} if model_options is None else model_options
        with stop_together(model_options):
            return super().predict_noise(x, timestep, model_options, seed)


class _LowNoiseGuider(OneExpertGuider):
    """The low-noise expert. Its sampling is the high-noise guider's run; it loads on first use."""

    def open(self, run, noise, latent_image, sampler, sigmas, denoise_mask, seed):
        """``run()`` inside this expert's own sampling context (hooks, OUTER_SAMPLE wrappers)."""
        self.run = run
        self.run_sigmas = asked_sigmas(sigmas) if is_whole(sampler) else sigmas
        self.is_loaded, self.copies = False, []
        return self.sample(noise, latent_image, sampler, sigmas, denoise_mask, seed=seed)

    def outer_sample(
        self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None,
        disable_pbar=False, seed=None, latent_shapes=None,
    ):  # fmt: skip
        self.prepared = (noise, latent_image, denoise_mask, seed)
        self.latent_shapes = latent_shapes
        try:
            return self.run()
        finally:
            end_cards(self.copies, self.model_options)
            if self.is_loaded:
                self.model_patcher.cleanup()
                comfy.sampler_helpers.cleanup_models(self.conds, self.loaded_models)
                del self.inner_model, self.loaded_models, self.step_options
            del self.prepared, self.run, self.copies

    def activate(self) -> None:
        """Load this expert; the host moves the other one out when they do not fit together."""
        noise, latent_image, denoise_mask, seed = self.prepared
        patcher = self.model_patcher
        self.inner_model, self.conds, self.loaded_models = comfy.sampler_helpers.prepare_sampling(
            patcher, noise.shape, self.conds, self.model_options
        )
        device = patcher.load_device
        comfy.samplers.cast_to_load_options(
            self.model_options, device=device, dtype=patcher.model_dtype()
        )
        patcher.pre_run()
        self.copies = ready_copies(patcher, self.loaded_models, self.model_options)
        if self.is_loaded:
            _hand_on_copies(self.model_options, self.step_options)
            return
        self.is_loaded = True
        self.inner_model.latent_shapes = self.latent_shapes
        noise = noise.to(device, torch.float32)
        latent_image = latent_image.to(device, torch.float32)
        if torch.count_nonzero(latent_image) > 0:  # as the host: an empty latent is not shifted
            latent_image = self.inner_model.process_latent_in(latent_image)
        self.conds = comfy.samplers.process_conds(
            self.inner_model,
            noise,
            self.conds,
            device,
            latent_image,
            denoise_mask,
            seed,
            latent_shapes=self.latent_shapes,
        )
        self.step_options = comfy.model_patcher.create_model_options_clone(self.model_options)
        transformer_options = self.step_options.setdefault("transformer_options", {})
        transformer_options["sample_sigmas"] = self.run_sigmas.to(device)


class TwoExpertGuider(OneExpertGuider):
    """A guider of the high-noise expert that hands sigmas below the boundary to the low-noise one.

    To the sampler it is one model. Sigmas and noise scaling come from the high-noise model's
    model_sampling, which both experts must share (``require_same_sampling``).
    """

    def __init__(self, model_high, model_low, boundary: float = I2V_BOUNDARY):
        super().__init__(model_high)
        self.low = _LowNoiseGuider(model_low)
        self.boundary = boundary

    def set_conds(self, positive, negative, low=None):
        """The same conditionings for both experts, or ``low``, a pair of its own, for the low-noise
        one: as long on the time axis, and with another memory."""
        super().set_conds(positive, negative)
        self.low.set_conds(*(low or (positive, negative)))

    def set_cfg(self, cfg, cfg_low=None):
        """The guidance scale of both experts; the low-noise one may have its own, ``cfg_low``."""
        super().set_cfg(cfg)
        self.low.set_cfg(cfg if cfg_low is None else cfg_low)

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, *args, **kwargs):
        """One run over ``sigmas``; if all lie below the boundary, by the low-noise expert alone."""
        self.high_sigmas, self.low_sigmas = split_sigmas(
            sigmas, self.boundary, whole=is_whole(sampler)
        )
        if len(self.high_sigmas) == 0:
            single = OneExpertGuider(self.low.model_patcher)
            single.original_conds, single.cfg = self.low.original_conds, self.low.cfg
            return single.sample(
                noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs
            )
        self.raw_denoise_mask = denoise_mask
        self.is_low_active = False
        return super().sample(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)

    def outer_sample(
        self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None,
        disable_pbar=False, seed=None, latent_shapes=None,
    ):  # fmt: skip
        outer_sample = super().outer_sample

        def run():
            return outer_sample(
                noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed,
                latent_shapes=latent_shapes,
            )  # fmt: skip

        if len(self.low_sigmas) == 0:
            return run()
        mask = self.raw_denoise_mask  # the host prepares it for each expert
        return self.low.open(run, noise, latent_image, sampler, self.low_sigmas, mask, seed)

    def __call__(self, x, timestep, model_options=None, seed=None):
        model_options = model_options or {}
        whole = model_options.get(WHOLE_TIMESTEPS, False)
        is_high = is_high_noise(float(timestep.flatten()[0]), self.boundary, whole=whole)
        if is_high or len(self.low_sigmas) == 0:
            return self._predict_high(x, timestep, model_options, seed)
        device = self.low.model_patcher.load_device
        with on_card(device):
            if not self.is_low_active:
                self.low.activate()
                self.is_low_active = True
            options = self._options_for_low(model_options)
            x_low, timestep = x.to(device), timestep.to(device)
            denoised = self.low.outer_predict_noise(x_low, timestep, options, seed)
            return denoised.to(x.device)

    def _predict_high(self, x, timestep, model_options, seed):
        if self.is_low_active:  # samplers that step up again across the boundary
            _, _, loaded = comfy.sampler_helpers.prepare_sampling(
                self.model_patcher, x.shape, self.conds, self.model_options
            )
            self.model_patcher.pre_run()
            ready_copies(self.model_patcher, loaded, self.model_options)
            self.is_low_active = False
        _hand_on_copies(self.model_options, model_options)
        transformer_options = model_options.setdefault("transformer_options", {})
        whole = model_options.get(WHOLE_TIMESTEPS, False)
        sigmas = asked_sigmas(self.high_sigmas) if whole else self.high_sigmas
        transformer_options["sample_sigmas"] = sigmas.to(x.device)
        return self.outer_predict_noise(x, timestep, model_options, seed)

    def _options_for_low(self, received: dict) -> dict:
        """The low-noise expert's options, with what the sampler itself added (CFG++)."""
        options = dict(self.low.step_options)
        for key, value in received.items():
            own = self.model_options.get(key)
            if isinstance(value, list):
                added = [item for item in value if item not in (own or [])]
                options[key] = [*options.get(key, []), *added]
            elif not isinstance(value, dict) and value is not own:
                options[key] = value
        return options


def _hand_on_copies(of_run: dict, of_step: dict) -> None:
    """Give a step the copies that were loaded last: a step's options are a copy of the run's."""
    if COPIES in of_run:
        of_step[COPIES] = of_run[COPIES]


def require_same_sampling(model_high, model_low) -> None:
    """Raise ValueError unless both experts mean the same noise by the same sigma."""
    high, low = (m.get_model_object("model_sampling") for m in (model_high, model_low))
    same_kind = [c.__name__ for c in type(high).__mro__[1:]] == [
        c.__name__ for c in type(low).__mro__[1:]
    ]
    if same_kind and torch.equal(high.sigmas.cpu(), low.sigmas.cpu()):
        return
    raise ValueError(
        f"model_high and model_low sample differently: shift {getattr(high, 'shift', '?')} and "
        f"{getattr(low, 'shift', '?')} ({type(high).__name__} and {type(low).__name__}); put the "
        "same ModelSamplingSD3 on both (M2V Sampler does, with a shift above 0)"
    )
