"""What a script says is worth remembering: whom or what of a shot, and how much.

``remember`` of a shot is a list of ``{"who": "Mara", "weight": 3}`` and ``{"place": "the pier",
"weight": 1}``. On one line, as a tag of plain text and in the editor, the same is
``Mara 3, place: the pier 1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..files.json_text import JsonError, parse_json
from ..files.messages import shown

NEUTRAL = 1  # of what no shot weighs
GIVEN = 2  # of what is listed without a weight: more than what is not listed
MOST = 3
MOST_ENTRIES = 50
LONGEST_NAME = 100  # characters
KINDS = ("who", "place")
_NAMES = ("who", "place", "name", "character", "object", "what")  # as writers call the key
_PLACE = re.compile(r"place\s*[:：]\s*", re.IGNORECASE)
_WEIGHT = re.compile(r"(?P<name>.*\S)\s*[:：=×]?\s+(?P<weight>[+-]?[0-9.]+)")
_SEPARATOR = re.compile(r"[,;，；、\n]")


class Remembered(NamedTuple):
    """Somebody or a place, and how much a shot's frames matter for them."""

    kind: str  # one of KINDS
    name: str
    weight: int  # 0: gives way first; 1: as if it were not listed; 3: kept longest

    def as_json(self) -> dict:
        return {self.kind: self.name, "weight": self.weight}


class RememberError(ValueError):
    """A list that cannot be read: what is wrong, and with which value."""


def read_remembered(value: object) -> tuple[Remembered, ...]:
    """A value of a script: a list, one entry, ``{"Mara": 3}``, or the text of ``written``.

    Raises:
        RememberError: naming the entry.
    """
    if isinstance(value, str):
        value = _read_text(value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise RememberError(
            'must be a list such as [{"who": "Mara", "weight": 3}, {"place": "the pier", '
            f'"weight": 1}}], but it is {shown(value)}'
        )
    if len(value) > MOST_ENTRIES:
        raise RememberError(f"holds {len(value)} entries, but at most {MOST_ENTRIES} are allowed")
    found: dict[tuple[str, str], Remembered] = {}
    for entry in map(_read_entry, _one_each(value)):
        before = found.get((entry.kind, entry.name.casefold()))
        if before is None or before.weight < entry.weight:
            found[entry.kind, entry.name.casefold()] = entry
    return tuple(found.values())


def written(entries: Iterable[Remembered]) -> str:
    """Entries on one line, which ``read_remembered`` reads as they are."""
    entries = tuple(entries)
    line = ", ".join(
        f"{'place: ' if entry.kind == 'place' else ''}{entry.name} {entry.weight}"
        for entry in entries
    )
    try:
        if read_remembered(line) == entries and line.isprintable() and "]" not in line:
            return line
    except RememberError:
        pass
    return json.dumps([entry.as_json() for entry in entries], ensure_ascii=False)


def _read_text(text: str) -> object:
    text = text.strip()
    if text.startswith(("[", "{")):
        try:
            return parse_json(text)
        except JsonError:
            raise RememberError(f"must be a list, but it is {shown(text)}") from None
    return [_read_part(part) for part in filter(None, map(str.strip, _SEPARATOR.split(text)))]


def _read_part(part: str) -> dict:
    place = _PLACE.match(part)
    rest = part[place.end() :] if place else part
    weighed = _WEIGHT.fullmatch(rest)
    name = (weighed["name"] if weighed else rest).strip()
    entry: dict = {"place" if place else "who": name.rstrip(":：=× ") or name}
    return {**entry, "weight": weighed["weight"]} if weighed else entry


def _one_each(entries: list) -> list:
    """Entries with ``{"Mara": 3, "Bo": 0}`` taken apart."""
    found = []
    for entry in entries:
        is_short = isinstance(entry, Mapping) and not {*_NAMES, "weight"}.intersection(entry)
        whole = [{"who": k, "weight": v} for k, v in entry.items()] if is_short else [entry]
        found += whole
    return found


def _read_entry(entry: object) -> Remembered:
    if isinstance(entry, str):
        entry = _read_part(entry.strip())
    if not isinstance(entry, Mapping):
        raise RememberError(
            f'holds {shown(entry)}; write {{"who": "Mara", "weight": 3}} for each entry'
        )
    given = [name for name in _NAMES if isinstance(entry.get(name), str) and entry[name].strip()]
    if len(given) != 1:
        raise RememberError(
            f"has an entry that names {'several' if given else 'nobody'}: {shown(dict(entry))}; "
            'write who or place, such as {"who": "Mara", "weight": 3}'
        )
    name = entry[given[0]].strip().removeprefix("@")
    if not name or len(name) > LONGEST_NAME:
        raise RememberError(f"holds {shown(name)}, which is no name of 1 to {LONGEST_NAME} letters")
    kind = "place" if given[0] == "place" else "who"
    return Remembered(kind, name, _read_weight(entry.get("weight", GIVEN), name))


def _read_weight(value: object, name: str) -> int:
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    whole = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not whole or number not in range(MOST + 1):
        raise RememberError(
            f"gives {shown(name)} the weight {shown(value)}, but a weight is 0, 1, 2 or {MOST}"
        )
    return int(number)


def tell_unknown(
    entries: Iterable[Remembered], names: Iterable[str], prompts: Iterable[str]
) -> list[str]:
    """A sentence for those who are in no cast and for places that no prompt speaks of.

    Args:
        names: of everybody in the story.
    """
    known = {name.casefold() for name in names}
    texts = [prompt.casefold() for prompt in prompts]
    told = []
    for entry in dict.fromkeys((entry.kind, entry.name) for entry in entries):
        kind, name = entry
        if kind == "who" and name.casefold() not in known:
            told.append(
                f"remember names {shown(name)}, who is nobody of the cast; add the name to cast, "
                "or correct it"
            )
        elif kind == "place" and not any(name.casefold() in text for text in texts):
            told.append(
                f"remember names the place {shown(name)}, which no prompt speaks of; use the words "
                "of the prompts"
            )
    return told
