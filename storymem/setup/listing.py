"""The weights files below a model folder, by their names alone, and what of it was left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.outline import ENDINGS, SHARDS_INDEX, missing_shards

MOST_FILES = 5000  # of one place
MOST_FOLDERS = 20_000  # below one place
ODD_ENDINGS = (
    ".html",
    ".htm",
    ".part",
    ".crdownload",
    ".download",
    ".aria2",
    ".tmp",
    ".incomplete",
)
SKIPPED = (".git", ".cache", "__pycache__", ".huggingface")


@dataclass(frozen=True)
class Gap:
    """What of a model folder was not looked at, so that a file may be there unseen.

    Args:
        folder: which one, a name of ``model_files.FOLDERS``.
        place: the place of that folder's list.
        files: how many files are there beyond ``MOST_FILES``.
        is_deep: there are more than ``MOST_FOLDERS`` folders, and the rest was passed over.
        unread: folders that could not be opened.
    """

    folder: str
    place: Path
    files: int = 0
    is_deep: bool = False
    unread: tuple[Path, ...] = ()


def list_files(
    folder: str, places: Iterable[Path], gaps: list[Gap]
) -> Iterator[tuple[str, str, Path]]:
    """The folder's name, names below it, and files: an index in place of its shards, and what was
    saved by a browser or not finished.

    Args:
        gaps: gets what was left out.
    """
    for place in dict.fromkeys(map(Path, places)):
        files = sorted(_below(folder, place, gaps))
        shards = _shards(files)
        for path in files:
            if path not in shards:
                yield folder, path.relative_to(place).as_posix(), path


def _below(folder: str, place: Path, gaps: list[Gap]) -> list[Path]:
    found: list[Path] = []
    visited: set[str] = set()
    unread: list[Path] = []
    cut, is_deep = 0, False

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that nobody made
            unread.append(Path(error.filename or place))

    try:
        for at, below, names in os.walk(place, onerror=note, followlinks=True):
            real = os.path.realpath(at)
            is_deep |= len(visited) > MOST_FOLDERS
            if real in visited or is_deep:  # links in a circle come to an end
                below.clear()
                continue
            visited.add(real)
            named = [name for name in below if name.lower().endswith(ENDINGS)]
            below[:] = sorted(set(below) - set(named) - set(SKIPPED))
            meant = [Path(at, name) for name in sorted([*names, *named]) if _is_meant(name)]
            kept = meant[: MOST_FILES - len(found)]
            found += kept
            cut += len(meant) - len(kept)
    except ValueError:  # a name that no folder can have
        unread.append(place)
    if cut or is_deep or unread:
        gaps.append(Gap(folder, place, cut, is_deep, tuple(unread)))
    return found


def _is_meant(name: str) -> bool:
    return name.lower().endswith((*ENDINGS, SHARDS_INDEX, *ODD_ENDINGS))


def _shards(files: Sequence[Path]) -> set[Path]:
    found: set[Path] = set()
    for index in (path for path in files if path.name.endswith(SHARDS_INDEX)):
        try:
            found |= {index.parent / name for name in missing_shards(index)[0]}
        except Exception:  # which is told of that file
            continue
    return found
