"""The options of ``python -m storymem run`` for what is heard and read in the film."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..film.film_sound import FilmSound
from ..headless.heard import SUBTITLES, Heard, find_sounds, read_track, sound_frames
from ..script.story import Story

SECONDS = ("audio_fade_in", "audio_fade_out")
DECIBELS = ("audio_gain", "shot_audio_gain")


def add_sound_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for sound and subtitles."""
    group = parser.add_argument_group("sound (changing it makes no shot again)")
    add = group.add_argument
    add("--audio", type=Path, metavar="FILE", help="music or narration under the whole film, cut "
        "to its length; the script gives the sound of a shot as its field audio")  # fmt: skip
    for name, what in (("audio", "--audio"), ("shot-audio", "the sound of every shot")):
        add(f"--{name}-gain", type=float, default=0.0, metavar="DB",
            help=f"decibels, of {what}; -60 and below is silence")  # fmt: skip
    add("--audio-fade-in", type=float, default=0.0, metavar="SECONDS", help="of --audio")
    add("--audio-fade-out", type=float, default=0.0, metavar="SECONDS", help="of --audio")
    add("--subtitles", default=SUBTITLES[0], choices=SUBTITLES,
        help="SRT and WebVTT beside the film. script: what the script's subtitle or dialogue says, "
        "if it has any; prompts: else the prompt")  # fmt: skip


def heard_of(options: argparse.Namespace, story: Story, folder: Path) -> Heard:
    """What the options and the script say of sound.

    Args:
        folder: that of the script, where its files are.

    Raises:
        ValueError: for a file that is missing or is no sound, and numbers that are none.
    """
    for name in (*SECONDS, *DECIBELS):
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if not math.isfinite(value):
            raise ValueError(f"{option} must be a number, but it is {value}")
        if name in SECONDS and value < 0:
            raise ValueError(f"{option} must be 0 seconds or more, but it is {value:g}")
    files = find_sounds(story, folder)
    track = read_track(options.audio) if options.audio else None
    sound = None
    if files or track is not None:
        sound = FilmSound(
            track, options.audio_gain, options.audio_fade_in, options.audio_fade_out,
            options.shot_audio_gain, files,
        )  # fmt: skip
    frames = sound_frames(story, files, options.fps)
    return Heard(sound, frames, options.subtitles, options.codec, options.timeline)
