"""A body for the shot loop that is quick, deterministic, and leaves a line on disk for each run."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import time
from pathlib import Path

import av
import folder_paths
import psutil
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io


def library(name: str):
    """A module of the loaded pack: its classes, not those of a second copy."""
    packs = [key for key in sys.modules if key.endswith(".storymem")]
    return importlib.import_module(f"{packs[0]}.{name}")


class TestBody(io.ComfyNode):
    """Frames from what a shot depends on: its prompt and seed, the bank and the previous frames."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestBody",
            category="StoryMem/test",
            inputs=[
                io.Custom("STORYMEM_SHOT").Input("shot"),
                io.Custom("STORYMEM_BANK").Input("bank"),
                io.String.Input("prompt", default=""),
                io.Image.Input("previous_frames", optional=True),
                io.AnyType.Input("outside", optional=True),
                io.Int.Input("seed", default=0),
                io.Int.Input("width", default=32),
                io.Int.Input("height", default=16),
                io.Int.Input("length", default=9),
                io.Float.Input("seconds", default=0.0),
                io.String.Input("log", default=""),
                io.String.Input("fail_on", default=""),
            ],
            outputs=[io.Image.Output("frames"), io.Custom("STORYMEM_BANK").Output("bank_after")],
        )

    @classmethod
    def execute(
        cls,
        shot,
        bank,
        prompt,
        seed,
        width,
        height,
        length,
        seconds,
        log,
        fail_on,
        previous_frames=None,
        outside=None,
    ):
        _note(log, f"begin {shot.shot.index + 1} {shot.mode}")
        if log and Path(f"{log}.old").exists():
            _write_as_before()
        if log:
            _note(f"{log}.rss", str(psutil.Process().memory_info().rss))
            _note(f"{log}.times", f"begin {time.time()!r}")
            seen = " ".join(frame.digest for frame in bank.used())
            _note(f"{log}.used", f"{shot.shot.index + 1} {seen}")
        _wait_while_held(log, shot.shot.index + 1)
        time.sleep(seconds)
        if fail_on.startswith("@"):  # a file that says it, so that the graph stays the same
            fail_on = Path(fail_on[1:]).read_text() if Path(fail_on[1:]).exists() else ""
        if fail_on and fail_on in prompt:
            raise RuntimeError("the body broke on purpose")
        given = shot.overlap_frames
        if given and previous_frames is None:
            raise RuntimeError("no previous frames")
        state = hashlib.sha256(f"{prompt}|{shot.seed(seed)}|{width}x{height}".encode())
        for frame in bank.used():
            state.update(frame.digest.encode())
        if previous_frames is not None:
            state.update(previous_frames.mul(255).round().to(torch.uint8).numpy().tobytes())
        generator = torch.Generator().manual_seed(int.from_bytes(state.digest()[:7], "little"))
        length = shot.shot.length or length
        frames = _frames(generator, length, height, width)
        if given:
            frames[:given] = previous_frames[-given:]
        kept = library("memory_bank").MemoryFrame.from_pixels(
            frames[given], story=shot.story, shot=shot.shot.index, frame=0, score=0.1 + 0.2
        )
        if log:
            _note(f"{log}.times", f"end {time.time()!r}")
        _note(log, f"end {shot.shot.index + 1} {shot.mode}")
        return io.NodeOutput(frames, bank.remember([kept]))


def _write_as_before() -> None:
    """Have this process write films as versions before BT.709 did: BT.601 without tags."""

    def write_untagged(path, frames, *, fps, crf, metadata=None):
        frames = list(frames)
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=round(fps), options={"crf": str(crf)})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        return len(frames)

    library("loop.shot_store").write_video = write_untagged
    library("files.video").BT709 = 2  # so that they are joined as they are


def _frames(generator, length, height, width):
    """``[T, H, W, 3]``: a seeded picture that drifts from frame to frame."""
    coarse = torch.rand(2, 3, 3, 3, generator=generator)
    ends = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    ends = ends.permute(0, 2, 3, 1)  # BCHW -> BHWC
    weight = torch.linspace(0, 1, length).view(-1, 1, 1, 1)
    return ends[0] * (1 - weight) + ends[1] * weight


class TestCounter(io.ComfyNode):
    """Passes a value on and leaves a line: how often was this node of the outside run?"""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestCounter",
            category="StoryMem/test",
            inputs=[
                io.AnyType.Input("value", optional=True),
                io.String.Input("name", default="counter"),
                io.String.Input("log", default=""),
            ],
            outputs=[io.AnyType.Output("same")],
        )

    @classmethod
    def execute(cls, name, log, value=None):
        _note(log, f"ran {name}")
        return io.NodeOutput(value if value is not None else name)


class TestAlwaysChanged(io.ComfyNode):
    """Says that it changes every time, as a random seed node does."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestAlwaysChanged",
            category="StoryMem/test",
            inputs=[],
            outputs=[io.Int.Output("number")],
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")

    @classmethod
    def execute(cls):
        return io.NodeOutput(1)


class TestNaN(io.ComfyNode):
    """Pictures as a VAE gives them when fp16 overflows."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestNaN",
            category="StoryMem/test",
            inputs=[io.Image.Input("images")],
            outputs=[io.Image.Output("broken")],
        )

    @classmethod
    def execute(cls, images):
        return io.NodeOutput(images * float("nan"))


class TestSink(io.ComfyNode):
    """An output node for the inside of a loop: leaves a line with the prompt it saw."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestSink",
            category="StoryMem/test",
            inputs=[
                io.AnyType.Input("value"),
                io.AnyType.Input("other", optional=True),
                io.String.Input("log", default=""),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value, log, other=None):
        _note(log, f"sink {value if isinstance(value, (str, int)) else type(value).__name__}")
        return io.NodeOutput(ui={"text": [str(value)[:50]]})


class TestFileLoader:
    """As the stock LoraLoader: an old node that keeps what it loaded by name on its instance."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "load"
    CATEGORY = "StoryMem/test"
    loaded = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE", {}), "name": ("STRING", {})}}

    def load(self, images, name):
        if self.loaded is None or self.loaded[0] != name:
            path = Path(folder_paths.get_input_directory()) / name
            self.loaded = (name, int(path.read_text()))
        return (torch.full_like(images, self.loaded[1] / 255),)


class TestHold(io.ComfyNode):
    """Passes frames on, but keeps the shots waiting that a test holds back."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestHold",
            category="StoryMem/test",
            inputs=[
                io.Image.Input("frames"),
                io.Custom("STORYMEM_SHOT").Input("shot"),
                io.String.Input("log", default=""),
            ],
            outputs=[io.Image.Output("same")],
        )

    @classmethod
    def execute(cls, frames, shot, log):
        _wait_while_held(log, shot.shot.index + 1)
        return io.NodeOutput(frames)


def _wait_while_held(log: str, number: int) -> None:
    while log and _is_held(log, number):
        throw_exception_if_processing_interrupted()
        time.sleep(0.02)


def _is_held(log: str, number: int) -> bool:
    """Whether a test holds back this shot, see ``loop_graphs.hold``."""
    try:
        return number >= int(Path(f"{log}.hold").read_text())
    except FileNotFoundError:
        return False


def _note(log: str, line: str) -> None:
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


NODES = [TestBody, TestHold, TestCounter, TestAlwaysChanged, TestNaN, TestSink]
