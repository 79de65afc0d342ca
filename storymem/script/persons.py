"""Persons as other tools write them into a script, with what they look like and their pictures.

Memento's ``reconstruct_target`` has one line for each, ``[Person A]: a girl with red hair``; models
write ``characters`` as objects. Who is in the story is read from ``cast`` and
``reconstruct_target``. What a text encoder does not get to read is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..files.messages import listed
from .cast import MAX_NAMES
from .fields import LONGEST_NAME, check_names, check_words

TARGET = "reconstruct_target"
_LINE = re.compile(rf"\s*\[([^\[\]\n]{{1,{LONGEST_NAME}}})\][ \t]*[:：]?(.*)")
_NAME = "name"
_WORDS = ("description", "appearance", "visual_description", "desc", "caption")
_PICTURES = ("reference_images", "reference_image", "images", "image")


@dataclass(frozen=True)
class Person:
    """Somebody of a story; ``pictures`` are image files of the input folder."""

    name: str
    words: str = ""
    pictures: tuple[str, ...] = ()
    is_whole: bool = True  # nothing else was said
    is_of_target: bool = field(default=False, compare=False)  # told by ``reconstruct_target``


def cast_of(data: Mapping) -> tuple[str, ...]:
    """The names of a story's cast: of ``cast``, then of ``reconstruct_target``.

    Raises:
        ScriptError: for a cast that is no list of names.
    """
    cast = data.get("cast")
    people = _people(cast) if isinstance(cast, list) else []
    names = tuple(person.name for person in people) or check_names(cast, "cast")
    return tuple(dict.fromkeys((*names, *(person.name for person in _target(data)))))


def target_of(data: Mapping) -> str:
    """What ``reconstruct_target`` says, a line for each person; empty where it names none. Text
    stays as it is written, but for what is around it."""
    value = data.get(TARGET)
    people = _target(data)
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not people or isinstance(value, str):
        return check_words(value, TARGET).strip() if people else ""
    lines = (f"[{person.name}] {person.words}".strip() for person in people)
    return check_words("\n".join(lines), TARGET)


def is_read(key: str, data: Mapping) -> bool:
    """Whether a field that no earlier version knew says who is in the story."""
    return key == TARGET and bool(_target(data))


def persons_of(data: Mapping) -> list[Person]:
    """Everybody of whom a script's fields say more than the name."""
    fields = (data.get("cast"), data.get("characters"))
    found = [*_target(data), *(person for value in fields for person in _people(value))]
    return [person for person in found if person.words or person.pictures][:MAX_NAMES]


def unused(
    persons: Iterable[Person], texts: Iterable[str], pictures: Iterable[str]
) -> list[Person]:
    """Those whose description stands in none of the texts that are encoded, or whose pictures no
    shot sees."""
    read, seen = _plain("\n".join(texts)), set(pictures)
    return [
        person
        for person in persons
        if _plain(person.words) not in read or not seen.issuperset(person.pictures)
    ]


def tell_unused(persons: list[Person]) -> list[str]:
    """A warning about what no shot would be made with."""
    if not persons:
        return []
    names = listed(person.name for person in persons)
    what = [
        "description" * any(person.words for person in persons),
        "pictures" * any(person.pictures for person in persons),
    ]
    what = " and ".join(filter(None, what))
    identity = " (only Memento's identity frame reads reconstruct_target)"
    return [
        f"the script gives the {what} of {names}, which no shot sees"
        + identity * any(person.is_of_target for person in persons)
        + ": put descriptions into the prompts or into character, and pictures into "
        "reference_images"
    ]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _target(data: Mapping) -> list[Person]:
    return [replace(person, is_of_target=True) for person in _people_of_target(data.get(TARGET))]


def _people_of_target(value: object) -> list[Person]:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return _people(value)
    found: list[Person] = []
    for line in value.splitlines():
        if match := _LINE.match(line):
            found.append(Person(match[1].strip(), match[2].strip()))
        elif line.strip() and not found:
            return []
        elif line.strip():
            found[-1] = Person(found[-1].name, f"{found[-1].words} {line.strip()}".strip())
    return [person for person in found if person.name]


def _people(value: object) -> list[Person]:
    """Objects with a name, or a description for each name; none where one is something else."""
    if isinstance(value, Mapping):
        value = [
            {_NAME: name, **entry}
            if isinstance(entry, Mapping)
            else {_NAME: name, _WORDS[0]: entry}
            for name, entry in value.items()
        ]
    if not isinstance(value, list):
        return []
    found = [_person(entry) for entry in value]
    return [] if None in found else found


def _person(entry: object) -> Person | None:
    if isinstance(entry, str) and 0 < len(entry.strip()) <= LONGEST_NAME:
        return Person(entry.strip())
    if not isinstance(entry, Mapping) or not isinstance(name := entry.get(_NAME), str):
        return None
    name = name.strip().strip("[]").strip()
    if not 0 < len(name) <= LONGEST_NAME:
        return None
    words = [entry[key].strip() for key in _WORDS if isinstance(entry.get(key), str)]
    pictures: list[str] = []
    for key in _PICTURES:
        given = entry.get(key)
        given = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        pictures += [p.replace("\\", "/") for p in given if isinstance(p, str) and p.strip()]
    known = (_NAME, *_WORDS, *_PICTURES)
    return Person(name, " ".join(words), tuple(pictures), all(key in known for key in entry))
