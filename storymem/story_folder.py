"""The folder an artist looks into: ``<output>/<prefix>/<story>/``, its names and its manifest.

``story.json`` in it says which record each visible file came from. Two scripts share a folder when
they share the text of at least one shot (an edited story stays in its folder); another story of the
same name gets ``<story>_2`` and so on, also when names differ in nothing but case.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from .disk import StoreError, unfinished_folder, write_whole
from .folder_lock import changing
from .json_text import parse_json
from .messages import reason_of, shown
from .names import check_name, folder_name, is_label
from .story import Story

MANIFEST = "story.json"
STORES = (".storymem", ".shots")  # of finished shots, of the nodes and headless
MAX_FOLDERS = 1000  # stories of one name
_TEXTS = ("key", "own", "prompt", "shot_prompt", "held_for", "script", "previous", "file", "sha256")
_ENTRY = {  # what a result in the manifest may hold, by name
    **dict.fromkeys(_TEXTS, str),
    "fps": (int, float),
    "size": int,
    "seed": (int, type(None)),
}
logger = logging.getLogger(__name__)


def claim_folder(output: str | Path, prefix: str, story: Story) -> Path:
    """The folder of ``story``, made when it is not there yet.

    Raises:
        ValueError: for names that cannot be folders.
        StoreError: when the output folder cannot be written.
    """
    parent = _parent(output, prefix)
    base = folder_name(check_name(story.name, "the story's name"))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, MAX_FOLDERS):
            folder = parent / (base if number == 1 else f"{base}_{number}")
            if _differs_in_case_only(folder):
                continue
            if not folder.exists():
                _make_with_manifest(folder, story)
            if _is_of(folder, story):
                return folder
    except OSError as error:
        raise StoreError(
            f"the story's folder could not be made in {parent}: {reason_of(error)}; make the "
            "output folder writable, or start ComfyUI with another --output-directory"
        ) from error
    raise StoreError(
        f"there are {MAX_FOLDERS} stories named '{story.name}' in {parent}; remove some"
    )


def find_folder(output: str | Path, prefix: str, story: Story) -> Path | None:
    """The folder that ``claim_folder`` would return, if it is there already. Writes nothing."""
    return next((f for f in existing_folders(output, prefix, story) if _is_of(f, story)), None)


def existing_folders(output: str | Path, prefix: str, story: Story) -> Iterator[Path]:
    """Folders of stories of this name, this one's among them if it has one."""
    parent = _parent(output, prefix)
    base = folder_name(check_name(story.name, "the story's name"))
    for number in range(1, MAX_FOLDERS):
        folder = parent / (base if number == 1 else f"{base}_{number}")
        try:
            if _differs_in_case_only(folder):
                continue
            if not folder.exists():
                return
        except OSError:  # which claim_folder tells
            return
        yield folder


def _parent(output: str | Path, prefix: str) -> Path:
    name = folder_name(check_name(prefix, "filename_prefix"))
    if name.casefold() in STORES:
        raise ValueError(
            f"filename_prefix must not be {shown(prefix)}: finished shots are kept in that folder; "
            "choose another"
        )
    return Path(output) / name


def read_manifest(folder: Path | None) -> dict:
    """``story.json``, or an empty manifest when it is missing or damaged.

    What it says may have been written by anyone: a result that has no shot's label, names another
    shot's file, or holds a value of the wrong type is left out.
    """
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes()) if folder else {}
    except (OSError, ValueError):
        manifest = {}
    if not isinstance(manifest, dict):
        manifest = {}
    shots = manifest.get("shots")
    manifest["shots"] = {
        label: _checked_entry(label, entry)
        for label, entry in (shots.items() if isinstance(shots, dict) else ())
        if is_label(label) and isinstance(entry, dict)
    }
    prompts = manifest.get("prompts")
    prompts = prompts if isinstance(prompts, list) else []
    manifest["prompts"] = [mark for mark in prompts if isinstance(mark, str)]
    for name in ("stopped", "failed"):
        if not isinstance(manifest.get(name, ""), str):
            del manifest[name]
    return manifest


def _checked_entry(label: str, entry: dict) -> dict:
    """A shot's entry without values that it cannot have."""
    kept = {
        name: value
        for name, value in entry.items()
        if name not in _ENTRY or isinstance(value, _ENTRY[name])
    }
    if kept.get("file") != f"shot_{label}.mp4":
        kept.pop("file", None)
    return kept


def update_manifest(folder: Path, story: Story, **changes) -> None:
    """Change entries of ``story.json``; ``shots`` are merged by label."""
    with changing(folder):
        manifest = read_manifest(folder)
        shots = {**manifest["shots"], **changes.pop("shots", {})}
        prompts = sorted({*manifest["prompts"], *_marks(story)})
        manifest.update({"name": story.name, "prompts": prompts, "shots": shots, **changes})
        write_whole(folder / MANIFEST, json.dumps(manifest).encode())


def leave_script(folder: Path, story: Story) -> None:
    """The script beside the shots, which are measured against it; one, in the format it has now."""
    suffixes = ["json", "txt"]
    if not story.source.lstrip("\ufeff \t\r\n").startswith("{"):
        suffixes.reverse()
    target, stale = (folder / f"script.{suffix}" for suffix in suffixes)
    write_whole(target, story.source.encode("utf-8", "surrogatepass"))
    with suppress(IsADirectoryError, PermissionError):  # a folder is somebody else's
        stale.unlink(missing_ok=True)


def remove_shown(folder: Path, manifest: Mapping, keep: Iterable[str]) -> None:
    """Remove visible shot files of this story that the script no longer has (records stay)."""
    keep = set(keep)
    for label, entry in manifest["shots"].items():
        if label not in keep and "file" in entry:
            (folder / entry["file"]).unlink(missing_ok=True)


def _marks(story: Story) -> list[str]:
    return [hashlib.sha256(s.prompt.strip().encode()).hexdigest()[:16] for s in story.shots]


def _is_of(folder: Path, story: Story) -> bool:
    return bool(set(read_manifest(folder)["prompts"]) & set(_marks(story)))


def _differs_in_case_only(folder: Path) -> bool:
    try:
        names = os.listdir(folder.parent)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(n.casefold() == folder.name.casefold() and n != folder.name for n in names)


def _make_with_manifest(folder: Path, story: Story) -> None:
    """Make a folder that never exists without its manifest, so that two processes do not share
    it."""
    try:
        with unfinished_folder(folder) as fresh:
            update_manifest(fresh, story)
            os.rename(fresh, folder)
    except OSError:
        if not folder.exists():
            raise
