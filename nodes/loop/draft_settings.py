"""Draft Settings, and the inputs that choose a pass: draft, then render."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from ...storymem.loop import passes
from ...storymem.sampling.draft import NO_LORA, Draft
from ..host.folders import shortens_host_paths
from ..sampling.lora import file_versions
from ..types import Draft as DraftWire

PASS = "pass"  # input id; no name that Python takes for a parameter


def pass_inputs() -> list:
    """Which pass a loop makes, shared by Shot Loop Open and Begin Story."""
    return [
        io.Combo.Input(
            PASS,
            options=list(passes.PASSES),
            default=passes.FILM,
            optional=True,
            tooltip="film: the film itself. draft: the whole story with few steps and half the "
            "pixels, in the folder <story>.draft, to look at first. stills (experimental): one "
            "picture per shot, in <story>.stills; a model that learned memory from videos hardly "
            "keeps characters in single pictures. None of them changes another one's shots.",
        ),
        DraftWire.Input(
            "draft",
            optional=True,
            tooltip="From Draft Settings: steps, cfg, size, memory and LoRAs of a draft or of "
            "stills. Not connected: 4 steps at cfg 1 and half the pixels; stills as the film is "
            "made. The film does not use it.",
        ),
    ]


def chosen_pass(inputs: dict, draft: Draft | None) -> Draft | None:
    """What the inputs of ``pass_inputs`` say; ``None`` for the film.

    Raises:
        ValueError: for a pass that there is not, and for settings that none can have.
    """
    return passes.find_pass(inputs.get(PASS, passes.FILM), draft)


def lora_path(name: str) -> str | None:
    """Where a LoRA of a draft is; ``None`` for none."""
    return None if name == NO_LORA else folder_paths.get_full_path("loras", name)


class DraftSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = [NO_LORA, *folder_paths.get_filename_list("loras")]
        new = passes.DRAFT
        return io.Schema(
            node_id="StoryMemDraftSettings",
            display_name="Draft Settings",
            category="StoryMem/story",
            search_aliases=[
                "preview pass",
                "animatic",
                "fast story",
                "distill",
                "lightx2v",
                "草稿",
                "预演",
            ],
            description="How the draft of a story is made: few steps, a smaller size, less memory "
            "and LoRAs for few steps. Connect it to Shot Loop Open and choose pass draft there; "
            "M2V Sampler and M2V Conditioning obey it.",
            inputs=[
                io.Int.Input(
                    "steps",
                    default=new.steps,
                    min=0,
                    max=passes.MAX_STEPS,
                    tooltip="Over both experts. 4 with LoRAs for few steps, 8 to 20 without. 0, or "
                    "no fewer than the film's own: steps, cfg and models stay as for the film.",
                ),
                io.Float.Input(
                    "cfg",
                    default=new.cfg,
                    min=0.0,
                    max=passes.MAX_CFG,
                    step=0.1,
                    round=0.01,
                    tooltip="Of both experts. 1 takes half the time and is what LoRAs for few "
                    "steps need; 3.5 without them. 0: as for the film.",
                ),
                io.Float.Input(
                    "size",
                    default=new.size,
                    min=passes.LEAST_SIZE,
                    max=1.0,
                    step=0.05,
                    round=0.01,
                    tooltip="Share of the film's width and height, in multiples of 16 pixels; 0.7 "
                    "is half the pixels. A film above 832x480 is drafted as one of 480p. 1: the "
                    "film's own size.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=new.max_frames,
                    min=0,
                    max=passes.MAX_MEMORY,
                    tooltip="Memory frames that a shot of the draft sees at most, pinned ones in "
                    "any case. Fewer are faster. 0: as for the film.",
                ),
                io.Combo.Input(
                    "lora_high",
                    options=files,
                    default=NO_LORA,
                    tooltip="LoRA for few steps (such as lightx2v 4 steps) on the high-noise "
                    "model, in the draft only. Its shots are then sampled with euler, simple and "
                    "shift 5.",
                ),
                io.Combo.Input(
                    "lora_low",
                    options=files,
                    default=NO_LORA,
                    tooltip="The same for the low-noise model.",
                ),
            ],
            outputs=[DraftWire.Output(display_name="draft", tooltip="To Shot Loop Open's draft.")],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_high=NO_LORA, lora_low=NO_LORA, **_):
        paths = [lora_path(name) for name in (lora_high, lora_low) if isinstance(name, str)]
        return str([file_versions(path) for path in paths if path])

    @classmethod
    @shortens_host_paths
    def execute(cls, steps, cfg, size, max_frames, lora_high, lora_low) -> io.NodeOutput:
        draft = Draft("draft", steps, cfg, size, max_frames, lora_high, lora_low)
        return io.NodeOutput(passes.check_draft(draft))


NODES = [DraftSettings]
