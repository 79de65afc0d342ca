"""``story.json`` in a story's folder: which results its films are made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..files.disk import write_whole
from ..files.json_text import parse_json
from ..files.names import is_digest, is_label
from ..loop.time_left import FACT
from ..script.story import Story
from .folder_lock import changing
from .versions import check_history

MANIFEST = "story.json"
SCRIPTS = ("script.json", "script.txt")  # what the nodes and the runner leave beside the shots
MOST_EARLIER = 100  # films that share a folder; the oldest beyond are forgotten, not their shots
# Where a shot lies that could not be put in its place: see held_files.py.
BESIDE = re.compile(r"shot_(?P<label>[0-9]{1,7}_[0-9]{1,7}) new(?: [0-9]{1,9})?\.mp4")
_TEXTS = ("key", "own", "prompt", "shot_prompt", "held_for", "script", "previous")
_ENTRY = {  # what a result in the manifest may hold, by name
    **dict.fromkeys((*_TEXTS, "file", "sha256", "beside"), str),
    "fps": (int, float),
    "size": int,
    "seed": (int, type(None)),
    FACT: dict,
}


def read_manifest(folder: Path | None) -> dict:
    """``story.json``, or an empty manifest when it is missing or damaged.

    What it says may have been written by anyone: a result that has no shot's label, names another
    shot's file, or holds a value of the wrong type is left out, and so is a film of that kind.
    """
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes()) if folder else {}
    except (OSError, ValueError):
        manifest = {}
    if not isinstance(manifest, dict):
        manifest = {}
    _check_film(manifest)
    earlier = manifest.get("earlier")
    earlier = earlier if isinstance(earlier, list) else []
    manifest["earlier"] = [_check_film(film) for film in earlier if isinstance(film, dict)]
    for name in ("stopped", "failed", "pass"):
        if not isinstance(manifest.get(name, ""), str):
            del manifest[name]
    manifest["films"] = check_history(manifest.get("films"))
    return manifest


def _check_film(film: dict) -> dict:
    """A film's entries in the manifest, in place, without what they cannot hold."""
    shots, prompts, locks = (film.get(name) for name in ("shots", "prompts", "locks"))
    film["shots"] = {
        label: _checked_entry(label, entry)
        for label, entry in (shots.items() if isinstance(shots, dict) else ())
        if is_label(label) and isinstance(entry, dict)
    }
    prompts = prompts if isinstance(prompts, list) else []
    film["prompts"] = [mark for mark in prompts if isinstance(mark, str)]
    locks = locks if isinstance(locks, dict) else {}
    film["locks"] = {name: key for name, key in locks.items() if is_digest(key)}
    for name in ("name", "video"):
        if not isinstance(film.get(name, ""), str):
            del film[name]
    return film


def _checked_entry(label: str, entry: dict) -> dict:
    """A shot's entry without values that it cannot have."""
    kept = {
        name: value
        for name, value in entry.items()
        if name not in _ENTRY or isinstance(value, _ENTRY[name])
    }
    if kept.get("file") != f"shot_{label}.mp4":
        kept.pop("file", None)
    beside = BESIDE.fullmatch(kept.get("beside", ""))
    if not beside or beside["label"] != label:
        kept.pop("beside", None)
    return kept


def update_manifest(folder: Path, story: Story, **changes) -> None:
    """Change entries of ``story.json``; ``shots`` are merged by label, ``locks`` by name."""
    with changing(folder):
        manifest = read_manifest(folder)
        for name in ("shots", "locks"):
            manifest[name].update(changes.pop(name, {}))
        manifest.update(changes)
        manifest["name"] = story.name
        manifest["prompts"] = sorted({*manifest["prompts"], *prompt_marks(story)})
        write_manifest(folder, manifest)


def write_manifest(folder: Path, manifest: Mapping) -> None:
    """Replace ``story.json`` in one step; ``update_manifest`` changes some entries only."""
    write_whole(folder / MANIFEST, json.dumps(manifest).encode())


def write_script_copy(folder: Path, story: Story) -> None:
    """The script beside the shots, which are measured against it; one, in the format it has now."""
    suffixes = ["json", "txt"]
    if not story.source.lstrip("\ufeff \t\r\n").startswith("{"):
        suffixes.reverse()
    target, stale = (folder / f"script.{suffix}" for suffix in suffixes)
    write_whole(target, story.source.encode("utf-8", "surrogatepass"))
    with suppress(IsADirectoryError, PermissionError):  # a folder is somebody else's
        stale.unlink(missing_ok=True)


def find_script(folder: Path) -> Path | None:
    """The script beside a story's shots."""
    return next((path for name in SCRIPTS if (path := folder / name).is_file()), None)


def read_script_copy(folder: Path) -> str | None:
    """The text of the script beside a story's shots; ``None`` when there is none to read."""
    for name in SCRIPTS:
        with suppress(OSError, UnicodeDecodeError):
            return (folder / name).read_bytes().decode("utf-8", "surrogatepass")
    return None


def prompt_marks(story: Story) -> list[str]:
    """Of each prompt a mark that tells it from others."""
    return sorted({mark_of(shot.prompt.strip()) for shot in story.shots})


def mark_of(prompt: str) -> str:
    """A short mark of a prompt: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
