"""What is heard of a story: the sounds of its shots, and a track under the whole film.

A sound belongs to no picture: no key of a shot tells of it. A film with another sound is another
film, with a number of its own, whose pictures are copied from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files.hashing import digest_of
from ..files.video import open_video
from ..loop.plan import Step
from ..sound.files import has_sound
from ..sound.join import join_sounds
from ..sound.mux import put_sound
from ..sound.shot_sound import ShotSound, file_sound
from ..sound.sound import Sound, samples_of_frames
from ..sound.track import Meter, lay_track, mix_under
from .edited_shots import Edit

OF_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder")
SOUND_FORMAT = 1  # raised when the same sounds are to be joined in another way


@dataclass(frozen=True)
class FilmSound:
    """Where the sound of a story comes from."""

    track: Sound | None = None  # under the whole film, 48 kHz in stereo
    gain: float = 0.0  # decibels, of the track
    fade_in: float = 0.0  # seconds, of the track
    fade_out: float = 0.0
    shot_gain: float = 0.0  # decibels, of every shot
    files: Mapping[int, Path] = field(default_factory=dict)  # by index of the shot, from the script
    # By key of its record, what the graph made; a run fills it. None: the graph makes none.
    made: Mapping[str, ShotSound | None] | None = None

    def of(self, step: Step) -> ShotSound | None:
        """The sound of a finished shot; ``None`` for silence."""
        if self.made is not None:
            return self.made.get(step.record.key)
        path = self.files.get(step.plan.shot.index)
        return None if path is None else file_sound(path)

    def mark(self, step: Step) -> str:
        """The same for shots that sound the same; empty for silence."""
        sound = self.of(step)
        return digest_of([sound.digest, sound.overlap, self.shot_gain]) if sound else ""

    def of_edit(self, edit: Edit, step: Step) -> ShotSound | None:
        """The sound of a shot whose file an artist edited: the edit's own, where it has any."""
        if has_sound(edit.path, ".mp4"):
            return ShotSound(edit.path, edit.sha256, ending=".mp4")
        return self.of(step)

    def is_heard(self, steps: Sequence[Step]) -> bool:
        """Whether anything of these shots or under them is heard."""
        return self.track is not None or any(self.of(step) for step in steps)

    def describe(self, sounds: Sequence[ShotSound | None]) -> str:
        """Digest of what a film with these sounds of its shots sounds like."""
        of_track = None
        if self.track is not None:
            of_track = [self.track.digest, self.gain, self.fade_in, self.fade_out]
        of_shots = [sound and [sound.digest, sound.overlap] for sound in sounds]
        return digest_of([SOUND_FORMAT, of_track, of_shots, any(of_shots) and self.shot_gain])

    def parts(
        self,
        sounds: Sequence[ShotSound | None],
        counts: Sequence[int],
        fades: Sequence[int],
        fps: float,
    ) -> Meter:
        """The film's sound, one shot after the other (see ``join_sounds``)."""

        def sound_of(i: int) -> Sound | None:
            sound = sounds[i]
            return None if sound is None else sound.read(fps).gained(self.shot_gain)

        track = self.laid(sum(counts) - sum(fades), fps)
        return Meter(mix_under(join_sounds(counts, fades, sound_of, fps=fps), track))

    def laid(self, frames: int, fps: float) -> Sound | None:
        """The track as it is heard under a film of so many frames; ``None`` where there is none."""
        if self.track is None:
            return None
        how = {"gain": self.gain, "fade_in": self.fade_in, "fade_out": self.fade_out}
        return lay_track(self.track, samples_of_frames(frames, fps), **how)

    def write_shot(self, step: Step, target: Path, fps: float) -> bool:
        """Write the film of a finished shot with its sound; ``False`` when it has none."""
        sound = self.of(step)
        if sound is None:
            return False
        record = step.record
        parts = Meter([self._fitted(sound, record.frames, fps)])
        put_sound(record.video, target, parts, fps=fps, metadata=_told_in(record.video))
        return True

    def _fitted(self, sound: ShotSound, frames: int, fps: float) -> Sound:
        return sound.read(fps).gained(self.shot_gain).cut(0, samples_of_frames(frames, fps))


def loud_note(meter: Meter) -> str:
    """What an artist should know of a film whose sound was too loud; empty when it was not."""
    if not meter.over:
        return ""
    minutes, seconds = divmod(int(meter.loudest), 60)
    return (
        f"the sound is {meter.over:.1f} dB too loud, most at {minutes}:{seconds:02d}, and what is "
        "over full scale is cut off; lower audio_gain or shot_audio_gain"
    )


# --- inside ----------------------------------------------------------------------------------


def _told_in(video: Path) -> dict[str, str]:
    """What a video says of itself, such as the graph that made it."""
    with open_video(video) as container:
        return {k: v for k, v in container.metadata.items() if k not in OF_CONTAINER}
