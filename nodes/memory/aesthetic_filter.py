"""Aesthetic Filter, and the loader of the scorers it uses."""

from __future__ import annotations

from comfy_api.latest import io

from ...storymem.selection.keyframes import filter_keyframes, images_as_keyframes
from ...storymem.selection.scorers import HPSV3_THRESHOLD, filter_frames
from ..host.folders import shortens_host_paths
from ..host.models import released_after
from ..host.tensors import require_images
from ..types import Keyframes, Scorer
from .keyframes import KEYFRAMES_TOOLTIP, as_images
from .scorers import LoadScorer


class AestheticFilter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemAestheticFilter",
            display_name="Aesthetic Filter",
            category="StoryMem/memory",
            description="Keeps the keyframes or pictures that a scorer rates good enough. Keyframe "
            "Select already does this if a scorer is connected to it; use this node for other "
            "pictures, or for a second opinion.",
            inputs=[
                Scorer.Input(
                    "scorer",
                    tooltip="The scorer to judge by: HPSv3, LAION or sharpness (Load Scorer).",
                ),
                Keyframes.Input("keyframes", optional=True, tooltip="Keyframes to judge."),
                io.Image.Input(
                    "images", optional=True, tooltip="Pictures to judge, instead of keyframes."
                ),
                io.Boolean.Input(
                    "own_threshold",
                    default=True,
                    tooltip="Use the threshold set on the scorer. Off: use the one below, on the "
                    "same scale.",
                ),
                io.Float.Input(
                    "threshold",
                    default=HPSV3_THRESHOLD,
                    min=-1000.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="Lowest score that is good enough, when own_threshold is off. Scales "
                    "differ: HPSv3 about -5 to 15, LAION 1 to 10, sharpness 0 to 100.",
                ),
            ],
            outputs=[
                Keyframes.Output(display_name="keyframes", tooltip=KEYFRAMES_TOOLTIP),
                io.Image.Output(
                    display_name="images",
                    tooltip="The frames that are good enough; nothing when none is.",
                ),
                io.Image.Output(
                    display_name="rejected",
                    tooltip="The frames that are not good enough; nothing when all are.",
                ),
            ],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, scorer, own_threshold, threshold, keyframes=None, images=None):
        if (keyframes is None) == (images is None):
            raise ValueError("connect either keyframes or images to Aesthetic Filter, not both")
        if keyframes is None:
            keyframes = images_as_keyframes(require_images(images, "images"))
        with released_after(scorer):
            limit = None if own_threshold else threshold
            result = filter_frames(keyframes.frames, scorer, threshold=limit)
        filtered = filter_keyframes(keyframes, result)
        return io.NodeOutput(filtered, as_images(result.kept), as_images(result.rejected))


NODES = [LoadScorer, AestheticFilter]
