"""M2V Conditioning: memory, given frames and noise of one shot, for any stock sampler."""

from __future__ import annotations

import comfy.model_management
import comfy.sample
import node_helpers
import torch
from comfy_api.latest import io

from ...storymem.loop.memory_choice import EXPERTS
from ...storymem.sampling.conditioning import (
    LatentCache,
    ShotEncoder,
    draw_noise_before,
)
from ...storymem.sampling.methods import MEMENTO, METHODS, STORYMEM
from ...storymem.sampling.request import ShotRequest, request_shot
from ...storymem.sampling.shot_layout import (
    check_identity_method,
    seen_memories,
    shot_layouts,
)
from ..host.folders import shortens_host_paths
from ..host.tensors import require_images
from ..host.wan_models import require_vae
from ..types import Positions
from .identity_frame import identity_texts, with_identity_text
from .inputs import (
    check_typed_size,
    continuity_input,
    end_image_input,
    identity_inputs,
    method_input,
    seed_input,
    shot_inputs,
    size_inputs,
)

MEMORY_FRAMES_KEY = "storymem_memory_frames"  # in a conditioning; the host passes it by
LATENTS = LatentCache()  # bounded; entries die with their VAE


def request_from_inputs(
    *, bank, previous_frames, start_image, end_image=None, method=STORYMEM, shot=None, **settings
) -> ShotRequest:
    """The shot that a node's inputs ask for; see ``request_shot``."""
    memory, memory_low = seen_memories(bank, method, shot)
    if previous_frames is not None:
        previous_frames = require_images(previous_frames, "previous_frames")
    if start_image is not None:
        start_image = require_images(start_image, "start_image")
    if end_image is not None:
        end_image = require_images(end_image, "end_image")
    return request_shot(
        memory=memory,
        memory_low=memory_low,
        shot=shot,
        previous_frames=previous_frames,
        start_image=start_image,
        end_image=end_image,
        **settings,
    )


def encoder_of(vae) -> ShotEncoder:
    """An encoder that keeps latents with the VAE's inner module, unless that module is patched."""
    patcher = getattr(vae, "patcher", None)
    owner = getattr(vae, "first_stage_model", None)
    is_patched = patcher is None or patcher.object_patches or patcher.patches
    is_patched = is_patched or "encode" in vars(vae)  # an encode of this copy alone
    if is_patched or any(patcher.wrappers.values()):
        owner = None  # what a patched VAE gives is its own affair: never mixed, never kept
    variant = (str(getattr(vae, "vae_dtype", "")), type(vae).__qualname__)
    return ShotEncoder(vae.encode, LATENTS, owner, variant)


def condition_on_memory(positive, negative, vae, request: ShotRequest, memory=None, identity=None):
    """Both conditionings with memory and given frames: ``(positive, negative, memory_frames)``.

    Args:
        memory: of the expert that they are for; ``None``: the request's.
        identity: the identity frame's two texts (``identity_texts``); ``None``: no such frame.
    """
    shot = encoder_of(vae).condition(
        request.memory if memory is None else memory,
        request.given,
        width=request.width,
        height=request.height,
        length=request.length,
        end=request.end,
        has_identity=identity is not None,
    )
    values = {
        "concat_latent_image": shot.latents,  # raw: the host normalises
        "concat_mask": 1.0 - shot.mask,  # the host's mask is the inverse: 0 = known
        MEMORY_FRAMES_KEY: shot.memory_frames,  # compared with the model's patch when sampling
    }
    positive = node_helpers.conditioning_set_values(positive, values)
    negative = node_helpers.conditioning_set_values(negative, values)
    if identity is not None:
        positive, negative = map(with_identity_text, (positive, negative), identity)
    return positive, negative, shot.memory_frames


class MemoryNoise:
    """A NOISE that draws the shot's part exactly as the host would without any memory.

    Row 0 of a batch is what a batch of one gets, and every row keeps its noise when it is sampled
    again by itself (the latent's ``batch_index``), as the host has it.
    """

    def __init__(self, seed: int, memory_frames: int, has_identity: bool = False):
        self.seed = seed
        self.memory_frames = memory_frames
        self.has_identity = has_identity

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        """Noise ``[B, C, M+F, h, w]`` for a latent of that shape: memory's first, then the shot's.

        Raises:
            ValueError: when the latent has no frame beside the memory.
        """
        samples = input_latent["samples"]
        batch, channels, frames, height, width = samples.shape
        if frames <= self.memory_frames:
            raise ValueError(
                f"the latent has {frames} frames, but {self.memory_frames} should be memory; use "
                "the latent and the noise from the same M2V Conditioning"
            )
        rows = input_latent.get("batch_index")
        shot = comfy.sample.prepare_noise(samples[:, :, self.memory_frames :], self.seed, rows)
        memory = draw_noise_before(
            self.seed,
            self.memory_frames,
            (batch, channels, height, width),
            rows,
            has_identity=self.has_identity,
        )
        return torch.cat([memory.to(shot), shot], dim=2)


def empty_latent(request: ShotRequest, memory_frames: int) -> torch.Tensor:
    """Zeros ``[1, 16, M+F, h, w]`` where the host keeps latents between nodes."""
    batch, channels, frames, height, width = request.latent_shape
    return torch.zeros(
        [batch, channels, memory_frames + frames, height, width],
        device=comfy.model_management.intermediate_device(),
    )


class M2VConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemM2VConditioning",
            display_name="M2V Conditioning",
            category="StoryMem/advanced",
            search_aliases=[
                "memory to video",
                "consistent character",
                "image to video with memory",
            ],
            description=(
                "Conditions a shot on the memory bank, and on the frames it continues from, for "
                "any stock sampler: use M2V Model Patch on the models, this noise and latent in "
                "SamplerCustomAdvanced, and TrimVideoLatent by memory_frames afterwards. M2V "
                "Sampler does all of it in one node."
            ),
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded prompt of the shot."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                *shot_inputs(),
                *size_inputs(),
                seed_input(),
                continuity_input(),
                end_image_input(),
                method_input(
                    "auto leaves that to M2V Model Patch. storymem: the bank's order. memento: in "
                    "order of time."
                ),
                io.Combo.Input(
                    "expert",
                    options=list(EXPERTS),
                    default=EXPERTS[0],
                    optional=True,
                    advanced=True,
                    tooltip="Of a bank with a memory for each expert (Choose Memory): whose memory "
                    "this is. Use one M2V Conditioning for each model then, with one sampler for "
                    "each, or M2V Sampler.",
                ),
                *identity_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(
                    "positive_out", display_name="positive", tooltip="Positive with memory."
                ),
                io.Conditioning.Output(
                    "negative_out", display_name="negative", tooltip="Negative with memory."
                ),
                io.Latent.Output(
                    "latent", tooltip="Empty latent: memory frames first, then the shot."
                ),
                io.Noise.Output(
                    "noise", tooltip="Noise whose shot part does not depend on the memory."
                ),
                io.Int.Output(
                    "memory_frames",
                    tooltip="Latent frames of memory: for M2V Model Patch, and TrimVideoLatent's "
                    "trim_amount after sampling.",
                ),
                Positions.Output(
                    "memory_positions",
                    display_name="memory_positions",
                    tooltip="Where each memory frame stands in time: for M2V Model Patch.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None, length=None):
        return check_typed_size(width, height, length)

    @classmethod
    @shortens_host_paths
    def execute(
        cls,
        positive,
        negative,
        vae,
        width,
        height,
        length,
        size_rule,
        seed,
        continuity,
        bank=None,
        shot=None,
        previous_frames=None,
        start_image=None,
        end_image=None,
        method=METHODS[0],
        expert=EXPERTS[0],
        identity_positive=None,
        identity_negative=None,
    ):
        require_vae(vae)
        identity = identity_texts(identity_positive, identity_negative)
        if method != METHODS[0]:
            check_identity_method(method, has_identity=identity is not None)
        request = request_from_inputs(
            bank=bank,
            shot=shot,
            previous_frames=previous_frames,
            start_image=start_image,
            end_image=end_image,
            width=width,
            height=height,
            length=length,
            size_rule=size_rule,
            seed=seed,
            continuity=continuity,
            method=method,
        )
        is_low = expert == EXPERTS[1]
        memory = request.memory_low if is_low else None
        positive, negative, frames = condition_on_memory(
            positive, negative, vae, request, memory, identity
        )
        latent = {"samples": empty_latent(request, frames)}
        noise = MemoryNoise(request.seed, frames, identity is not None)
        # M2V Model Patch knows the model: until then the moments count.
        layouts = shot_layouts(request, MEMENTO, shot, has_identity=identity is not None)
        return io.NodeOutput(positive, negative, latent, noise, frames, layouts[is_low])


NODES = [M2VConditioning]
