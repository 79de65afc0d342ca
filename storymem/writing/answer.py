"""What a language model sent back, read as a script and checked.

Nothing of an answer is trusted: of its shots only what is told is kept, never the name of a file,
a lock or a take. What is wrong with it is told in words that the model understands as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..files.messages import counted, listed, shown
from ..script.cast import named_in
from ..script.dialogue import read_dialogue
from ..script.fields import ScriptError
from ..script.persons import is_read
from ..script.reader import load_story
from ..script.remembered import read_remembered, tell_unknown
from ..script.rows import Row, Script, check_written, read_script, write_script
from ..script.source import find_script
from ..script.story import LENGTH_OF_AUDIO, Story
from .wish import Role, Wish

KEPT = (
    "negative_prompt", "length", "continuity", "first_frame_prompt", "remember", "dialogue",
    "subtitle",
)  # fmt: skip
LEAST_WORDS = 8  # of a prompt in a language with blanks
LEAST_SIGNS = 15  # of one without
REFERS_BACK = re.compile(
    r"\b(?:as before|same as (?:before|above)|(?:the )?previous (?:shot|scene|prompt)|see above"
    r"|ditto)\b|同上|同前|与上一?个?镜头|和上一?个?镜头",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{4,}")
_SHORT_WORD = re.compile(r"\b[a-zA-Z]{3}\b")


@dataclass(frozen=True)
class Written:
    """A script that was written. ``faults`` are what it was asked for and does not have;
    ``left_out`` what it had and must not have."""

    script: Script
    text: str
    story: Story
    faults: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.left_out, *self.faults)


class AnswerError(ScriptError):
    """An answer that is no script. ``answer`` is all of it, so that it can be corrected."""

    def __init__(self, message: str, answer: str):
        super().__init__(message)
        self.answer = answer


def read_answer(answer: str, wish: Wish) -> Written:
    """The script in an answer, and what is wrong with it.

    Raises:
        AnswerError: for an answer that holds no script that can be read.
    """
    try:
        script = read_script(_with_first_cut(answer))
        script, left_out = _harmless(script)
        script = _with_pictures(_with_cast(script, wish), wish)
        text = write_script(script, "json")
        story = check_written(script, text)
    except ScriptError as error:
        raise AnswerError(str(error), answer) from None
    return Written(script, text, story, tuple(find_faults(story, wish)), tuple(left_out))


def find_faults(story: Story, wish: Wish) -> list[str]:
    """What of a wish a story does not have, in words for people and models alike."""
    prompts = [shot.prompt for shot in story.shots]
    faults = []
    if len(prompts) != wish.shots:
        faults.append(f"it has {counted(len(prompts), 'shot')}, but {wish.shots} are wanted")
    for role in wish.cast:
        named = [i for i, prompt in enumerate(prompts) if named_in(prompt, (role.name,))]
        if not named:
            faults.append(f"{role.name} of the cast appears in no prompt")
        silent = [i for i in named if not _says_look(prompts[i], role)]
        if silent:
            do = "do" if len(silent) > 1 else "does"
            faults.append(
                f"{_shots(silent)} {do} not say what {role.name} looks like ({role.look})"
            )
    if brief := [i for i, prompt in enumerate(prompts) if _is_short(prompt)]:
        be = "are" if len(brief) > 1 else "is"
        faults.append(f"{_shots(brief)} {be} too short to stand alone")
    faults += tell_tied([i for i, prompt in enumerate(prompts) if REFERS_BACK.search(prompt)])
    firsts: dict[str, int] = {}
    twice = [i for i, p in enumerate(prompts) if firsts.setdefault(p.casefold(), i) != i]
    if twice:
        repeat = "repeat" if len(twice) > 1 else "repeats"
        faults.append(f"{_shots(twice)} {repeat} the prompt of an earlier shot")
    scenes = zip(story.shots, story.shots[1:], strict=False)
    begins = [b.index for a, b in scenes if a.scene != b.scene and not b.cut]
    if begins:
        begin = "begin" if len(begins) > 1 else "begins"
        faults.append(f"{_shots(begins)} {begin} a new scene, which takes a cut")
    entries = (entry for shot in story.shots for entry in shot.remember)
    return faults + tell_unknown(entries, story.names, prompts)


def tell_tied(indices: Sequence[int]) -> list[str]:
    """A sentence for shots whose prompt leans on another one; none for none."""
    if not indices:
        return []
    speak = "speak" if len(indices) > 1 else "speaks"
    return [f"{_shots(indices)} {speak} of another shot, which the video model never reads"]


def keep_told(row: Row) -> tuple[Row, list[str]]:
    """A row of an answer without the fields that a model has no say in, and their names."""
    fields = {key: value for key, value in row.fields.items() if key in KEPT}
    gone = [key for key in (*row.fields, *row.more, *row.scene_more) if key not in KEPT]
    if fields.get("length") == LENGTH_OF_AUDIO:  # of a file that it has no say in
        gone.append("length")
        del fields["length"]
    return replace(row, fields=fields, more={}, scene_more={}), gone


def _with_first_cut(answer: str) -> str:
    """An answer whose first shot is said to continue, though nothing is before it, as one with a
    cut there."""
    data = find_script(answer).data
    scenes = data.get("scenes") if data else None
    first = scenes[0] if isinstance(scenes, list) and scenes else None
    cut = first.get("cut") if isinstance(first, Mapping) else None
    if not isinstance(cut, list) or not cut or str(cut[0]).lower() != "false":
        return answer
    first = {**first, "cut": [True, *cut[1:]]}
    return json.dumps({**data, "scenes": [first, *scenes[1:]]}, ensure_ascii=False)


def _harmless(script: Script) -> tuple[Script, list[str]]:
    rows, gone = [], []
    for row in script.rows:
        row, fields = keep_told(row)
        rows.append(row)
        gone += fields
    kept = {key: value for key, value in script.more.items() if is_read(key, script.more)}
    gone += [key for key in script.more if key != "cast" and key not in kept]
    names = list(load_story(write_script(script, "json"), quiet=True).cast)
    more = {"cast": names, **kept} if names else kept
    script = replace(script, rows=tuple(rows), more=more, format="json")
    told = f"left out of the answer: {listed(map(shown, dict.fromkeys(gone)), 6)}"
    return script, [told] if gone else []


def _with_cast(script: Script, wish: Wish) -> Script:
    names = {role.name.casefold(): role.name for role in wish.cast}
    for name in script.more.get("cast", ()):
        names.setdefault(name.casefold(), name)
    others = {key: value for key, value in script.more.items() if key != "cast"}
    return replace(script, more={"cast": list(names.values()), **others} if names else others)


def _with_pictures(script: Script, wish: Wish) -> Script:
    """Portraits of the cast at the first shot that names each."""
    rows = list(script.rows)
    for role in wish.cast:
        for i, row in enumerate(rows):
            if role.picture and named_in(row.prompt, (role.name,)):
                pictures = [*row.fields.get("reference_images", ()), role.picture]
                rows[i] = replace(row, fields={**row.fields, "reference_images": pictures})
                break
    return replace(script, rows=tuple(rows))


def _says_look(prompt: str, role: Role) -> bool:
    """Whether a prompt has some word of a look; a look in another script cannot be compared."""
    words = {word.casefold() for word in _WORD.findall(role.look) if word.isascii()}
    words = words or {word.casefold() for word in _SHORT_WORD.findall(role.look)} - {"and", "the"}
    if not words or not any(letter.isascii() and letter.isalpha() for letter in prompt[:40]):
        return True
    return any(word in prompt.casefold() for word in words)


def _is_short(prompt: str) -> bool:
    words = prompt.split()
    return len(words) < LEAST_WORDS and len(prompt) < (
        LEAST_SIGNS if not prompt.isascii() else LEAST_WORDS * 6
    )


def _shots(indices: Sequence[int]) -> str:
    numbers = listed((str(i + 1) for i in indices), 8)
    return f"shots {numbers}" if len(indices) > 1 else f"shot {numbers}"


def dialogue_of(value: object) -> list[dict]:
    """``dialogue`` of an answer's shot as a script holds it.

    Raises:
        DialogueError: naming the line.
    """
    return [line.as_json() for line in read_dialogue(value if value is not None else [])]


def remember_of(value: object) -> list[dict]:
    """``remember`` of an answer's shot as a script holds it.

    Raises:
        RememberError: naming the entry.
    """
    return [entry.as_json() for entry in read_remembered(value if value is not None else [])]
