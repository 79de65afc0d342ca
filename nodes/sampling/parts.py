"""The released run in parts, for SamplerCustomAdvanced: sampler, sigmas, both experts' guider."""

from __future__ import annotations

from comfy_api.latest import io

from ...storymem.sampling.recipe import Recipe
from ...storymem.sampling.unipc import SAMPLER, released_sigmas
from ..host.wan_models import (
    I2V_CHANNELS,
    T2V_CHANNELS,
    input_channels,
    require_text,
    require_wan,
)
from .inputs import (
    RELEASED,
    boundary_input,
    cfg_input,
    cfg_low_input,
    denoise_input,
    shift_input,
    steps_input,
)
from .model_patch import require_memory_positions
from .sampler import check_pair, own_shift
from .shot_run import make_guider
from .unipc_sampler import sampler_object

CATEGORY = "StoryMem/advanced"


class StoryMemSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemSampler",
            display_name="StoryMem Sampler",
            category=CATEGORY,
            description=(
                "The sampler of the released StoryMem (UniPC) for SamplerCustomAdvanced: the same "
                "as storymem_unipc of M2V Sampler. Use it with StoryMem Sigmas."
            ),
            inputs=[],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(sampler_object(SAMPLER))


class StoryMemSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemSigmas",
            display_name="StoryMem Sigmas",
            category=CATEGORY,
            description=(
                "The noise schedule of the released StoryMem for SamplerCustomAdvanced: the same "
                "as scheduler storymem of M2V Sampler."
            ),
            inputs=[
                io.Model.Input("model", tooltip="Wan 2.2 A14B, I2V or T2V, high or low noise."),
                steps_input(),
                shift_input(
                    "The released run uses 4. At 4, a T2V model gets its own 12; any other value "
                    "is used as it is. 0: the model's own (ModelSamplingSD3)."
                ),
                denoise_input(),
            ],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, model, steps, shift, denoise):
        require_wan(model, "model", I2V_CHANNELS, T2V_CHANNELS)
        recipe = Recipe(steps=steps, shift=shift)
        if input_channels(model) == T2V_CHANNELS:
            recipe = recipe.for_text()
        return io.NodeOutput(released_sigmas(steps, recipe.shift or own_shift(model), denoise))


class M2VGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemM2VGuider",
            display_name="M2V Guider",
            category=CATEGORY,
            description=(
                "Both experts of Wan 2.2 A14B in one run of SamplerCustomAdvanced, so that a "
                "sampler's multistep history carries over from one to the other. Two samplers with "
                "SplitSigmas would start it anew. Put M2V Model Patch on each expert first."
            ),
            inputs=[
                io.Model.Input("model_high", tooltip="High noise, with M2V Model Patch."),
                io.Model.Input(
                    "model_low",
                    optional=True,
                    tooltip="Low noise, with M2V Model Patch. Not connected: model_high does every "
                    "step.",
                ),
                io.Conditioning.Input("positive", tooltip="Of M2V Conditioning."),
                io.Conditioning.Input("negative", tooltip="Of M2V Conditioning."),
                cfg_input(),
                cfg_low_input(),
                boundary_input("at 0.9, T2V models use their own 0.875."),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, model_high, positive, negative, cfg, model_low=None, cfg_low=RELEASED.cfg_low,
        boundary=RELEASED.boundary,
    ):  # fmt: skip
        check_pair(model_high, model_low, "model_high", "model_low", I2V_CHANNELS, T2V_CHANNELS)
        for name, conditioning in (("positive", positive), ("negative", negative)):
            require_text(conditioning, model_high, name)
        for name, model in (("model_high", model_high), ("model_low", model_low)):
            if model is not None:
                require_memory_positions(model, name, positive)
        recipe = Recipe(cfg=cfg, cfg_low=cfg_low, boundary=boundary)
        if input_channels(model_high) == T2V_CHANNELS:
            recipe = recipe.for_text()
        return io.NodeOutput(make_guider(model_high, model_low, positive, negative, recipe))


NODES = [StoryMemSampler, StoryMemSigmas, M2VGuider]
