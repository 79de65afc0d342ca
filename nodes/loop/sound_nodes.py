"""The nodes that make the sounds of finished shots, as Shot Loop Close and Finish Shot add them."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.folders import shortens_host_paths
from ..types import Bank, Flow, State
from . import run as loop_run
from .expansion import body_outputs, loop_end, place_inputs
from .sound_run import find_maker

RUN = "Different in every run."


def _place() -> list:
    return [*place_inputs(), io.String.Input("run", tooltip=RUN)]


class LoopHear(io.ComfyNode):
    """Stands in for Open, and for what made the pictures, in the copies for one shot's sound."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopHear",
            display_name="Loop: begin sound",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each sound to be made. Not for workflows.",
            is_dev_only=True,
            inputs=_place(),
            outputs=[
                Flow.Output(
                    display_name="flow", tooltip="Not used; keeps the outputs in Open's places."
                ),
                *body_outputs(),
                io.Image.Output(
                    display_name="frames", tooltip="The shot's frames, read from the disk."
                ),
                Bank.Output(display_name="bank_after", tooltip="The memory after the shot."),
            ],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    async def execute(cls, loop, step, run) -> io.NodeOutput:
        return io.NodeOutput(None, *await find_maker(cls.hidden.dynprompt, loop).begin(step))


class LoopKeepSound(io.ComfyNode):
    """Puts a sound beside its shot."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopKeepSound",
            display_name="Loop: keep sound",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each sound to be made. Not for workflows.",
            is_dev_only=True,
            is_input_list=True,  # a sound may come in parts
            inputs=[
                *_place(),
                Flow.Input("begin", tooltip="The beginning of this sound."),
                io.Audio.Input("audio", tooltip="The sound of the shot."),
            ],
            outputs=[io.String.Output(display_name="kept", tooltip="Always empty.")],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, run, begin, audio) -> io.NodeOutput:
        find_maker(cls.hidden.dynprompt, loop[0]).keep(step[0], audio)
        return io.NodeOutput("")


class LoopAfterSound(io.ComfyNode):
    """Comes after a sound also when the host passed it over: one for which nothing came is
    silence."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopAfterSound",
            display_name="Loop: after sound",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for each sound to be made. Not for workflows.",
            is_dev_only=True,
            inputs=[
                *_place(),
                # As a link: the host passes over nodes that get nothing.
                io.String.Input("sound", raw_link=True, tooltip="The sound that it comes after."),
            ],
            outputs=[io.String.Output(display_name="after", tooltip="Always empty.")],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, run, sound) -> io.NodeOutput:
        find_maker(cls.hidden.dynprompt, loop).end(step)
        return io.NodeOutput("")


class LoopSounds(io.ComfyNode):
    """Makes the sounds that are missing once all shots are finished, and then joins them."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopSounds",
            display_name="Loop: sounds",
            category="StoryMem/internal",
            description="Added by Shot Loop Close where shot_audio is connected. Not for "
            "workflows.",
            is_dev_only=True,
            inputs=[
                io.String.Input("loop", tooltip="Id of the Shot Loop Close."),
                io.String.Input("run", tooltip=RUN),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The story video."),
                Bank.Output(display_name="bank", tooltip="The memory after the last shot."),
                io.String.Output(display_name="folder", tooltip="The folder with all the results."),
            ],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
            accept_all_inputs=True,
            enable_expand=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, run, **finished) -> io.NodeOutput:
        this = loop_run.find_run(cls.hidden.dynprompt, loop)
        missing = this.sounds.missing()
        expansion = this.sounds.expand(loop, run, missing)
        end, links = loop_end(this, run, this.sounds.after_ids(missing))
        return io.NodeOutput(*links, expand={**expansion, **end})


class StateAfterSound(io.ComfyNode):
    """What Finish Shot gives once the sound of its shot is there."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemStateAfterSound",
            display_name="Finish Shot: after sound",
            category="StoryMem/internal",
            description="Added by Finish Shot where shot_audio is connected. Not for workflows.",
            is_dev_only=True,
            inputs=[
                *_place(),
                io.String.Input("sound", tooltip="The sound that it comes after."),
            ],
            outputs=[
                State.Output(display_name="state", tooltip="The loop's one value."),
                io.Boolean.Output(display_name="done", tooltip="True after the story's last shot."),
            ],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, loop, step, run, sound) -> io.NodeOutput:
        state = find_maker(cls.hidden.dynprompt, loop).state()
        return io.NodeOutput(state, state.is_done)


NODES = [LoopHear, LoopKeepSound, LoopAfterSound, LoopSounds, StateAfterSound]
