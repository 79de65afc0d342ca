"""``length: audio``: a shot that is as long as its sound file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from ..files.video import as_rate
from ..script.story import LENGTH_OF_AUDIO, Story
from ..sound.files import read_sound

MOST_FRAMES = 321  # four times the usual 81: 20 seconds at 16 frames a second


def seconds_of(path: Path) -> Fraction:
    """How long a sound file is, to the sample: its head may be wrong.

    Raises:
        OSError: when it is not there.
        ValueError: when it is no sound that can be read.
    """
    status = path.stat()
    return _seconds(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1000)
def _seconds(path: Path, size: int, time: int) -> Fraction:
    sound = read_sound(path)
    return Fraction(sound.length, sound.rate)


def hold_frames(seconds: Fraction, fps: float) -> int:
    """How many frames a sound of ``seconds`` lasts, the last one begun counting."""
    return max(1, math.ceil(seconds * as_rate(fps)))


def next_length(frames: int) -> int:
    """The next length that a shot can have, 4n+1, for so many frames."""
    return frames + (1 - frames) % 4


def frames_of_sounds(story: Story, seconds: Mapping[int, Fraction], fps: float) -> dict[int, int]:
    """Frames that the sounds of shots last whose length is theirs, by index of the shot.

    Args:
        seconds: how long those sounds are, by index of the shot.
        fps: of the film.

    Raises:
        ValueError: naming a shot whose sound is longer than a shot can well be.
    """
    found = {}
    for shot in story.shots:
        if shot.length != LENGTH_OF_AUDIO:
            continue
        found[shot.index] = frames = hold_frames(seconds[shot.index], fps)
        if frames > MOST_FRAMES:
            raise ValueError(
                f"{shot} is to be as long as its sound {shot.audio}, which lasts "
                f"{float(seconds[shot.index]):.4g} s, {frames} frames at {fps:g} a second; length: "
                f"audio makes shots of at most {MOST_FRAMES} frames: cut the sound into several "
                "shots, or give the length in frames"
            )
    return found


def needs_sounds(story: Story) -> bool:
    """Whether any shot is as long as its sound, so that the film's rate decides its frames."""
    return any(shot.length == LENGTH_OF_AUDIO for shot in story.shots)
