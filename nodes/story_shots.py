"""Story Shots: a finished story's shots, one at a time."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..storymem.film.finished_shots import (
    describe_shots,
    finishing_story,
    read_part,
    read_shots,
    shot_at,
)
from ..storymem.sound.files import read_sound
from .host.folders import find_story, shortens_host_paths
from .types import Story


class StoryShots(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemStoryShots",
            display_name="Story Shots",
            category="StoryMem/story",
            search_aliases=[
                "upscale story",
                "interpolate",
                "finish",
                "load shot",
                "post",
                "放大",
                "插帧",
                "后期",
            ],
            description="Gives the shots of a finished story one at a time, for upscaling, "
            "interpolation and other finishing between Shot Loop Open and Close. The story that "
            "it gives has the same shots and cuts, and is kept apart from the original.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    placeholder="storymem/The Lighthouse",
                    tooltip="Folder of a finished story inside the output folder: its name, or the "
                    "folder output of Shot Loop Close.",
                ),
                io.Int.Input(
                    "index",
                    default=1,
                    min=0,
                    max=100000,
                    tooltip="Which shot, from 1; inside a loop, Shot Loop Open's shot_number. 0 "
                    "gives no frames: only the story and its facts.",
                ),
                io.Int.Input(
                    "first_frame",
                    optional=True,
                    default=0,
                    min=0,
                    max=1000000,
                    advanced=True,
                    tooltip="First frame of the part to give, from 0. Inside a loop that works in "
                    "parts it is counted by itself.",
                ),
                io.Int.Input(
                    "frame_count",
                    optional=True,
                    default=0,
                    min=0,
                    max=1000000,
                    tooltip="How many frames to give at once; 0 means the whole shot. Inside a "
                    "loop, a shot with more frames is worked on in parts of so many and put "
                    "together on disk. Safe for four-fold upscaling: 16.",
                ),
                io.Boolean.Input(
                    "overlap",
                    optional=True,
                    default=False,
                    advanced=True,
                    tooltip="Begin with the frames that repeat the shot before, where the shot has "
                    "a master that holds them. Off for finishing.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The frames of the shot."),
                io.Float.Output(display_name="fps", tooltip="Frames per second of the story."),
                io.String.Output(
                    display_name="name", tooltip="The shot as its file is called: shot_01_02."
                ),
                io.Int.Output(display_name="shot_count", tooltip="How many shots the story has."),
                Story.Output(
                    display_name="story",
                    tooltip="The story for Shot Loop Open, with finished after its title.",
                ),
                io.String.Output(
                    display_name="folder", tooltip="The folder, for another Story Shots."
                ),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The whole sound of the shot, for Shot Loop Close's shot_audio; "
                    "nothing for a silent one.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder="", **_):
        if not isinstance(folder, str) or not folder:
            return ""  # a wire says which: its node tells of changes
        try:
            return describe_shots(find_story(folder))
        except (OSError, ValueError):
            return ""

    @classmethod
    @shortens_host_paths
    def execute(cls, folder, index, first_frame=0, frame_count=0, overlap=False) -> io.NodeOutput:
        place = find_story(folder)
        timeline = read_shots(place)
        story = finishing_story(place)
        frames, name, audio = ExecutionBlocker(None), "", ExecutionBlocker(None)
        if index:
            clip = shot_at(timeline, index)
            name = f"shot_{clip.label}"
            frames = read_part(place, clip, first_frame, frame_count, overlap=overlap)
            if clip.has_audio:
                sound = read_sound(place / (clip.audio_path or clip.path))
                waveform = torch.from_numpy(sound.samples.copy())[None]
                audio = {"waveform": waveform, "sample_rate": sound.rate}
        count = len(timeline.clips)
        return io.NodeOutput(frames, float(timeline.rate), name, count, story, folder, audio)


NODES = [StoryShots]
