"""Pictures of a folder for the page to choose from: which ones there are, and small ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..files.images import PictureError, is_picture, open_picture
from .thumbnails import shrink

MOST = 500  # pictures that are told at once
MOST_LOOKED_AT = 50_000  # entries of the folder and those in it
DEEPEST = 6  # folders below it
logger = logging.getLogger(__name__)


def list_pictures(folder: Path, words: str = "") -> tuple[list[dict[str, str]], int]:
    """``list_files`` of pictures."""
    return list_files(folder, words, is_picture)


def list_files(
    folder: Path, words: str, is_wanted: Callable[[str], bool]
) -> tuple[list[dict[str, str]], int]:
    """``name`` (with ``/`` between folders) and ``version`` of files, the latest first, and how
    many are left out. Hidden files and what lies elsewhere, behind a link, are passed over.

    Args:
        words: each of them must be in the name, in any case.
        is_wanted: of a file's name.
    """
    wanted = words.casefold().split()
    found: list[tuple[int, str]] = []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if is_wanted(name) and all(word in name.casefold() for word in wanted):
            try:
                found.append((path.stat().st_mtime_ns, name))
            except OSError:  # gone meanwhile
                continue
    found.sort(key=lambda item: (-item[0], item[1]))
    told = [{"name": name, "version": str(changed)} for changed, name in found[:MOST]]
    return told, len(found) - len(told)


def read_thumbnail(path: Path, size: int) -> bytes | None:
    """A small JPEG of a picture; ``None`` when it cannot be read."""
    try:
        with open_picture(path) as picture:
            return shrink(picture, size)
    except PictureError as error:
        logger.debug("StoryMem: no small picture for the page: %s", error)
        return None


def _files(folder: Path):
    looked_at = 0
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(n for n in folders if n[0] != ".") if depth < DEEPEST else []
        looked_at += len(names)
        if looked_at > MOST_LOOKED_AT:
            logger.warning("StoryMem: %s holds too many files to show all of them", folder)
            return
        for name in names:
            path = Path(place, name)
            if name[0] != "." and name.isprintable() and not path.is_symlink():
                yield path
