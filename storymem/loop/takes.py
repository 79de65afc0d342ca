"""Takes: every finished result of a shot that is still in the store, and what tells two apart.

A record is a take of the shot whose row it was made for; of records without a row, prompt and label
decide. Nothing here looks at a record's video, so that thousands of takes are listed at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.json_text import parse_json
from ..files.names import is_digest
from ..script.cast import strip_mentions
from ..script.story import Shot, Story
from .changed_inputs import BodyNames, body_changes
from .passes import pass_of_facts
from .shot_record import MALFORMED, RECORD_FILE, VIDEO_FILE
from .shot_store import ShotStore

# Of a record: what two takes may differ in, as the page names it, in the order of importance.
TOLD = {
    "prompt": "shot_prompt",
    "seed": "seed",
    "length": "length",
    "negative": "negative",
    "strength": "lora_strength",
    "begins": "mode",
}
LONGEST = 2_000  # characters of a value that is told
MOST_KEPT = 100_000  # records that are remembered between two looks


@dataclass(frozen=True)
class Take:
    """One finished result of a shot."""

    key: str
    facts: Mapping  # of its record
    memory: frozenset[str]  # digests of the frames that the memory held before it
    when: float  # seconds since 1970
    frames: int
    size: int  # bytes of its own files

    @property
    def prompt(self) -> str:
        """The shot's own prompt that it was made for, without marks; empty when unknown."""
        text = self.facts.get("shot_prompt", self.facts.get("prompt"))
        return strip_mentions(text) if isinstance(text, str) else ""

    @property
    def row(self) -> str:
        """Id of the row that it was made for; empty when it had none."""
        row = self.facts.get("row")
        return row if isinstance(row, str) else ""


def read_takes(store: ShotStore, story: str | None = None, pass_: str = "") -> list[Take]:
    """Every record of stories of this name (of all stories without one) and of this pass (of all
    passes without one), oldest first; damage of its video is not looked for."""
    found = _records(store.root)
    if pass_:
        found = [take for take in found if pass_of_facts(take.facts) == pass_]
    if story is not None:
        found = [take for take in found if take.facts.get("story") == story]
    return sorted(found, key=lambda take: (take.when, take.key))


def every_key(store: ShotStore) -> list[str]:
    """The keys of all records, readable or not.

    Raises:
        OSError: when a folder cannot be listed, so that nobody knows.
    """
    found: list[str] = []
    root = store.root / "shots"
    for group in sorted(root.iterdir()) if root.is_dir() else ():
        if group.is_dir():
            found += [path.name for path in sorted(group.iterdir()) if is_digest(path.name)]
    return found


def held_pictures(store: ShotStore, key: str) -> set[str]:
    """Digests of the pictures that a record's memory bank holds.

    Raises:
        ValueError: for a record that does not say.
    """
    try:
        bank = _body(store.folder_of(key))["bank"]
        return {str(f["sha256"]) for part in ("frames", "dropped") for f in bank[part]}
    except MALFORMED as error:
        raise ValueError(f"{store.folder_of(key)} does not say which pictures it holds") from error


def takes_of(story: Story, takes: Sequence[Take]) -> list[list[Take]]:
    """Which of ``takes`` are whose, by shot of ``story``, in the order given.

    A take goes to the row that it was made for, also after edits and moves (of copies of a row: to
    those of its prompt, else to the first). One whose row is not in the script goes to all shots of
    its prompt; one that was made for no row, and whose prompt no shot has any more, to the shot of
    its label. A take that the script names is always among its shot's.
    """
    rows: dict[str, list[Shot]] = defaultdict(list)
    prompts: dict[str, list[Shot]] = defaultdict(list)
    labels = {shot.label: shot for shot in story.shots}
    texts = [strip_mentions(shot.prompt) for shot in story.shots]
    named: dict[str, list[Shot]] = defaultdict(list)
    for shot in story.shots:
        prompts[texts[shot.index]].append(shot)
        if shot.row:
            rows[shot.row].append(shot)
        if shot.take:
            named[shot.take[:12]].append(shot)
    found: list[list[Take]] = [[] for _ in story.shots]
    for take in takes:
        shots = rows.get(take.row, [])
        if len(shots) > 1:
            shots = [s for s in shots if texts[s.index] == take.prompt] or shots[:1]
        shots = shots or prompts.get(take.prompt, [])
        if not shots and not take.row:
            shots = [labels[label]] if (label := take.facts.get("label")) in labels else []
        chosen = [s for s in named.get(take.key[:12], ()) if take.key.startswith(s.take)]
        for index in {shot.index for shot in (*shots, *chosen)}:
            found[index].append(take)
    return found


def differences(store: ShotStore, take: Take, other: Take, names: BodyNames) -> list[dict]:
    """In what ``take`` is not as ``other``: entries with ``kind``, and ``was`` and ``now`` where
    these are values (``now`` is of ``take``), or ``lines`` where they are told in words.

    Args:
        names: what people call the nodes that made them.
    """
    found = []
    for kind, name in TOLD.items():
        was, is_now = other.facts.get(name), take.facts.get(name)
        if was != is_now:
            found.append({"kind": kind, "was": _said(was), "now": _said(is_now)})
    was, is_now = (_before_prompt(facts.facts) for facts in (other, take))
    if was != is_now:
        found.append({"kind": "character", "was": _said(was), "now": _said(is_now)})
    if other.facts.get("pictures") != take.facts.get("pictures"):
        found.append({"kind": "pictures"})
    if changed := other.memory ^ take.memory:
        found.append({"kind": "memory", "count": len(changed)})
    bodies = [str(facts.facts.get("body", "")) for facts in (other, take)]
    if bodies[0] != bodies[1]:
        texts = [store.find_body(digest) for digest in bodies]
        lines = body_changes(texts[0], texts[1], names) if None not in texts else []
        found.append({"kind": "nodes", "lines": lines})
    previous = other.facts.get("previous"), take.facts.get("previous")
    if not found and previous[0] != previous[1]:
        found.append({"kind": "before"})
    return found


# --- inside --------------------------------------------------------------------------------------


def _before_prompt(facts: Mapping) -> str:
    """What stands before a shot's own part of its prompt: the character description."""
    prompt, own = facts.get("prompt"), facts.get("shot_prompt")
    if not isinstance(prompt, str) or not isinstance(own, str):
        return ""
    return prompt.removesuffix(strip_mentions(own)).removesuffix("\n")


def _said(value: object) -> object:
    return value[:LONGEST] if isinstance(value, str) else value


_KNOWN: dict[Path, tuple[int, Take | None]] = {}  # what was read of each record's file
_GUARD = threading.Lock()


def _records(root: Path) -> list[Take]:
    """All records below ``root`` that can be read; each is read once in the life of a process."""
    found = []
    for group in _entries(root / "shots"):
        for entry in _entries(Path(group.path)):
            if is_digest(entry.name) and entry.is_dir(follow_symlinks=False):
                take = _record(Path(entry.path))
                if take is not None and os.path.isfile(os.path.join(entry.path, VIDEO_FILE)):
                    found.append(take)
    return found


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []


def _record(folder: Path) -> Take | None:
    path = folder / RECORD_FILE
    try:
        time = path.stat().st_mtime_ns
        known = _KNOWN.get(path)
        if known is not None and known[0] == time:
            return known[1]
        take = _read(folder, time)
    except MALFORMED:
        return None
    with _GUARD:
        if len(_KNOWN) >= MOST_KEPT:
            _KNOWN.clear()
        _KNOWN[path] = time, take
    return take


def _body(folder: Path) -> Mapping:
    return parse_json(parse_json((folder / RECORD_FILE).read_bytes())["record"])


def _read(folder: Path, time: int) -> Take | None:
    body = _body(folder)
    facts, frames = body["facts"], body["frames"]
    is_take = isinstance(facts, dict) and isinstance(frames, int) and body["key"] == folder.name
    if not is_take:
        return None
    held = [f for f in body["bank"]["frames"] if f.get("shot") != facts.get("shot")]
    memory = frozenset(sys.intern(str(frame["sha256"])) for frame in held)
    size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    return Take(folder.name, facts, memory, time / 1e9, frames, size)
