"""What is heard and read in a headless run's film: sound files, a track, subtitles; and what is
left beside it for editing programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files.codecs import H264
from ..files.messages import shown
from ..film.film_sound import FilmSound
from ..film.output import VideoOptions
from ..loop.audio_length import frames_of_sounds, needs_sounds, seconds_of
from ..script.story import LENGTH_OF_AUDIO, Story
from ..sound.files import for_film, read_sound
from ..sound.shot_sound import check_sound_file
from ..sound.sound import Sound

SUBTITLES = ("script", "prompts", "none")  # the first writes none where the script says nothing


@dataclass(frozen=True)
class Heard:
    """The sound of a film, and its subtitles, one of ``SUBTITLES``."""

    sound: FilmSound | None = None
    frames: Mapping[int, int] = field(default_factory=dict)  # that sounds last: see ``Loop``
    subtitles: str = SUBTITLES[0]
    codec: str = H264  # as on Shot Loop Close, and the next one
    timeline: str = "none"

    def video_options(self, fps: float, crf: int) -> VideoOptions:
        """How the film is written."""
        has_prompts = self.subtitles == "prompts"
        return VideoOptions(
            fps, crf, 0, self.subtitles != "none", has_prompts, self.codec, self.timeline
        )


def find_sounds(story: Story, folder: Path) -> dict[int, Path]:
    """The sound files that a script names, by index of the shot.

    Args:
        folder: that of the script.

    Raises:
        ValueError: naming the shot, for a file that is missing or is no sound.
    """
    found = {shot.index: folder / shot.audio for shot in story.shots if shot.audio}
    checked: set[Path] = set()
    for index, path in found.items():
        if path in checked:
            continue
        checked.add(path)
        shot = story.shots[index]
        if not path.is_file():
            raise ValueError(
                f"{shot} names the sound {shown(shot.audio)}, but there is no file {path}; put it "
                "there or correct the name"
            )
        try:
            check_sound_file(path)
        except ValueError as error:
            raise ValueError(
                f"{shot} names the sound {shown(shot.audio)}, which cannot be used: {error}"
            ) from error
    return found


def sound_frames(story: Story, sounds: Mapping[int, Path], fps: float) -> dict[int, int]:
    """Frames that sounds last, by index of the shots that are as long as theirs.

    Raises:
        ValueError: naming a shot whose sound is far too long.
    """
    if not needs_sounds(story):
        return {}
    wanted = [shot.index for shot in story.shots if shot.length == LENGTH_OF_AUDIO]
    return frames_of_sounds(story, {i: seconds_of(sounds[i]) for i in wanted}, fps)


def read_track(path: Path) -> Sound:
    """The sound that goes under the whole film, 48 kHz in stereo.

    Raises:
        ValueError: when there is no such file, or it is no sound.
    """
    if not path.is_file():
        raise ValueError(f"there is no sound {path}; check --audio")
    return for_film(read_sound(path))
