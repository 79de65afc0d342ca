"""What an artist connects and sets for the sound of a film, on Shot Loop Close and Join Story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comfy_api.latest import io

from ...storymem.film.film_sound import FilmSound
from ...storymem.script.story import Story
from ...storymem.sound.files import for_film
from ...storymem.sound.shot_sound import ShotSound
from ...storymem.sound.sound import Sound
from ..host.sounds import to_sound
from .script_sounds import find_sound


def track_inputs(*, lazy: bool) -> list:
    """The track under the whole film, and how loud everything is."""
    return [
        io.Audio.Input(
            "audio",
            optional=True,
            lazy=lazy,
            tooltip="Music or narration under the whole film: cut to its length, or silent after "
            "its own end. Changing it regenerates nothing and encodes no picture again.",
        ),
        io.Float.Input(
            "audio_gain",
            optional=True,
            default=0.0,
            min=-60.0,
            max=24.0,
            step=0.5,
            advanced=True,
            tooltip="How much louder (or quieter, below 0) audio is, in decibels. -6 is half as "
            "loud, -60 silent. Safe under voices: -18 to -12.",
        ),
        io.Float.Input(
            "audio_fade_in",
            optional=True,
            default=0.0,
            min=0.0,
            max=60.0,
            step=0.1,
            advanced=True,
            tooltip="Seconds over which audio begins.",
        ),
        io.Float.Input(
            "audio_fade_out",
            optional=True,
            default=0.0,
            min=0.0,
            max=60.0,
            step=0.1,
            advanced=True,
            tooltip="Seconds over which audio ends, up to the end of the film or its own.",
        ),
        io.Float.Input(
            "shot_audio_gain",
            optional=True,
            default=0.0,
            min=-60.0,
            max=24.0,
            step=0.5,
            advanced=True,
            tooltip="How much louder (or quieter, below 0) the sounds of the shots are, in "
            "decibels.",
        ),
    ]


def shot_sound_input(**how):
    """The sound of each shot."""
    return io.Audio.Input(
        "shot_audio",
        optional=True,
        lazy=True,
        tooltip="The sound of each shot, from nodes in the loop such as text-to-speech or foley. "
        "They run once per shot when its pictures are finished; a new voice regenerates no "
        "picture. Nothing is silence. Without it, the script's audio is used.",
        **how,
    )


@dataclass(frozen=True)
class SoundSettings:
    """What is set on the node that joins a film."""

    audio: Mapping | None = None  # the host's AUDIO
    audio_gain: float = 0.0  # decibels
    audio_fade_in: float = 0.0  # seconds
    audio_fade_out: float = 0.0
    shot_audio_gain: float = 0.0

    def track(self) -> Sound | None:
        """The film's own track as films are.

        Raises:
            ValueError: for what is no AUDIO.
        """
        if self.audio is None:
            return None
        sound = to_sound(self.audio, "audio")
        return for_film(sound) if sound.length else None


def film_sound(
    story: Story,
    settings: SoundSettings,
    track: Sound | None,
    made: Mapping[str, ShotSound | None] | None,
) -> FilmSound | None:
    """What is heard of a story; ``None`` when nobody gave it any sound.

    Args:
        made: sounds that the graph made, by key of their shot's record; ``None`` when it makes
            none.

    Raises:
        ValueError: naming the shot, for a sound file that is not there.
    """
    files = {shot.index: find_sound(shot) for shot in story.shots if shot.audio}
    if track is None and made is None and not files:
        return None
    return FilmSound(
        track,
        settings.audio_gain,
        settings.audio_fade_in,
        settings.audio_fade_out,
        settings.shot_audio_gain,
        files,
        made,
    )
