"""M2V Model Patch: memory frames before the shot on the time axis, with the negative RoPE shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

from ...storymem.sampling.memory_layout import MemoryLayout, storymem_layout
from ...storymem.sampling.memory_refresh import EVERY_STEP, EXACT, Refresh
from ...storymem.sampling.methods import MEMENTO, METHODS, choose_told
from ...storymem.sampling.rope import MEMORY_ROPE_SHIFT, encode_at, original_encode
from ..host.attention import forget_cudnn, prefer_cudnn
from ..host.wan_models import (
    I2V_CHANNELS,
    T2V_CHANNELS,
    input_channels,
    refuse_context_windows,
    require_wan,
)
from ..types import Positions
from .cached_memory import cache_memory, forget_cached
from .conditioning import MEMORY_FRAMES_KEY
from .identity_frame import check_identity, forget_identity, patch_identity
from .inputs import method_input, refresh_inputs
from .memory_flow import forget_flow, keep_on_flow
from .memory_method import method_of

ROPE_ENCODE = "diffusion_model.rope_encode"
WRAPPER_KEY = "storymem_m2v"


def place_memory(model, layout: MemoryLayout, refresh: Refresh = EVERY_STEP):
    """A clone of ``model`` that expects what ``layout`` says before the shot.

    What an earlier patch put on the model is taken off first; without memory frames that is all.
    ``refresh`` says in which steps memory runs along.
    """
    patched = without_memory_positions(model)
    if layout.frames == 0:
        return patched
    patched = model.clone() if patched is model else patched
    original = patched.get_model_object(ROPE_ENCODE)
    original = original_encode(original) or original  # of another patcher that has it loaded
    patched.add_object_patch(ROPE_ENCODE, encode_at(original, layout.all_positions))
    patched.add_wrapper_with_key(
        WrappersMP.OUTER_SAMPLE,
        WRAPPER_KEY,
        check_before_sampling(layout.frames, layout.has_identity),
    )
    prefer_cudnn(patched)
    if refresh.is_cached:
        cache_memory(patched, layout.memory_frames, refresh)
    patch_identity(patched, layout)
    keep_on_flow(patched, layout)
    return patched


def layout_for(
    model, method: str, positions: MemoryLayout | None, memory_frames: int, rope_shift: int
) -> MemoryLayout:
    """What stands before the shot, by the method of a model and what M2V Conditioning says.

    Raises:
        ValueError: for Memento without the moments of its memory, for numbers that do not agree,
            and for an identity frame with StoryMem.
    """
    method = choose_told(method, method_of(model))
    if positions is not None and memory_frames not in (0, positions.frames):
        raise ValueError(
            f"memory_positions has {positions.frames} frames before the shot, but memory_frames is "
            f"{memory_frames}; connect both from the same M2V Conditioning"
        )
    if method == MEMENTO:
        if positions is None and memory_frames:
            raise ValueError(
                "Memento places each memory frame where it happened, but memory_positions is not "
                "connected; connect memory_positions of M2V Conditioning"
            )
        return replace(positions or MemoryLayout(), method=MEMENTO)
    if positions is not None and positions.has_identity:
        raise ValueError(
            "M2V Conditioning has an identity frame, which only Memento has, but the model's LoRA "
            "is StoryMem's; disconnect identity_positive, or set method to memento"
        )
    return storymem_layout(memory_frames if positions is None else positions.frames, rope_shift)


def without_memory_positions(model):
    """``model`` itself, or a clone without our patch when it carries one.

    Raises:
        ValueError: when another pack has wrapped our patch, which cannot be taken out from under.
    """
    if not model.get_wrappers(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY):
        return model
    original = original_encode(model.get_model_object(ROPE_ENCODE))
    if original is None:
        raise ValueError(
            "another node changed the model's positions (rope_encode) after M2V Model Patch; put "
            "that node before M2V Model Patch, or remove M2V Model Patch if M2V Sampler follows"
        )
    restored = model.clone()
    restored.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY)
    diffusion_model = restored.get_model_object("diffusion_model")
    if getattr(original, "__func__", None) is getattr(type(diffusion_model), "rope_encode", None):
        restored.object_patches.pop(ROPE_ENCODE, None)  # the model's own
    else:
        restored.add_object_patch(ROPE_ENCODE, original)  # another pack's, put on before ours
    forget_cudnn(restored)
    forget_cached(restored)
    forget_identity(restored)
    forget_flow(restored)
    return restored


def check_before_sampling(memory_frames: int, has_identity: bool = False) -> Callable:
    """A sampling wrapper that refuses what would run without an error and give a wrong shot."""

    def check(executor, noise, *args, **kwargs):
        guider = executor.class_obj
        refuse_context_windows(guider.model_options, "the model")
        frames = noise.shape[2]
        if frames <= memory_frames:
            raise ValueError(
                f"the latent has {frames} frames, but the model expects {memory_frames} memory "
                "frames before the shot; use the latent and memory_frames from the same M2V "
                "Conditioning"
            )
        if input_channels(guider.model_patcher) != noise.shape[1]:
            for name, conds in guider.conds.items():
                for cond in conds:
                    _check_cond(name, cond, frames, memory_frames)
                    check_identity(name, cond, has_identity)
        return executor(noise, *args, **kwargs)

    return check


def _check_cond(name: str, cond: dict, frames: int, memory_frames: int) -> None:
    conditioned = cond.get(MEMORY_FRAMES_KEY, memory_frames)  # others' conditioning does not say
    if conditioned != memory_frames:
        raise ValueError(
            f"{name} was conditioned on {conditioned} memory frames, but M2V Model Patch is set to "
            f"{memory_frames}; connect memory_frames of the same M2V Conditioning to it"
        )
    for key in ("concat_latent_image", "concat_mask"):
        value = cond.get(key)
        if value is None or value.shape[2] != frames:
            found = "is missing" if value is None else f"has {value.shape[2]} frames"
            raise ValueError(
                f"{key} of {name} {found}, but the latent has {frames} frames with its memory; "
                "connect positive and negative of M2V Conditioning to the guider"
            )


def require_memory_positions(model, name: str, conditioning) -> None:
    """Raise ValueError when there is memory in a conditioning and ``model`` has no M2V Model Patch:
    it would take the memory for frames of the shot, and nothing would tell."""
    frames = max((options.get(MEMORY_FRAMES_KEY, 0) for _, options in conditioning), default=0)
    if frames and not model.get_wrappers(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY):
        raise ValueError(
            f"{name} has no M2V Model Patch, but the prompt comes with {frames} memory frames; put "
            "M2V Model Patch before it, with memory_frames of M2V Conditioning"
        )


class M2VModelPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemM2VModelPatch",
            display_name="M2V Model Patch",
            category="StoryMem/advanced",
            description=(
                "Puts memory frames before the shot in time (negative RoPE shift), for any stock "
                "sampler. Apply it to each expert, with memory_frames from M2V Conditioning. M2V "
                "Sampler does this on its own."
            ),
            inputs=[
                io.Model.Input("model", tooltip="Wan 2.2 I2V A14B, high or low noise, with LoRAs."),
                io.Int.Input(
                    "memory_frames",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Latent frames of memory before the shot: connect M2V Conditioning's "
                    "memory_frames. 0 leaves the model as it is.",
                ),
                io.Int.Input(
                    "rope_shift",
                    default=MEMORY_ROPE_SHIFT,
                    min=0,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="Distance in time between memory frames, in latent frames. 5 is what "
                    "the LoRA was trained with; 1 makes memory look like the moment just before "
                    "the shot.",
                ),
                *refresh_inputs(),
                method_input(),
                Positions.Input(
                    "memory_positions",
                    optional=True,
                    advanced=True,
                    tooltip="Where each memory frame stands in time, from M2V Conditioning. "
                    "Memento needs it; StoryMem goes by memory_frames and rope_shift.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="A patched copy; the original is unchanged.")],
        )

    @classmethod
    def execute(
        cls, model, memory_frames, rope_shift=MEMORY_ROPE_SHIFT, memory_refresh=EXACT,
        refresh_steps="", method=METHODS[0], memory_positions=None,
    ):  # fmt: skip
        refresh = Refresh.of(memory_refresh, refresh_steps)
        # From text alone there is no memory: a switch between both pairs may lead here.
        frames = memory_frames if memory_positions is None else memory_positions.frames
        from_text = (T2V_CHANNELS,) if frames == 0 else ()
        require_wan(model, "model", I2V_CHANNELS, *from_text)
        refuse_context_windows(model.model_options, "model")
        layout = layout_for(model, method, memory_positions, memory_frames, rope_shift)
        return io.NodeOutput(place_memory(model, layout, refresh))


NODES = [M2VModelPatch]
