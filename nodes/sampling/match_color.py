"""Match Color: a continued shot in the colours of the one before."""

from __future__ import annotations

from comfy_api.latest import io

from ...storymem.sampling.colour_match import match_overlap_frames
from ..host.tensors import require_images
from ..types import Shot


class MatchColor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemMatchColor",
            display_name="Match Color",
            category="StoryMem/advanced",
            search_aliases=["color match", "colour transfer", "color grading", "颜色匹配"],
            description="Removes the color drift from a shot that continues another. The frames "
            "that repeat the previous shot show how far brightness and color have drifted (mean "
            "and spread in Lab), and the whole shot is corrected by that much. After a cut nothing "
            "is changed. Put it after VAE Decode, before Keyframe Select and Shot Loop Close.",
            inputs=[
                io.Image.Input(
                    "frames", tooltip="The decoded frames of the shot, repeated frames included."
                ),
                io.Image.Input(
                    "previous_frames",
                    optional=True,
                    tooltip="The shot before, from Shot Loop Open. Nothing on the first shot.",
                ),
                Shot.Input(
                    "shot",
                    optional=True,
                    tooltip="From Shot Loop Open: how many frames repeat the previous shot (0, 1 "
                    "or 5).",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the drift to remove: 0 none, 1 all. Safe: 0.5 to 1.",
                ),
                io.Int.Input(
                    "repeated_frames",
                    default=1,
                    min=0,
                    max=5,
                    advanced=True,
                    tooltip="With no shot connected: how many frames at the start repeat the "
                    "previous shot, 1 for MI2V, 5 for MM2V. A connected shot takes precedence.",
                ),
            ],
            outputs=[io.Image.Output(display_name="frames", tooltip="The shot, matched.")],
        )

    @classmethod
    def execute(cls, frames, strength, repeated_frames, previous_frames=None, shot=None):
        frames = require_images(frames, "frames")
        repeated = shot.overlap_frames if shot is not None else repeated_frames
        if repeated and previous_frames is None:
            if shot is not None:
                raise ValueError(
                    f"{shot.shot} continues the shot before it, but previous_frames is not "
                    "connected to Match Color; connect it from Shot Loop Open"
                )
            return io.NodeOutput(frames)
        if not repeated:
            return io.NodeOutput(frames)
        previous = require_images(previous_frames, "previous_frames")
        return io.NodeOutput(match_overlap_frames(frames, previous, repeated, strength=strength))


NODES = [MatchColor]
