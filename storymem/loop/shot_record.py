"""What is written of one finished shot, and read only when every checksum holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..files.hashing import checksum
from ..files.json_text import parse_json
from ..files.messages import is_unicode, reason_of, shown
from ..files.names import is_digest, is_plain_name
from ..memory.bank import MemoryBank
from ..memory.edits import BankEdits
from ..memory.frame import MemoryFrame
from ..memory.frame_fields import DROPPED_EDITS, KEPT_EDITS, WHEN_SET, check_frame, is_count
from ..memory.policies import POLICIES

RECORD_FORMAT = 1
RECORD_FILE = "record.json"
VIDEO_FILE = "shot.mp4"
FACTS = ("story", "label", "prompt", "shot_prompt", "own")  # texts, where they are there
MALFORMED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what odd records raise


class DamagedError(ValueError):
    """A record or picture that is missing, truncated or altered."""


@dataclass(frozen=True)
class Record:
    """A finished shot on disk, its checksums verified. What its bank held stays on disk."""

    key: str
    folder: Path
    frames: int
    facts: Mapping  # label, prompt, seed ...: provenance for people and for locks
    tail: tuple[str, ...] = ()  # digests of its last frames; earlier versions wrote none

    @property
    def video(self) -> Path:
        """The shot's video file."""
        return self.folder / VIDEO_FILE


def describe_bank(bank: MemoryBank) -> dict:
    """A bank as JSON: pictures by their digest, provenance as it is."""

    def entry(frame: MemoryFrame) -> dict:
        provenance = {f.name: getattr(frame, f.name) for f in fields(frame) if f.name != "picture"}
        for name in ("edited", "prompt"):  # as before there were these: a hash of it finds shots
            if not provenance[name]:
                del provenance[name]
        for name, unset in WHEN_SET.items():
            if provenance[name] == unset:
                del provenance[name]
        return {"sha256": frame.digest, **provenance}

    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "frames": [entry(frame) for frame in bank.frames],
        "dropped": [entry(frame) for frame in bank.dropped],
    }


def read_bank(record: Record, read: Callable[[Mapping], object]) -> MemoryBank:
    """The bank of a record; ``read`` makes a frame of what is written of it.

    Raises:
        DamagedError: when the record holds none any more.
    """
    try:
        entry = _read_body(record.folder, record.key)["bank"]
        _check_bank(entry)
        kept, dropped = (tuple(map(read, entry[name])) for name in ("frames", "dropped"))
        return MemoryBank(
            kept,
            max_frames=entry["max_frames"],
            sink=entry["sink"],
            dropped=dropped,
            edits=BankEdits.of(kept, dropped),
            policy=entry.get("policy", POLICIES[0]),
            seen=entry.get("seen", {}),
            scored=entry.get("scored", {}),
        )
    except DamagedError:
        raise
    except MALFORMED as error:
        raise DamagedError(f"{record.folder} holds no memory bank: {reason_of(error)}") from error


def _check_bank(entry: Mapping) -> None:
    """Raise ValueError for values that no bank has: a record may be anybody's by its checksum."""
    for frame in (*entry["frames"], *entry["dropped"]):
        check_frame("a frame", frame, (*KEPT_EDITS, *DROPPED_EDITS), may_be_nan=True)
    told = [pair for name in ("seen", "scored") for pair in entry.get(name, {}).items()]
    if not (is_count(entry["max_frames"]) and is_count(entry["sink"])):
        raise ValueError("its window has no size")
    if not all(isinstance(text, str) and is_unicode(text) for pair in told for text in pair):
        raise ValueError("what its last shot saw is no text")


def write_record(
    folder: Path,
    key: str,
    frames: int,
    facts: Mapping,
    bank: MemoryBank,
    tail: Sequence[str] = (),
) -> None:
    """Write ``record.json`` for the files of a shot that are in ``folder``.

    Args:
        tail: digests of the shot's last frames, oldest first.
    """
    files = sorted(path.name for path in folder.iterdir())
    body = {
        "format": RECORD_FORMAT,
        "key": key,
        "frames": frames,
        "files": {name: checksum(folder / name) for name in files},
        "facts": dict(facts),
        "tail": list(tail),
        "bank": {**describe_bank(bank), **_describe_view(bank)},
    }
    # The text is checked as it stands, so that NaN scores and the like survive as they are.
    text = json.dumps(body, ensure_ascii=False)
    document = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "record": text})
    (folder / RECORD_FILE).write_bytes(document.encode())


def _describe_view(bank: MemoryBank) -> dict:
    """What the shot saw and by which policy, for the gallery; the window tells by itself."""
    seen = {"policy": bank.policy, "seen": dict(bank.seen)} if bank.seen else {}
    return seen | ({"scored": dict(bank.scored)} if bank.scored else {})


def read_record(folder: Path, key: str) -> Record:
    """The record in ``folder``, with a look at every file of it.

    Raises:
        DamagedError: when something was altered or belongs to another shot.
        OSError, ValueError, KeyError, TypeError, AttributeError: when it is no record at all.
    """
    body = _read_body(folder, key)
    for name, known in body["files"].items():
        if not is_plain_name(name):
            raise DamagedError(f"it names a file outside of its folder ({shown(name)})")
        if checksum(folder / name) != known:
            raise DamagedError(f"{name} was altered or cut off")
    record = Record(key, folder, body["frames"], body["facts"], tuple(body.get("tail", ())))
    are_facts = isinstance(record.facts, dict) and all(
        isinstance(record.facts.get(name, ""), str) for name in FACTS
    )
    if not (isinstance(record.frames, int) and are_facts and all(map(is_digest, record.tail))):
        raise DamagedError(f"{RECORD_FILE} holds values of the wrong type")
    return record


def read_facts(path: Path) -> Mapping:
    """What a ``record.json`` says of its shot, without a look at anything else."""
    return parse_json(parse_json(path.read_bytes())["record"])["facts"]


def _read_body(folder: Path, key: str) -> dict:
    document = parse_json((folder / RECORD_FILE).read_bytes())
    text = document["record"]
    if hashlib.sha256(text.encode()).hexdigest() != document["sha256"]:
        raise DamagedError(f"{RECORD_FILE} was altered")
    body = parse_json(text)
    if body["format"] != RECORD_FORMAT or body["key"] != key:
        raise DamagedError(f"{RECORD_FILE} belongs to another shot or version")
    return body
