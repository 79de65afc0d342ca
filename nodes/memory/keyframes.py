"""Keyframe Select: which frames of a shot are worth remembering."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...storymem.memory.embedders import LayoutEmbedder
from ...storymem.selection.algorithm import (
    KNOWN_THRESHOLD,
    MAX_KEYFRAMES_PER_SHOT,
    SIMILARITY_THRESHOLD,
)
from ...storymem.selection.even import EVEN, SELECTIONS, SEMANTIC, choose_evenly
from ...storymem.selection.keyframes import choose_keyframes
from ...storymem.selection.preprocess import resize_frame
from ...storymem.views.contact_sheet import decision_picture
from ..host.folders import shortens_host_paths
from ..host.models import released_after
from ..host.once import warn_once_per_run
from ..host.tensors import require_images
from ..types import Bank, Embedder, Keyframes, Scorer, Shot

KEYFRAMES_TOOLTIP = "Kept frames with their provenance, and what was turned down, for Remember."
logger = logging.getLogger(__name__)


def as_images(frames) -> torch.Tensor | ExecutionBlocker:
    """Frames as one IMAGE batch (of the first one's size); without any, nothing runs after it."""
    if not frames:
        return ExecutionBlocker(None)
    size = tuple(frames[0].image.shape[:2])
    return torch.stack([resize_frame(frame.image, size).float() / 255 for frame in frames])


def skip_given_frames(frames: torch.Tensor, shot) -> torch.Tensor:
    """``frames`` without those that repeat the previous shot."""
    given = shot.overlap_frames if shot else 0
    if given >= frames.shape[0]:
        raise ValueError(
            f"the shot's first {given} frames repeat the previous shot, but only "
            f"{frames.shape[0]} came in; connect the whole decoded shot to frames"
        )
    return frames[given:]


class KeyframeSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemKeyframeSelect",
            display_name="Keyframe Select",
            category="StoryMem/memory",
            search_aliases=["extract keyframes", "best frames", "frame selection", "关键帧提取"],
            description="Chooses the frames of a shot that are worth remembering: up to three that "
            "differ from each other and from everything in the memory bank, and, with a scorer "
            "connected, that look good. Shows the reasons.",
            inputs=[
                io.Image.Input(
                    "frames",
                    tooltip="The decoded shot. With shot connected, frames that repeat the "
                    "previous shot are skipped automatically.",
                ),
                Embedder.Input(
                    "embedder",
                    optional=True,
                    tooltip="Measures how similar two frames are (Load Embedder; the paper uses "
                    "CLIP ViT-B/32). Not connected: a rough measure of layout and colours that "
                    "needs no weights.",
                ),
                Scorer.Input(
                    "scorer",
                    optional=True,
                    tooltip="Frames that score below its threshold are never chosen (Load Scorer). "
                    "Not connected: every frame is good enough.",
                ),
                Bank.Input(
                    "bank",
                    optional=True,
                    tooltip="The memory so far. What is already in it is not kept again.",
                ),
                Shot.Input(
                    "shot",
                    optional=True,
                    tooltip="From Shot Loop Open: labels the keyframes and marks which frames "
                    "repeat the previous shot.",
                ),
                io.Float.Input(
                    "threshold",
                    default=SIMILARITY_THRESHOLD,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Cosine similarity below which a frame counts as new. Higher: more "
                    "keyframes. 0.9 is calibrated for CLIP ViT-B/32. Safe: 0.8 to 0.95. It is "
                    "lowered automatically while too many frames qualify.",
                ),
                io.Int.Input(
                    "max_keyframes",
                    default=MAX_KEYFRAMES_PER_SHOT,
                    min=1,
                    max=64,
                    tooltip="The most keyframes to keep per shot. The paper uses 3; more fill the "
                    "bank's window faster.",
                ),
                io.Float.Input(
                    "known_threshold",
                    default=KNOWN_THRESHOLD,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="A keyframe is dropped as already known when its cosine similarity to "
                    "any frame of the bank is above this. 1 keeps all. The paper uses 0.9.",
                ),
                io.Combo.Input(
                    "selection",
                    options=list(SELECTIONS),
                    default=SEMANTIC,
                    optional=True,
                    advanced=True,
                    tooltip="semantic: frames that differ from each other and from the memory "
                    "(the paper). even: max_keyframes frames at equal distances, whatever they "
                    "show, for Choose Memory to choose from; Memento uses 8. Embedder, scorer and "
                    "thresholds do not count then.",
                ),
            ],
            outputs=[
                Keyframes.Output(display_name="keyframes", tooltip=KEYFRAMES_TOOLTIP),
                io.Image.Output(
                    display_name="images",
                    tooltip="The kept frames as pictures; nothing when none was kept.",
                ),
                io.Image.Output(
                    display_name="decision",
                    tooltip="A picture of the choice: similarity, threshold and scores over the "
                    "frames, with the chosen and the rejected ones.",
                ),
            ],
        )

    @classmethod
    @shortens_host_paths
    def execute(
        cls,
        frames,
        threshold,
        max_keyframes,
        embedder=None,
        scorer=None,
        bank=None,
        shot=None,
        known_threshold=KNOWN_THRESHOLD,
        selection=SEMANTIC,
    ):
        frames = require_images(frames, "frames")
        made, frames = frames, skip_given_frames(frames, shot)
        if selection == EVEN:
            keyframes = choose_evenly(
                made,
                frames=max_keyframes,
                story=shot.story if shot else "",
                shot=shot.shot.index if shot else next_shot(bank),
                overlap=shot.overlap_frames if shot else 0,
                begin=shot.begin if shot else None,
            )
            picture = decision_picture(keyframes)[None].float() / 255
            return io.NodeOutput(keyframes, as_images(keyframes.frames), picture)
        embedder = embedder or LayoutEmbedder()
        if note := embedder.threshold_note(threshold):
            warn_once_per_run(logger, note)
        with released_after(embedder, scorer):
            keyframes = choose_keyframes(
                frames,
                embedder,
                scorer=scorer,
                bank=bank,
                story=shot.story if shot else "",
                shot=shot.shot.index if shot else next_shot(bank),
                threshold=threshold,
                max_keyframes=max_keyframes,
                known_threshold=known_threshold,
                begin=shot.begin + shot.overlap_frames if shot else None,
            )
        picture = decision_picture(keyframes)[None].float() / 255
        return io.NodeOutput(keyframes, as_images(keyframes.frames), picture)


def next_shot(bank) -> int:
    """Without a shot on the wire: the one after the last that the bank holds."""
    return 1 + max((frame.shot for frame in bank.frames), default=-1) if bank else 0


NODES = [KeyframeSelect]
