"""Shots that cannot be put in their place: Windows lets nobody replace a file that another program
has open, such as one that is being played.

The new file then lies beside the old one, as ``shot_01_02 new.mp4``, and ``story.json`` says so in
the shot's entry. Whatever puts the shots there next, the end of the run at the latest, tries the
place again, and takes away what lies beside. Nothing is lost meanwhile: the shot itself is in the
store.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..files.disk import unfinished_file
from ..files.hashing import checksum
from ..files.names import is_digest
from ..files.video import FRAME_RATE, copy_video
from ..script.story import Story
from .folder_lock import changing
from .manifest import BESIDE, read_manifest, update_manifest
from .versions import take_name

TABLE = "beside"  # in story.json: what was written to each such file
HELD = " is held"  # ends the names of their notes
logger = logging.getLogger(__name__)


def put_beside(folder: Path, story: Story, label: str, write: Callable[[Path], None]) -> str:
    """Put the film of a shot beside its place, under a free name, unless it lies there already.

    Args:
        write: writes it to a path.

    Returns:
        The file's name.

    Raises:
        OSError: when the disk refuses that, too.
    """
    with unfinished_file(folder / f"shot_{label}.mp4") as unfinished:
        write(unfinished)
        digest = checksum(unfinished)
        table = files_beside(read_manifest(folder))
        for name, known in table.items():
            is_of_label = BESIDE.fullmatch(name)["label"] == label
            if is_of_label and known == digest and _is_as_written(folder / name, digest):
                return name
        number = 1
        while True:
            name = f"shot_{label} new{f' {number}' * (number > 1)}.mp4"
            number += 1
            if os.path.lexists(folder / name):
                continue
            # First in the table: a run that is killed in between leaves nothing unknown.
            update_manifest(folder, story, **{TABLE: {**table, name: digest}})
            if take_name(unfinished, folder / name):
                return name


def write_copy(video: Path, target: Path, fps: float) -> None:
    """Write the film of a record as artists get it. Not a hard link: who edits it in place must not
    alter the record."""
    if fps == FRAME_RATE:
        shutil.copyfile(video, target)
    else:
        copy_video(video, target, fps=fps)


def clear_beside(folder: Path, story: Story) -> None:
    """Take away what lies beside a shot that is in its place by now; not what somebody changed, and
    what is being played goes the next time."""
    with changing(folder):
        manifest = read_manifest(folder)
        table = files_beside(manifest)
        needed = {entry.get("beside") for entry in manifest["shots"].values()}
        kept = {name: digest for name, digest in table.items() if name in needed}
        for name in table.keys() - needed:
            path = folder / name
            try:
                if _is_as_written(path, table[name]):
                    path.unlink()
                elif os.path.lexists(path):
                    logger.warning("StoryMem: %s was changed since it was written: it stays", path)
            except OSError as error:
                logger.info("StoryMem: %s is removed later: %s", path, error)
                kept[name] = table[name]
        if kept != table:
            update_manifest(folder, story, **{TABLE: kept})


def files_beside(manifest: Mapping) -> dict[str, str]:
    """What was written to each file that lies beside its place: SHA-256 by name."""
    table = manifest.get(TABLE)
    entries = table.items() if isinstance(table, Mapping) else ()
    return {
        name: digest
        for name, digest in entries
        if BESIDE.fullmatch(name) and isinstance(digest, str) and is_digest(digest)
    }


def held_notes(notes: Mapping[str, str]) -> Iterable[str]:
    """Of what an artist is told of files, what is of those that could not be replaced."""
    return [text for name, text in notes.items() if name.endswith(HELD)]


def _is_as_written(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and checksum(path) == digest
