"""Scripts as rows, one per shot, and rows as scripts: what the editor on the page works on.

``read_script`` and ``write_script`` lose nothing: prompts keep every character, and fields that
nothing reads stay where they were (the story, a scene or a shot). Values that stand at a scene or
at the story for many shots are written at each scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..files.messages import reason_of, shown
from . import dialogue as dialogues
from . import loras, promoted
from .fields import SHOT_FIELDS, STORY_FIELDS, ScriptError
from .persons import TARGET
from .plain_text import SEPARATOR, parse_plain, split_tags
from .reader import SCENE_FIELDS, load_story
from .readings import Doubts, find_doubts
from .remembered import Remembered, RememberError, read_remembered, written
from .sound import OF_ONE_SHOT
from .source import find_script, is_plain, seems_around
from .story import Story

FORMATS = ("json", "plain")


@dataclass(frozen=True)
class Row:
    """One shot. ``fields`` holds only what is set, by the names of ``SHOT_FIELDS``."""

    prompt: str
    cut: bool = True
    scene: int = 1
    starts: bool = False  # a scene, also when its number is that of the one before
    fields: Mapping = field(default_factory=dict)
    more: Mapping = field(default_factory=dict)  # fields that nothing reads
    scene_more: Mapping = field(default_factory=dict)  # of the scene that starts here


@dataclass(frozen=True)
class Script:
    """A whole script as rows. ``name`` is empty when the script does not say one."""

    rows: tuple[Row, ...]
    name: str = ""
    overview: str = ""
    character: str = ""
    more: Mapping = field(default_factory=dict)
    format: str = "json"


def read_script(source: str) -> Script:
    """A script as rows.

    Raises:
        ScriptError: as ``load_story`` does.
    """
    story = load_story(source, default_name="", quiet=True)
    found = find_script(source)
    data = found.data
    if data is None:
        plain = parse_plain(found.text)
        parts = [(b.starts, b.more, b.scene_more) for b in plain.blocks]
        return _script(story, plain.title, parts, plain.more, "plain")
    more = _others(data, ("story_name", "story_overview", "scenes", *STORY_FIELDS, *SHOT_FIELDS))
    parts, empty = [], []
    for scene in data["scenes"]:
        scene_more = _others(scene, (*SCENE_FIELDS, *SHOT_FIELDS))
        for i, prompt in enumerate(scene["video_prompts"]):
            known = ("prompt", "cut", *SHOT_FIELDS)
            own = _others(prompt, known) if isinstance(prompt, Mapping) else {}
            parts.append((i == 0, own, scene_more if i == 0 else {}))
        if scene_more and not scene["video_prompts"]:
            empty.append(scene)
    if empty:
        more["scenes_without_shots"] = [*more.get("scenes_without_shots", ()), *empty]
    return _script(story, data.get("story_name") or "", parts, more, "json")


def write_script(script: Script, form: str) -> str:
    """The text of a script; ``form`` is one of ``FORMATS``.

    Rows that are no valid story (an empty prompt, a length of 80) are written as they are.

    Raises:
        ScriptError: for another format, or values that no script can hold.
    """
    if form not in FORMATS:
        raise ScriptError(
            f"the format must be one of {', '.join(FORMATS)}, but it is {shown(form)}"
        )
    try:
        return _json(script) if form == "json" else _plain(script)
    except (RecursionError, TypeError, ValueError) as error:
        raise ScriptError(
            f"the script holds values that no text can hold: {reason_of(error)}"
        ) from None


def check_written(script: Script, text: str) -> Story:
    """The story that ``text`` tells, when it is all of ``script``.

    Raises:
        ScriptError: when it is no story, or not the one of the rows.
    """
    story = load_story(text, quiet=True)
    if _json(read_script(text)) != _json(script):
        raise ScriptError(
            "the rows cannot be written in this format without changing them; choose the other "
            "format"
        )
    return story


# --- reading ---------------------------------------------------------------------------------


def _script(story: Story, name, parts, more, form: str) -> Script:
    rows = [
        Row(shot.prompt, shot.cut, shot.scene, starts, _fields(shot), own, scene_more)
        for shot, (starts, own, scene_more) in zip(story.shots, parts, strict=True)
    ]
    name = story.name or name  # a name of blanks only is kept: it is not the default
    return Script(tuple(rows), name, story.overview, story.character, more, form)


def _fields(shot) -> dict:
    found = {}
    for key, known in SHOT_FIELDS.items():
        value = getattr(shot, known.attribute)
        absent = value is None or value is False or value == ()
        if not absent and (value != "" or key == "negative_prompt"):  # an empty one says: none
            found[key] = _as_json(key, value) if isinstance(value, tuple) else value
    return found


def _as_json(key: str, values: tuple) -> list | dict:
    if key == "promote":
        return promoted.as_object(values)
    has_form = (Remembered, dialogues.Line, loras.ShotLora)
    return [value.as_json() if isinstance(value, has_form) else value for value in values]


def _others(data: Mapping, known) -> dict:
    return {key: value for key, value in data.items() if key not in known}


# --- JSON ------------------------------------------------------------------------------------


def _json(script: Script) -> str:
    data: dict = {}
    if script.name:
        data["story_name"] = script.name
    if script.overview:
        data["story_overview"] = script.overview
    if script.character:
        data["character"] = script.character
    for key in ("cast", TARGET):  # before what nothing reads, in both formats
        if key in script.more:
            data[key] = script.more[key]
    data.update(script.more)
    data["scenes"] = [_scene(rows) for rows in _scenes(script)]
    return json.dumps(data, ensure_ascii=False, indent=2)


def _scenes(script: Script) -> list[list[Row]]:
    scenes: list[list[Row]] = []
    for row in script.rows:
        if not scenes or row.starts or row.scene != scenes[-1][0].scene:
            scenes.append([])
        scenes[-1].append(row)
    return scenes


def _scene(rows: list[Row]) -> dict:
    prompts = [{"prompt": row.prompt, **row.more} if row.more else row.prompt for row in rows]
    scene = {"scene_num": rows[0].scene, "video_prompts": prompts}
    scene["cut"] = [row.cut for row in rows]
    for key in SHOT_FIELDS:
        values = [row.fields.get(key) for row in rows]
        if any(value is not None for value in values):
            same = len(values) > 1 and all(value == values[0] for value in values)
            same = same and key not in OF_ONE_SHOT
            scene[key] = values[0] if same else values
    return {**scene, **rows[0].scene_more}


# --- plain text ------------------------------------------------------------------------------


def _plain(script: Script, careful: bool = False) -> str:
    """``careful``: prompts that hold a code fence, JSON or the like are written exactly."""
    head = []
    if script.name:
        head.append(_tag("title", script.name))
    if script.overview:
        head.append(_exact("overview", script.overview))
    more = dict(script.more)
    cast = _tag("cast", more.get("cast"))
    if cast.startswith("[cast: "):
        head.append(cast)
        del more["cast"]
    if target := _target_tags(more.get(TARGET)):
        head += target
        del more[TARGET]
    if more:
        head.append(_exact("story_more", more))
    if script.character:
        head = [_block([*head, "[character]"], script.character, "character", careful)]
    blocks = ["\n".join(head)] if head else []
    scene = 1
    for i, row in enumerate(script.rows):
        tags = _tags(row, scene, first=i == 0)
        if not tags and (not row.prompt or (not blocks and row.prompt[0] in "{[")):
            tags = ["[cut]"]  # else the block would vanish, or the text be taken for JSON
        blocks.append(_block(tags, row.prompt, "prompt", careful))
        scene = row.scene
    text = "\n---\n".join(blocks) + "\n"
    if not careful and not is_plain(text):
        return _plain(script, careful=True)
    # One block may hold lines that would divide it, or seem to.
    return f"{text}---\n" if len(blocks) == 1 and find_doubts(text) != Doubts() else text


def _tags(row: Row, scene: int, *, first: bool) -> list[str]:
    tags = []
    if (first and row.scene == 1) or (row.scene == scene and not row.starts):
        pass
    elif row.scene == scene + 1 and not first:
        tags.append("[scene]")
    else:
        tags.append(f"[scene: {row.scene}]")
    if not row.cut:
        tags.append("[continue]")
    for key, value in row.fields.items():
        if value is not None:
            if key == "dialogue":
                tags += _said(value)
            else:
                tags.append("[lock]" if key == "lock" and value is True else _tag(key, value))
    if row.more:
        tags.append(_exact("more", row.more))
    if row.scene_more:
        tags.append(_exact("scene_more", row.scene_more))
    return tags


def _tag(key: str, value) -> str:
    """A tag in the short form when that reads back as it is, else in the exact one."""
    if key in SHORT:
        short = SHORT[key](value)
        whole = bool(short)
    elif isinstance(value, list):
        short = ", ".join(map(str, value))
        whole = [name.strip() for name in short.split(",")] == value and short
    else:
        short = str(value)
        whole = key != "cast" and not isinstance(value, (dict, bool))
    line = f"[{key}: {short}]"
    reads_back = line.isprintable() and split_tags(line) == ({key: short}, "", [])
    if whole and reads_back and is_plain(f"{line}\na"):  # not the end of thoughts, say
        return line
    return _exact(key, value)


def _target_tags(value) -> list[str]:
    """A tag for each person; none where those would not read back."""
    lines = value.split("\n") if isinstance(value, str) else []
    tags = [f"[{TARGET}: {line}]" for line in lines]
    text = "\n".join(tags)
    reads_back = split_tags(text) == ({TARGET: value}, "", []) and is_plain(f"{text}\na")
    return tags if reads_back and all(map(str.isprintable, tags)) else []


def _remembered(value) -> str:
    """What is to be remembered on one line; empty where that would not read back."""
    try:
        line = written(read_remembered(value))
    except RememberError:
        return value if isinstance(value, str) else ""
    return "" if line.startswith("[") else line


def _said(value) -> list[str]:
    """A tag for each line that is said, or an exact one where those would not read back."""
    try:
        lines = dialogues.written(dialogues.read_dialogue(value)).splitlines()
    except dialogues.DialogueError:
        lines = []
    tags = [_tag("dialogue", line) for line in lines]
    if tags and all(tag.startswith("[dialogue: ") for tag in tags):
        return tags
    return [_exact("dialogue", value)]


def _promoted(value) -> str:
    """What is taken over on one line; empty where that would not read back."""
    try:
        return promoted.written(promoted.read_promote(value))
    except promoted.PromoteError:
        return value if isinstance(value, str) else ""


def _loras(value) -> str:
    """LoRAs on one line; empty where that would not read back."""
    try:
        return loras.written(loras.read_loras(value))
    except loras.LoraError:
        return value if isinstance(value, str) else ""


SHORT = {
    "remember": _remembered,
    "promote": _promoted,
    "loras": _loras,
}  # fields that one line can say


def _exact(key: str, value) -> str:
    return f"[{key} = {json.dumps(value, ensure_ascii=False)}]"


def _block(tags: list[str], text: str, key: str, careful: bool) -> str:
    """Tags and the text below them; the text as an exact tag when it would not read back."""
    block = "\n".join([*tags, text])
    # A text field of a browser makes "\n" of "\r", and may lose what comes after "\0".
    plain = text and not set(text) & set("\r\0") and not SEPARATOR.search(text)
    plain = plain and not (careful and seems_around(text))
    if plain and not text.startswith("\ufeff"):
        head, _, odd = split_tags("\n".join(tags))
        if split_tags(block) == (head, text, odd):
            return block
    if key == "character":
        tags = [tag for tag in tags if tag != "[character]"]
    return "\n".join([*tags, _exact(key, text)]) if text else "\n".join(tags)
