"""The shots that a story's folder shows, and single frames of them: for whoever takes pictures out
of a finished pass (see :mod:`storymem.film.rehearsal` and :mod:`storymem.film.promote`).

What the folder shows counts: the take that was chosen, the result that a lock holds, the file that
an artist edited. Where a file is missing or cut off, the shot's record in the store stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..files.messages import shown
from ..files.names import is_digest
from ..files.video import read_info
from ..loop.shot_record import VIDEO_FILE
from ..loop.shot_store import ShotStore
from ..script.story import Story
from .earlier_films import find_film
from .finished_story import PATTERNS, is_story_folder, watch
from .folder import STORES
from .manifest import MANIFEST

T = TypeVar("T")


@dataclass(frozen=True)
class ShownShot:
    """One finished shot of a folder."""

    index: int  # of the shot in the story, from 0
    label: str
    prompt: str  # that it was made for; the script may say something else by now
    paths: tuple[Path, ...]  # where it can be read, the first that can counts
    key: str = ""  # of its record; folders of other programs have none

    @property
    def number(self) -> int:
        """As people count shots."""
        return self.index + 1

    def count_frames(self) -> int:
        """How many frames it has.

        Raises:
            ValueError: when none of its files can be read.
        """
        return self._first(lambda path, count: count)

    def read_frame(self, number: int) -> torch.Tensor:
        """One frame ``uint8 [H, W, 3]``, counted from 0; only that one is held in memory.

        Raises:
            ValueError: when there is no such frame, or none of its files can be read.
        """

        def read(path: Path, count: int) -> torch.Tensor:
            if not 0 <= number < count:
                raise ValueError(
                    f"it has frames 0 to {count - 1}, but frame {shown(number)} is asked for"
                )
            (pixels,) = (pixels for _, pixels in watch(path, lambda i: i == number, number))
            return torch.from_numpy(pixels)

        return self._first(read)

    def read_frames(self, numbers: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        """Some frames ``uint8 [H, W, 3]`` with their numbers, in order, read in one go.

        Raises:
            ValueError: when there is no such frame, or none of its files can be read.
        """
        wanted = set(numbers)
        return self._first(lambda path, count: list(watch(path, wanted.__contains__, max(wanted))))

    def _first(self, read: Callable[[Path, int], T]) -> T:
        """What ``read`` gives of the first file that it can read, for its path and its frames."""
        reason = ""
        for path in self.paths:
            try:
                if count := read_info(path).frames:
                    return read(path, count)
                reason = reason or "it has no frames"
            except ValueError as error:
                reason = reason or str(error)
        raise ValueError(f"shot {self.number} ({self.label}) cannot be used: {reason}")


def shown_shots(folder: Path, story: Story, store: ShotStore | None = None) -> list[ShownShot]:
    """The finished shots of ``story`` that ``folder`` shows, in the order of the script.

    A result belongs to the shot of its prompt, wherever that stands now; shots whose prompt is
    another one since are not among them.

    Args:
        store: where the records of the shots lie, for files that are missing or cut off.

    Raises:
        ValueError: when there is no such folder, it shows another story, or no shot is finished.
    """
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder}; finish the pass first, or choose the folder that Shot "
            "Loop Close wrote"
        )
    film = find_film(folder, story)
    if film.is_other:
        name = film.manifest.get("name") or folder.name
        raise ValueError(
            f"{folder} shows another story ({shown(name)}): none of its shots has a prompt of "
            f"{shown(story.name)}; choose this story's folder"
        )
    store = store_of(folder, store)
    is_ours = (folder / MANIFEST).is_file()
    results = film.results(story) if is_ours else [{} for _ in story.shots]
    found = []
    for shot, entry in zip(story.shots, results, strict=True):
        paths = _files_of(folder, shot.label, entry, store, is_ours=is_ours)
        if paths:
            prompt, key = entry.get("shot_prompt", shot.prompt), entry.get("key", "")
            found.append(ShownShot(shot.index, shot.label, prompt, paths, key))
    if not found:
        has_others = is_story_folder(folder)
        raise ValueError(
            f"{folder} holds no finished shot of {shown(story.name)}"
            f"{'; the shots that it shows are of other prompts' if has_others else ''}: finish the "
            "pass first, or choose another folder"
        )
    return found


def store_of(folder: Path, store: ShotStore | None = None) -> ShotStore | None:
    """Where the records of a folder's shots lie: a headless run has a store of its own in there,
    else ``store``."""
    own = folder / STORES[1]
    return ShotStore(own) if own.is_dir() else store


def _files_of(
    folder: Path, label: str, entry: Mapping, store: ShotStore | None, *, is_ours: bool
) -> tuple[Path, ...]:
    # Names of an entry are a shot's own: see read_manifest.
    if is_ours:
        paths = [folder / entry[name] for name in ("beside", "file") if entry.get(name)]
        if store and is_digest(key := entry.get("key", "")):
            paths.append(store.folder_of(key) / VIDEO_FILE)
    else:
        paths = [folder / pattern.format(label) for pattern in PATTERNS]
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())
