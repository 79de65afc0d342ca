"""The story video from its clips: the pictures joined, and their sound put beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.disk import unfinished_file
from ..files.messages import listed
from ..files.video import clip_fades, is_bt709, join_videos
from ..loop.plan import Step
from ..script.story import Story
from ..sound.mux import put_sound
from ..sound.shot_sound import ShotSound
from .film_sound import FilmSound, loud_note
from .series import FilmSeries
from .shot_files import ShotFiles
from .subtitle_files import Cue, cue_of
from .versions import FilmVersion


@dataclass(frozen=True)
class Clip:
    """A shot as the film shows it."""

    path: Path
    frames: int
    sha256: str  # of the shot's film, or of the artist's edit of it
    sound: ShotSound | None = None


@dataclass(frozen=True)
class Joined:
    """The clips of a film, and how they follow on each other."""

    clips: Sequence[Clip]
    fades: Sequence[int]  # for each clip, frames that cross-fade with the end of the one before
    fps: float
    crf: int
    metadata: Mapping[str, str]  # what the film's file says of itself

    def write(self, target: Path) -> bool:
        """Join the pictures; whether their packets were copied."""
        return join_videos(
            [clip.path for clip in self.clips],
            target,
            fps=self.fps,
            crf=self.crf,
            fades=self.fades,
            metadata=self.metadata,
        )

    def write_with(
        self, sound: FilmSound, series: FilmSeries, version: FilmVersion, target: Path
    ) -> tuple[bool, str]:
        """Join pictures and sound. Pictures of an earlier film that are the same are copied.

        Returns:
            Whether the packets of the shots are in the film as they were, and what the artist
            should know of the sound.
        """
        parts = sound.parts(
            [clip.sound for clip in self.clips],
            [clip.frames for clip in self.clips],
            self.fades,
            self.fps,
        )
        how = {"fps": self.fps, "metadata": self.metadata}
        for known in series.of_same_pictures(version):
            path = series.folder / known.file
            if series.is_there(known) and is_bt709(path):
                put_sound(path, target, parts, **how)
                return known.is_copied, loud_note(parts)
        with unfinished_file(target) as pictures:
            is_copied = self.write(pictures)
            put_sound(pictures, target, parts, **how)
        return is_copied, loud_note(parts)


def fades_of(steps: Sequence[Step], clips: Sequence[Clip], frames: int) -> list[int]:
    """For each clip, frames that cross-fade with the one before, where ``frames`` are wanted at
    cuts; none into clips before the first of ``steps``."""
    wanted = [frames if step.plan.shot.cut else 0 for step in steps]
    return clip_fades([c.frames for c in clips], [0] * (len(clips) - len(steps)) + wanted)


def captions_of(
    story: Story,
    steps: Sequence[Step],
    clips: Sequence[Clip],
    fades: Sequence[int],
    *,
    prompts: bool,
) -> list[Cue]:
    """What is read under a film's shots. Clips before the first of ``steps`` say nothing.

    Args:
        prompts: whether those of shots are read that have neither a subtitle nor a dialogue.
    """
    captions, first, before = [], 0, len(clips) - len(steps)
    for i, clip in enumerate(clips):
        last = first + clip.frames - (fades[i + 1] if i + 1 < len(clips) else 0)
        if i >= before:
            captions.append(
                cue_of(story, steps[i - before].plan.shot, first, last, prompts=prompts)
            )
        first = last
    return [cue for cue in captions if cue is not None]


def tell_colours(files: ShotFiles, steps: Sequence[Step], clips: Sequence[Clip]) -> None:
    """Tell of clips of ``steps`` that are in the colours of earlier versions."""
    pairs = zip(steps, clips[len(clips) - len(steps) :], strict=True)
    if older := [f"shot_{step.label}.mp4" for step, clip in pairs if not is_bt709(clip.path)]:
        files.tell(
            "colours",
            f"{listed(older)}: in BT.601 without saying so, as earlier versions wrote; these "
            "files stay as they are, and the story video is re-encoded in BT.709, so that "
            "players show all of it in the right colours",
        )
