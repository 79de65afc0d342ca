"""The other ways in which a script may be read, each as a script that may take its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .cast import named_in
from .fields import ScriptError
from .persons import Person, cast_of, persons_of, unused
from .reader import check_length, load_story
from .readings import find_doubts
from .rows import Row, Script, read_script, write_script
from .source import find_script


@dataclass(frozen=True)
class Offer:
    """A script to take instead. ``kind``: ``shots`` has other shots, ``kept`` the same ones written
    so that nothing is in doubt, ``persons`` the descriptions and pictures of those in it."""

    kind: str
    script: str
    shots: int
    names: tuple[str, ...] = ()


def find_offers(source: str, name: str = "") -> list[Offer]:
    """What else a script may mean; only what can be read, also where the script cannot.

    Args:
        name: what the story is called by its file when the script does not say; the offers say it,
            for they are scripts without a file.
    """
    try:
        check_length(len(source))
        found = find_script(source)
    except ScriptError:
        return []
    texts = [(kind, text) for kind, text in _texts(found.text, found.data, found.other) if text]
    now = _shots(source) if texts else None
    offers: list[Offer] = []
    for kind, text in texts:
        text = _named(text, name) if name else text
        shots = _shots(text)
        if shots and (shots == now) == (kind == "kept"):
            offers.append(Offer(kind, text, len(shots)))
    return [*offers, *_with_persons(source, found.data, name)]


def _texts(text: str, data: Mapping | None, other: str) -> Iterator[tuple[str, str]]:
    if other:
        yield "shots", other
    if data is None:
        doubts = find_doubts(text)
        yield "shots", doubts.other
        yield "kept", doubts.kept


def _shots(source: str) -> list[tuple] | None:
    """What tells one reading from another; ``None`` for what cannot be read."""
    try:
        story = load_story(source, quiet=True)
    except ValueError:
        return None
    return [(story.character, shot) for shot in story.shots]


def _named(text: str, name: str) -> str:
    """A plain script that says what the story is called."""
    try:
        says = load_story(text, default_name="", quiet=True).name
    except ValueError:
        return text
    return text if says else f"[title = {json.dumps(name, ensure_ascii=False)}]\n---\n{text}"


def _with_persons(source: str, data: Mapping | None, name: str) -> list[Offer]:
    if data is not None and not persons_of(data):
        return []
    try:
        script = read_script(source)
    except ScriptError:
        return []
    script = replace(script, name=script.name or name)
    persons = persons_of(script.more if data is None else data)
    left = unused(persons, _texts_of(script), _pictures_of(script)) if persons else []
    if not left:
        return []
    text = write_script(_told_of(script, left), script.format)
    names = tuple(person.name for person in left)
    return [Offer("persons", text, len(script.rows), names)] if _shots(text) else []


def _told_of(script: Script, persons: list[Person]) -> Script:
    """The script with the persons' descriptions before every prompt, and their pictures at the
    shots that name them."""
    missing = unused([replace(p, pictures=()) for p in persons], _texts_of(script), ())
    lines = [f"{person.name}: {person.words}" for person in missing]
    rows = tuple(_seeing(row, persons) for row in script.rows)
    names = dict.fromkeys((*cast_of(script.more), *(person.name for person in persons)))
    more = {**script.more, "cast": list(names)}
    if all(person.is_whole for person in persons_of({"characters": more.get("characters")})):
        more.pop("characters", None)
    character = "\n".join(filter(None, (script.character, *lines)))
    return replace(script, character=character, rows=rows, more=more)


def _seeing(row: Row, persons: list[Person]) -> Row:
    named = named_in(row.prompt, tuple(person.name for person in persons))
    given = list(row.fields.get("reference_images", ()))
    given += [name for p in persons if p.name in named for name in p.pictures if name not in given]
    return replace(row, fields={**row.fields, "reference_images": given}) if given else row


def _texts_of(script: Script) -> list[str]:
    return [script.character, *(row.prompt for row in script.rows)]


def _pictures_of(script: Script) -> list[str]:
    return [name for row in script.rows for name in row.fields.get("reference_images", ())]
