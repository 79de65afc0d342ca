"""Shot Loop Open and Close: every shot of a story through the nodes between them."""

from __future__ import annotations

from dataclasses import replace

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...storymem.files.codecs import H264
from ...storymem.files.names import check_name
from ...storymem.files.video import DEFAULT_CRF, FRAME_RATE
from ...storymem.film.cutting_room import check_options
from ...storymem.film.folder import story_folder
from ...storymem.film.output import VideoOptions
from ...storymem.film.rehearsal import opening_of
from ...storymem.loop.opening import check_first_shot
from ...storymem.loop.passes import check_rehearsals
from ...storymem.loop.plan import LoopSettings
from ...storymem.memory.bank import MemoryBank
from ...storymem.sampling import start_images as start_pictures
from ...storymem.sampling.continuity import LOOP_CONTINUITY
from ...storymem.script.numbers import parse_ranges
from ..host import executor as host_cache
from ..host.folders import shortens_host_paths
from ..host.tensors import require_images
from ..types import Bank, Flow, Story
from . import references
from . import run as loop_run
from .cutting_inputs import NO_TIMELINE, codec_input, timeline_input
from .draft_settings import chosen_pass, pass_inputs
from .expansion import body_outputs
from .file_watch import WATCH
from .opening_inputs import CLIP, END_IMAGES, chosen_clip, end_images_input, opening_inputs
from .read_graph import check_open, read_loop
from .rehearsals import Stages, check_opening, rehearsals_input
from .script_sounds import check_sounds, prompt_subtitles_input
from .sound_graph import check_track, read_sound_graph
from .sound_inputs import SoundSettings, shot_sound_input, track_inputs


class ShotLoopOpen(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemShotLoopOpen",
            display_name="Shot Loop Open",
            category="StoryMem/story",
            search_aliases=[
                "multi-shot",
                "for each shot",
                "long video",
                "story loop",
                "storyboard",
                "多镜头",
                "循环",
                "长视频",
            ],
            description="Starts the loop over a story's shots. Everything between Open and Close "
            "runs once per shot. Finished shots are kept on disk, even after a crash, and are "
            "regenerated only if something that affects how they look has changed.",
            inputs=[
                Story.Input("story", lazy=True, tooltip="From Load Story."),
                Bank.Input(
                    "bank",
                    optional=True,
                    lazy=True,
                    tooltip="The memory that the first shot begins with, such as reference "
                    "pictures. Empty when nothing is connected.",
                ),
                io.Combo.Input(
                    "continuity",
                    options=list(LOOP_CONTINUITY),
                    default=LOOP_CONTINUITY[0],
                    tooltip="How a shot without a cut begins: from the last frame of the shot "
                    "before (the MI2V LoRA) or from its last five frames (the MM2V LoRA). cut: "
                    "every shot begins with a cut, whatever the script says (for comparisons).",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="storymem",
                    tooltip="Folder in the output folder. Shots go to "
                    "<prefix>/<story>/shot_01_02.mp4 (scene, shot). Changing it regenerates "
                    "nothing.",
                ),
                io.String.Input(
                    "negative",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="Negative prompt for shots that have none in the script.",
                ),
                io.Int.Input(
                    "start_shot",
                    optional=True,
                    default=1,
                    min=1,
                    max=100000,
                    advanced=True,
                    tooltip="First shot to work on. Earlier ones are used as last finished and are "
                    "never generated. Safe: 1.",
                ),
                io.Int.Input(
                    "end_shot",
                    optional=True,
                    default=0,
                    min=0,
                    max=100000,
                    advanced=True,
                    tooltip="Last shot to work on; 0 means the last one of the story.",
                ),
                io.Boolean.Input(
                    "preview",
                    optional=True,
                    default=False,
                    tooltip="Stop after the first shot, to see whether everything is right "
                    "before a long run.",
                ),
                io.String.Input(
                    "redo_shots",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Shots to roll again with another seed, such as 3 or 3, 5-7. Empty "
                    "brings the first take back; every take stays on disk.",
                ),
                io.Int.Input(
                    "redo_take",
                    optional=True,
                    default=1,
                    min=1,
                    max=100000,
                    advanced=True,
                    tooltip="Which take of the redo_shots to use: go up for a new one, down for an "
                    "earlier one.",
                ),
                io.Combo.Input(
                    "after_redo",
                    optional=True,
                    options=["recompute", "keep_later"],
                    default="recompute",
                    advanced=True,
                    tooltip="What happens to later shots when an earlier one changes: recompute "
                    "regenerates those that now see something different, keep_later leaves them as "
                    "they are.",
                ),
                io.Image.Input(
                    "start_images",
                    optional=True,
                    lazy=True,
                    tooltip="One picture per shot, in order, to use as its first frame (key images "
                    "from another model). Such a shot begins with a cut. Connect start_image to "
                    "M2V Sampler.",
                ),
                *pass_inputs(),
                rehearsals_input(),
                *opening_inputs(lazy=True),
                end_images_input(),
            ],
            outputs=[
                Flow.Output(display_name="flow", tooltip="To the flow input of Shot Loop Close."),
                *body_outputs(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None):
        try:
            return filename_prefix is None or bool(check_name(filename_prefix, "filename_prefix"))
        except ValueError as error:
            return str(error)

    @classmethod
    def check_lazy_status(cls, **inputs):
        # Before the story is even loaded: a loop that is not closed is told at once.
        check_open(cls.hidden.dynprompt, cls.hidden.unique_id)
        wired = cls.hidden.dynprompt.get_node(cls.hidden.unique_id)["inputs"]
        lazy = ("story", "bank", "start_images", CLIP, END_IMAGES)
        return [name for name in lazy if inputs.get(name) is None and name in wired]

    @classmethod
    @shortens_host_paths
    async def execute(
        cls,
        story,
        continuity,
        filename_prefix,
        negative="",
        start_shot=1,
        end_shot=0,
        preview=False,
        redo_shots="",
        redo_take=1,
        after_redo="recompute",
        bank=None,
        start_images=None,
        draft=None,
        rehearsals=0,
        end_images=None,
        **inputs,
    ) -> io.NodeOutput:
        # A coroutine, because the host runs those first: a mistake shows before models are loaded.
        check_name(filename_prefix, "filename_prefix")
        check_name(story.name, "the story's name")
        settings = LoopSettings(
            continuity,
            filename_prefix,
            negative,
            start_shot,
            end_shot,
            preview,
            parse_ranges(redo_shots, "redo_shots", shots=len(story.shots)),
            redo_take,
            after_redo == "keep_later",
            chosen_pass(inputs, draft),
        )
        settings.range(story)
        clip = chosen_clip(inputs)
        check_first_shot(story, clip)
        references.read_references(story)
        references.read_start_images(story)  # again when the loop begins: a file may change
        references.read_end_images(story)
        check_sounds(story)
        # The nodes between Open and Close run as copies; the ones that the artist sees stay silent.
        silent = [ExecutionBlocker(None)] * len(body_outputs())
        bank = MemoryBank() if bank is None else bank  # an empty bank still has its settings
        output = folder_paths.get_output_directory()
        place = story_folder(output, filename_prefix, story, settings.pass_name)
        count = check_rehearsals(rehearsals, story) if settings.draft is None else 0
        check_opening(bank, count, place)
        bank = opening_of(bank, place, is_film=settings.draft is None)
        begins, ends = (
            {} if images is None
            else start_pictures.from_batch(require_images(images, name), story, name)
            for name, images in (("start_images", start_images), (END_IMAGES, end_images))
        )  # fmt: skip
        flow = loop_run.Flow(
            story, bank, settings, begins, count, draft, end_images=ends, opening=clip
        )
        return io.NodeOutput(flow, *silent)


class ShotLoopClose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemShotLoopClose",
            display_name="Shot Loop Close",
            category="StoryMem/story",
            search_aliases=[
                "multi-shot",
                "join shots",
                "combine videos",
                "story film",
                "多镜头",
                "拼接视频",
            ],
            description="Ends the loop over a story's shots: trims the frames that repeat the "
            "previous shot, writes one video per shot, and joins them into the story video.",
            inputs=[
                Flow.Input("flow", lazy=True, tooltip="From the flow output of Shot Loop Open."),
                io.Image.Input(
                    "frames",
                    lazy=True,
                    raw_link=True,
                    tooltip="The decoded frames of the shot, repeated frames included.",
                ),
                Bank.Input(
                    "bank",
                    lazy=True,
                    raw_link=True,
                    tooltip="The memory after the shot, from Remember. The next shot sees it.",
                ),
                io.Float.Input(
                    "fps",
                    optional=True,
                    default=float(FRAME_RATE),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames per second of all videos. Wan 2.2 makes 16. Changing it "
                    "regenerates nothing.",
                ),
                io.Int.Input(
                    "crf",
                    optional=True,
                    default=DEFAULT_CRF,
                    min=0,
                    max=51,
                    advanced=True,
                    tooltip="H.264 quality of shots generated from now on: lower means better "
                    "quality and larger files. Safe: 14 to 23.",
                ),
                io.Combo.Input(
                    "transition",
                    optional=True,
                    options=["none", "cross_fade"],
                    default="none",
                    tooltip="What happens at cuts in the story video. none joins the shots without "
                    "encoding them again; cross_fade blends them.",
                ),
                io.Int.Input(
                    "fade_frames",
                    optional=True,
                    default=8,
                    min=1,
                    max=240,
                    advanced=True,
                    tooltip="Length of a cross-fade in frames; each cut shortens the story by that "
                    "much.",
                ),
                io.Boolean.Input(
                    "subtitles",
                    optional=True,
                    default=True,
                    advanced=True,
                    tooltip="Write subtitles beside the story video, as SRT and WebVTT, where the "
                    "script has a subtitle or dialogue.",
                ),
                prompt_subtitles_input(),
                codec_input(),
                timeline_input(),
                shot_sound_input(raw_link=True),
                *track_inputs(lazy=True),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video", tooltip="The story video (or the part worked on)."
                ),
                Bank.Output(display_name="bank", tooltip="The memory after the last shot."),
                io.String.Output(display_name="folder", tooltip="The folder with all the results."),
            ],
            hidden=[
                io.Hidden.unique_id,
                io.Hidden.dynprompt,
                io.Hidden.prompt,
                io.Hidden.extra_pnginfo,
            ],
            is_output_node=True,
            not_idempotent=True,
            enable_expand=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        # The host may use its old result as long as the files it rests on are untouched.
        return WATCH.token(cls.hidden.unique_id)

    @classmethod
    def check_lazy_status(cls, flow=None, audio=None, **inputs):
        # This node is ready at once and asked first: a crossed loop is told before anything runs.
        graph = read_loop(cls.hidden.dynprompt, cls.hidden.unique_id)
        check_track(graph)
        read_sound_graph(graph)
        wired = graph.node(graph.close_id)["inputs"]
        given = (("flow", flow), ("audio", audio))
        return [name for name, value in given if value is None and name in wired]

    @classmethod
    @shortens_host_paths
    async def execute(
        cls,
        flow,
        frames,
        bank,
        fps=float(FRAME_RATE),
        crf=DEFAULT_CRF,
        transition="none",
        fade_frames=8,
        subtitles=True,
        prompt_subtitles=False,
        codec=H264,
        timeline=NO_TIMELINE,
        shot_audio=None,
        **of_sound,
    ) -> io.NodeOutput:
        graph = read_loop(cls.hidden.dynprompt, cls.hidden.unique_id)
        host_cache.blame_shown_nodes(cls.hidden.dynprompt, graph.child_id(""))
        fade = fade_frames if transition == "cross_fade" else 0
        options = VideoOptions(fps, crf, fade, subtitles, prompt_subtitles, codec, timeline)
        check_options(options)
        metadata = references.graph_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        flow = replace(flow, fps=fps)  # how many frames a sound lasts
        sound = SoundSettings(**of_sound)
        return await Stages(flow, graph, options, metadata, sound).go_on(cls.hidden)


NODES = [ShotLoopOpen, ShotLoopClose]
