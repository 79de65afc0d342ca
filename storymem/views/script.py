"""A script as the editor on the page holds it: plain JSON, nothing that a browser would change.

Whole numbers beyond what a browser counts exactly, and fields that nothing reads, travel as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..files.json_text import JsonError, parse_json
from ..files.messages import shown
from ..script.dialogue import DialogueError, read_dialogue
from ..script.dialogue import written as dialogue_lines
from ..script.fields import SHOT_FIELDS, ScriptError
from ..script.loras import LoraError, read_loras
from ..script.loras import written as lora_line
from ..script.persons import TARGET
from ..script.promoted import PromoteError, as_object, read_promote
from ..script.promoted import written as promote_line
from ..script.remembered import RememberError, read_remembered, written
from ..script.rows import Row, Script

EXACT_IN_A_BROWSER = 2**53
MAX_SHOTS = 5000
LONGEST_NUMBER = 1000  # digits; longer ones are told as the text that they are
WHOLE = ("seed", "length")
# Fields that the script's reader keeps otherwise than they are typed.
TIDIED = ("reference_images", "start_image", "end_image", "audio", "subtitle")


def view_script(script: Script) -> dict:
    """``name``, ``cast``, ``target``, ``overview``, ``character``, ``extra``, ``format`` and
    ``shots``.

    ``cast`` is names with commas between, ``None`` where the script says more of its cast than such
    a text holds. ``target`` is the text of ``reconstruct_target``, ``None`` where that is no text.
    Both stand in ``extra`` as well, as the script has them.
    """
    return {
        "name": script.name,
        "cast": _cast_as_text(script.more.get("cast")),
        "target": _target_as_text(script.more.get(TARGET)),
        "overview": script.overview,
        "character": script.character,
        "extra": _as_text(script.more),
        "format": script.format,
        "shots": [_view_row(row) for row in script.rows],
    }


def script_of_view(view: Mapping) -> Script:
    """What a page sent, as a script. Values are judged later, when the script is read.

    Raises:
        ScriptError: when it has not the form of ``view_script``.
    """
    shots = view.get("shots")
    if not isinstance(shots, list) or len(shots) > MAX_SHOTS:
        raise ScriptError(f"shots must be a list of at most {MAX_SHOTS} shots")
    texts = {key: view.get(key) or "" for key in ("name", "overview", "character")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ScriptError(f"{key} must be text, but it is {shown(value)}")
    rows = tuple(_row(shot, i) for i, shot in enumerate(shots))
    form = view.get("format") or "json"
    more = _with_cast(_of_text(view.get("extra"), "the story"), view.get("cast"))
    more = _with_target(more, view.get("target"))
    return Script(rows, **texts, more=more, format=form)


def _cast_as_text(cast: object) -> str | None:
    if isinstance(cast, list) and all(isinstance(name, str) and "," not in name for name in cast):
        return ", ".join(cast)
    return cast if isinstance(cast, str) else "" if cast is None else None


def _with_cast(more: dict, text: object) -> dict:
    """``more`` with the cast that was typed, as the script wrote it where that says the same."""
    if not isinstance(text, str) or text == _cast_as_text(more.get("cast")):
        return more
    names = [name.strip() for name in text.split(",") if name.strip()]
    others = {key: value for key, value in more.items() if key != "cast"}
    return {"cast": names, **others} if names else others


def _target_as_text(target: object) -> str | None:
    return target if isinstance(target, str) else "" if target is None else None


def _with_target(more: dict, text: object) -> dict:
    """``more`` with the ``reconstruct_target`` that was typed, if that is another one; a browser
    makes one line end of all kinds."""
    was = _target_as_text(more.get(TARGET))
    if (
        not isinstance(text, str)
        or was is None
        or text == "\n".join(was.splitlines())
        or text == was
    ):
        return more
    others = {key: value for key, value in more.items() if key != TARGET}
    return {TARGET: text, **others} if text.strip() else others


def _view_row(row: Row) -> dict:
    fields = {key: row.fields.get(key) for key in SHOT_FIELDS}
    for key in WHOLE:
        if isinstance(fields[key], int) and fields[key] >= EXACT_IN_A_BROWSER:
            fields[key] = str(fields[key])
    return {
        "prompt": row.prompt,
        "cut": row.cut,
        "scene": row.scene,
        "starts": row.starts,
        **fields,
        "lock": row.fields.get("lock", False),
        "reference_images": row.fields.get("reference_images", []),
        "start_image": row.fields.get("start_image", ""),
        "audio": row.fields.get("audio", ""),
        "dialogue": dialogue_text(row.fields.get("dialogue", [])),
        "subtitle": row.fields.get("subtitle", ""),
        "end_image": row.fields.get("end_image", ""),
        "promote": _promote_text(row.fields.get("promote")),
        "loras": _lora_text(row.fields.get("loras")),
        "remember": written(read_remembered(row.fields.get("remember", []))),
        "first_frame_prompt": row.fields.get("first_frame_prompt", ""),
        "extra": _as_text(row.more),
        "scene_extra": [_as_text(row.scene_more)] if row.scene_more else [],
    }


def _row(shot, i: int) -> Row:
    where = f"shot {i + 1}"
    if not isinstance(shot, Mapping) or not isinstance(shot.get("prompt"), str):
        raise ScriptError(f"{where}: the prompt must be text")
    if not isinstance(shot.get("cut"), bool):
        raise ScriptError(f"{where}: cut must be true or false, but it is {shown(shot.get('cut'))}")
    scene = _whole(shot.get("scene"))
    if not isinstance(scene, int) or isinstance(scene, bool):
        raise ScriptError(f"{where}: the scene must be a whole number, but it is {shown(scene)}")
    fields = {key: _field(key, shot.get(key)) for key in SHOT_FIELDS}
    scene_more: dict = {}
    extras = shot.get("scene_extra") or []
    if not isinstance(extras, list):
        raise ScriptError(f"{where}: scene_extra must be a list, but it is {shown(extras)}")
    for text in reversed(extras):  # several when scenes were joined: the first one counts
        scene_more.update(_of_text(text, where))
    return Row(
        shot["prompt"],
        shot["cut"],
        scene,
        bool(shot.get("starts")),
        {key: value for key, value in fields.items() if value is not None},
        _of_text(shot.get("extra"), where),
        scene_more,
    )


def _field(key: str, value):
    """A value as a script holds it; ``None`` when it is not set. What was typed wrong stays."""
    if value is False or value == [] or (value == "" and key != "negative_prompt"):
        return None
    if key == "remember":
        return _remembered(value)
    if key == "promote":
        return _promoted(value)
    if key == "dialogue":
        return _dialogue(value)
    if key == "loras":
        return _loras(value)
    if key in WHOLE:
        return _whole(value)
    if key in TIDIED:
        return _tidied(key, value)
    if key == "lora_strength" and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # a browser writes 1.0 as 1
        except (OverflowError, ValueError):
            return value
    return value


def _remembered(value):
    try:
        return [entry.as_json() for entry in read_remembered(value)] or None
    except RememberError:
        return value


def _promoted(value):
    try:
        return as_object(read_promote(value)) or None
    except PromoteError:
        return value


def _dialogue(value):
    try:
        return [line.as_json() for line in read_dialogue(value)] or None
    except DialogueError:
        return value


def dialogue_text(value) -> str:
    """A line for each that is said; as JSON what no such text can hold."""
    lines = read_dialogue(value)
    return dialogue_lines(lines) or (
        json.dumps([line.as_json() for line in lines], ensure_ascii=False) if lines else ""
    )


def _loras(value):
    try:
        return [entry.as_json() for entry in read_loras(value) if entry.has_effect] or None
    except LoraError:
        return value


def _tidied(key: str, value):
    try:
        value = SHOT_FIELDS[key].check(value, key)
    except ScriptError:
        return value
    return (list(value) if isinstance(value, tuple) else value) or None


def _lora_text(value) -> str:
    """On one line, as the page edits it; as JSON what no line can hold."""
    try:
        entries = read_loras(value)
    except LoraError:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    as_json = [entry.as_json() for entry in entries]
    return lora_line(entries) or (json.dumps(as_json, ensure_ascii=False) if entries else "")


def _promote_text(value) -> str:
    """On one line, as the page edits it; as JSON what no line can hold."""
    try:
        entries = read_promote(value)
    except PromoteError:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return promote_line(entries) or (_as_text(as_object(entries)) if entries else "")


def _whole(value):
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
        return int(value) if len(value) < LONGEST_NUMBER else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _as_text(more: Mapping) -> str:
    return json.dumps(more, ensure_ascii=False) if more else ""


def _of_text(text, where: str) -> dict:
    try:
        more = parse_json(text) if isinstance(text, str) and text else (None if text else {})
    except JsonError:
        more = None
    if not isinstance(more, dict):
        raise ScriptError(f"{where}: extra must be the text of a JSON object")
    return more
