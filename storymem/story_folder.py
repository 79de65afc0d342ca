"""The folder an artist looks into: ``<output>/<prefix>/<story>/``, its names and its manifest.

``story.json`` in it says which record each visible file came from. Two scripts share a folder
when they
share the text of at least one shot (an edited story stays in its folder); another story of the same
name gets ``<story>_2`` and so on, also when names differ in nothing but case.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .disk import StoreError, write_whole
from .story import Story

MANIFEST = "story.json"
MAX_NAME_BYTES = 120  # leaves room for suffixes in file systems that allow 255
MAX_FOLDERS = 1000  # stories of one name
RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{i}" for p in ("com", "lpt") for i in range(1, 10)}
logger = logging.getLogger(__name__)


def check_name(name: str, what: str) -> str:
    """A name that may become a folder, or a clear error.

    Raises:
        ValueError: for path separators, ``..``, reserved and empty names.
    """
    bare = name.strip()
    if not bare or not bare.strip(". "):
        raise ValueError(f"{what} must be a name, but it is {name!r}; type at least one letter")
    if "/" in bare or "\\" in bare or bare == ".." or "\0" in bare:
        raise ValueError(
            f"{what} must be one folder name inside the output folder, but {name!r} holds a path "
            "separator or '..'; take it out"
        )
    if bare.split(".")[0].strip().casefold() in RESERVED:
        raise ValueError(f"{what} must not be {name!r}: Windows reserves that name; choose another")
    return bare


def folder_name(name: str) -> str:
    """``name`` with what some file systems cannot hold replaced by ``_``, and cut when very
    long."""
    safe = re.sub(r'[<>:"|?*\x00-\x1f\x7f]', "_", name.strip()).rstrip(". ")
    encoded = safe.encode("utf-8", "replace")
    if len(encoded) <= MAX_NAME_BYTES:
        return encoded.decode()
    mark = hashlib.sha256(encoded).hexdigest()[:8]
    return encoded[: MAX_NAME_BYTES - 9].decode("utf-8", "ignore").rstrip(". ") + "_" + mark


def claim_folder(output: str | Path, prefix: str, story: Story) -> Path:
    """The folder of ``story``, made when it is not there yet.

    Raises:
        ValueError: for names that cannot be folders.
        StoreError: when the output folder cannot be written.
    """
    parent = Path(output) / folder_name(check_name(prefix, "filename_prefix"))
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
            f"the story's folder could not be made in {parent}: {error}; make the output folder "
            "writable, or start ComfyUI with another --output-directory"
        ) from error
    raise StoreError(
        f"there are {MAX_FOLDERS} stories named '{story.name}' in {parent}; remove some"
    )


def find_folder(output: str | Path, prefix: str, story: Story) -> Path | None:
    """The folder that ``claim_folder`` would return, if it is there already. Writes nothing."""
    return next((f for f in existing_folders(output, prefix, story) if _is_of(f, story)), None)


def existing_folders(output: str | Path, prefix: str, story: Story) -> Iterator[Path]:
    """Folders of stories of this name, this one's among them if it has one."""
    parent = Path(output) / folder_name(check_name(prefix, "filename_prefix"))
    base = folder_name(check_name(story.name, "the story's name"))
    for number in range(1, MAX_FOLDERS):
        folder = parent / (base if number == 1 else f"{base}_{number}")
        if _differs_in_case_only(folder):
            continue
        if not folder.exists():
            return
        yield folder


def read_manifest(folder: Path | None) -> dict:
    """``story.json``, or an empty manifest when it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes()) if folder else {}
    except (OSError, ValueError):
        manifest = {}
    if not isinstance(manifest, dict):
        manifest = {}
    for key, empty in (("shots", {}), ("prompts", [])):
        if not isinstance(manifest.get(key), type(empty)):
            manifest[key] = empty
    manifest["prompts"] = [mark for mark in manifest["prompts"] if isinstance(mark, str)]
    return manifest


def update_manifest(folder: Path, story: Story, **changes) -> None:
    """Change entries of ``story.json``; ``shots`` are merged by label."""
    manifest = read_manifest(folder)
    shots = {**manifest["shots"], **changes.pop("shots", {})}
    prompts = sorted({*manifest["prompts"], *_marks(story)})
    manifest.update({"name": story.name, "prompts": prompts, "shots": shots, **changes})
    write_whole(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False).encode())


def leave_script(folder: Path, story: Story) -> None:
    """The script beside the shots, which are measured against it; one, in the format it has now."""
    suffixes = ["json", "txt"]
    if not story.source.lstrip("\ufeff \t\r\n").startswith("{"):
        suffixes.reverse()
    target, stale = (folder / f"script.{suffix}" for suffix in suffixes)
    write_whole(target, story.source.encode("utf-8", "surrogatepass"))
    stale.unlink(missing_ok=True)


def show_file(source: Path, target: Path) -> None:
    """Put a copy of a record's file where the artist looks, in one step.

    A copy, not a hard link: a program that edits the visible file in place must not alter the
    record.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_shown(folder: Path, manifest: Mapping, keep: Iterable[str]) -> None:
    """Remove visible shot files of this story that the script no longer has (records stay)."""
    keep = set(keep)
    for label, entry in manifest["shots"].items():
        name = entry.get("file") if isinstance(entry, Mapping) else None
        if label not in keep and name == f"shot_{label}.mp4":
            (folder / name).unlink(missing_ok=True)


def _marks(story: Story) -> list[str]:
    return [hashlib.sha256(s.prompt.strip().encode()).hexdigest()[:16] for s in story.shots]


def _is_of(folder: Path, story: Story) -> bool:
    return bool(set(read_manifest(folder)["prompts"]) & set(_marks(story)))


def _differs_in_case_only(folder: Path) -> bool:
    try:
        names = os.listdir(folder.parent)
    except FileNotFoundError:
        return False
    return any(n.casefold() == folder.name.casefold() and n != folder.name for n in names)


def _make_with_manifest(folder: Path, story: Story) -> None:
    """Make a folder that never exists without its manifest, so that two processes do not share
    it."""
    fresh = folder.with_name(f".{uuid.uuid4().hex[:12]}")
    fresh.mkdir()
    try:
        update_manifest(fresh, story)
        os.rename(fresh, folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
