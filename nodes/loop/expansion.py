"""The nodes that Shot Loop Close adds to a running prompt, and how it adds them."""

from __future__ import annotations

import uuid
from dataclasses import asdict

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...storymem.files.hashing import digest_of
from ...storymem.loop.shot_record import describe_bank
from ...storymem.script.captions import split_captions
from ...storymem.script.prompt_weights import escape_weights
from ..host.folders import shortens_host_paths
from ..page import bank_ui
from ..types import Bank, Flow, Shot
from . import run as loop_run
from .shot_parts import expand_parts


def body_outputs() -> list:
    """What a shot starts from; the same for Open and for the nodes that stand in for it."""
    return [
        Shot.Output(display_name="shot", tooltip="The shot: prompt, seed, length, how it begins."),
        Bank.Output(display_name="bank", tooltip="What the story remembers before this shot."),
        io.Image.Output(
            display_name="previous_frames",
            tooltip="The last frame or last five frames of the previous shot, or, on the first "
            "shot, of the clip that the story begins from; nothing after a cut.",
        ),
        io.String.Output(
            display_name="prompt",
            tooltip="The shot's prompt with the character description, for CLIP Text Encode. "
            "Parentheses are escaped, unless Load Story's prompt_weights is on.",
        ),
        io.String.Output(
            display_name="negative",
            tooltip="The shot's negative prompt, for CLIP Text Encode; escaped like the prompt.",
        ),
        io.Int.Output(
            display_name="shot_number", tooltip="Number of the shot in the story, from 1."
        ),
        io.Image.Output(
            display_name="start_image",
            tooltip="The picture that this shot begins with, from the script or from start_images, "
            "for M2V Sampler's start_image; nothing for a shot without one.",
        ),
        io.String.Output(
            display_name="dialogue",
            tooltip="What is said in this shot, a line for each and without names, for a "
            "text-to-speech node whose sound goes to shot_audio. In a shot where nothing is said "
            "the nodes after it do not run.",
        ),
        io.String.Output(
            display_name="global_prompt",
            tooltip="Who is in the shot: the part of a prompt before 'shot caption:', without "
            "'global caption:' (Memento's form), for CLIP Text Encode and Choose Memory's "
            "global_positive. The whole prompt where it does not have both.",
        ),
        io.String.Output(
            display_name="reconstruct_prompt",
            tooltip="What everybody looks like: the script's reconstruct_target, for CLIP Text "
            "Encode and identity_positive. Empty where the script has none.",
        ),
    ]


def body_values(story, plan, bank, previous_frames, start_image=None) -> tuple:
    shot, prompt = plan.shot, story.encoded(plan.prompt)
    texts = (prompt, shot.negative or "", split_captions(prompt)[0], story.reconstruct_prompt)
    if not story.prompt_weights:
        texts = tuple(map(escape_weights, texts))
    said = story.said(shot) or ExecutionBlocker(None)  # no voice is silence
    values = (plan, bank, previous_frames, *texts[:2], shot.index + 1, start_image, said)
    return *values, *texts[2:]


def expand(run: loop_run.LoopRun) -> tuple[dict, list]:
    """Copies of the body for every shot that is not finished, and the links that Close gives on."""
    graph, run_id = run.graph, uuid.uuid4().hex
    expansion: dict = {}
    finished, fresh, salt = {}, {}, ""
    settings = digest_of([describe_bank(run.loop.bank), asdict(run.loop.bank.edits)])[:16]
    if run.replaced:
        salt = digest_of(run.replaced)[:12]
        expansion, fresh = graph.clone_outside(graph.stale_nodes(set(run.replaced)), salt)
    for i in run.todo:
        step, number = run.steps[i], run.steps[i].plan.shot.index + 1
        begin, finish = graph.child_id(f"{number}.begin"), graph.child_id(f"{number}.finish")
        place = {"loop": graph.run_name, "step": i}
        if run.parts.of(i):
            ends = {"run": run_id}
            copies = expand_parts(run, i, begin, ends, fresh, salt)
        else:
            copies, ends = graph.clone(number, begin, fresh, salt)
            run.clones[i] = [begin, *copies]
        expansion[begin] = {
            "class_type": "StoryMemLoopShot",
            # A key that is not known yet is no reason to use an older result; nor is a known one
            # when settings changed that the shot does not show, but its bank tells of.
            "inputs": {**place, "key": f"{step.key} {settings}" if step.key else run_id},
            "override_display_id": graph.dynprompt.get_display_node_id(graph.open_id),
        }
        expansion.update(copies)
        # The run's id keeps the host from using an older result of a node that writes files.
        expansion[finish] = {
            "class_type": "StoryMemLoopFinish",
            "inputs": {**place, **ends, "run": run_id},
        }
        after = graph.child_id(f"{number}.after")
        expansion[after] = {
            "class_type": "StoryMemLoopAfter",
            "inputs": {**place, "shot": [finish, 0]},
        }
        finished[f"shot_{i}"] = [after, 0]
    if run.sounds is None or run.then is not None:
        end, links = loop_end(run, run_id, finished)
        return {**expansion, **end}, links
    sounds = graph.child_id("sounds")
    inputs = {"loop": graph.run_name, "run": run_id, **finished}
    expansion[sounds] = {"class_type": "StoryMemLoopSounds", "inputs": inputs}
    return expansion, [[sounds, slot] for slot in range(3)]


def loop_end(run: loop_run.LoopRun, run_id: str, after: dict) -> tuple[dict, list]:
    """The node that joins the shots once everything in ``after`` is there, and its links."""
    end = run.graph.child_id("end")
    inputs = {"loop": run.graph.run_name, "run": run_id, **after}
    info = {"class_type": "StoryMemLoopEnd", "inputs": inputs}
    return {end: info}, [[end, slot] for slot in range(3)]


def place_inputs() -> list:
    """Where a node that Close added stands."""
    return [
        io.String.Input("loop", tooltip="Id of the Shot Loop Close."),
        io.Int.Input("step", tooltip="Place of the shot in the loop, from 0."),
    ]


class LoopShot(io.ComfyNode):
    """Stands in for Open in the copies of one shot."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopShot",
            display_name="Loop: begin shot",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each shot. Not for workflows.",
            is_dev_only=True,
            inputs=[
                *place_inputs(),
                io.String.Input("key", tooltip="Hash of everything that decides the shot."),
            ],
            outputs=[
                Flow.Output(
                    display_name="flow", tooltip="Not used; keeps the outputs in Open's places."
                ),
                *body_outputs(),
            ],
            hidden=[io.Hidden.dynprompt],
        )

    @classmethod
    @shortens_host_paths
    async def execute(cls, loop, step, key) -> io.NodeOutput:
        run = loop_run.find_run(cls.hidden.dynprompt, loop)
        begun = await run.begin(step)
        values = body_values(run.loop.story, *begun, run.start_image(step))
        if run.steps[step].record is not None:  # found finished: the copies stay silent
            values = [ExecutionBlocker(None)] * len(values)
        return io.NodeOutput(None, *values)


class LoopFinish(io.ComfyNode):
    """Puts a shot on disk and lets the next one begin."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopFinish",
            display_name="Loop: finish shot",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each shot. Not for workflows.",
            is_dev_only=True,
            is_input_list=True,  # a body may give its frames in parts
            inputs=[
                *place_inputs(),
                io.String.Input("run", tooltip="Different in every run."),
                io.Image.Input("frames", tooltip="The decoded frames of the shot."),
                Bank.Input("bank", tooltip="The memory after the shot."),
            ],
            outputs=[io.String.Output(display_name="key", tooltip="The key of the finished shot.")],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, run, frames, bank) -> io.NodeOutput:
        this, step = loop_run.find_run(cls.hidden.dynprompt, loop[0]), step[0]
        this.finish(step, frames, bank)
        this.release(step)
        return io.NodeOutput(this.steps[step].key)


class LoopAfter(io.ComfyNode):
    """Comes after a shot also when the host passed that over: an earlier run made it, or a node of
    its body gave nothing, which is told here."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopAfter",
            display_name="Loop: after shot",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each shot. Not for workflows.",
            is_dev_only=True,
            inputs=[
                *place_inputs(),
                # As a link: the host passes over nodes that get nothing.
                io.String.Input("shot", raw_link=True, tooltip="The shot that it comes after."),
            ],
            outputs=[io.String.Output(display_name="after", tooltip="Always empty.")],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, shot) -> io.NodeOutput:
        loop_run.find_run(cls.hidden.dynprompt, loop).check_finished(step)
        return io.NodeOutput("")


class LoopEnd(io.ComfyNode):
    """Joins the finished shots."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopEnd",
            display_name="Loop: join shots",
            category="StoryMem/internal",
            description="Added by Shot Loop Close at the end. Not for workflows.",
            is_dev_only=True,
            inputs=[
                io.String.Input("loop", tooltip="Id of the Shot Loop Close."),
                io.String.Input("run", tooltip="Different in every run."),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The story video."),
                Bank.Output(display_name="bank", tooltip="The memory after the last shot."),
                io.String.Output(display_name="folder", tooltip="The folder with all the results."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            not_idempotent=True,
            accept_all_inputs=True,
            enable_expand=True,
        )

    @classmethod
    @shortens_host_paths
    async def execute(cls, loop, run, **finished) -> io.NodeOutput:
        this = loop_run.find_run(cls.hidden.dynprompt, loop)
        if this.then is not None:  # a rehearsal: what comes after it
            this.assemble()
            return await this.then.go_on(cls.hidden)
        output = bank_ui.with_bank(this.assemble(), cls.hidden)
        this.watch_files()
        return output


class LoopRefuse(io.ComfyNode):
    """Says on a node of the loop why the story cannot be made."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopRefuse",
            display_name="Loop: refuse",
            category="StoryMem/internal",
            description="Added by Shot Loop Close when a node of the loop cannot do what the story "
            "asks for. Not for workflows.",
            is_dev_only=True,
            inputs=[io.String.Input("text", tooltip="What is wrong, and what to do.")],
            outputs=[
                io.Video.Output(display_name="video", tooltip="Never given."),
                Bank.Output(display_name="bank", tooltip="Never given."),
                io.String.Output(display_name="folder", tooltip="Never given."),
            ],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, text) -> io.NodeOutput:
        raise ValueError(text)


NODES = [LoopShot, LoopFinish, LoopAfter, LoopEnd, LoopRefuse]
