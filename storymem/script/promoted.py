"""What a shot of the film takes over from a pass before it: its seed, a picture to start from,
pictures for its memory.

``promote`` of a shot is ``{"seed": true, "start": {"frame": 0}, "memory": [{"shot": 6, "frame": 40,
"name": "Mara"}]}``. On one line, as a tag of plain text and in the editor, the same is ``seed,
start 0, memory 6:40 Mara``; ``memory`` without a frame are the keyframes of the draft's shot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..files.messages import shown

KINDS = ("seed", "start", "memory")
SOURCES = ("draft", "draft2", "draft3", "stills")  # the passes that there are to take from
MOST_ENTRIES = 20
LONGEST_NAME = 100  # characters
MOST_SHOTS, MOST_FRAMES = 100_000, 16_381
EXAMPLE = '"seed, start 0, memory 6:40 Mara"'
_NOTHING = ("", "nothing", "none")
_PICTURE = re.compile(r"[0-9a-f]{12,64}")
_SEPARATOR = re.compile(r"[,;，；\n]")
_ENTRY = re.compile(
    rf"(?P<kind>{'|'.join(KINDS)})"
    r"(?:\s+(?:(?P<shot>[0-9]{1,7})\s*[:：]\s*)?(?P<frame>[0-9]{1,7})?)?"
    r"(?:\s+(?!#|from\s)(?P<name>[^#]+?))??"
    rf"(?:\s+from\s+(?P<source>{'|'.join(SOURCES)}))?"
    r"(?:\s+#(?P<picture>[0-9a-f]{12,64}))?\s*",
    re.IGNORECASE,
)


class PromoteError(ValueError):
    """A value that cannot be read: what is wrong, and with which part."""


class Promoted(NamedTuple):
    """One thing that a shot takes over."""

    kind: str  # one of KINDS
    shot: int = 0  # number of the pass's shot, from 1; 0: the shot itself
    frame: int | None = None  # of that shot, from 0; None: its first, or its keyframes for memory
    name: str = ""  # whom a frame for the memory shows
    source: str = SOURCES[0]  # the pass
    picture: str = ""  # the first digits of its digest, once it is chosen: no draft changes it

    def as_json(self) -> dict | bool:
        """What stands under its kind."""
        if self == Promoted(self.kind):
            return True
        given = {name: value for name, value in self._asdict().items() if name != "kind"}
        return {name: v for name, v in given.items() if v != Promoted._field_defaults[name]}

    def written(self) -> str:
        """As ``read_promote`` reads it on a line."""
        shot = f"{self.shot}:" if self.shot else ""
        frame = "" if self.frame is None else self.frame
        source = "" if self.source == SOURCES[0] else f"from {self.source}"
        picture = f"#{self.picture}" if self.picture else ""
        return " ".join(filter(None, (self.kind, f"{shot}{frame}", self.name, source, picture)))


def read_promote(value: object) -> tuple[Promoted, ...]:
    """A value of a script: text, an object, or a list of either.

    Raises:
        PromoteError: naming the part.
    """
    found = tuple(dict.fromkeys(_read(value)))
    if len(found) > MOST_ENTRIES:
        raise PromoteError(f"holds {len(found)} entries, but at most {MOST_ENTRIES} are allowed")
    for kind in KINDS[:2]:
        if sum(entry.kind == kind for entry in found) > 1:
            raise PromoteError(f"names several for {kind}, which is one; write one of them")
    return tuple(sorted(found, key=lambda entry: KINDS.index(entry.kind)))


def as_object(entries: Iterable[Promoted]) -> dict:
    """Entries as a script's JSON has them."""
    entries = tuple(entries)
    found: dict = {entry.kind: entry.as_json() for entry in entries if entry.kind != "memory"}
    memory = [entry.as_json() for entry in entries if entry.kind == "memory"]
    if memory:
        found["memory"] = True if memory == [True] else [{} if m is True else m for m in memory]
    return found


def written(entries: Iterable[Promoted]) -> str:
    """Entries on one line; empty for names that no line can hold."""
    entries = tuple(entries)
    line = ", ".join(entry.written() for entry in entries)
    try:
        is_same = read_promote(line) == entries
    except PromoteError:
        is_same = False
    return line if is_same and line.isprintable() and "]" not in line else ""


def _read(value: object) -> list[Promoted]:
    if value is None or value is False:
        return []
    if isinstance(value, str):
        return [] if value.strip().lower() in _NOTHING else _read_line(value)
    if isinstance(value, list):
        return [entry for part in value for entry in _read(part)]
    if not isinstance(value, Mapping):
        raise PromoteError(f"must be text such as {EXAMPLE}, but it is {shown(value)}")
    source = value.get("pass", SOURCES[0])
    if unknown := sorted(map(str, set(value) - {*KINDS, "pass"})):
        raise PromoteError(f"may have {', '.join(KINDS)} and pass, but not {shown(unknown[0])}")
    parts = [(kind, value.get(kind)) for kind in KINDS]
    return [
        _read_entry(kind, one, source)
        for kind, given in parts
        for one in (given if isinstance(given, list) else [given])
        if one is not None and one is not False
    ]


def _read_line(text: str) -> list[Promoted]:
    found = []
    for part in filter(None, map(str.strip, _SEPARATOR.split(text))):
        match = _ENTRY.fullmatch(part)
        if match is None:
            raise PromoteError(
                f"holds {shown(part)}; write seed, start and memory, such as {EXAMPLE}"
            )
        given = {k: v.strip() for k, v in match.groupdict().items() if v is not None}
        kind = given.pop("kind").lower()
        found.append(_read_entry(kind, given, SOURCES[0]))
    return found


def _read_entry(kind: str, given: object, source: object) -> Promoted:
    if given is True:
        given = {}
    elif isinstance(given, int):
        given = {"frame": given}
    if not isinstance(given, Mapping):
        raise PromoteError(
            f'{kind} must be true or such as {{"shot": 6, "frame": 40}}, but it is {shown(given)}'
        )
    if unknown := sorted(map(str, set(given) - {*Promoted._fields[1:], "pass"})):
        raise PromoteError(
            f"{kind} may have {', '.join(Promoted._fields[1:])}, but not {shown(unknown[0])}"
        )
    source = given.get("source", given.get("pass", source))
    source = source.lower() if isinstance(source, str) else source
    if source not in SOURCES:
        raise PromoteError(
            f"{kind} must be from {', '.join(SOURCES)}, but not from {shown(source)}"
        )
    name, picture = given.get("name", ""), given.get("picture", "")
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise PromoteError(f"{kind} names {shown(name)}, which is no name")
    if picture and not (isinstance(picture, str) and _PICTURE.fullmatch(picture.lower())):
        raise PromoteError(
            f"{kind} has the picture {shown(picture)}, but a picture is named by the first 12 or "
            "more hexadecimal digits of its digest"
        )
    shot = _number(given.get("shot", 0), f"{kind}: shot", 0, MOST_SHOTS)
    frame = given.get("frame")
    frame = None if frame is None else _number(frame, f"{kind}: frame", 0, MOST_FRAMES)
    if kind != "memory" and name:
        raise PromoteError(f"{kind} names {shown(name)}, but only memory has names")
    if kind == "seed" and (frame is not None or picture):
        raise PromoteError("seed has a frame, but a seed is the whole shot's; leave the frame out")
    return Promoted(kind, shot, frame, name.strip().removeprefix("@"), source, picture.lower())


def _number(value: object, what: str, least: int, most: int) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PromoteError(
            f"{what} must be a whole number of {least} to {most}, but it is {shown(value)}"
        )
    return value
