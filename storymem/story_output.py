"""What the artist gets: a file per shot, the story video, subtitles and the script, in one
folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .bank_store import save_bank
from .disk import checksum, remove_link, replacing, telling, unfinished_file
from .folder_lock import changing
from .latest_results import describe_result
from .memory_bank import MemoryBank
from .names import folder_name
from .shot_loop import LoopSettings, Step
from .story import Shot, Story
from .story_folder import (
    leave_script,
    read_manifest,
    remove_shown,
    show_file,
    update_manifest,
)
from .story_states import describe_made
from .video import DEFAULT_CRF, FRAME_RATE, clip_fades, join_videos, write_subtitles

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
            locks = dict.fromkeys(self._lock_names(step.plan.shot), step.record.key)
            update_manifest(self.folder, self.story, shots={step.label: entry}, locks=locks)
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
            metadata: what the film's file says of itself.
            bank: the memory after the last shot, if it is to lie beside the film.

        Returns:
            The film.

        Raises:
            StoreError: when the disk refuses.
        """
        wanted = self.settings.range(self.story)
        chosen = [step for step in steps if step.plan.shot.index in wanted]
        video = self.folder / f"{self._stem(wanted)}.mp4"
        fades = self._fades(chosen)
        # A long film takes minutes to join, which others of this folder need not wait for.
        with telling("the story video", video), unfinished_file(video) as film:
            if not self._join(chosen, film, metadata, fades) and not any(fades):
                logger.info("StoryMem: shots of different sizes were encoded anew for %s", video)
            with changing(self.folder):
                manifest = read_manifest(self.folder)
                self.show_again(steps)
                remove_shown(self.folder, manifest, [shot.label for shot in self.story.shots])
                os.replace(film, video)
                if self.options.subtitles:
                    captions = self._captions(chosen, fades)
                    write_subtitles(video.with_suffix(".srt"), captions, fps=self.options.fps)
                leave_script(self.folder, self.story)
                if bank is not None:
                    remove_link(self.folder / BANK_FOLDER)
                    save_bank(self.folder / BANK_FOLDER, bank)
                update_manifest(self.folder, self.story, stopped="", video=video.name)
        return video

    def files(self, steps: list[Step]) -> list[Path]:
        video = self.folder / f"{self._stem(self.settings.range(self.story))}.mp4"
        return [video, *(self.folder / f"shot_{step.label}.mp4" for step in steps)]

    def _lock_names(self, shot: Shot) -> list[str]:
        """By what a lock of ``shot`` is known: its label, and the id of its row if no other row
        has that."""
        if not shot.lock:
            return []
        rows = [other.row for other in self.story.shots if other.lock]
        return [shot.label] + [shot.row] * (bool(shot.row) and rows.count(shot.row) == 1)

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
            [step.record.video for step in steps],
            target,
            fps=self.options.fps,
            crf=self.options.crf,
            fades=fades,
            metadata=metadata,
        )
