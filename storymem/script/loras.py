"""LoRAs of single shots and scenes: what a script's ``loras`` says.

``loras`` is a list of ``{"name": "film_noir", "strength": 0.8}``, with ``strength_high`` and
``strength_low`` or an ``expert`` where the two experts differ. On one line, as a tag of plain text
and in the editor, the same is ``film_noir:0.8, rain:0.8:0.4``. A shot's add to its scene's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..files.json_text import JsonError, parse_json
from ..files.messages import shown
from ..files.names import composed

USUAL = 1.0
MOST_STRENGTH = 100.0  # in either direction: what the host's LoRA loaders take
MOST_ENTRIES = 30
LONGEST_NAME = 300  # characters
EXPERTS = ("both", "high", "low")
EXTENSIONS = (".safetensors", ".sft", ".pt", ".pth", ".ckpt", ".bin")
EXAMPLE = '"film_noir:0.8" or [{"name": "film_noir", "strength": 0.8}]'
_NOTHING = ("", "none", "nothing")
_NAMES = ("name", "lora", "lora_name", "file", "filename", "path")  # as writers call the key
_STRENGTHS = ("strength", "weight", "scale", "strength_model")
_KNOWN = {*_NAMES, *_STRENGTHS, "strength_high", "strength_low", "expert"}
_TAG = re.compile(r"<\s*(?:lora|lyco)\s*[:：]([^<>\n]*)>", re.IGNORECASE)
_SEPARATOR = re.compile(r"[,;，；、\n]")
_NUMBER = r"[+-]?(?:[0-9]{1,4}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
_PART = re.compile(
    rf"(?P<name>[^:：]+?)(?:\s*[:：]\s*(?P<high>{_NUMBER}))?(?:\s*[:：]\s*(?P<low>{_NUMBER}))?\s*"
)
# Folders as Windows writes them, also where JSON took the backslash and a letter for a sign.
_FOLDERS = str.maketrans({"\\": "/", **{chr(7 + i): f"/{c}" for i, c in enumerate("abtnvfr")}})


class LoraError(ValueError):
    """A list that cannot be read: what is wrong, and with which value."""


class Levels(tuple):
    """What the story, a scene and a shot say, in this order: each adds to those before it."""


class ShotLora(NamedTuple):
    """A LoRA of a shot, by the name in the script: a file, or what a pair of files share."""

    name: str  # with slashes
    high: float = USUAL  # strength on the high-noise expert
    low: float = USUAL  # on the low-noise expert

    @property
    def key(self) -> str:
        """The same for every way to write the name of one LoRA."""
        return composed(plain_name(self.name)).casefold()

    @property
    def has_effect(self) -> bool:
        """Whether any expert gets it."""
        return bool(self.high or self.low)

    def as_json(self) -> dict:
        if self.high == self.low:
            return {"name": self.name, "strength": self.high}
        return {"name": self.name, "strength_high": self.high, "strength_low": self.low}

    def written(self) -> str:
        """As ``read_loras`` reads it on a line."""
        if self.high != self.low:
            return f"{self.name}:{_figures(self.high)}:{_figures(self.low)}"
        return self.name if self.high == USUAL else f"{self.name}:{_figures(self.high)}"


def plain_name(name: str) -> str:
    """A name without the extension of a weights file."""
    lower = name.lower()
    end = next((e for e in EXTENSIONS if lower.endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(end)]


def read_loras(value: object) -> tuple[ShotLora, ...]:
    """A value of a script: text, an object, a list of either, or the ``Levels`` of a shot.

    What a value of strength 0 names is kept in it: it takes that LoRA away from a value before.
    The levels of a shot come to those that it has.

    Raises:
        LoraError: naming the entry.
    """
    if isinstance(value, Levels):
        found: dict[str, ShotLora] = {}
        for level in value:
            own = {entry.key: entry for entry in read_loras(level)}
            for key in [key for key in found if any(_is_one_name(key, other) for other in own)]:
                if key not in own:  # else it keeps its place
                    del found[key]
            found |= own
        return tuple(entry for entry in found.values() if entry.has_effect)
    once: dict[str, ShotLora] = {}
    for entry in _read(value):
        once[entry.key] = _joined(once[entry.key], entry) if entry.key in once else entry
    if len(once) > MOST_ENTRIES:
        raise LoraError(f"holds {len(once)} LoRAs, but at most {MOST_ENTRIES} are allowed")
    return tuple(once.values())


def written(entries: Iterable[ShotLora]) -> str:
    """Entries on one line; empty for names that no line can hold."""
    entries = tuple(entries)
    line = ", ".join(entry.written() for entry in entries)
    try:
        is_same = read_loras(line) == entries
    except LoraError:
        is_same = False
    return line if is_same and line.isprintable() and "]" not in line else ""


# --- inside --------------------------------------------------------------------------------------


def _is_one_name(key: str, other: str) -> bool:
    """Whether two names may mean one LoRA: ``ink`` and ``styles/ink``."""
    return key == other or key.endswith(f"/{other}") or other.endswith(f"/{key}")


def _read(value: object) -> list[ShotLora]:
    if value is None or value is False:
        return []
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, list):
        return [entry for part in value for entry in _read(part)]
    if isinstance(value, Mapping):
        return _read_object(value)
    raise LoraError(f"must be such as {EXAMPLE}, but it is {shown(value)}")


def _read_text(text: str) -> list[ShotLora]:
    text = text.strip()
    if text.lower() in _NOTHING:
        return []
    if text[0] in "[{":
        try:
            return _read(parse_json(text))
        except JsonError as error:
            raise LoraError(
                f"begins like JSON but is none: {error.reason}; write {EXAMPLE}"
            ) from None
    parts, end = [], 0
    for tag in _TAG.finditer(text):  # <lora:film_noir:0.8>, as prompts of other programs have it
        parts += [*_SEPARATOR.split(text[end : tag.start()]), tag[1]]
        end = tag.end()
    parts += _SEPARATOR.split(text[end:])
    found = []
    for part in filter(None, map(str.strip, parts)):
        match = _PART.fullmatch(part)
        if match is None:
            raise LoraError(
                f"holds {shown(part)}; write the name of a LoRA file, and its strength after a "
                "colon, such as film_noir:0.8"
            )
        high = USUAL if match["high"] is None else float(match["high"])
        low = high if match["low"] is None else float(match["low"])
        found.append(_checked(match["name"], high, low))
    return found


def _read_object(value: Mapping) -> list[ShotLora]:
    names = [key for key in _NAMES if key in value]
    if not names:
        if value and all(_number(one) is not None for one in value.values()):
            return [_checked(name, one, one) for name, one in value.items()]  # {"film_noir": 0.8}
        raise LoraError(f"names no LoRA in {shown(dict(value))}; write {EXAMPLE}")
    if unknown := sorted(str(key) for key in value if key not in _KNOWN):
        raise LoraError(
            "may have name, strength, strength_high, strength_low and expert, but not "
            f"{shown(unknown[0])}"
        )
    given = [value[key] for key in _STRENGTHS if value.get(key) is not None]
    both = given[0] if given else USUAL
    high, low = (
        both if value.get(key) is None else value[key] for key in ("strength_high", "strength_low")
    )
    expert = value.get("expert")
    expert = "both" if expert is None else expert
    expert = expert.strip().lower() if isinstance(expert, str) else expert
    if expert not in EXPERTS:
        raise LoraError(f"has the expert {shown(expert)}, which must be {', '.join(EXPERTS)}")
    entry = _checked(value[names[0]], high, low)
    if expert != "both":
        entry = entry._replace(**{"low" if expert == "high" else "high": 0.0})
    return [entry]


def _joined(one: ShotLora, other: ShotLora) -> ShotLora:
    """One entry of two with a name: one for each expert."""
    if (one.high and other.high) or (one.low and other.low):
        raise LoraError(f"names {shown(other.name)} twice; write it once, with one strength")
    return ShotLora(one.name, one.high or other.high, one.low or other.low)


def _checked(name: object, high: object, low: object) -> ShotLora:
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        raise LoraError(f"must name LoRA files, but holds {shown(name)}")
    name = re.sub("/{2,}", "/", name.strip().translate(_FOLDERS)).removeprefix("./").rstrip("/")
    is_outside = name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/")
    if is_outside or not name or not name.isprintable():
        raise LoraError(
            f"names {shown(name)}, but a LoRA is named from the loras folder on, such as "
            "film_noir or styles/film_noir"
        )
    return ShotLora(name, _strength(high, name), _strength(low, name))


def _number(value: object) -> float | None:
    """A number, also where it is written as text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _strength(value: object, name: str) -> float:
    number = _number(value)
    if number is None or not math.isfinite(number) or abs(number) > MOST_STRENGTH:
        raise LoraError(
            f"gives {shown(name)} the strength {shown(value)}, which must be a number of "
            f"-{MOST_STRENGTH:g} to {MOST_STRENGTH:g} (1 is usual, 0 takes it away)"
        )
    return number


def _figures(number: float) -> str:
    return text if float(text := f"{number:g}") == number else repr(number)
