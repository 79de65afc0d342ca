"""What the artist gets: a file per shot, the story video, subtitles and the script, in one
folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .bank_store import save_bank
from .disk import checksum, remove_link, replacing, telling, unfinished_file
from .film_series import FilmSeries, describe_content
from .film_versions import FilmVersion, now
from .folder_lock import changing
from .latest_results import describe_result
from .memory_bank import MemoryBank
from .names import folder_name
from .shot_loop import LoopSettings, Step
from .story import Story
from .story_folder import (
    leave_script,
    read_manifest,
    remove_shown,
    show_file,
    update_manifest,
)
from .story_states import describe_made
from .video import DEFAULT_CRF, FRAME_RATE, clip_fades, join_videos, subtitles_text

BANK_FOLDER = "bank"  # in the story's folder
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoOptions:
    """What the artist sets on Shot Loop Close."""

    fps: float = FRAME_RATE
    crf: int = DEFAULT_CRF
    fade_frames: int = 0  # at cuts
    subtitles: bool = True


@dataclass(frozen=True)
class ShownStory:
    """The visible files of one story."""

    folder: Path
    story: Story
    settings: LoopSettings
    options: VideoOptions
    name: str = ""  # of the story video; empty: the story's own

    def show_shot(self, step: Step) -> Path:
        """Put a finished shot where the artist looks."""
        target = self.folder / f"shot_{step.label}.mp4"
        with telling("the shot", target), changing(self.folder):
            if self.options.fps == FRAME_RATE:
                show_file(step.record.video, target)
            else:
                with replacing(target) as unfinished:
                    self._join([step], unfinished, {}, fades=[])
            entry = {
                **describe_result(step),
                "file": target.name,
                "fps": self.options.fps,
                "size": target.stat().st_size,
                "sha256": checksum(target),
                "seed": step.plan.shot.seed,
                **describe_made(self.story, step),
            }
            update_manifest(self.folder, self.story, shots={step.label: entry})
        return target

    def show_again(self, steps: Sequence[Step]) -> None:
        """Put finished shots there whose visible file is missing, older or damaged."""
        manifest = read_manifest(self.folder)
        for step in steps:
            if not self._is_shown(step, manifest):
                self.show_shot(step)

    def finish(
        self, steps: list[Step], metadata: Mapping[str, str], bank: MemoryBank | None
    ) -> Path:
        """Put shots, film and memory there, all of one run, whatever other processes write there.

        Args:
            metadata: what the file of a new film says of itself.
            bank: the memory after the last shot, if it is to lie beside the film.

        Returns:
            The film: the present one when it shows the same already, else one with the next number.

        Raises:
            StoreError: when the disk refuses.
        """
        wanted = self.settings.range(self.story)
        chosen = [step for step in steps if step.plan.shot.index in wanted]
        series = FilmSeries(self.folder, self.story, self._stem(wanted))
        place, joined = self.folder / f"{series.stem}.mp4", False
        with telling("the story video", place), unfinished_file(place) as film:
            fades = self._fades(chosen)
            version = self._describe_film(steps, _sources(chosen), fades)
            captions = self._captions(chosen, fades)
            while True:
                with changing(self.folder):
                    known = series.find(version)
                    known = known if series.is_there(known) else None
                    if joined or known:
                        return self._put_film(series, known, film, version, steps, captions, bank)
                # A long film takes minutes to join, which others of this folder need not wait for.
                is_copied = self._join(chosen, film, metadata, fades)
                if not is_copied and not any(fades):
                    logger.info("StoryMem: shots of different sizes were encoded again: %s", place)
                size, sha256 = film.stat().st_size, checksum(film)
                version = replace(version, is_copied=is_copied, size=size, sha256=sha256)
                joined = True

    def _put_film(
        self,
        series: FilmSeries,
        known: FilmVersion | None,
        film: Path,
        version: FilmVersion,
        steps: Sequence[Step],
        captions: Sequence[tuple[int, int, str]],
        bank: MemoryBank | None,
    ) -> Path:
        """Put everything of one run there while the folder is held; the film's path.

        Args:
            known: the present film, when it stays; else ``film`` is published.
        """
        self.show_again(steps)
        labels = [shot.label for shot in self.story.shots]
        remove_shown(self.folder, read_manifest(self.folder), labels)
        known = known or series.publish(film, version)
        leave_script(self.folder, self.story)
        if bank is not None:
            remove_link(self.folder / BANK_FOLDER)
            save_bank(self.folder / BANK_FOLDER, bank)
        subtitles = subtitles_text(captions, fps=self.options.fps)
        series.put_beside(known, version, subtitles if self.options.subtitles else None)
        return self.folder / known.file

    def files(self, steps: list[Step], film: Path) -> list[Path]:
        """What an artist sees of a finished run."""
        return [film, *(self.folder / f"shot_{step.label}.mp4" for step in steps)]

    def _describe_film(
        self, steps: Sequence[Step], sources: Sequence[Path], fades: Sequence[int]
    ) -> FilmVersion:
        """The film that ``steps`` make, before it is joined and has a number."""
        options = self.options
        return FilmVersion(
            when=now(),
            content=describe_content(sources, options.fps, fades),
            shots={step.label: step.record.key for step in steps},
            fps=float(options.fps),
            crf=options.crf,
            fade_frames=options.fade_frames,
        )

    def _stem(self, wanted: range) -> str:
        name = self.name or folder_name(self.story.name)
        if re.match(r"shot_[0-9]+_[0-9]+$", name, re.IGNORECASE):  # the name of a shot's own file
            name = f"story_{name}"
        if len(wanted) == len(self.story.shots):
            return name
        return f"{name}_shots_{wanted.start + 1:02d}-{wanted.stop:02d}"

    def _is_shown(self, step: Step, manifest: Mapping) -> bool:
        """Whether the visible file is this result, byte for byte."""
        entry = manifest["shots"].get(step.label, {})
        target = self.folder / f"shot_{step.label}.mp4"
        is_latest = entry.get("key") == step.record.key and entry.get("fps") == self.options.fps
        if not is_latest or not target.is_file():
            return False
        known = entry.get("sha256")  # earlier versions kept the size only
        if known is None and self.options.fps == FRAME_RATE:
            known = checksum(step.record.video)
        if checksum(target) == known:
            return True
        if known is not None:
            logger.warning(
                "StoryMem: %s was damaged or changed since it was written; it is put there anew",
                target,
            )
        return False

    def _fades(self, steps: list[Step]) -> list[int]:
        wanted = [self.options.fade_frames if step.plan.shot.cut else 0 for step in steps]
        return clip_fades([step.record.frames for step in steps], wanted)

    def _captions(self, steps: list[Step], fades: list[int]) -> list[tuple[int, int, str]]:
        captions, first = [], 0
        for i, step in enumerate(steps):
            last = first + step.record.frames - (fades[i + 1] if i + 1 < len(steps) else 0)
            captions.append((first, last, step.plan.shot.prompt))
            first = last
        return captions

    def _join(self, steps: list[Step], target: Path, metadata, fades: list[int]) -> bool:
        return join_videos(
            _sources(steps),
            target,
            fps=self.options.fps,
            crf=self.options.crf,
            fades=fades,
            metadata=metadata,
        )


def _sources(steps: Sequence[Step]) -> list[Path]:
    """The files that a film of ``steps`` is joined from."""
    return [step.record.video for step in steps]
