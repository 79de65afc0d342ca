"""The loop as nodes around one wire, for ComfyUI's own Start Loop / End Loop and for graphs
unrolled by hand.

The state goes Begin Story -> Next Shot / Finish Shot -> ... -> Join Story. Finish Shot asks for
frames only when the shot is not on disk yet, so that finished shots run nothing.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from weakref import WeakKeyDictionary

import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ...storymem.files.codecs import H264
from ...storymem.files.disk import explain_write_errors, remove_unfinished
from ...storymem.files.hashing import digest_of
from ...storymem.files.video import FRAME_RATE
from ...storymem.film.cutting_room import check_options
from ...storymem.film.earlier_films import begin_film, find_film, notices_of
from ...storymem.film.folder import claim_folder, story_folder
from ...storymem.film.folder_lock import StoryClaim
from ...storymem.film.head import head_of
from ...storymem.film.masters import FOLDER as MASTERS
from ...storymem.film.output import StoryExport, VideoOptions
from ...storymem.film.repair import repair_folder
from ...storymem.film.restore import keep_other
from ...storymem.loop.opening import check_first_shot
from ...storymem.loop.plan import LoopSettings, Step, plan_in
from ...storymem.loop.shots import join_parts, only_bank
from ...storymem.loop.state import LoopState
from ...storymem.loop.take_names import missing_takes
from ...storymem.memory.bank import MemoryBank
from ...storymem.memory.edits_from import lost_edits
from ...storymem.memory.policies import memory_warnings
from ...storymem.script.continuity import CONTINUED
from ..host import executor as host_cache
from ..host.folders import short_places, shortens_host_paths
from ..types import Bank, State, Story
from . import references as loop_references
from .begin_state import begin_state
from .body_names import body_names
from .cards import describe_body
from .clock import begin_one_wire, finish_one_wire
from .cutting_inputs import NO_TIMELINE, check_joined, codec_input, timeline_input
from .draft_settings import chosen_pass, pass_inputs
from .expansion import body_outputs, body_values
from .graph import LoopGraph
from .notices import tell
from .opening_choice import ClipChoice
from .opening_inputs import chosen_clip, opening_inputs
from .progress import workflow_id
from .read_graph import read_one_wire
from .script_sounds import joined_rate, joins_of, prompt_subtitles_input
from .shot_loras import read_loras
from .sound_graph import read_sound_graph
from .sound_inputs import SoundSettings, film_sound, shot_sound_input, track_inputs
from .sound_run import finish_with_sound
from .turns_ahead import check_turns, check_turns_left
from .wiring import held_length, impossible_shot, loop_notices

logger = logging.getLogger(__name__)

# Nodes of a prompt that is being executed that were looked at; they end with it.
_TOLD: WeakKeyDictionary = WeakKeyDictionary()
STATE_TOOLTIP = "The loop's one value: which shots are finished, and the memory."


class BeginStory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemBeginStory",
            display_name="Begin Story",
            category="StoryMem/one wire",
            search_aliases=["multi-shot", "story loop", "storyboard", "多镜头"],
            description="Packs a story into one value that a loop can carry, for ComfyUI's own "
            "Start Loop and End Loop. In most workflows Shot Loop Open and Close are simpler.",
            inputs=[
                Story.Input("story", tooltip="From Load Story."),
                Bank.Input(
                    "bank", optional=True, tooltip="The memory that the first shot begins with."
                ),
                io.Combo.Input(
                    "continuity",
                    options=list(CONTINUED),
                    default=CONTINUED[0],
                    tooltip="How a shot without a cut begins, as on Shot Loop Open.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="storymem",
                    tooltip="Folder in the output folder, as on Shot Loop Open.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Negative prompt for shots that have none in the script.",
                ),
                *pass_inputs(),
                *opening_inputs(),
            ],
            outputs=[
                State.Output(display_name="state", tooltip=STATE_TOOLTIP),
                io.Int.Output(
                    display_name="shot_count",
                    tooltip="How many times the loop must run, for num_iterations of Start Loop.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")  # whether an artist edited a shot's file is looked up every time

    @classmethod
    @shortens_host_paths
    def execute(
        cls, story, continuity, filename_prefix, negative="", bank=None, draft=None, **inputs
    ) -> io.NodeOutput:
        host_cache.note_executor()
        bank = MemoryBank() if bank is None else bank
        settings = LoopSettings(
            continuity, filename_prefix, negative, draft=chosen_pass(inputs, draft)
        )
        clip = chosen_clip(inputs)
        check_first_shot(story, clip)
        if clip is None or not clip.is_remembered:
            return cls._begin(story, settings, bank, clip)
        choice = ClipChoice(cls.hidden.dynprompt, cls.hidden.unique_id, clip, bank)

        def go_on(_=None) -> io.NodeOutput:
            return cls._begin(story, settings, choice.known_bank() or bank, clip)

        if choice.known_bank() is not None:
            return go_on()
        mark = cls.hidden.unique_id.replace(":", "-")
        return choice.ask(lambda name: f"{mark}.{name}", "StoryMemStoryOpened", 2, go_on)

    @classmethod
    def _begin(cls, story, settings, bank, clip) -> io.NodeOutput:
        of_loop = check_turns(cls.hidden.dynprompt, cls.hidden.unique_id, len(story.shots))
        joins = joins_of(cls.hidden.dynprompt, cls.hidden.unique_id)
        for join in joins:
            check_joined(join)
        fps = joined_rate(joins, story)
        state, film, folder = begin_state(story, settings, bank, clip, fps=fps)
        store, made = state.loop.store, settings.pass_name
        notices = [*of_loop, *notices_of(film, folder, story), *state.loop.notes]
        notices += missing_takes(store, story.shots, made)
        if notices:
            logger.warning("StoryMem: %s", short_places("\n".join(notices)))
        notices += lost_edits(bank.edits, story)
        notices += memory_warnings(bank.max_frames, bank.sink, bank.policy)  # logged by its node
        notice = short_places("\n".join(notices))
        said = ui.PreviewText(notice).as_dict() | {"storymem_notice": [notice]} if notice else None
        return io.NodeOutput(state, len(story.shots), ui=said)


class NextShot(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemNextShot",
            display_name="Next Shot",
            category="StoryMem/one wire",
            description="Outputs everything the story's next shot starts from.",
            inputs=[State.Input("state", tooltip="From Begin Story, Start Loop or Finish Shot.")],
            outputs=[State.Output(display_name="state", tooltip=STATE_TOOLTIP), *body_outputs()],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, state) -> io.NodeOutput:
        plan, bank, given = state.begin()
        start_image = loop_references.start_image_of(state.loop, plan.shot.index)
        values = body_values(state.loop.story, plan, bank, given, start_image)
        return io.NodeOutput(state, *values)


class FinishShot(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemFinishShot",
            display_name="Finish Shot",
            category="StoryMem/one wire",
            description="Writes a shot to disk and moves on to the next one. A shot already on "
            "disk is not regenerated: the nodes before this one do not run.",
            inputs=[
                State.Input("state", tooltip="The state output of Next Shot."),
                io.Image.Input(
                    "frames",
                    lazy=True,
                    tooltip="The decoded frames of the shot, repeated frames included.",
                ),
                Bank.Input("bank", lazy=True, tooltip="The memory after the shot, from Remember."),
                codec_input(),
                shot_sound_input(raw_link=True),
            ],
            outputs=[
                State.Output(display_name="state", tooltip=STATE_TOOLTIP),
                io.Boolean.Output(
                    display_name="done",
                    tooltip="True after the story's last shot, for loops that can end by it. "
                    "ComfyUI's own cannot: it goes around as often as shot_count says.",
                ),
            ],
            hidden=[
                io.Hidden.unique_id,
                io.Hidden.dynprompt,
                io.Hidden.prompt,
                io.Hidden.extra_pnginfo,
            ],
            not_idempotent=True,
            enable_expand=True,
            is_input_list=True,  # a body may give its frames in parts
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")  # whether the shot is still on disk is looked up every time

    @classmethod
    async def check_lazy_status(cls, state, frames=(None,), bank=(None,), codec=(H264,), **_):
        read_sound_graph(_graph(cls.hidden, state[0]))
        state, body = await _of_body(cls.hidden, state[0])
        if state.find(body):
            return []
        wanted = [n for n, given in (("frames", frames), ("bank", bank)) if given[0] is None]
        if len(wanted) == 2:  # asked for the first time
            check_options(VideoOptions(codec=codec[0]))
            _look_before_the_first_shot(cls.hidden, state)
            begin_one_wire(cls.hidden)
            graph = _graph(cls.hidden, state)
            metadata = loop_references.graph_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
            for one in state.regenerations(body, body_names(graph, metadata)):
                logger.log(logging.INFO if one.is_edited else logging.WARNING, "StoryMem: %s", one)
        return wanted

    @classmethod
    @shortens_host_paths
    async def execute(
        cls, state, frames=(None,), bank=(None,), codec=(H264,), shot_audio=None
    ) -> io.NodeOutput:
        state, body = await _of_body(cls.hidden, state[0])
        record = state.find(body)
        if record is not None and frames[0] is None:
            after = state.reuse(body, record)
        else:
            shot = state.next_step().plan.shot
            made = join_parts(frames, shot), only_bank(bank, shot)
            metadata = loop_references.graph_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
            work = finish_one_wire(cls.hidden, state, body, made[0].shape)
            after = state.finish(
                body, *made, crf=VideoOptions().crf, metadata=metadata, work=work,
                length=held_length(_graph(cls.hidden, state)),
                master=VideoOptions(codec=codec[0]).master,
            )  # fmt: skip
        return await finish_with_sound(_graph(cls.hidden, state), after)


class JoinStory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemJoinStory",
            display_name="Join Story",
            category="StoryMem/one wire",
            description="Writes the files of a story whose shots are finished: one video per shot, "
            "the story video, the memory and the script.",
            inputs=[
                State.Input("state", tooltip="From the last Finish Shot, or from End Loop."),
                io.Float.Input(
                    "fps",
                    default=float(FRAME_RATE),
                    min=1.0,
                    max=240.0,
                    optional=True,
                    tooltip="Frames per second of all videos. Wan 2.2 makes 16.",
                ),
                prompt_subtitles_input(),
                codec_input(),
                timeline_input(),
                *track_inputs(lazy=False),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The story video."),
                Bank.Output(display_name="bank", tooltip="The memory after the last shot."),
                io.String.Output(display_name="folder", tooltip="The folder with all the results."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(
        cls, state, fps=float(FRAME_RATE), prompt_subtitles=False, codec=H264,
        timeline=NO_TIMELINE, **of_sound
    ) -> io.NodeOutput:  # fmt: skip
        told = {"prompt_subtitles": prompt_subtitles, "codec": codec, "timeline": timeline}
        options = VideoOptions(fps, **told)
        check_options(options)
        if not state.steps:
            raise ValueError(
                "no shot of the story is finished yet; put Next Shot and Finish Shot before this "
                "node"
            )
        output = folder_paths.get_output_directory()
        settings = replace(state.loop.settings, end_shot=len(state.steps))
        story = state.loop.story
        where = (output, settings.prefix, story, settings.pass_name)
        place = story_folder(*where)
        repair_folder(place, story, state.loop.store)
        notice = short_places("\n".join(notices_of(find_film(place, story), place, story)))
        if notice:
            logger.warning("StoryMem: %s", notice)
        folder = claim_folder(*where)
        head, given = head_of(state.loop), SoundSettings(**of_sound)
        sound = film_sound(story, given, given.track(), state.sounds)
        shown = StoryExport(folder, story, settings, options, head=head, sound=sound)
        metadata = loop_references.graph_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        mark = digest_of([[step.record.key for step in state.steps], fps])
        claim = StoryClaim(folder, mark)
        try:
            for place in (folder, folder / MASTERS):
                remove_unfinished(place)
            with explain_write_errors("the script", folder):
                keep_other(folder, story)
                begin_film(folder, story, state.steps)
            video = shown.finish(list(state.steps), metadata, state.bank)
        finally:
            claim.release()
        preview = ui.SavedResult(video.name, os.path.relpath(folder, output), io.FolderType.output)
        result = InputImpl.VideoFromFile(str(video))
        said = ui.PreviewVideo([preview]).as_dict()
        if lines := [*filter(None, [notice]), *shown.notes.values()]:
            said |= ui.PreviewText("\n".join(lines)).as_dict()
        if notice:
            said["storymem_notice"] = [notice]
        return io.NodeOutput(result, state.bank, str(folder), ui=said)


def _look_before_the_first_shot(hidden, state: LoopState) -> None:
    """Tell once a run, by node, what costs a night.

    Raises:
        ValueError: for a sampler that cannot make a shot of the story, and for turns of the host's
            loop that have no shot.
    """
    told = _TOLD.setdefault(hidden.dynprompt, set())
    shown = hidden.dynprompt.get_display_node_id(hidden.unique_id)
    if shown in told:
        return
    told.add(shown)
    graph, loop = _graph(hidden, state), state.loop
    done, count = len(state.steps), len(loop.story.shots)
    check_turns_left(hidden.dynprompt, hidden.unique_id, done, count)
    shots = loop.story.shots[done:]
    plans = [plan_in(loop, s, has_previous=s.index > 0) for s in shots]
    steps = [Step(plan, "") for plan in plans]
    wires = graph.wires()
    metadata = loop_references.graph_metadata(hidden.prompt, hidden.extra_pnginfo)
    notices = loop_notices(wires, graph.close_id, loop, [*state.steps, *steps])
    tell(wires, graph.close_id, notices, workflow_id(metadata))
    if refused := impossible_shot(wires, steps):
        raise ValueError(refused[1])


def _graph(hidden, state: LoopState) -> LoopGraph:
    """The nodes that make a shot, for the pass that is made."""
    graph = read_one_wire(hidden.dynprompt, hidden.unique_id)
    graph.draft = state.loop.settings.draft
    return graph


async def _of_body(hidden, state: LoopState) -> tuple[LoopState, str]:
    """A state as these nodes go on with it, and what describes them."""
    graph = _graph(hidden, state)
    body = await describe_body(graph)
    return with_loras(state, graph), body


def with_loras(state: LoopState, graph: LoopGraph) -> LoopState:
    """A state whose loop knows which LoRAs these nodes apply to single shots."""
    loras = read_loras(state.loop.story, graph.lora_place)
    return replace(state, loop=replace(state.loop, loras=loras))


NODES = [BeginStory, NextShot, FinishShot, JoinStory]
