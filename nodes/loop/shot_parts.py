"""Shots that are worked on in parts: upscaled four times, one takes gigabytes.

Where a body reads its frames with *Story Shots* and that says how many at once, each part goes
through a copy of the body of its own, one after the other, and is put on disk. What Close then
finishes are the pixels on disk.
"""

from __future__ import annotations

from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

from ...storymem.files.codecs import H264
from ...storymem.film.finished_shots import read_shots, shot_at
from ...storymem.loop.shots import join_parts
from ..host import executor as host_cache
from ..host.folders import find_story, shortens_host_paths
from . import run as loop_run
from .graph import STORY_SHOTS
from .known_values import KnownValues, NotKnownError
from .pixel_file import Parts, PixelFile

SHOT_NUMBER = 6  # output of Shot Loop Open


async def find_parts(run: loop_run.LoopRun) -> Parts:
    """How the shots to be made are cut into parts.

    Raises:
        ValueError: when the story to be worked on cannot be told before the run, or has no such
            shot.
    """
    graph, parts = run.graph, Parts()
    found = [n for n in graph.body if graph.node(n)["class_type"] == STORY_SHOTS]
    for node_id in found:
        inputs = graph.node(node_id)["inputs"]
        size = inputs.get("frame_count", 0)
        if is_link(size) or not size or inputs.get("first_frame", 0):
            continue
        try:
            folder = await KnownValues(graph.dynprompt).value(inputs["folder"])
        except NotKnownError as error:
            raise ValueError(
                "Story Shots works in parts (frame_count), so its folder must be known before the "
                f"loop, but it comes from {error}; type the folder"
            ) from error
        timeline = read_shots(find_story(folder))
        index = inputs["index"]
        if is_link(index) and list(index) != [graph.open_id, SHOT_NUMBER]:
            raise ValueError(
                "Story Shots works in parts (frame_count), so its index must come straight from "
                "Shot Loop Open's shot_number"
            )
        for i in run.todo:
            number = run.steps[i].plan.shot.index + 1 if is_link(index) else index
            total = shot_at(timeline, number).frames
            parts.sizes[i] = [min(size, total - at) for at in range(0, total, size)]
    return parts


def expand_parts(run, i: int, begin: str, finish_inputs: dict, fresh, salt: str) -> dict:
    """Copies of the body for every part of shot ``i``; ``finish_inputs`` gets what ends them."""
    graph, number, expansion = run.graph, run.steps[i].plan.shot.index + 1, {}
    run.clones[i] = [begin]
    previous = None
    for p, size in enumerate(run.parts.of(i)):
        copies, ends = graph.clone(f"{number}.{p}", begin, fresh, salt)
        for copy in copies.values():
            inputs = copy["inputs"]
            if copy["class_type"] == STORY_SHOTS and inputs.get("frame_count"):
                # One more than the part has: frames between two parts are made from both.
                inputs["frame_count"] = inputs["frame_count"] + 1
                inputs["first_frame"] = [previous, 0] if previous else 0
        place = {"loop": graph.run_name, "step": i, "part": p, "size": size}
        part = graph.child_id(f"{number}.{p}.part")
        expansion |= copies
        expansion[part] = {
            "class_type": "StoryMemLoopPart",
            "inputs": {**place, "run": finish_inputs["run"], "frames": ends["frames"]},
        }
        run.parts.ids[i, p] = list(copies)
        run.clones[i] += [*copies, part]
        previous = part
    finish_inputs |= {**ends, "frames": [previous, 1]}
    return expansion


def count_to_drop(given: int, size: int, came: int) -> int:
    """How many frames at the end of a part belong to the next one.

    Args:
        given: frames that went into the body, one more than the part's.
        size: frames of the part.
        came: frames that came out: as many, or those in between as well.
    """
    if given == size:  # the last part
        return 0
    if came % given == 0:
        return came // given
    return 1 if (came - 1) % size == 0 else round(came / given)


class LoopPart(io.ComfyNode):
    """Puts a part of a shot on disk and lets the next one begin."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopPart",
            display_name="Loop: part of a shot",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for shots that are worked on in parts. Not for "
            "workflows.",
            is_dev_only=True,
            is_input_list=True,
            inputs=[
                io.String.Input("loop", tooltip="Id of the Shot Loop Close."),
                io.Int.Input("step", tooltip="Place of the shot in the loop, from 0."),
                io.Int.Input("part", tooltip="Which part, from 0."),
                io.Int.Input("size", tooltip="Frames of the part."),
                io.String.Input("run", tooltip="Different in every run."),
                io.Image.Input("frames", tooltip="The finished frames of the part."),
            ],
            outputs=[
                io.Int.Output(display_name="next", tooltip="First frame of the next part."),
                io.Image.Output(display_name="frames", tooltip="After the last part: all of them."),
            ],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, part, size, run, frames) -> io.NodeOutput:
        this, i, p = loop_run.find_run(cls.hidden.dynprompt, loop[0]), step[0], part[0]
        made = join_parts(frames, this.steps[i].plan.shot)
        sizes = this.parts.of(i)
        is_last = p == len(sizes) - 1
        drop = 0 if is_last else count_to_drop(size[0] + 1, size[0], made.shape[0])
        if p == 0:
            is_deep = this.options.codec != H264  # frames for a master of 10 bits
            this.parts.files[i] = PixelFile(is_deep=is_deep)
        file = this.parts.files[i]
        file.append(made[: made.shape[0] - drop])
        if not is_last:
            host_cache.forget(this.executor, this.parts.ids[i, p])
            return io.NodeOutput(sum(sizes[: p + 1]), None)
        del this.parts.files[i]
        pixels = file.frames()
        file.remove()
        return io.NodeOutput(sum(sizes), pixels)


NODES = [LoopPart]
