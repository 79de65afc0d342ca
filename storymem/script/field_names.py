"""Other names that writers and language models give to fields of a script."""

from __future__ import annotations

from collections.abc import Mapping

from ..sound.files import is_sound_name

FIELD_NAMES = {
    "dialog": "dialogue",
    "dialogues": "dialogue",
    "dialogs": "dialogue",
    "subtitles": "subtitle",
    "audio_file": "audio",
}


DESCRIBED = "audio_description"  # of a shot whose audio is words; nothing reads it


def with_field_names(data: Mapping) -> Mapping:
    """A JSON script, with the fields of its scenes and shots under the names that are read; one
    that is there under both names stays as it is. What models write of a shot's sound in words
    (``"audio": "soft wind"``) names no file."""
    scenes = data.get("scenes")
    if not isinstance(scenes, list) or not any(map(_is_odd, scenes)):
        return data
    return {**data, "scenes": [_scene(scene) for scene in scenes]}


def _is_odd(scene: object) -> bool:
    shots = scene.get("video_prompts") if isinstance(scene, Mapping) else None
    parts = [scene, *(shots if isinstance(shots, list) else ())]
    return any(
        isinstance(part, Mapping)
        and not (FIELD_NAMES.keys().isdisjoint(part) and not _is_described(part.get("audio")))
        for part in parts
    )


def _is_described(audio: object) -> bool:
    return isinstance(audio, str) and " " in audio.strip() and not is_sound_name(audio.strip())


def _scene(scene: object) -> object:
    if not isinstance(scene, Mapping):
        return scene
    scene, shots = _renamed(scene), scene.get("video_prompts")
    if isinstance(shots, list):
        scene["video_prompts"] = [_renamed(s) if isinstance(s, Mapping) else s for s in shots]
    return scene


def _renamed(fields: Mapping) -> dict:
    found = {}
    for key, value in fields.items():
        name = FIELD_NAMES.get(key, key)
        name = DESCRIBED if name == "audio" and _is_described(value) else name
        found[key if name in fields or name in found else name] = value
    return found
