"""M2V Sampler: one shot from memory with both experts, one sampler run, memory taken off."""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...storymem.sampling.memory_refresh import EXACT
from ...storymem.sampling.methods import METHODS, choose_told
from ...storymem.sampling.recipe import Recipe, odd_pair
from ...storymem.sampling.shot_layout import check_identity_method, shot_layouts
from ...storymem.sampling.unipc import SAMPLER, SCHEDULER, released_sigmas
from ..host.folders import shortens_host_paths
from ..host.wan_models import (
    I2V_CHANNELS,
    T2V_CHANNELS,
    refuse_context_windows,
    require_pair,
    require_text,
    require_vae,
    require_wan,
)
from ..page.node_notice import tell_node
from .conditioning import (
    request_from_inputs,
)
from .draft_pass import of_pass
from .identity_frame import identity_texts
from .inputs import (
    RELEASED,
    boundary_input,
    cfg_cut_input,
    cfg_input,
    cfg_low_input,
    check_typed_size,
    continuity_input,
    denoise_input,
    end_image_input,
    identity_inputs,
    method_input,
    refresh_inputs,
    seed_input,
    shift_input,
    shot_inputs,
    size_inputs,
    steps_input,
)
from .memory_method import require_same_method
from .shot_run import Seen, patch_shift, sample_shot, see_memory

log = logging.getLogger(__name__)

NEEDS_TWO_STEPS = ("uni_pc", "uni_pc_bh2")  # the host's UniPC gives the noise back after one step


def check_pair(high, low, high_name: str, low_name: str, *channels: int) -> None:
    """Raise ValueError, before anything is encoded or loaded, when an expert is of a wrong kind."""
    for name, model in ((high_name, high), (low_name, low)):
        if model is not None:
            require_wan(model, name, *channels)
            refuse_context_windows(model.model_options, name)
    require_pair(high, low, high_name, low_name)


def check_models(model_high, model_low, t2v_high, t2v_low) -> None:
    """``check_pair`` for both pairs of the node."""
    check_pair(model_high, model_low, "model_high", "model_low", I2V_CHANNELS)
    if t2v_high is None and t2v_low is not None:
        raise ValueError("t2v_low is connected without t2v_high; connect both, or t2v_high alone")
    check_pair(t2v_high, t2v_low, "t2v_high", "t2v_low", T2V_CHANNELS)


def schedule(model, scheduler: str, steps: int, denoise: float) -> torch.Tensor:
    """Sigmas as the stock BasicScheduler gives them, or the released ones."""
    if denoise <= 0:
        return torch.FloatTensor([])
    sampling = model.get_model_object("model_sampling")
    if scheduler == SCHEDULER:
        return released_sigmas(steps, own_shift(model), denoise)
    total = steps if denoise >= 1 else int(steps / denoise)
    return comfy.samplers.calculate_sigmas(sampling, scheduler, total).cpu()[-(steps + 1) :]


def own_shift(model) -> float:
    """The shift that the model brings.

    Raises:
        ValueError: when it has none, since it does not sample a flow.
    """
    sampling = model.get_model_object("model_sampling")
    shift = getattr(sampling, "shift", None)
    if shift is None:
        raise ValueError(
            f"the model's sampling ({type(sampling).__name__}) has no shift, which the storymem "
            "schedule needs; set shift above 0, or put ModelSamplingSD3 on the model"
        )
    return float(shift)


def shot_sigmas(model, recipe: Recipe) -> torch.Tensor:
    """The sigmas a shot is sampled with, before anything is encoded.

    Raises:
        ValueError: when they would leave the shot empty or noise, without any error of the host.
    """
    if recipe.denoise <= 0:
        raise ValueError(
            f"denoise is {recipe.denoise:g}, so nothing would be sampled and the shot would stay "
            "empty; set it to 1"
        )
    model = patch_shift(model, recipe.shift) if recipe.shift > 0 else model
    sigmas = schedule(model, recipe.scheduler, recipe.steps, recipe.denoise)
    if recipe.sampler in NEEDS_TWO_STEPS and len(sigmas) <= 2:
        raise ValueError(
            f"{recipe.sampler} needs at least 2 steps, but only {len(sigmas) - 1} would run (steps "
            f"is {recipe.steps}), which gives noise; raise steps, or set sampler_name to euler"
        )
    return sigmas


class M2VSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemM2VSampler",
            display_name="M2V Sampler",
            category="StoryMem",
            search_aliases=[
                "memory to video",
                "consistent character",
                "story sampler",
                "Wan 2.2",
                "角色一致",
                "记忆生成视频",
            ],
            description=(
                "Samples one shot with memory, from the memory frames and the prompt, with both "
                "experts of Wan 2.2 I2V A14B in one run. Load the StoryMem LoRA on both models "
                "first. The memory frames are trimmed from the output latent; a shot that "
                "continues another begins with the last 1 or 5 frames of that shot."
            ),
            inputs=[
                io.Model.Input("model_high", tooltip="Wan 2.2 I2V A14B, high noise, with LoRAs."),
                io.Model.Input(
                    "model_low",
                    optional=True,
                    tooltip="Wan 2.2 I2V A14B, low noise, with LoRAs. Not connected: model_high "
                    "does every step.",
                ),
                io.Model.Input(
                    "t2v_high",
                    optional=True,
                    tooltip="Wan 2.2 T2V A14B, high noise: generates the first shot when there is "
                    "no memory, start image or previous shot.",
                ),
                io.Model.Input(
                    "t2v_low",
                    optional=True,
                    tooltip="Wan 2.2 T2V A14B, low noise, used together with t2v_high.",
                ),
                io.Conditioning.Input("positive", tooltip="The encoded prompt of the shot."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                *shot_inputs(),
                *size_inputs(),
                seed_input(),
                steps_input("; with distill LoRAs use 4 to 8"),
                cfg_input(),
                io.Combo.Input(
                    "sampler_name",
                    options=[SAMPLER, *comfy.samplers.SAMPLER_NAMES],
                    default=RELEASED.sampler,
                    tooltip="storymem_unipc is the sampler of the released StoryMem, step by step; "
                    "use it with scheduler storymem. uni_pc is another one. With distill LoRAs use "
                    "euler. Multistep history carries over from one expert to the other.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=[SCHEDULER, *comfy.samplers.SCHEDULER_NAMES],
                    default=RELEASED.scheduler,
                    tooltip="storymem is the schedule of the released StoryMem. Of the others, "
                    "simple is the nearest: its sigmas are up to 0.004 away.",
                ),
                continuity_input(),
                cfg_low_input(),
                shift_input(
                    "Noise schedule shift for both experts; the released run uses 4, distill LoRAs "
                    "usually 5. At 4, the T2V pair uses its own 12; any other value applies to "
                    "both pairs. 0: keep the models' own (ModelSamplingSD3).",
                    optional=True,
                    advanced=True,
                ),
                boundary_input(
                    "at 0.9, the T2V pair uses its own 0.875. Any other value applies to both "
                    "pairs."
                ),
                denoise_input(optional=True, advanced=True),
                io.Int.Input(
                    "rope_shift",
                    default=RELEASED.rope_shift,
                    min=0,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="Distance in time between memory frames, in latent frames. 5 is what "
                    "the LoRA was trained with.",
                ),
                *refresh_inputs(),
                end_image_input(),
                method_input(),
                cfg_cut_input(),
                *identity_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    "samples", display_name="samples", tooltip="The shot alone: decode it as it is."
                ),
                io.Latent.Output(
                    "identity",
                    display_name="identity",
                    tooltip="The identity frame alone: decoded, it is the model's own picture of "
                    "the persons. Nothing without one.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None, length=None):
        return check_typed_size(width, height, length)

    @classmethod
    @shortens_host_paths
    def execute(
        cls, model_high, positive, negative, vae, width, height, length, size_rule, seed, steps,
        cfg, sampler_name, scheduler, continuity="auto", model_low=None, t2v_high=None,
        t2v_low=None, bank=None, shot=None, previous_frames=None, start_image=None,
        cfg_low=RELEASED.cfg_low, shift=RELEASED.shift, boundary=RELEASED.boundary,
        denoise=RELEASED.denoise, rope_shift=RELEASED.rope_shift, memory_refresh=EXACT,
        refresh_steps="", end_image=None, method=METHODS[0], cfg_cut=RELEASED.cfg_cut,
        identity_positive=None, identity_negative=None,
    ):  # fmt: skip
        recipe = Recipe(
            steps=steps, cfg=cfg, cfg_low=cfg_low, cfg_cut=cfg_cut, shift=shift, boundary=boundary,
            sampler=sampler_name, rope_shift=rope_shift, scheduler=scheduler, denoise=denoise,
            memory_refresh=memory_refresh, refresh_steps=refresh_steps,
        )  # fmt: skip
        check_models(model_high, model_low, t2v_high, t2v_low)
        method = choose_told(method, require_same_method(model_high, model_low))
        hidden = getattr(cls, "hidden", None)
        tell_node(hidden, odd_pair(sampler_name, scheduler) or "")
        require_vae(vae)
        for name, conditioning in (("positive", positive), ("negative", negative)):
            require_text(conditioning, model_high, name)
        identity = identity_texts(identity_positive, identity_negative)
        check_identity_method(method, has_identity=identity is not None)
        request = request_from_inputs(
            bank=bank, shot=shot, previous_frames=previous_frames, start_image=start_image,
            end_image=end_image,
            width=width, height=height, length=length, size_rule=size_rule, seed=seed,
            continuity=continuity, method=method,
        )  # fmt: skip
        from_text = t2v_high is not None and request.is_from_text
        models = (t2v_high, t2v_low) if from_text else (model_high, model_low)
        draft, prompt = shot and shot.draft, getattr(hidden, "dynprompt", None)
        recipe, models = of_pass(draft, recipe, models, prompt)
        if from_text and recipe != recipe.for_text():
            recipe = recipe.for_text()
            log.info(
                "%s, Wan 2.2 T2V's own (versions before 0.4 took shift 4); another shift or "
                "boundary on M2V Sampler applies to both pairs",
                recipe.describe_text_shot(),
            )
        sigmas = shot_sigmas(models[0], recipe)
        if from_text:
            seen = (Seen(positive, negative),) * 2
        else:
            recipe = recipe.for_beginning(is_cut=request.is_cut)
            layouts = shot_layouts(
                request, method, shot, rope_shift=rope_shift, has_identity=identity is not None
            )
            seen = see_memory(positive, negative, vae, request, layouts, identity)
        samples, portrait = sample_shot(models, seen, request, sigmas, recipe)
        portrait = ExecutionBlocker(None) if portrait is None else {"samples": portrait}
        return io.NodeOutput({"samples": samples}, portrait)


NODES = [M2VSampler]
