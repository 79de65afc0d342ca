"""A voice and a foley node that are quick and deterministic, and leave a line for each run."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from .loop_body import _note

RATE = 44_100  # not the films'
FPS = 16


class TestVoice(io.ComfyNode):
    """A click at a frame: of the frames that it gets, or counted from the sound's beginning."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestVoice",
            category="StoryMem/test",
            inputs=[
                io.Int.Input("number", default=1),
                io.Image.Input("frames", optional=True),
                io.String.Input("said", optional=True, default=""),
                io.Int.Input("click", default=6),
                io.Float.Input("level", default=0.9),
                io.String.Input("silent", default=""),
                io.String.Input("log", default=""),
            ],
            outputs=[io.Audio.Output("audio")],
        )

    @classmethod
    def execute(cls, number, click, level, silent, log, frames=None, said=""):
        count = 13 if frames is None else frames.shape[0]
        if _dies(log, number):
            os._exit(9)  # as a kill -9 in the middle of it
        _note(log, f"voice {number} {count} {said}".rstrip())
        if str(number) in silent.split():
            return io.NodeOutput(ExecutionBlocker(None))
        samples = torch.zeros(1, 1, count * RATE // FPS)
        samples[..., click * RATE // FPS] = level
        return io.NodeOutput({"waveform": samples, "sample_rate": RATE})


def _dies(log: str, number: int) -> bool:
    """Whether a test wrote down that the server ends here."""
    path = Path(f"{log}.die")
    return bool(log) and path.exists() and path.read_text() == str(number)


class TestTone(io.ComfyNode):
    """A track of any length."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestTone",
            category="StoryMem/test",
            inputs=[
                io.Float.Input("seconds", default=1.0),
                io.Float.Input("hertz", default=440.0),
                io.Float.Input("level", default=0.1),
            ],
            outputs=[io.Audio.Output("audio")],
        )

    @classmethod
    def execute(cls, seconds, hertz, level):
        time = torch.arange(int(seconds * RATE)) / RATE
        wave = level * torch.sin(2 * torch.pi * hertz * time)
        return io.NodeOutput({"waveform": wave[None, None].repeat(1, 2, 1), "sample_rate": RATE})


NODES = [TestVoice, TestTone]
