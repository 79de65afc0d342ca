"""The shots of a finished story for whoever works on them further: one at a time, in parts, and as
a story of their own, so that what becomes of them is kept apart from the originals.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..files.hashing import digest_of
from ..files.messages import count_shots, reason_of
from ..files.video import open_video, to_pixels
from ..script.reader import load_story
from ..script.story import Shot, Story
from .masters import OPENING
from .timeline import Timeline, TimelineClip, film_story, read_timeline

FINISHED = "finished"  # ends the title of a story that was worked on further
KEPT = ("audio", "subtitle")  # fields of a script that still hold
MAX_SEED_BITS = 52  # a number that every page can hold


def read_shots(folder: Path) -> Timeline:
    """A film's shots: its timeline without a clip of the artist's at its head.

    Raises:
        ValueError: when ``folder`` holds no finished film.
    """
    timeline = read_timeline(folder, with_memory=False)
    return replace(timeline, clips=tuple(c for c in timeline.clips if c.label != OPENING))


def finishing_story(folder: Path) -> Story:
    """The story in ``folder`` as one of its own: same shots and cuts, no memory, no wishes. The
    seed of each shot stands for what it is made of: another take of it is another shot here. The
    first one begins with a cut, for what it went on from is no shot of this story.

    Raises:
        ValueError: when ``folder`` holds no finished film.
    """
    by_label = {clip.label: clip for clip in read_shots(folder).clips}
    story = film_story(folder)
    shots = [shot for shot in story.shots if shot.label in by_label]
    scenes: dict[int, list[Shot]] = {}
    for shot in shots:
        scenes.setdefault(shot.scene, []).append(shot)
    script = {
        "story_name": f"{story.name} {FINISHED}",
        "story_overview": story.overview,
        "scenes": [
            {
                "scene_num": number,
                "video_prompts": [shot.prompt for shot in there],
                "cut": [shot.cut or shot is shots[0] for shot in there],
                "seed": [_seed_of(by_label[shot.label]) for shot in there],
                **_kept_fields(there),
            }
            for number, there in scenes.items()
        ],
    }
    return load_story(json.dumps(script, ensure_ascii=False, indent=1))


def shot_at(timeline: Timeline, number: int) -> TimelineClip:
    """A shot of a film by its number, from 1.

    Raises:
        ValueError: when there is none.
    """
    if not 1 <= number <= len(timeline.clips):
        raise ValueError(
            f"index is {number}, but '{timeline.name}' has {count_shots(len(timeline.clips))}, "
            "counted from 1"
        )
    return timeline.clips[number - 1]


def read_part(
    folder: Path, clip: TimelineClip, first: int = 0, count: int = 0, *, overlap: bool = False
) -> torch.Tensor:
    """Frames of a shot, float32 ``[n, H, W, 3]`` in [0, 1]; no others are in memory.

    Args:
        first: the first one, from 0.
        count: how many, fewer where the shot ends; 0 for all that follow.
        overlap: begin with the frames that repeat the shot before, where its file has them.

    Raises:
        ValueError: when the shot has no such frame, or its file cannot be read.
    """
    import av

    skipped = 0 if overlap else clip.head
    total = clip.available - skipped
    if not 0 <= first < total:
        raise ValueError(
            f"first_frame is {first}, but shot {clip.label} has frames 0 to {total - 1}"
        )
    last = min(first + count, total) if count > 0 else total
    frames = torch.empty(last - first, clip.height, clip.width, 3)
    size, path, filled = (clip.height, clip.width), folder / clip.path, 0
    try:
        with open_video(path) as container:
            for number, frame in enumerate(container.decode(video=0)):
                place = number - skipped - first
                if 0 <= place < len(frames):
                    pixels = torch.from_numpy(to_pixels(frame, size).astype(np.float32))
                    frames[place] = pixels.div_(255)
                    filled += 1
                if place + 1 >= len(frames):
                    break
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {reason_of(error)}") from error
    if filled < len(frames):
        raise ValueError(f"{path} is damaged: {filled} of {len(frames)} frames could be read")
    return frames


def describe_shots(folder: Path) -> str:
    """A text that changes when a shot of a story's film does."""
    return digest_of([[clip.path, clip.head, _mark(clip)] for clip in read_shots(folder).clips])


# --- inside ----------------------------------------------------------------------------------


def _mark(clip: TimelineClip) -> str:
    return clip.info.get("edited", clip.info["take"])


def _seed_of(clip: TimelineClip) -> int:
    return int(_mark(clip)[: MAX_SEED_BITS // 4], 16)


def _kept_fields(shots: list[Shot]) -> dict:
    kept = {name: [getattr(shot, name, "") or None for shot in shots] for name in KEPT}
    kept = {name: values for name, values in kept.items() if any(values)}
    spoken = [[{"who": line.who, "says": line.says} for line in shot.dialogue] for shot in shots]
    return kept | ({"dialogue": [lines or None for lines in spoken]} if any(spoken) else {})
