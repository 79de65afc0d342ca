"""The script in a text, as people and language models write it: what is around it is left out.

A model's answer has thoughts before the script, a sentence around it, a code fence; its JSON has
trailing commas or Python's ``True``. Other tools write ``shots`` or a list of prompts. All of that
is read where it has one reading; where it has more, the error says so and nothing is guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..files.json_text import DEEPEST, JsonError, is_deeper, parse_json
from ..files.loose_json import read_value
from ..files.messages import listed, short, shown
from .field_names import with_field_names
from .fields import ScriptError
from .plain_text import divide, split_tags

THOUGHTS = "think|thinking|thought|thoughts|reasoning|reflection"
_THOUGHT = re.compile(rf"\A\s*<({THOUGHTS})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHT_BEGINS = re.compile(rf"\A\s*<({THOUGHTS})>", re.IGNORECASE)
_THOUGHT_ENDS = re.compile(rf"</({THOUGHTS})>", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_BLANK = r"\s*(?:(?://[^\n]*\n|#[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)\s*){0,20}"  # and comments
_OBJECT = re.compile(rf"[{{\[]{_BLANK}(?:\{{{_BLANK})?[\"'“„‘]?\w+[\"'”“’]?\s*:")
_EXACT_TAG = re.compile(r"[ \t]*\[\w+[ \t]*=")  # of the plain form: what is in it is no script
_WEB_PAGE = re.compile(r"<!doctype html|<html[ >]", re.IGNORECASE)
_STORY = re.compile(
    rf"\{{{_BLANK}[\"'“„‘]?(?:story_name|story_overview|scenes|shots|video_prompts)\b"
)
_LISTS = ("scenes", "shots", "video_prompts", "prompts")  # by which an object is known for a story
_PROMPTS = ("prompt", "video_prompt", "visual_prompt", "description", "caption", "text")
MOST_TRIES = 50  # of places where JSON may begin: each may take the whole text


@dataclass(frozen=True)
class Source:
    """What a text holds: ``data`` of a JSON script in ST-Bench's form, or the plain ``text``.
    ``other`` is the script that the text may be as well; empty for none."""

    text: str
    data: Mapping | None = None
    warnings: tuple[str, ...] = ()
    other: str = ""


def find_script(source: str) -> Source:
    """The script in a text.

    Raises:
        ScriptError: for an empty text, for JSON that cannot be read, and where a text holds more
            than one script.
    """
    text = source.removeprefix("\ufeff").strip()
    whole = _whole_json(text)
    if whole is not None:
        return whole
    text, warnings = _without_thoughts(text)
    if not text:
        raise ScriptError("the script is empty: type a story, or choose a file")
    if _WEB_PAGE.match(text):
        raise ScriptError("it is a web page, not a script; download the file itself")
    found = _at_the_start(text) if text[0] in "{[" else _inside(text)
    return replace(found, warnings=(*warnings, *found.warnings))


def _whole_json(text: str) -> Source | None:
    """A text that is nothing but JSON, whatever its prompts hold."""
    if not text.startswith(("{", "[")):
        return None
    repeated: list[str] = []
    try:
        data = _parse(text, repeated)
    except JsonError:
        return None
    return Source(text, as_script(data), tuple(repeated))


def _without_thoughts(text: str) -> tuple[str, list[str]]:
    whole = text
    while match := _THOUGHT.match(text):
        text = text[match.end() :]
    if match := _THOUGHT_BEGINS.match(text):
        raise ScriptError(
            f"the script begins with <{match[1]}>, which never ends: it is the beginning of a "
            "model's answer; copy all of it"
        )
    ends = [match for match in _THOUGHT_ENDS.finditer(text) if not _in_exact_tag(text, match.end())]
    if ends:  # its beginning is in the prompt of some models
        text = text[ends[-1].end() :]
    return text.strip(), ["the thoughts before the script are left out"] * (text != whole)


def _at_the_start(text: str) -> Source:
    """A text that begins like JSON."""
    repeated: list[str] = []
    try:
        data = _parse(text, repeated)
    except JsonError as error:
        if error.line and text[0] == "[" and not text.startswith(("[{", '["', "[\n")):
            return _inside(text)  # a tag such as [continue]
        found = read_value(text, 0)
        if found is None or _goes_on(text, found[1]):
            there = "correct it there, or " if error.line else ""
            raise ScriptError(
                f"the script begins like JSON but is not valid JSON: {error}; {there}write plain "
                "text with shots separated by ---"
            ) from None
        others, broken = _scripts_in(text, found[1]) if _is_script(found[0]) else ([], 0)
        _refuse_broken(text, broken)
        return _only(text, [(0, *found), *others])
    return Source(text, as_script(data), tuple(repeated))


def _inside(text: str) -> Source:
    """A text that does not begin like JSON: plain, or with a script somewhere in it."""
    scripts, broken = _scripts_in(text, 0)
    _refuse_broken(text, broken)
    return _only(text, scripts) if scripts else _plain(text)


def _refuse_broken(text: str, place: int) -> None:
    if place:
        line = text.count("\n", 0, place) + 1
        raise ScriptError(
            f"the JSON script that begins at line {line} is not valid JSON, or is cut off; correct "
            "it, or write plain text with shots separated by ---"
        )


def _scripts_in(text: str, place: int) -> tuple[list[tuple[int, str, int]], int]:
    """JSON scripts from ``place`` on: where each begins, what it says, where it ends. Also where
    one begins that cannot be read; 0 for none."""
    tries, broken = 0, 0
    scripts: list[tuple[int, str, int]] = []
    while (match := _OBJECT.search(text, place)) and tries < MOST_TRIES:
        start = match.start()
        place = match.end()
        if _in_exact_tag(text, start):
            place = text.find("\n", start) + 1 or len(text)
            continue
        found = read_value(text, start)
        if found is None:
            tries += 1
            broken = broken or (start if _STORY.match(text, start) else 0)
            continue
        place = found[1]
        if not _is_script(found[0]):
            continue
        if _goes_on(text, place):
            broken = broken or start
        else:
            scripts.append((start, *found))
    return scripts, broken


def _goes_on(text: str, end: int) -> bool:
    """Whether JSON that ends there was closed too early: what follows belongs to it."""
    return text[end : end + 1000].lstrip()[:1] in tuple("]},:")


def _in_exact_tag(text: str, place: int) -> bool:
    return _EXACT_TAG.match(text, text.rfind("\n", 0, place) + 1, place) is not None


def is_plain(text: str) -> bool:
    """Whether a text is read as plain text, with nothing in it that is taken for something else."""
    try:
        return find_script(text) == Source(text.strip())
    except ScriptError:
        return False


def seems_around(prompt: str) -> bool:
    """Whether a prompt holds what in a whole text may be something around a script."""
    marks = (_THOUGHT_BEGINS, _THOUGHT_ENDS, _OBJECT, _WEB_PAGE)
    is_fenced = any(map(_FENCE.match, prompt.splitlines()))
    return is_fenced or any(mark.search(prompt) for mark in marks)


def _only(text: str, scripts: list[tuple[int, str, int]]) -> Source:
    """The one script that a text holds.

    Raises:
        ScriptError: when there are several.
    """
    if len({written for _, written, _ in scripts}) > 1:
        names = [_name(parse_json(written)) for _, written, _ in scripts]
        raise ScriptError(
            f"the text holds {len(scripts)} scripts ({listed(names, 4)}); keep one of them"
        )
    return _from_json(text, *scripts[0])


def _from_json(text: str, start: int, written: str, end: int) -> Source:
    """The script that stands at ``start`` of a text."""
    repeated: list[str] = []
    try:
        data = _parse(written, repeated)
    except JsonError as error:
        raise ScriptError(
            f"the script begins like JSON but is not valid JSON: {error.reason}; correct it, or "
            "write plain text with shots separated by ---"
        ) from None
    around = "\n".join(
        line
        for line in (text[:start] + "\n\n" + text[end:]).splitlines()
        if not _FENCE.match(line) and line.strip().strip("`~")
    )
    if not around:
        return Source(text, as_script(data), tuple(repeated))
    left_out = f"the text around the JSON script is left out: {short(around)}"
    is_story = len(divide(around).parts) > 1 and divide(around).sign == "---"
    return Source(text, as_script(data), (left_out, *repeated), around + "\n" if is_story else "")


def _is_script(written: str) -> bool:
    try:
        data = parse_json(written)
    except JsonError:
        return False
    if isinstance(data, list):
        return bool(data) and all(isinstance(s, Mapping) and _prompt_of(s) for s in data)
    return any(isinstance(data.get(name), list) for name in _LISTS)


def _name(data: object) -> str:
    return shown(data.get("story_name") or data.get("title") if isinstance(data, Mapping) else None)


def _plain(text: str) -> Source:
    around, fenced = _fences(text)
    if not fenced:
        return Source(text)
    if not around:
        return Source(fenced[0]) if len(fenced) == 1 else _filmed_fences(text, fenced)
    if any(set(line.strip()) == {"-"} for line in around):
        return _filmed_fences(text, [])
    inside = fenced[0]
    if len(fenced) > 1 or not (divide(inside).sign or split_tags(inside)[0]):
        return _filmed_fences(text, fenced)
    left_out = f"the text around the script is left out: {short(around[0])}"
    return Source(inside, None, (left_out,))


def _filmed_fences(text: str, fenced: list[str]) -> Source:
    """A text whose fences may belong to it; ``fenced`` is what the shots would be without it."""
    warning = "the lines of ``` are filmed as part of the prompts"
    if not fenced:
        return Source(text, None, (warning,))
    script = "\n---\n".join(fenced) + ("\n---\n" if len(fenced) == 1 else "\n")
    warning += "; if only what is between them is the script, remove the rest"
    return Source(text, None, (warning,), script)


def _fences(text: str) -> tuple[list[str], list[str]]:
    """The lines of a text that stand in no fence, and what each of its fences holds."""
    around, fenced, inside = [], [], None
    for line in text.splitlines():
        if _FENCE.match(line) and (inside is None or not line.strip().strip("`~")):
            if inside is not None:
                fenced.append("\n".join(inside).strip())
            inside = [] if inside is None else None
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            around.append(line)
    if inside is not None:  # never closed: no fence
        return text.splitlines(), []
    return around, [part for part in fenced if part]


def _parse(text: str, repeated: list[str]) -> object:
    return parse_json(text, pairs_hook=lambda pairs: _as_object(pairs, repeated))


def _as_object(pairs: list[tuple[str, object]], repeated: list[str]) -> dict:
    """A JSON object; a name that stands in it twice is told, for only the last value counts."""
    data = dict(pairs)
    if len(data) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = listed(shown(name) for name, count in counts.items() if count > 1)
        scene = f"scene {shown(data['scene_num'])}" if "scene_num" in data else "the script"
        repeated.append(
            f"{scene} gives {twice} more than once in the same object: only the last one counts"
        )
    return data


# --- the forms of other tools --------------------------------------------------------------------


def as_script(data: object) -> Mapping:
    """A JSON value as a script in ST-Bench's form.

    Read are a list of prompts or of shots, ``shots`` or ``prompts`` instead of ``scenes`` or
    ``video_prompts``, and a shot's prompt by its other names. Where no cuts are given every shot
    begins with one.

    Raises:
        ScriptError: for a value that is no story.
    """
    if is_deeper(data, DEEPEST):
        raise ScriptError("the script is nested too deeply to be a story")
    if isinstance(data, list) and data and all(_is_shot(shot) for shot in data):
        data = {"shots": data}
    if not isinstance(data, Mapping):
        raise ScriptError(
            "a JSON script must be an object { } with story_name and scenes, "
            f"but it is a {_json_type(data)}"
        )
    if "scenes" not in data:
        given = [name for name in _LISTS[1:] if isinstance(data.get(name), list)]
        if len(given) != 1:
            return _with_name(data)
        rest = {name: value for name, value in data.items() if name not in (*given, "cut")}
        cut = {"cut": data["cut"]} if "cut" in data else {}
        return _with_name({**rest, "scenes": [_scene({"shots": data[given[0]], **cut})]})
    scenes = data["scenes"]
    if isinstance(scenes, list) and any(_is_foreign(scene) for scene in scenes):
        data = {**data, "scenes": [_scene(scene) for scene in scenes]}
    return _with_name(data)


def _is_foreign(scene: object) -> bool:
    if not isinstance(scene, Mapping):
        return False
    shots = scene.get("video_prompts")
    return "video_prompts" not in scene or (
        isinstance(shots, list)
        and any(isinstance(shot, Mapping) and "prompt" not in shot for shot in shots)
    )


def _scene(scene: object) -> object:
    """A scene whose shots stand under another name, or that is one shot itself."""
    if not isinstance(scene, Mapping):
        return scene
    given = [name for name in ("video_prompts", "shots", "prompts") if name in scene]
    if given:
        shots, rest = scene[given[0]], {k: v for k, v in scene.items() if k != given[0]}
    elif _prompt_of(scene):
        own = {k: v for k, v in scene.items() if k not in ("scene_num", "cut")}
        shots, rest = [own], {k: scene[k] for k in ("scene_num", "cut") if k in scene}
        if "cut" in rest and not isinstance(rest["cut"], list):
            rest["cut"] = [rest["cut"]]
    else:
        return scene
    if not isinstance(shots, list):
        return {**rest, "video_prompts": shots}
    shots = [_shot(shot) for shot in shots]
    if given != ["video_prompts"] and "cut" not in rest:
        rest["cut"] = [
            shot.get("cut", True) if isinstance(shot, Mapping) else True for shot in shots
        ]
    return {**rest, "video_prompts": shots}


def _shot(shot: object) -> object:
    if not isinstance(shot, Mapping) or "prompt" in shot or not (name := _prompt_of(shot)):
        return shot
    return {"prompt": shot[name], **{k: v for k, v in shot.items() if k != name}}


def _is_shot(shot: object) -> bool:
    return isinstance(shot, str) or (isinstance(shot, Mapping) and bool(_prompt_of(shot)))


def _prompt_of(shot: Mapping) -> str:
    """By which name a shot gives its prompt; empty for none.

    Raises:
        ScriptError: when several may be meant.
    """
    given = [name for name in _PROMPTS if isinstance(shot.get(name), str)]
    if len(given) > 1 and given[0] not in _PROMPTS[:3]:
        raise ScriptError(
            f"a shot has {listed(given)}: rename the one that is to be filmed to prompt"
        )
    return given[0] if given else ""


def _with_name(data: Mapping) -> Mapping:
    data = with_field_names(data)
    if "story_name" in data or not isinstance(data.get("title"), str):
        return data
    return {"story_name": data["title"], **{k: v for k, v in data.items() if k != "title"}}


def _json_type(value: object) -> str:
    return {list: "list", str: "text", bool: "true/false", int: "number", float: "number"}.get(
        type(value), "null"
    )
