"""Having some shots of a script written anew: the request, and its answer as new rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..files.messages import counted, listed, short, shown
from ..script.cast import names_of
from ..script.dialogue import DialogueError
from ..script.fields import ScriptError, check_text, parse_cut, read_whole
from ..script.remembered import RememberError, read_remembered, tell_unknown
from ..script.rows import Row, Script, read_script
from ..script.source import find_script
from .answer import REFERS_BACK, dialogue_of, remember_of, tell_tied
from .request import rules_in_short

AROUND = 4  # shots before and after that are told
MOST_SHOTS = 60  # rewritten at once
MOST_NEW = 200
LONGEST_AROUND = 400  # characters of a shot that is told
LONGEST_INSTRUCTION = 4000
ABOUT_SPEECH = re.compile(
    r"\b(?:dialog|sa(?:y|id)|speak|spoke|talk|voice|word|line|narrat|whisper|shout)|对白|台词|说|旁白",
    re.IGNORECASE,
)
SHAPE = (
    '{"shots": [{"number": 7, "cut": true, "prompt": "...", "remember": [{"who": "Mara", '
    '"weight": 3}]}]}'
)


@dataclass(frozen=True)
class NewShot:
    """A shot of an answer. ``of`` is the index of the shot that it was, ``None`` for a new one."""

    of: int | None
    prompt: str
    cut: bool
    remember: list[dict]
    dialogue: list[dict] = field(default_factory=list)


def rewrite_request(script: Script, indices: Sequence[int], instruction: str) -> str:
    """The request to write the shots at ``indices`` anew.

    Raises:
        ScriptError: for an empty instruction, and for too many or no shots.
    """
    if not instruction.strip():
        raise ScriptError("say what is to be changed, such as 'move the camera closer'")
    if len(instruction) > LONGEST_INSTRUCTION:
        raise ScriptError(f"the instruction is longer than {LONGEST_INSTRUCTION} characters")
    indices = _checked(script, indices)
    first, last = indices[0], indices[-1]
    around = [i for i in range(first - AROUND, last + AROUND + 1) if i not in indices]
    before = [_told(script, i) for i in around if 0 <= i < last]
    after = [_told(script, i) for i in around if last < i < len(script.rows)]
    lines = [
        "Change some shots of the shooting script of a film, for a video model that makes one shot "
        "after the other.",
        "",
        f"What is wanted: {instruction.strip()}",
        "",
        f"The film: {script.name or 'without a title'}. {short(script.overview, 1000)}".strip(),
    ]
    cast = script.more.get("cast")
    if isinstance(cast, list) and all(isinstance(name, str) for name in cast):
        lines.append(f"Cast: {', '.join(cast)}")
    if script.character:
        lines.append(f"Before every prompt stands: {short(script.character, 2000)}")
    if before:
        lines += ["", "What is before, which stays as it is:", *before]
    lines += ["", "The shots to change:"]
    lines.append(
        json.dumps({"shots": [_as_json(script, i) for i in indices]}, ensure_ascii=False, indent=1)
    )
    if after:
        lines += ["", "What comes after, which stays as it is:", *after]
    lines += ["", "Rules:", *(f"- {rule}" for rule in rules_in_short())]
    lines += [
        "- Keep the language of the prompts, and all that nobody asked to change: names, looks, "
        "places, light.",
        "",
        f"Answer with this JSON and nothing else: {SHAPE}",
        '"number" is the shot that was there before; a new shot has none. A shot that stays as it '
        'is needs its number only: {"number": 7}. A shot that is left out is removed. The order is '
        "that of the answer.",
        *_of_dialogue(script, indices, instruction),
    ]
    return "\n".join(lines)


def read_rewrite(answer: str, script: Script, indices: Sequence[int]) -> list[NewShot]:
    """What stands in place of the shots at ``indices``, in order.

    Raises:
        ScriptError: for an answer that cannot be read, naming the shot.
    """
    indices = _checked(script, indices)
    shots, cuts = _shots_of(answer)
    if not shots:
        raise ScriptError("the answer holds no shots")
    if len(shots) > MOST_NEW:
        raise ScriptError(f"the answer has {len(shots)} shots, but at most {MOST_NEW} are taken")
    numbers = [_number(shot, script, indices, i) for i, shot in enumerate(shots)]
    if all(number is None for number in numbers):  # then the order tells
        numbers = [indices[i] if i < len(indices) else None for i in range(len(shots))]
    known = [number for number in numbers if number is not None]
    if len(set(known)) < len(known):
        twice = next(number for number in known if known.count(number) > 1)
        raise ScriptError(f"the answer has shot {twice + 1} twice")
    found = [
        _new_shot(shot, cut, of, script.rows[of] if of is not None else None, i)
        for i, (shot, cut, of) in enumerate(zip(shots, cuts, numbers, strict=True))
    ]
    if indices[0] == 0:
        first = found[0]
        found[0] = replace(first, cut=True)
    return found


def rewrite_faults(shots: Sequence[NewShot], script: Script, indices: Sequence[int]) -> list[str]:
    """What is doubtful in shots that `read_rewrite` gave, in words for people and models alike.

    Only what the answer brings is told: a prompt or a list that stays as it was is the artist's.
    """
    rows = script.rows
    prompts = [shot.prompt for shot in shots]
    is_old = [shot.of is not None and rows[shot.of].prompt == shot.prompt for shot in shots]
    tied = [i for i, prompt in enumerate(prompts) if not is_old[i] and REFERS_BACK.search(prompt)]
    faults = tell_tied(tied)
    gone = set(_checked(script, indices))
    kept = [row for i, row in enumerate(rows) if i not in gone]
    cast = script.more.get("cast")
    cast = tuple(name for name in cast if isinstance(name, str)) if isinstance(cast, list) else ()
    texts = [*(row.prompt for row in kept), *prompts]
    names = names_of(cast, script.character, texts)
    known = [entry for row in rows for entry in row.fields.get("remember", ())]
    new = [entry for shot in shots for entry in shot.remember if entry not in known]
    return faults + tell_unknown(read_remembered(new), names, texts)


def _of_dialogue(script: Script, indices: Sequence[int], instruction: str) -> list[str]:
    """The form of what is said, where somebody speaks or may be meant to."""
    speaks = any(script.rows[i].fields.get("dialogue") for i in indices)
    if not speaks and not ABOUT_SPEECH.search(instruction):
        return []
    return [
        '"dialogue" of a shot lists what is said in it: [{"who": "Mara", "says": "..."}]; a shot '
        "whose dialogue stays needs none, and [] takes it away."
    ]


def _checked(script: Script, indices: Sequence[int]) -> list[int]:
    found = sorted(set(indices))
    if not found or found[0] < 0 or found[-1] >= len(script.rows):
        raise ScriptError("choose at least one shot of the story")
    if len(found) > MOST_SHOTS:
        raise ScriptError(
            f"{counted(len(found), 'shot')} are chosen, but at most {MOST_SHOTS} are rewritten at "
            "once"
        )
    return found


def _told(script: Script, index: int) -> str:
    row = script.rows[index]
    return f"{index + 1}.{'' if row.cut else ' (continues)'} {short(row.prompt, LONGEST_AROUND)}"


def _as_json(script: Script, index: int) -> dict:
    row = script.rows[index]
    told = {"number": index + 1, "cut": row.cut, "prompt": row.prompt}
    more = {key: row.fields.get(key) for key in ("remember", "dialogue")}
    return {**told, **{key: value for key, value in more.items() if value}}


def _shots_of(answer: str) -> tuple[list, list]:
    """The shots of an answer as they stand there, and the cut of each; ``None`` where none is."""
    data = find_script(answer).data
    if data is None:
        rows = read_script(answer).rows
        return [{"prompt": row.prompt} for row in rows], [
            None if row.cut else False for row in rows
        ]
    if "scenes" not in data and "number" in data:
        return [data], [data.get("cut")]
    shots: list = []
    cuts: list = []
    scenes = data.get("scenes")
    for scene in scenes if isinstance(scenes, list) else []:
        own = scene.get("video_prompts") if isinstance(scene, Mapping) else None
        if not isinstance(own, list):
            raise ScriptError(f"the answer has a scene without shots: {shown(scene)}")
        told = scene.get("cut")
        told = told if isinstance(told, list) and len(told) == len(own) else [None] * len(own)
        for shot, cut in zip(own, told, strict=True):
            is_object = isinstance(shot, Mapping)
            shots.append(shot if is_object else {"prompt": shot})
            cuts.append(shot.get("cut") if is_object else cut)
    return shots, cuts


def _number(shot: Mapping, script: Script, indices: list[int], place: int) -> int | None:
    number = read_whole(shot.get("number"))
    if number is None or number == "":
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number - 1 not in indices:
        if isinstance(number, int) and number > len(script.rows):
            return None  # counted on, for a new shot
        wanted = listed((str(i + 1) for i in indices), 8)
        raise ScriptError(
            f"shot {place + 1} of the answer has the number {shown(number)}, but the shots to "
            f"change are {wanted}"
        )
    return number - 1


def _new_shot(shot: Mapping, cut, of: int | None, row: Row | None, place: int) -> NewShot:
    where = f"shot {place + 1} of the answer"
    prompt = shot.get("prompt")
    if prompt is None and row is not None:
        prompt = row.prompt
    if not check_text(prompt, f"the prompt of {where}").strip():
        raise ScriptError(f"the prompt of {where} is empty")
    if cut is None:
        cut = row.cut if row is not None else True
    old = row.fields.get("remember", []) if row is not None else []
    try:
        remember = remember_of(shot["remember"]) if "remember" in shot else list(old)
    except RememberError as error:
        raise ScriptError(f"{where}: remember {error}") from None
    said = row.fields.get("dialogue", []) if row is not None else []
    try:
        said = dialogue_of(shot["dialogue"]) if "dialogue" in shot else list(said)
    except DialogueError as error:
        raise ScriptError(f"{where}: dialogue {error}") from None
    prompt = prompt.strip() if row is None else prompt
    return NewShot(of, prompt, parse_cut(cut, where), remember, said)
