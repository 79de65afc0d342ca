"""A memory bank as a folder of PNGs plus ``bank.json``, which an artist can open and edit by hand.

Layout::

    folder/
        bank.json                                   settings and provenance, in order
        reference_0000_1f2e3d4c.png                 kept frames: shot number from 1, frame from 0
        shot_0002_frame_0017_5a6b7c8d.png
        dropped/shot_0002_frame_0040_9e8f7a6b.png   what was not kept; its reason is in bank.json

By hand: delete a PNG and the frame is gone; put a picture in and it is a reference image (or takes
the place its name says, ``shot_0002_frame_0017...``); move one out of ``dropped`` and it is kept.

Nothing is ever half written: pictures are named by content and never overwritten with others,
``bank.json`` is replaced last, in one step. ``bank.json.saving`` names the pictures of a save under
way, so that the leftovers of one that was cut off are not taken for the artist's own.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from ..files.disk import remove_link, remove_unfinished, write_whole
from ..files.images import find_pictures, read_picture
from ..files.json_text import parse_json
from ..files.messages import reason_of, shown
from ..files.names import is_plain_name
from .bank import MemoryBank
from .edits import BankEdits
from .frame import REFERENCE_SHOT, MemoryFrame
from .frame_fields import (
    DROPPED_EDITS,
    FIELDS,
    KEPT_EDITS,
    LARGEST,
    check_frame,
    is_count,
    told_fields,
)
from .released_results import keyframes_only, released_places

BANK_FILE = "bank.json"
JOURNAL_FILE = "bank.json.saving"
DROPPED_FOLDER = "dropped"
FORMAT, VERSION = "storymem-bank", 1
_PLACE = re.compile(r"shot_([0-9]{1,6})_frame_([0-9]{1,6})")
_OURS = re.compile(r"(reference|shot_[0-9]+_frame)_[0-9]+_[0-9a-f]{8}(_[0-9]+)?\.png")
_EDITED = {"frames": KEPT_EDITS, "dropped": DROPPED_EDITS}
logger = logging.getLogger(__name__)


def save_bank(folder: str | Path, bank: MemoryBank) -> Path:
    """Write ``bank`` into ``folder`` (made when missing; an older bank there is replaced).

    Pictures that the artist put there are left alone. Returns the folder.

    Raises:
        ValueError: when the folder cannot be made or written.
    """
    folder = Path(folder)
    kept, dropped = _named(bank.frames), _named(bank.dropped)
    try:
        remove_link(folder / DROPPED_FOLDER)
        (folder / DROPPED_FOLDER).mkdir(parents=True, exist_ok=True)
        before = _listed_files(folder)
        files = [*kept, *(f"{DROPPED_FOLDER}/{name}" for name in dropped)]
        write_whole(folder / JOURNAL_FILE, json.dumps(files).encode(), is_synced=True)
        for name, frame in kept.items():
            _write_picture(folder / name, frame)
        for name, frame in dropped.items():
            _write_picture(folder / DROPPED_FOLDER / name, frame)
        forgotten = _forgotten(folder, bank, {*before, *files})
        for name, frame in dropped.items():  # moved out by hand, and dropped again
            if forgotten.get(name) == frame.digest and frame.why == "dropped by hand":
                before.add(name)
                del forgotten[name]
        text = _to_json(bank, kept, dropped, forgotten)
        write_whole(folder / BANK_FILE, text.encode(), is_synced=True)
        for stale in before.difference(files):
            (folder / stale).unlink(missing_ok=True)
        (folder / JOURNAL_FILE).unlink(missing_ok=True)  # another server may save here as well
        for place in (folder, folder / DROPPED_FOLDER):
            remove_unfinished(place)
    except OSError as error:
        raise ValueError(
            f"the memory bank could not be saved to {folder}: {reason_of(error)}; choose a folder "
            "that can be written"
        ) from error
    return folder


def load_bank(folder: str | Path, *, skip_damaged: bool = False) -> MemoryBank:
    """Read a bank that ``save_bank`` wrote, or a plain folder of pictures.

    Args:
        skip_damaged: load what can be read, with a warning that names each file that was left out.

    Raises:
        ValueError: for a folder without a bank, and for a damaged file, which it names.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no memory bank folder at {folder}; check its name")
    damaged = _Damage(skip_damaged)
    document = damaged.guard(lambda: _read_document(folder), default={})
    pictures = _pictures(folder)
    if not (folder / BANK_FILE).is_file() and not pictures:
        raise ValueError(
            f"{folder} holds no {BANK_FILE} and no pictures, so it is not a memory bank"
        )
    kept_entries = _entries(document, "frames", damaged)
    dropped_entries = _entries(document, "dropped", damaged)
    frames = _load_listed(folder, kept_entries, damaged)
    dropped = _load_listed(folder / DROPPED_FOLDER, dropped_entries, damaged)
    added = _load_added(folder, pictures, kept_entries, dropped_entries, frames, damaged)
    settings = {key: document[key] for key in ("max_frames", "sink") if key in document}
    bank = MemoryBank(dropped=tuple(dropped), **settings)
    bank = bank.remember([*frames, *added])  # in order of (shot, frame), however the file has them
    return replace(bank, edits=BankEdits.of(bank.frames, bank.dropped))


# --- writing ---------------------------------------------------------------------------------


def _named(frames: tuple[MemoryFrame, ...]) -> dict[str, MemoryFrame]:
    """A unique file name for each frame: its place in the story and its content."""
    named: dict[str, MemoryFrame] = {}
    for frame in frames:
        if frame.shot == REFERENCE_SHOT:
            place = f"reference_{frame.frame:04d}"
        else:
            place = f"shot_{frame.shot + 1:04d}_frame_{frame.frame:04d}"
        stem = f"{place}_{frame.digest[:8]}"
        name, copy = f"{stem}.png", 2
        while name in named:
            name, copy = f"{stem}_{copy}.png", copy + 1
        named[name] = frame
    return named


def _to_json(bank: MemoryBank, kept: dict, dropped: dict, forgotten: dict) -> str:
    def entry(name: str, frame: MemoryFrame) -> dict:
        provenance = told_fields(frame)
        for key in ("score", "similarity"):  # JSON has no NaN
            if provenance[key] is not None and not math.isfinite(provenance[key]):
                provenance[key] = None
        provenance["name"] = bank.edits.label_of(frame.digest) or frame.name
        return {"file": name, **provenance, "sha256": frame.digest}

    document = {
        "format": FORMAT,
        "version": VERSION,
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "frames": [entry(*item) for item in kept.items()],
        "dropped": [entry(*item) for item in dropped.items()],
    }
    if forgotten:
        document["forgotten"] = forgotten
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _forgotten(folder: Path, bank: MemoryBank, ours: set[str]) -> dict[str, str]:
    """The artist's own pictures in the folder that were dropped from the bank, with their digest:
    they stay where they are, but do not come back by themselves."""
    gone = {frame.digest for frame in bank.dropped} | set(_read_forgotten(folder).values())
    gone -= {frame.digest for frame in bank.frames}
    found = {}
    for name in _pictures(folder) if gone else ():
        if name not in ours:
            try:
                digest = MemoryFrame(read_picture(folder / name)).digest
            except ValueError:
                continue
            if digest in gone:
                found[name] = digest
    return found


def _read_forgotten(folder: Path) -> dict[str, str]:
    try:
        listed = _read_document(folder).get("forgotten")
    except ValueError:
        return {}
    listed = listed if isinstance(listed, dict) else {}
    return {name: digest for name, digest in listed.items() if isinstance(digest, str)}


def _write_picture(path: Path, frame: MemoryFrame) -> None:
    with suppress(ValueError):  # not there yet, or a damaged copy
        if torch.equal(read_picture(path), frame.image):
            return
    buffer = BytesIO()
    Image.fromarray(frame.image.numpy()).save(buffer, "PNG", compress_level=4)
    write_whole(path, buffer.getvalue(), is_synced=True)


def _listed_files(folder: Path) -> set[str]:
    """Files that an older save wrote here, finished or not: ours to remove."""
    listed = _journal(folder)
    with suppress(ValueError):  # a damaged list names nothing that we may remove
        document = _read_document(folder)
        for key, prefix in (("frames", ""), ("dropped", f"{DROPPED_FOLDER}/")):
            entries = document.get(key)
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                    listed.add(prefix + entry["file"])
    # Whoever changed the list by hand may have named anything; what we write has our names.
    return {name for name in listed if _OURS.fullmatch(name.removeprefix(f"{DROPPED_FOLDER}/"))}


def _journal(folder: Path) -> set[str]:
    try:
        names = parse_json((folder / JOURNAL_FILE).read_bytes())
    except (OSError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


# --- reading ---------------------------------------------------------------------------------


class _Damage:
    """Raises what is wrong with a file, or with ``skip`` warns and goes on."""

    def __init__(self, skip: bool):
        self.skip = skip

    def guard(self, read, default=None):
        try:
            return read()
        except ValueError as error:
            if not self.skip:
                raise ValueError(
                    f"{error}; repair or delete it, or load with skip_damaged on"
                ) from error
            logger.warning("StoryMem: left out of the memory bank: %s", error)
            return default


def _read_document(folder: Path) -> dict:
    path = folder / BANK_FILE
    if not path.is_file():
        return {}
    try:
        document = parse_json(path.read_text(encoding="utf-8-sig"))  # editors add a mark
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {reason_of(error)}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f'{path} is not a memory bank: its "format" is not "{FORMAT}"')
    if document.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {shown(document.get('version'))}, but this pack reads version "
            f"{VERSION}"
        )
    for key in ("max_frames", "sink"):
        value = document.get(key, 0)
        if not is_count(value):
            raise ValueError(
                f'{path}: "{key}" must be a whole number from 0 to {LARGEST}, but it is '
                f"{shown(value)}"
            )
    return document


def _entries(document: dict, key: str, damaged: _Damage) -> dict[str, dict]:
    """File name -> provenance, checked."""
    listed = document.get(key, [])
    checked: dict[str, dict] = {}

    def check(entry) -> tuple[str, dict]:
        name = entry.get("file") if isinstance(entry, dict) else None
        if not is_plain_name(name):
            raise ValueError(
                f'{BANK_FILE}, "{key}": an entry has no plain file name ({shown(name)})'
            )
        check_frame(f"{BANK_FILE}, {name}", entry, _EDITED[key])
        provenance = {field: entry[field] for field in FIELDS if field in entry}
        digest = entry.get("sha256")
        return name, {**provenance, "sha256": digest if isinstance(digest, str) else None}

    def as_list() -> list:
        if isinstance(listed, list):
            return listed
        raise ValueError(f'{BANK_FILE}: "{key}" must be a list, but it is {type(listed).__name__}')

    for entry in damaged.guard(as_list, default=[]):
        found = damaged.guard(lambda entry=entry: check(entry))
        if found:
            checked[found[0]] = found[1]
    return checked


def _load_listed(folder: Path, entries: dict[str, dict], damaged: _Damage) -> list[MemoryFrame]:
    frames = []
    for name, provenance in entries.items():
        if not (folder / name).is_file():
            logger.info("StoryMem: %s was deleted from the memory bank by hand", folder / name)
            continue
        image = damaged.guard(lambda name=name: read_picture(folder / name))
        if image is None:
            continue
        fields = {key: value for key, value in provenance.items() if key != "sha256"}
        frame = MemoryFrame(image, **fields)
        if provenance["sha256"] not in (None, frame.digest):
            logger.info("StoryMem: %s was changed by hand since it was saved", folder / name)
        frames.append(frame)
    return frames


def _load_added(
    folder: Path,
    pictures: list[str],
    kept: dict[str, dict],
    dropped: dict[str, dict],
    frames: list[MemoryFrame],
    damaged: _Damage,
) -> list[MemoryFrame]:
    """Pictures that bank.json does not list: the artist's own, or moved out of ``dropped``."""
    known = {frame.digest for frame in frames}
    leftovers, forgotten = _journal(folder), _read_forgotten(folder)
    released = released_places(pictures)
    next_reference = 1 + max((f.frame for f in frames if f.shot == REFERENCE_SHOT), default=-1)
    added = []
    for name in pictures:
        if name in kept or name in leftovers:
            continue
        image = damaged.guard(lambda name=name: read_picture(folder / name))
        if image is None:
            continue
        if name in dropped:
            fields = {key: value for key, value in dropped[name].items() if key != "sha256"}
            frame = MemoryFrame(image, **{**fields, "reason": "kept by hand", "edited": ""})
        else:
            place = _PLACE.match(name)
            shot, index = released.get(name, (REFERENCE_SHOT, next_reference))
            if place and int(place[1]) > 0:
                shot, index = int(place[1]) - 1, int(place[2])
            named = {"name": Path(name).stem, "reason": "added by hand"}
            frame = MemoryFrame(image, shot=shot, frame=index, **named)
        if frame.digest in known:  # saved again under our own name before
            continue
        if forgotten.get(name) == frame.digest and name not in dropped:
            continue
        known.add(frame.digest)
        if frame.shot == REFERENCE_SHOT:
            next_reference = max(next_reference, frame.frame) + 1
        added.append(frame)
    return added


def _in_natural_order(names: Iterable[str]) -> list[str]:
    """Numbers count as numbers, so ``2.png`` comes before ``10.png``."""

    def natural(name: str) -> list:
        # Not every digit of Unicode is a number to Python. Without the empty part before a number
        # that begins a name: such names come after others, and the order decides over shots' keys.
        parts = [part for part in re.split(r"([0-9]+)", name) if part]
        return [(int(p), "") if p.isascii() and p.isdecimal() else (-1, p.lower()) for p in parts]

    return sorted(names, key=natural)


def _pictures(folder: Path) -> list[str]:
    """Pictures in order, without what a released results folder holds beside keyframes."""
    return keyframes_only(_in_natural_order(find_pictures(folder)))
