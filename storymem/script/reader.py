"""Stories, scenes and shots: what a script says, parsed and validated.

Two forms are read. **JSON** is ST-Bench's: ``story_name``, ``story_overview`` and ``scenes``,
each with ``scene_num``, ``video_prompts`` and ``cut``; the optional fields of :data:`SHOT_FIELDS`
may stand at a shot (when a video prompt is written as an object), at a scene (one value, or a list
with one value per shot) or at the story. **Plain text** separates shots by lines of ``---``; see
:mod:`storymem.script.plain_text`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace

from ..files.json_text import DEEPEST, is_deeper
from ..files.messages import is_unicode, listed, short, shown
from ..files.names import composed
from .cast import MAX_NAMES, handles_of, unknown_handles
from .fields import (
    LISTS,
    MAX_SCENE,
    SHOT_FIELDS,
    STORY_FIELDS,
    ScriptError,
    check_text,
    check_words,
    parse_cut,
    read_whole,
    row_id,
    without_id,
)
from .loras import Levels
from .persons import cast_of, is_read, persons_of, target_of, tell_unused, unused
from .plain_text import parse_plain
from .readings import find_doubts
from .remembered import tell_unknown
from .sound import is_each_shots, tell_shared, with_speakers
from .source import as_script, find_script
from .story import DEFAULT_NAME, LENGTH_OF_AUDIO, Shot, Story

logger = logging.getLogger(__name__)

MAX_SCRIPT = 4 * 2**20  # characters: 2 000 shots of 2 000 characters
MOST_BYTES = 4  # of a character of UTF-8
SCENE_FIELDS = ("scene_num", "video_prompts", "cut")


def load_story(
    source: str | Mapping,
    *,
    default_name: str = DEFAULT_NAME,
    character: str = "",
    quiet: bool = False,
) -> Story:
    """Read a script: JSON text, plain text, or an already parsed JSON object.

    Args:
        default_name: used when the script does not name the story.
        character: put before every prompt, after the script's own character description.
        quiet: keep warnings in the story only, not in the log as well.

    Raises:
        ValueError: in the artist's words, naming the scene and the fix.
    """
    if isinstance(source, Mapping):
        if is_deeper(source, DEEPEST):
            raise ScriptError("the script is nested too deeply to be a story")
        text = json.dumps(source, ensure_ascii=False, indent=2)
        _check_text(text + character + default_name)
        story = _from_json(as_script(source), text, default_name)
        story = _with_persons_told(story, source, character)
    elif isinstance(source, str):
        check_length(len(source) + len(character))
        _check_text(source + character + default_name)
        story = _from_text(source, default_name, character)
    else:
        raise ValueError(
            f"a script must be text or a JSON object, but it is {type(source).__name__}"
        )
    blocks = [block.strip() for block in (story.character, character) if block.strip()]
    character = check_words("\n".join(blocks), "the character description")
    story = with_speakers(_with_names_told(replace(story, character=character)))
    for warning in () if quiet else story.warnings:
        logger.warning("story '%s': %s", story.name, warning)
    return story


def _from_text(source: str, default_name: str, character: str) -> Story:
    found = find_script(source)
    if found.data is None:
        story = _from_plain(found.text, source, default_name, character)
    else:
        # Written as escapes, half a character passed till here.
        _check_text(json.dumps(found.data, ensure_ascii=False))
        story = _from_json(found.data, source, default_name)
        story = _with_persons_told(story, found.data, character)
    return replace(story, warnings=(*found.warnings, *story.warnings))


def _from_plain(text: str, source: str, default_name: str, character: str) -> Story:
    script = parse_plain(text)
    shots: list[Shot] = []
    counts: dict[int, int] = {}
    for block in script.blocks:
        counts[block.scene] = counts.get(block.scene, 0) + 1
        where = f"scene {block.scene}, shot {counts[block.scene]}"
        place = len(shots), block.scene, counts[block.scene]
        values = {**block.values, "row": row_id(block.more)}
        shots.append(_shot(*place, block.prompt, block.cut, values, where))
    name = script.title or default_name
    warnings = [*find_doubts(text).warnings, *script.warnings]
    story = _story(name, shots, script.overview, script.character, source, warnings)
    story = replace(story, cast=cast_of(script.more), reconstruct=target_of(script.more))
    return _with_persons_told(story, script.more, character)


def _from_json(data: Mapping, source: str, default_name: str) -> Story:
    warnings = _unknown(
        {key: value for key, value in data.items() if not is_read(key, data)},
        ("story_name", "story_overview", "scenes", "cast", *STORY_FIELDS, *SHOT_FIELDS),
        "the story",
    )
    cast = cast_of(data)
    name = check_text(data.get("story_name") or default_name, "story_name")
    overview = check_text(data.get("story_overview") or "", "story_overview")
    character = check_text(data.get("character") or "", "character").strip()
    scenes = data.get("scenes")
    if not isinstance(scenes, list) or not scenes:
        raise ScriptError(
            f"the story '{short(name)}' has no scenes: 'scenes' must be a list with at least one "
            f"scene, but it is {_shown(scenes)}"
        )
    shots: list[Shot] = []
    counts: dict[int, int] = {}
    for position, scene in enumerate(scenes):
        number = _scene_number(scene, position)
        where = f"scene {number}"
        warnings += _unknown(scene, (*SCENE_FIELDS, *SHOT_FIELDS), where)
        prompts, cuts = _prompts_and_cuts(scene, where)
        if not prompts:
            warnings.append(f"{where} has no video_prompts, so no shot is made of it")
        listed_keys = {
            key for key in SHOT_FIELDS if _is_one_per_shot(key, scene.get(key), len(prompts))
        }
        for i, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True)):
            counts[number] = counts.get(number, 0) + 1  # scenes of the same number share one count
            place = f"{where}, shot {i + 1}"
            own: Mapping = {}
            if isinstance(prompt, Mapping):
                own, prompt = prompt, prompt.get("prompt")
                warnings += _unknown(without_id(own), ("prompt", "cut", *SHOT_FIELDS), place)
            values = {
                key: _shot_value(key, own, scene, data, i, where, key in listed_keys)
                for key in SHOT_FIELDS
            }
            values["row"] = row_id(own)
            shots.append(_shot(len(shots), number, counts[number], prompt, cut, values, place))
        warnings += tell_shared(scene, prompts, where)
    story = _story(name, shots, overview, character, source, warnings)
    return replace(story, cast=cast, reconstruct=target_of(data))


def _with_persons_told(story: Story, data: Mapping, character: str) -> Story:
    """The story with a warning when the script describes somebody whom no shot is told of."""
    persons = persons_of(data)
    if not persons:
        return story
    texts = [story.character, character, *(shot.prompt for shot in story.shots)]
    pictures = [name for shot in story.shots for name in shot.references]
    told = tell_unused(unused(persons, texts, pictures))
    return replace(story, warnings=(*story.warnings, *told))


def _with_names_told(story: Story) -> Story:
    """The story with a warning when it has more names than are looked for, or handles that may be
    names."""
    told = []
    if len(story.names) > MAX_NAMES:
        told.append(
            f"the story has {len(story.names)} names ({listed(story.names, 3)}); the memory tells "
            f"the first {MAX_NAMES} apart"
        )
    unknown = unknown_handles((shot.prompt for shot in story.shots), handles_of(story.names))
    if unknown:
        handles = listed((f"@{name}" for name in unknown), 3)
        told.append(
            f"several prompts have {handles}, which is nobody of the cast and is filmed as typed; "
            "if it is somebody, add the name to cast"
        )
    if story.remembers:
        entries = (entry for shot in story.shots for entry in shot.remember)
        told += tell_unknown(entries, story.names, (shot.prompt for shot in story.shots))
    return replace(story, warnings=(*story.warnings, *told)) if told else story


def check_file(size: int, name: str = "the script") -> None:
    """Raise ScriptError for a file of so many bytes that no script has, before it is read."""
    check_length(size // MOST_BYTES, name)


def check_length(characters: int, name: str = "the script") -> None:
    """Raise ScriptError for a text that is far too long to be a script."""
    if characters > MAX_SCRIPT:
        raise ScriptError(
            f"{name} is too long to be a script (more than {MAX_SCRIPT // 2**20} million "
            "characters); choose another one"
        )


def _check_text(text: str) -> None:
    """Raise ScriptError for half of a character, as a damaged emoji leaves it."""
    if is_unicode(text):
        return
    place = next(i for i, letter in enumerate(text) if not is_unicode(letter))
    raise ScriptError(
        "the script holds a character that is not valid Unicode, after "
        f"{shown(text[max(0, place - 20) : place])}; type it again"
    )


def _story(name, shots, overview, character, source, warnings) -> Story:
    if not shots:
        raise ScriptError(f"the story '{short(name)}' has no shots: write at least one prompt")
    # However a title's accents are encoded, it is one title: of one folder and the same shots.
    return Story(composed(name.strip()), tuple(shots), overview, character, source, tuple(warnings))


def _scene_number(scene, position: int) -> int:
    if not isinstance(scene, Mapping):
        raise ScriptError(
            f"scene {position + 1} must be an object with video_prompts and cut, but it is "
            f"{_shown(scene)}"
        )
    number = read_whole(scene.get("scene_num", position + 1))
    whole = isinstance(number, int) and not isinstance(number, bool)
    if not whole or not 0 <= number <= MAX_SCENE:
        raise ScriptError(
            f"scene {position + 1}: scene_num must be a whole number from 0 to {MAX_SCENE}, but it "
            f"is {_shown(number)}"
        )
    return number


def _prompts_and_cuts(scene: Mapping, where: str) -> tuple[list, list[bool]]:
    prompts = scene.get("video_prompts")
    if not isinstance(prompts, list):
        raise ScriptError(
            f"{where}: video_prompts must be a list of prompts, but it is {_shown(prompts)}"
        )
    if (
        all(isinstance(prompt, Mapping) and "cut" in prompt for prompt in prompts)
        and "cut" not in scene
    ):
        cuts = [prompt["cut"] for prompt in prompts]
    else:
        cuts = scene.get("cut")
    if not isinstance(cuts, list):
        raise ScriptError(
            f"{where}: cut must be a list with true or false for each video prompt, but it is "
            f"{_shown(cuts)}"
        )
    if len(cuts) != len(prompts):
        raise ScriptError(
            f"{where} has {len(prompts)} video_prompts but {len(cuts)} cut values: give exactly "
            "one cut for each prompt"
        )
    return prompts, [parse_cut(cut, f"{where}, shot {i + 1}") for i, cut in enumerate(cuts)]


def _is_one_per_shot(key: str, value: object, count: int) -> bool:
    # Reference images are lists themselves: a list of lists (or null) is one per shot.
    # So is what is to be remembered, which may be text as well.
    if key == "dialogue":
        return is_each_shots(value, count)
    return isinstance(value, list) and (
        key not in LISTS or all(item is None or isinstance(item, list) for item in value)
    )


def _shot_value(
    key: str, own: Mapping, scene: Mapping, story: Mapping, i: int, where: str, is_listed: bool
):
    """The value of an optional field for shot ``i``: its own, else the scene's (which may list one
    per shot), else the story's. LoRAs add up."""
    if own.get(key) is not None and key != "loras":
        return own[key]
    value = scene.get(key)
    if is_listed:
        count = len(scene["video_prompts"])
        if len(value) != count:
            raise ScriptError(
                f"{where} has {count} video_prompts but {len(value)} {key} values: give one for "
                "each prompt (null for none)"
            )
        value = value[i]
    if key == "loras":
        levels = [story.get(key), value, own.get(key)]
        return Levels(level for level in levels if level is not None) or None
    return story.get(key) if value is None else value


def _shot(index: int, scene: int, number: int, prompt, cut: bool, values: dict, where: str) -> Shot:
    if not isinstance(prompt, str):
        raise ScriptError(
            f"{where}: the prompt must be text, but it is {_shown(prompt)}; put it in quotes"
        )
    if not prompt.strip():
        raise ScriptError(f"{where}: the prompt is empty; describe the shot or remove it")
    row = values.pop("row")
    checked = {
        SHOT_FIELDS[key].attribute: SHOT_FIELDS[key].check(value, f"{where}: {key}")
        for key, value in values.items()
        if value is not None
    }
    if checked.get("length") == LENGTH_OF_AUDIO and not checked.get("audio"):
        raise ScriptError(
            f"{where}: length is audio, but the shot has no audio: name its sound file (only a "
            "file's length is known beforehand), or give the length in frames, such as 81"
        )
    return Shot(index, scene, number, prompt, cut, row=row, **checked)


def _unknown(data: Mapping, known, where: str) -> list[str]:
    extra = [str(key) for key in data if key not in known]
    if not extra:
        return []
    return [f"{where} has fields that are ignored: {listed(extra)}"]


def _shown(value) -> str:
    if value is None:
        return "missing"
    return shown(value)
