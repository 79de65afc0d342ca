"""The folder an artist looks into: ``<output>/<prefix>/<story>/``, its names and its manifest.

Prefix and title decide which folder it is, and nothing else; ``story.json`` in it says which record
each visible file came from. What another script of the same title left there is the business of
:mod:`storymem.film.earlier_films`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files.disk import StoreError, remove_when_free, unfinished_folder
from ..files.hashing import checksum
from ..files.json_text import parse_json
from ..files.messages import reason_of, shown
from ..files.names import check_name, composed, folder_name
from ..loop.passes import FILM
from ..script.story import Story
from .manifest import MANIFEST, update_manifest
from .passes import PASS, pass_folder_name, pass_of, split_pass

STORES = (".storymem", ".shots")  # of finished shots, of the nodes and headless
SHOT_FILE = re.compile(r"shot_([0-9]{1,7}_[0-9]{1,7})\.mp4")
logger = logging.getLogger(__name__)


def story_folder(output: str | Path, prefix: str, story: Story, pass_: str = FILM) -> Path:
    """Where ``story`` goes, by prefix and title alone, whether it is there or not. Writes nothing.

    Names that differ in case only are one folder on some disks, so that the second of them gets
    ``<story>_2``; those that differ in how accents are encoded are one name.

    Args:
        pass_: which pass of it (see :mod:`storymem.film.passes`), whose folder is beside the
            film's.

    Raises:
        ValueError: for names that cannot be folders.
    """
    parent = _parent(output, prefix)
    base = folder_name(check_name(story.name, "the story's name"))
    try:
        there = os.listdir(parent)
    except OSError:  # not there yet, or told when it is made
        there = []
    if pass_ != FILM:
        film = _free_name([split_pass(name)[0] for name in there], base)
        name = pass_folder_name(film, pass_)
        same = [n for n in there if composed(n) == composed(name)]
        return parent / (same[0] if same and name not in same else name)
    return parent / _free_name(there, base)


def _free_name(there: list[str], base: str) -> str:
    """The name of these that is ``base``, else one that is free: ``base``, ``base_2`` ..."""
    number, name = 1, base
    while True:
        same = [n for n in there if composed(n) == composed(name)]
        if same:
            return name if name in same else same[0]
        if not any(composed(n).casefold() == composed(name).casefold() for n in there):
            return name
        number += 1
        name = f"{base}_{number}"


def claim_folder(output: str | Path, prefix: str, story: Story, pass_: str = FILM) -> Path:
    """``story_folder``, made when it is not there yet.

    Raises:
        ValueError: for names that cannot be folders.
        StoreError: when the folder cannot be made, holds shots that nobody can tell of, or is that
            of another pass: a film's title may end like a pass's folder.
    """
    folder = story_folder(output, prefix, story, pass_)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            _make_with_manifest(folder, story, pass_)
        elif not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file of that name is in the way")
        elif not has_manifest(folder) and (found := _shot_files(folder)):
            raise StoreError(
                f"{folder} holds {found[0]}, but no story.json that says whose it is; move what is "
                "in that folder elsewhere, or choose another filename_prefix or title"
            )
        elif pass_ != FILM and not has_manifest(folder):
            update_manifest(folder, story, **{PASS: pass_})
        elif has_manifest(folder) and (found := pass_of(folder)) != pass_:
            raise StoreError(
                f"{folder} holds a {found}, and not the {pass_} of {shown(story.name)}; choose "
                "another filename_prefix or title"
            )
    except OSError as error:
        raise StoreError(
            f"the story's folder could not be made in {folder.parent}: {reason_of(error)}; make "
            "the output folder writable, or start ComfyUI with another --output-directory"
        ) from error
    return folder


def find_folder(output: str | Path, prefix: str, story: Story, pass_: str = FILM) -> Path | None:
    """``story_folder`` if it is there. Writes nothing."""
    folder = story_folder(output, prefix, story, pass_)
    try:
        return folder if folder.is_dir() else None
    except OSError:
        return None


def _shot_files(folder: Path) -> list[str]:
    """Visible shots in ``folder``, whoever made them."""
    return sorted(entry.name for entry in os.scandir(folder) if is_shot_file(entry))


def is_shot_file(entry: os.DirEntry) -> bool:
    """Whether a folder's entry is a file (not a link) with the name of a visible shot."""
    return bool(SHOT_FILE.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


def has_manifest(folder: Path) -> bool:
    """Whether ``story.json`` in ``folder`` can be read."""
    try:
        return isinstance(parse_json((folder / MANIFEST).read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _parent(output: str | Path, prefix: str) -> Path:
    name = folder_name(check_name(prefix, "filename_prefix"))
    if name.casefold() in STORES:
        raise ValueError(
            f"filename_prefix must not be {shown(prefix)}: finished shots are kept in that folder; "
            "choose another"
        )
    return Path(output) / name


def remove_shown(folder: Path, manifest: Mapping, keep: Iterable[str]) -> None:
    """Remove visible shot files that the script no longer has: of this film, and of an earlier one
    in this folder. Records stay, and so does a file that is not as it was written."""
    keep = set(keep)
    films = [manifest, *reversed(manifest.get("earlier", []))]
    for label in {label for film in films for label in film["shots"]} - keep:
        shown = [e for film in films if "file" in (e := film["shots"].get(label, {}))]
        path = folder / f"shot_{label}.mp4"
        if shown and path.is_file() and any(is_as_written(path, entry) for entry in shown):
            try:
                remove_when_free(path)
            except PermissionError as error:
                logger.info("StoryMem: %s is removed by the next run: %s", path, error)


def is_as_written(path: Path, entry: Mapping) -> bool:
    """Whether a visible shot is what its entry says was written there."""
    return "sha256" not in entry or checksum(path) == entry["sha256"]  # earlier versions had none


def _make_with_manifest(folder: Path, story: Story, pass_: str) -> None:
    """Make a folder that never exists without its manifest, so that two processes do not share
    it."""
    try:
        with unfinished_folder(folder) as fresh:
            update_manifest(fresh, story, **({PASS: pass_} if pass_ != FILM else {}))
            os.rename(fresh, folder)
    except OSError:
        if not folder.exists():
            raise
