"""Every story in the output folder, for a list of them: what it is called, and what is there of it.

A story is a folder ``<prefix>/<story>`` with a ``story.json``. Links are not followed, wherever
they lead, and a story that did not change is not read again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ..files.names import is_plain_name
from ..script.reader import load_story
from .folder import STORES
from .manifest import MANIFEST, SCRIPTS, read_manifest, read_script_copy
from .shot_status import find_present_film, shot_states

MOST_STORIES = 2000  # the latest ones
MOST_FOLDERS = 20_000  # looked into
MOST_BYTES = 32 * 2**20  # of a script or a manifest; more is no story's
_KNOWN: dict[Path, tuple[object, StoryEntry]] = {}  # as it was, when it was last read
_LOCK = Lock()


@dataclass(frozen=True)
class StoryEntry:
    """One story of the output folder."""

    folder: Path
    title: str
    shots: int  # of the script; 0 when it cannot be read
    finished: int  # shots of the script that there is a film of
    changed: float  # seconds since 1970
    poster: Path | None  # the film of its first finished shot
    film: Path | None  # the whole story, if no run stopped since
    stopped: str  # why the last run ended before its end; empty when it did not


def list_stories(output: Path) -> list[StoryEntry]:
    """The stories right below the folders of ``output``, the latest first."""
    with _LOCK:
        found = {}
        for folder, mark in _story_folders(output):
            known = _KNOWN.get(folder)
            found[folder] = known if known and known[0] == mark else (mark, _read(folder, mark))
        _KNOWN.clear()  # of another output folder too
        _KNOWN.update(found)
    stories = (story for _, story in found.values())
    return sorted(stories, key=lambda story: story.changed, reverse=True)[:MOST_STORIES]


def find_story(output: Path, name: str) -> Path | None:
    """The folder of a story by its name below ``output``, ``prefix/story``; ``None`` when it is
    none: another depth, or a link."""
    parts = re.split(r"[/\\]", name)
    if len(parts) != 2 or not all(map(is_plain_name, parts)) or parts[0].casefold() in STORES:
        return None
    folder = output.joinpath(*parts)
    is_there = all(_kind(path) == stat.S_IFDIR for path in (folder.parent, folder))
    return folder if is_there and _kind(folder / MANIFEST) == stat.S_IFREG else None


def read_story_script(folder: Path) -> str | None:
    """The text of a story's script; ``None`` when there is none to read."""
    present = [found for name in SCRIPTS if (found := _status(folder / name))]
    if not all(stat.S_ISREG(one.st_mode) and one.st_size <= MOST_BYTES for one in present):
        return None
    return read_script_copy(folder)


def story_videos(folder: Path) -> list[Path]:
    """Films of a story's folder, the latest first."""
    with os.scandir(folder) as entries:
        files = [e for e in entries if e.name.endswith(".mp4") and e.is_file(follow_symlinks=False)]
        files.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns, reverse=True)
    return [folder / entry.name for entry in files]


def _story_folders(output: Path) -> Iterator[tuple[Path, object]]:
    """Folders with a manifest, and marks that change when anything in them does."""
    looked = 0
    for group in _folders_in(output):
        if group.name.casefold() in STORES:
            continue
        for folder in _folders_in(Path(group.path)):
            looked += 1
            if looked > MOST_FOLDERS:
                return
            path = Path(folder.path)
            manifest = _status(path / MANIFEST)
            if manifest and stat.S_ISREG(manifest.st_mode) and manifest.st_size <= MOST_BYTES:
                others = [_status(path / name) for name in (".", *SCRIPTS)]
                yield path, tuple(f and (f.st_mtime_ns, f.st_size) for f in (manifest, *others))


def _folders_in(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read(folder: Path, mark: tuple) -> StoryEntry:
    """The story of a folder; one whose script cannot be read has no shots."""
    manifest = read_manifest(folder)
    title, shots, finished, poster, film = manifest.get("name") or folder.name, 0, [], None, None
    script = read_story_script(folder)
    if script is not None:
        try:
            story = load_story(script, default_name=title, quiet=True)
            finished = [found.video for found in shot_states(story, folder) if found.video]
            shots, film = len(story.shots), find_present_film(folder, story)
        except ValueError:
            pass  # somebody wrote it by hand; what is there can be looked at all the same
    poster = next((video for video in finished if _kind(video) == stat.S_IFREG), None)
    stopped = manifest.get("stopped", "")
    changed = mark[0][0] / 1e9
    return StoryEntry(folder, title, shots, len(finished), changed, poster, film, stopped)


def _status(path: Path) -> os.stat_result | None:
    """Of what is at a path, links not followed."""
    try:
        return os.lstat(path)
    except (OSError, ValueError):
        return None


def _kind(path: Path) -> int:
    """What is at a path, links not followed; 0: nothing."""
    status = _status(path)
    return stat.S_IFMT(status.st_mode) if status else 0
