"""The optional fields of a script, one by one: what each may hold and what a wrong value is
told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..files.messages import shown
from .continuity import CONTINUED
from .dialogue import DialogueError, Line, read_dialogue
from .loras import LoraError, ShotLora, read_loras
from .promoted import Promoted, PromoteError, read_promote
from .remembered import Remembered, RememberError, read_remembered
from .story import LENGTH_OF_AUDIO

MAX_SEED = 2**64 - 1  # what the host's seed inputs take
MAX_SCENE = 999_999  # it stands in file names
LONGEST_WORDS = 20_000  # characters of a text that stands for many shots; 2 000 are encoded
LONGEST_SUBTITLE = 2000  # characters
LONGEST_NAME = 100  # characters of somebody's name
MOST_REFERENCES = 100  # pictures of one shot, which sees ten
ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")  # never a shot's label
TAKE = re.compile(r"[0-9a-f]{12,64}")  # how the key of a result begins
WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
YES = ("true", "yes", "y", "on", "1", "1.0")
NO = ("false", "no", "n", "off", "0", "0.0")
# Folders as Windows writes them, also where JSON took the backslash and a letter for a sign.
FOLDERS = str.maketrans({"\\": "/", **{chr(7 + i): f"/{c}" for i, c in enumerate("abtnvfr")}})
MAX_LENGTH = 16_381  # frames of a shot: 4n+1, what the nodes' inputs take


class ScriptError(ValueError):
    """A script that cannot be read, in the artist's words."""


class ShotField(NamedTuple):
    """Where a field of a script goes, and what checks it.

    ``check`` gets the value and the words for where it stands. It gives the value to keep, or
    raises ScriptError.
    """

    attribute: str  # of storymem.script.story.Shot
    check: Callable[[object, str], object]


def check_text(value, where: str) -> str:
    """The value, which must be text; ``where`` tells in the error which one it is.

    Raises:
        ScriptError: for anything else.
    """
    if not isinstance(value, str):
        raise ScriptError(f"{where} must be text, but it is {shown(value)}; put it in quotes")
    return value


def check_words(value, where: str) -> str:
    """A text that is handed to the text encoder, for many shots at once."""
    if len(check_text(value, where)) > LONGEST_WORDS:
        raise ScriptError(
            f"{where} has {len(value)} characters, but at most {LONGEST_WORDS} are allowed; the "
            "text encoder reads about 2 000 of them: shorten it"
        )
    return value


def check_names(value, where: str) -> tuple[str, ...]:
    """A list of names, or names in one text with commas between; nothing gives none."""
    names = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ScriptError(f"{where} must be a list of names, but it is {shown(value)}")
    names = [name.strip() for name in names if name.strip()]
    for name in names:
        if len(name) > LONGEST_NAME:
            raise ScriptError(
                f"{where} holds {shown(name)}, which is longer than the {LONGEST_NAME} characters "
                "of a name; separate names with commas"
            )
    return tuple(names)


def parse_cut(value, where: str) -> bool:
    """``true`` or ``false``, or the words and numbers that some writers give for them."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word in YES or word in NO:
        return word in YES
    raise ScriptError(f"{where}: cut must be true or false, but it is {shown(value)}")


def _check_bool(value, where: str) -> bool:
    try:
        return parse_cut(value, where)
    except ScriptError:
        raise ScriptError(f"{where} must be true or false, but it is {shown(value)}") from None


def read_whole(value):
    """A whole number, also where it is written ``"42"`` or ``42.0``; anything else as it is."""
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _check_whole(value, where: str) -> int:
    value = read_whole(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScriptError(f"{where} must be a whole number, but it is {shown(value)}")
    return value


def _check_seed(value, where: str) -> int:
    seed = _check_whole(value, where)
    if not 0 <= seed <= MAX_SEED:
        raise ScriptError(f"{where} must be between 0 and {MAX_SEED}, but it is {shown(seed)}")
    return seed


def _check_length(value, where: str) -> int | str:
    if isinstance(value, str) and value.strip().lower() == LENGTH_OF_AUDIO:
        return LENGTH_OF_AUDIO
    length = _check_whole(value, where)
    if length > MAX_LENGTH:
        raise ScriptError(
            f"{where} must be at most {MAX_LENGTH} frames (81 is usual), but it is {shown(length)}"
        )
    if length < 1 or length % 4 != 1:
        below = max(1, (length - 1) // 4 * 4 + 1)
        raise ScriptError(
            f"{where} must be 4n+1 frames (such as 81), but it is {shown(length)}; use {below} or "
            f"{below + 4}"
        )
    return length


def _check_continuity(value, where: str) -> str:
    if value not in CONTINUED:
        raise ScriptError(
            f"{where} must be one of {', '.join(CONTINUED)}, but it is {shown(value)}"
        )
    return value


def _check_strength(value, where: str) -> float:
    try:
        value = float(value) if isinstance(value, str) else value
        usable = not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        raise ScriptError(
            f"{where} must be a number (1.0 is the trained strength), but it is {shown(value)}"
        )
    return float(value)


def _check_references(value, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name.strip() for name in names
    ):
        raise ScriptError(
            f"{where} must be image file names of the input folder, but it is {shown(value)}"
        )
    if len(names) > MOST_REFERENCES:
        raise ScriptError(
            f"{where} holds {len(names)} pictures, but a shot takes {MOST_REFERENCES} at most"
        )
    return tuple(name.translate(FOLDERS) for name in names)


def _check_take(value, where: str) -> str:
    if value == "" or (isinstance(value, str) and TAKE.fullmatch(value)):
        return value
    raise ScriptError(
        f"{where} must be a take as the story editor and 'storymem takes' name it (such as "
        f"3f9a0c12b4d6e8f0), but it is {shown(value)}"
    )


def _check_remember(value, where: str) -> tuple[Remembered, ...]:
    try:
        return read_remembered(value)
    except RememberError as error:
        raise ScriptError(f"{where} {error}") from None


def _check_promote(value, where: str) -> tuple[Promoted, ...]:
    try:
        return read_promote(value)
    except PromoteError as error:
        raise ScriptError(f"{where} {error}") from None


def _check_loras(value, where: str) -> tuple[ShotLora, ...]:
    """What a shot has: of strength 0 is what no longer comes to it."""
    try:
        return tuple(entry for entry in read_loras(value) if entry.has_effect)
    except LoraError as error:
        raise ScriptError(f"{where} {error}") from None


def _check_one_image(value, where: str) -> str:
    if not isinstance(value, str):
        raise ScriptError(
            f"{where} must be one image file name of the input folder, but it is {shown(value)}"
        )
    return value.strip().translate(FOLDERS)


def _check_audio(value, where: str) -> str:
    if not isinstance(value, str):
        raise ScriptError(
            f"{where} must be one sound file name of the input folder, but it is {shown(value)}"
        )
    return value.strip().translate(FOLDERS)


def _check_dialogue(value, where: str) -> tuple[Line, ...]:
    try:
        return read_dialogue(value)
    except DialogueError as error:
        raise ScriptError(f"{where} {error}") from None


def _check_subtitle(value, where: str) -> str:
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ScriptError(f"{where} must be text, but it is {shown(value)}; put it in quotes")
    text = "\n".join(lines).strip()
    if len(text) > LONGEST_SUBTITLE:
        raise ScriptError(
            f"{where} has {len(text)} characters, but at most {LONGEST_SUBTITLE} are allowed; "
            "shorten it"
        )
    return text


SHOT_FIELDS: dict[str, ShotField] = {
    "seed": ShotField("seed", _check_seed),
    "length": ShotField("length", _check_length),
    "negative_prompt": ShotField("negative", check_words),
    "continuity": ShotField("continuity", _check_continuity),
    "lora_strength": ShotField("lora_strength", _check_strength),
    "loras": ShotField("loras", _check_loras),
    "reference_images": ShotField("references", _check_references),
    "start_image": ShotField("start_image", _check_one_image),
    "end_image": ShotField("end_image", _check_one_image),
    "remember": ShotField("remember", _check_remember),
    "audio": ShotField("audio", _check_audio),
    "dialogue": ShotField("dialogue", _check_dialogue),
    "subtitle": ShotField("subtitle", _check_subtitle),
    "promote": ShotField("promote", _check_promote),
    "first_frame_prompt": ShotField("first_frame_prompt", check_words),
    "lock": ShotField("lock", _check_bool),
    "use_take": ShotField("take", _check_take),
}
STORY_FIELDS = ("character",)
LISTS = ("reference_images", "remember", "loras")  # whose value for one shot is a list


def row_id(fields: Mapping) -> str:
    """The ``id`` among a shot's further fields, by which its lock is known wherever the shot goes;
    empty for none. Earlier versions keep the field and read nothing in it."""
    value = fields.get("id")
    is_id = isinstance(value, str) and ROW_ID.fullmatch(value) is not None
    return value if is_id else ""


def without_id(fields: Mapping) -> dict:
    """``fields`` but the one that ``row_id`` reads."""
    return {key: value for key, value in fields.items() if key != "id" or not row_id(fields)}
