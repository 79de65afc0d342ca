"""The plain form of a script: prompts separated by lines of ``---``.

Lines in square brackets at the top of a block are tags::

    [title: The Lighthouse]
    [character]
    Mira, a woman of sixty in a yellow raincoat.
    ---
    She climbs the stairs of the lighthouse.
    ---
    [continue]
    She opens the door to the gallery.
    ---
    [scene]
    Morning. The sea is calm.

``[character]`` marks the first block as the text that is put before every prompt, ``[continue]``
a shot without a cut, ``[scene]`` a new scene (``[scene: 7]`` says its number). The fields of a JSON
script may be given as ``[seed: 7]``; ``[cast: Mara, Pip]`` in the first block names who is in it,
and ``[reconstruct_target: [Person A] a girl with red hair]`` says it in Memento's way, a tag for
each person.

What a line cannot hold is given exactly, as JSON after an equals sign: ``[overview = "..."]``,
``[prompt = "text with\\n---\\nlines"]``, ``[reference_images = ["a, b.png"]]``.
``more``, ``scene_more`` and ``story_more`` hold the fields that nothing reads, so that a script may
go from JSON to plain text and back without losing any.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from ..files.json_text import JsonError, parse_json
from ..files.messages import is_unicode, listed, short, shown
from .field_names import FIELD_NAMES
from .fields import (
    MAX_SCENE,
    SHOT_FIELDS,
    STORY_FIELDS,
    ScriptError,
    check_text,
    without_id,
)
from .persons import TARGET, is_read
from .story import LENGTH_OF_AUDIO

SEPARATOR = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
# Of people and language models, where no line of --- divides a text.
OTHER_SEPARATOR = re.compile(
    r"^[ \t]*(?:\*{3,}|_{3,}|={3,}|~{3,}|[—–―⸻]+|(?:[*_-][ \t]+){2,}[*_-])[ \t]*$", re.MULTILINE
)
HEADINGS = tuple(
    re.compile(pattern, re.MULTILINE | re.IGNORECASE)
    for pattern in (
        r"^[ \t]*(?:\*\*|#+[ \t]*)?([0-9]{1,4})[.)、][ \t]*(?:\*\*)?(?=\S)",
        r"^[ \t]*(?:\*\*|#+[ \t]*)?\[?(?:shot|clip|镜头|分镜)[ \t]*#?([0-9]{1,4})\]?"
        r"[ \t]*(?:\*\*)?[ \t]*(?:[:：.–—-][ \t]*(?:\*\*)?|$)",
    )
)
NUMBER_TAG = re.compile(r"\[(?:shot|clip|镜头|分镜)[ \t]*#?[0-9]{1,4}\]", re.IGNORECASE)
LEADING_TAG = re.compile(
    r"(\[(?:(?:continue|cut|lock|scene)(?:[ \t]*:[^\]\n]{0,40})?"
    r"|(?:shot|clip|镜头|分镜)[ \t]*#?[0-9]{1,4})\])"
    r"[*_`]*[ \t]+(?=\S)",
    re.IGNORECASE,
)
TAG_NAME = re.compile(r"[A-Za-z_]+")
FLAGS = ("continue", "cut", "scene", "cast", TARGET)
BY_LINES = ("dialogue", TARGET)  # a tag for each line
STORY_TAGS = ("overview", "story_more")
SHOT_TAGS = ("prompt", "more", "scene_more")
MORE_TAGS = ("more", "scene_more", "story_more")  # objects with the fields that nothing reads
NUMBERS = {"seed": int, "length": int, "lora_strength": float}
KNOWN = {
    "more": {"prompt", "cut", *SHOT_FIELDS},
    "scene_more": {"scene_num", "video_prompts", "cut", *SHOT_FIELDS},
    "story_more": {"story_name", "story_overview", "scenes", *STORY_FIELDS, *SHOT_FIELDS},
}


class Exact(str):
    """What stands after the equals sign of a tag: JSON."""


@dataclass
class Block:
    """One shot of a plain script."""

    scene: int
    prompt: str
    cut: bool
    values: dict = field(default_factory=dict)
    starts: bool = False  # a scene
    more: dict = field(default_factory=dict)  # fields that nothing reads
    scene_more: dict = field(default_factory=dict)


@dataclass
class PlainScript:
    """What a plain script says; ``title`` is empty when it does not say one."""

    title: str = ""
    overview: str = ""
    character: str = ""
    blocks: list[Block] = field(default_factory=list)
    more: dict = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def parse_plain(text: str) -> PlainScript:
    """Read the plain form.

    Raises:
        ScriptError: naming the block.
    """
    script, scene = PlainScript(), 1
    division = divide(text)
    if division.empty:
        script.warnings.append(
            f"there is an empty block after block {listed(division.empty)}, of which no shot is "
            f"made: describe the shot there, or take one line of {division.sign} away"
        )
    for position, part in enumerate(division.parts):
        tags, body, odd = split_tags(part)
        if not tags and not body:
            script.warnings.append(
                f"block {position + 1} holds only {short(part)} and no prompt, so no shot is made "
                "of it: describe the shot, or remove the block"
            )
        script.warnings += [
            f"block {position + 1} begins with {short(tag)}, which is no tag and was kept as text"
            for tag in odd
        ]
        values = {name: _value(name, value, position) for name, value in tags.items()}
        script.title = values.pop("title", "") or script.title
        script.overview = values.pop("overview", "") or script.overview
        script.more.update(values.pop("story_more", {}))
        if "cast" in values:
            script.more["cast"] = [name.strip() for name in values.pop("cast").split(",")]
        if TARGET in values:
            script.more[TARGET] = values.pop(TARGET)
        if "character" in values:
            _read_character(script, values, body, position)
            continue
        if not body and not values:
            continue  # a block that held only the title
        if "prompt" in values and body:
            raise ScriptError(
                f"block {position + 1} has both [prompt = ...] and text below it; keep one"
            )
        if "continue" in values and "cut" in values:
            raise ScriptError(f"block {position + 1} is marked both [continue] and [cut]; keep one")
        block = Block(scene, values.get("prompt", body), "continue" not in values)
        block.starts = "scene" in values or not script.blocks
        block.more = values.get("more", {})
        block.scene_more = values.get("scene_more", {})
        for name in ("continue", "cut"):
            if values.get(name):
                block.more = {"transition": values[name], **block.more}
        if isinstance(values.get("scene"), int):
            scene = values["scene"]
        elif "scene" in values:
            scene += bool(script.blocks)
            if values["scene"]:
                block.scene_more = {"name": values["scene"], **block.scene_more}
        block.scene = scene
        block.values = {key: value for key, value in values.items() if key in SHOT_FIELDS}
        script.blocks.append(block)
    script.warnings += _unread(script)
    return script


@dataclass(frozen=True)
class Division:
    """The blocks of a plain script, none of them empty, and what divides them.

    ``sign`` is ``---``, another line that does, or the first heading of those that count; empty for
    a text in one piece. ``empty`` has, for each block with nothing in it, how many are before it.
    """

    parts: tuple[str, ...]
    sign: str = ""
    empty: tuple[int, ...] = ()


def divide(text: str) -> Division:
    """The blocks of a plain script.

    Lines of ``---`` divide it. Where there is none, lines of other signs do (``***``, an em dash),
    or headings that count from one: ``1.``, ``Shot 1:``, ``[Shot 1]``.
    """
    text = text.replace("\r\n", "\n").strip()
    for separator in (SEPARATOR, OTHER_SEPARATOR):
        if not (first := separator.search(text)):
            continue
        found = [part.strip() for part in separator.split(text)]
        parts = tuple(part for part in found if part)
        sign = "---" if separator is SEPARATOR else first[0].strip()
        if separator is SEPARATOR and len(parts) == 1 and not found[0]:
            return _numbered(parts[0])  # lines around the whole script
        if separator is SEPARATOR or len(parts) > 1:
            return Division(parts, sign, _empty(found))
    return _numbered(text)


def _empty(found: list[str]) -> tuple[int, ...]:
    """How many parts stand before each empty one, but for those at the begin and the end."""
    places, before = [], 0
    for part in found:
        if part:
            before += 1
        elif before:
            places.append(before)
    return tuple(place for place in places if place < before)


def _numbered(text: str) -> Division:
    """A text divided by its headings, when they count from one and nothing but tags is before the
    first; else the whole text."""
    for pattern in HEADINGS:
        found = list(pattern.finditer(text))
        if len(found) < 2 or [int(match[1]) for match in found] != list(range(1, len(found) + 1)):
            continue
        head = text[: found[0].start()].strip()
        if split_tags(head)[1]:
            continue
        ends = [*(match.start() for match in found[1:]), len(text)]
        parts = [text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)]
        if all(parts):
            return Division((*([head] if head else []), *parts), found[0][0].strip())
    return Division((text,) if text else ())


def split_tags(part: str) -> tuple[dict[str, str], str, list[str]]:
    """The tags at the top of a block, the text below them, and what only looks like a tag."""
    lines = part.split("\n")
    tags: dict[str, str] = {}
    odd: list[str] = []
    read = 0  # lines
    while read < len(lines):
        line = lines[read].strip()
        if not line:  # between tags, or between them and the text
            following = next((i for i in range(read, len(lines)) if lines[i].strip()), None)
            if following is None or not is_tag_line(lines[following]):
                break
            read = following
            continue
        line, rest = _apart(line)
        if NUMBER_TAG.fullmatch(line):
            lines[read : read + 1] = [rest] if rest else []
            continue
        tag = read_tag(line)
        if tag is None:
            break
        name, sign, value = tag
        name = FIELD_NAMES.get(name, name)
        if not _is_tag(name, sign == "="):
            if sign != "=":
                odd.append(line)
            break
        if name in BY_LINES and sign != "=" and type(tags.get(name)) is str:
            value = f"{tags[name]}\n{value}"
        tags[name] = Exact(value) if sign == "=" else value
        read += 1
        if rest:  # the prompt, on the tag's own line
            lines[read - 1] = rest
            return tags, "\n".join(lines[read - 1 :]).strip(), odd
    return tags, "\n".join(lines[read:]).strip(), odd


def is_tag_line(line: str) -> bool:
    line = _apart(line.strip())[0]
    tag = read_tag(line)
    if tag is None:
        return bool(NUMBER_TAG.fullmatch(line))
    return _is_tag(FIELD_NAMES.get(tag[0], tag[0]), tag[1] == "=")


def _apart(line: str) -> tuple[str, str]:
    """A line's tag without the marks of Markdown, and the text behind it on the same line."""
    plain = line.strip("*_`# ") if line[:1] in "*_`#" else line
    if plain.endswith("]"):
        return plain, ""
    if match := LEADING_TAG.match(plain):
        return match[1], plain[match.end() :].strip("*_` ")
    return line, ""


def read_tag(line: str) -> tuple[str, str, str] | None:
    """``[name]``, ``[name: value]`` or ``[name = value]`` as name, sign and value; else ``None``.

    By hand, in one pass: a pattern with blanks around a value tries every way to share them out.
    """
    if not (line.startswith("[") and line.endswith("]")):
        return None
    inside = line[1:-1].strip()
    match = TAG_NAME.match(inside)
    if not match:
        return None
    rest = inside[match.end() :].lstrip()
    if rest and rest[0] not in ":=":
        return None
    return match[0].lower(), rest[:1], rest[1:].strip()


def _is_tag(name: str, exact: bool) -> bool:
    if name in SHOT_FIELDS or name in ("title", "character"):
        return True
    return name in (*STORY_TAGS, *SHOT_TAGS) if exact else name in FLAGS


def _read_character(script: PlainScript, values: dict, body: str, position: int) -> None:
    if script.blocks or script.character:
        raise ScriptError(
            f"block {position + 1} is marked [character], but only one block before the "
            f"first shot can be"
        )
    script.character = "\n".join(filter(None, (values.pop("character"), body)))
    script.warnings += [
        f"block {position + 1} is marked [character], so its [{tag}] is not used; put it at a shot"
        for tag in values
    ]
    if values:
        script.more["character_tags"] = values


def _unread(script: PlainScript) -> list[str]:
    of_story = {k: v for k, v in script.more.items() if k != "cast" and not is_read(k, script.more)}
    found = [("the story", of_story)]
    counts: dict[int, int] = {}
    for block in script.blocks:
        counts[block.scene] = counts.get(block.scene, 0) + 1
        found.append((f"scene {block.scene}", block.scene_more))
        found.append((f"scene {block.scene}, shot {counts[block.scene]}", without_id(block.more)))
    return [f"{where} has fields that are ignored: {listed(more)}" for where, more in found if more]


def _value(key: str, text: str, position: int):
    if isinstance(text, Exact):
        return _exact_value(key, text, position)
    if key == "lock":
        return text or True
    if key == "scene" and re.fullmatch(r"[0-9]+", text):
        if len(text) > 6:
            raise ScriptError(
                f"block {position + 1}: [scene: {short(text, 20)}] must be a number from 0 to "
                f"{MAX_SCENE}"
            )
        return int(text)
    if key == "reference_images":
        return [name.strip() for name in text.split(",")]
    if key in NUMBERS and not (key == "length" and text.strip().lower() == LENGTH_OF_AUDIO):
        try:
            return NUMBERS[key](text)
        except ValueError:
            raise ScriptError(
                f"block {position + 1}: [{key}: ...] needs a number, but it is {shown(text)}"
            ) from None
    return text


def _exact_value(key: str, text: str, position: int):
    where = f"block {position + 1}: [{key} = ...]"
    try:
        value = parse_json(text)
    except JsonError as error:
        raise ScriptError(
            f"{where} must hold JSON after the equals sign, such as text in quotes, but it is "
            f"{shown(str(text))} ({error.reason}); correct it, or write [{key}: ...]"
        ) from None
    if not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise ScriptError(f"{where} holds a character that is not valid Unicode; type it again")
    if key in MORE_TAGS:
        if not isinstance(value, dict):
            raise ScriptError(f"{where} must hold an object {{ }}, but it is {shown(value)}")
        if clash := [name for name in value if name in KNOWN[key]]:
            raise ScriptError(
                f"{where} is only for fields that are ignored, but holds {short(clash[0])}, which "
                "is read"
            )
    elif key not in SHOT_FIELDS:
        check_text(value, where)
    return value
