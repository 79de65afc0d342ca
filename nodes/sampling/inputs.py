"""Inputs that nodes of this folder share: what a shot is, its size, its recipe."""

from __future__ import annotations

from comfy_api.latest import io

from ...storymem.sampling.conditioning import check_size
from ...storymem.sampling.continuity import CONTINUITY_CHOICES
from ...storymem.sampling.memory_refresh import EXACT, MEMORY_REFRESH
from ...storymem.sampling.methods import METHODS
from ...storymem.sampling.recipe import Recipe
from ...storymem.sampling.request import SIZE_RULES
from ..types import Bank, Shot

LARGEST = 16384  # pixels, and frames
RELEASED = Recipe()
OF_SAMPLING = (
    "auto: those of the LoRA that Load Story LoRA put on the model. storymem: memory stands in "
    "fixed steps before the shot (rope_shift). memento: each frame stands where it happened in the "
    "story."
)


def shot_inputs() -> list:
    """Inputs that say what a shot is, shared by M2V Sampler and M2V Conditioning."""
    return [
        Bank.Input(
            "bank", optional=True, tooltip="Memory: keyframes of earlier shots, or references."
        ),
        Shot.Input(
            "shot",
            optional=True,
            tooltip="The shot from Shot Loop Open: its length, seed and continuity take "
            "precedence.",
        ),
        io.Image.Input(
            "previous_frames",
            optional=True,
            tooltip="The previous shot's frames: the last 1 or 5 open this shot, unless it begins "
            "with a cut.",
        ),
        io.Image.Input(
            "start_image",
            optional=True,
            tooltip="A picture to use as the shot's first frame. In a loop it is used for the "
            "first shot only, unless it comes from Shot Loop Open's start_image or continuity is "
            "cut. Not connected: the shot starts from the prompt.",
        ),
    ]


def end_image_input():
    """The shot's last frame, for a shot that brings none of its own."""
    return io.Image.Input(
        "end_image",
        optional=True,
        tooltip="A picture to use as the shot's last frame (first-last-frame, with memory). The "
        "shot's own end_image, from the script or from Shot Loop Open, comes over shot and wins; "
        "this one is for shots without, in a loop for all of them.",
    )


def size_inputs() -> list:
    """Size, length and size rule."""
    return [
        io.Int.Input(
            "width", default=832, min=16, max=LARGEST, step=16, tooltip="Pixels, a multiple of 16."
        ),
        io.Int.Input(
            "height", default=480, min=16, max=LARGEST, step=16, tooltip="Pixels, a multiple of 16."
        ),
        io.Int.Input(
            "length",
            default=81,
            min=1,
            max=LARGEST,
            step=4,
            tooltip="Frames of the shot at 16 fps, 4n+1: 81 is five seconds. A length set on the "
            "shot takes precedence.",
        ),
        io.Combo.Input(
            "size_rule",
            options=list(SIZE_RULES),
            default="exact",
            tooltip="exact: width and height as given. memory_aspect: about the same area, in the "
            "aspect ratio of the start image or previous frame, or else of the first memory frame.",
        ),
    ]


def check_typed_size(width, height, length) -> bool | str:
    """The answer to the host's question, before anything runs, whether typed sizes can be used.

    ``None`` stands for a linked one, which is known only when it comes.
    """
    for name, value in (("width", width), ("height", height), ("length", length)):
        if value is not None and value > LARGEST:
            return f"{name} must be at most {LARGEST}, but it is {value}"
    try:
        check_size(
            *(16 if size is None else size for size in (width, height)),
            1 if length is None else length,
        )
    except ValueError as error:
        return str(error)
    return True


def seed_input():
    """The base seed, shared by M2V Sampler and M2V Conditioning."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=io.ControlAfterGenerate.fixed,  # a new seed regenerates every shot
        tooltip="Base seed. Each shot of a story uses base + its number in the story, or its own "
        "seed if it has one.",
    )


def continuity_input():
    """How the shot begins (paper 3.3)."""
    return io.Combo.Input(
        "continuity",
        options=list(CONTINUITY_CHOICES),
        default="auto",
        tooltip="auto: as the shot says; with no shot connected, last_frame if previous_frames is "
        "connected. cut: memory only. last_frame / last_five_frames: continue the previous shot.",
    )


def steps_input(more: str = ""):
    """Steps over both experts; ``more`` ends the tooltip."""
    return io.Int.Input(
        "steps",
        default=RELEASED.steps,
        min=1,
        max=10000,
        tooltip=f"Total for both experts. The released run uses 40{more}.",
    )


def cfg_input():
    """How strictly both experts follow the prompt."""
    return _cfg(
        "cfg",
        RELEASED.cfg,
        "How strictly the prompt is followed. The released run uses 3.5; with distill LoRAs use 1 "
        "(twice as fast).",
    )


def cfg_low_input():
    """The low-noise expert's cfg, where it has one of its own."""
    return _cfg(
        "cfg_low",
        RELEASED.cfg_low,
        "cfg of the low-noise expert. 0: the same as cfg.",
        optional=True,
        advanced=True,
    )


def cfg_cut_input():
    """The cfg of shots that begin with a cut, where they have one of their own."""
    return _cfg(
        "cfg_cut",
        RELEASED.cfg_cut,
        "cfg of both experts for shots that begin with a cut. Memento's recipe is cfg 3.5 and "
        "cfg_cut 5. 0: the same as cfg. A first shot of the T2V pair keeps cfg.",
        optional=True,
        advanced=True,
    )


def method_input(choices: str = OF_SAMPLING):
    """Which memory model the shot is sampled with; ``choices`` says what each does here."""
    return io.Combo.Input(
        "method",
        options=list(METHODS),
        default=METHODS[0],
        optional=True,
        advanced=True,
        tooltip=f"Which memory model's rules hold. {choices}",
    )


def identity_inputs() -> list:
    """The identity frame's text, with and without guidance."""
    return [
        io.Conditioning.Input(
            "identity_positive",
            optional=True,
            tooltip="Memento only: the encoded looks of the story's persons, one line each "
            "(reconstruct_prompt of Shot Loop Open). One more frame is then sampled along, which "
            "becomes a picture of them and gives memory a look at all of them. Needs "
            "identity_negative too. Not used for a first shot of the T2V pair.",
        ),
        io.Conditioning.Input(
            "identity_negative",
            optional=True,
            tooltip="Memento only: an empty text, encoded. The same text in both, such as an empty "
            "reconstruct_prompt: no identity frame.",
        ),
    ]


def _cfg(name: str, default: float, tooltip: str, **kwargs):
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=100.0,
        step=0.1,
        round=0.01,
        tooltip=tooltip,
        **kwargs,
    )


def shift_input(tooltip: str, **kwargs):
    """Shift of the noise schedule, 0 for the model's own; ``kwargs`` go to the input."""
    return io.Float.Input(
        "shift",
        default=RELEASED.shift,
        min=0.0,
        max=100.0,
        step=0.01,
        tooltip=tooltip,
        **kwargs,
    )


def boundary_input(for_text: str):
    """The sigma above which the high-noise expert runs; ``for_text`` says which holds for T2V."""
    return io.Float.Input(
        "boundary",
        default=RELEASED.boundary,
        min=0.0,
        max=1.0,
        step=0.005,
        round=0.001,
        optional=True,
        advanced=True,
        tooltip="The high-noise expert runs while the noise (sigma) is above this. Wan 2.2 I2V "
        f"uses 0.9; {for_text}",
    )


def denoise_input(**kwargs):
    """Share of the schedule that runs; ``kwargs`` go to the input as they are."""
    return io.Float.Input(
        "denoise",
        default=RELEASED.denoise,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Fraction of the schedule to run. Leave at 1: shots start from noise.",
        **kwargs,
    )


def refresh_inputs() -> list:
    """In which steps memory runs along with the shot."""
    return [
        io.Combo.Input(
            "memory_refresh",
            options=list(MEMORY_REFRESH),
            default=EXACT,
            optional=True,
            advanced=True,
            tooltip="exact: memory runs along in every step. cached: in few steps, and in those "
            "between the shot reads the memory's kept keys and values, which is faster and not "
            "quite the same picture.",
        ),
        io.String.Input(
            "refresh_steps",
            default="",
            optional=True,
            advanced=True,
            tooltip="With cached: the steps in which memory runs along, counted from the first "
            "step of each expert, such as 0 1 3 7 15. Empty: 0 1 3 7 15 31 and so on.",
        ),
    ]
