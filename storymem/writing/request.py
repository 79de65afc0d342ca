"""The request that a language model gets, as one text: for its own chat window as well.

What it asks for is ST-Bench's kind of script: every prompt stands by itself, because the video
model reads one at a time, and says camera, who, where and light; looks are repeated in the same
words; cuts and continuations are told apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..files.messages import counted
from .wish import LANGUAGES, SECONDS_PER_SHOT, Role, Wish

LONGEST_ANSWER = 12_000  # characters of an answer that is sent back to be corrected
SHAPE = {
    "story_name": "a short title",
    "story_overview": "the plot in two or three sentences",
    "cast": ["Mara", "the ferryman"],
    "scenes": [
        {
            "scene_num": 1,
            "shots": [
                {
                    "cut": True,
                    "prompt": "Wide shot, slow push-in: Mara, a woman of thirty with short copper "
                    "hair and a yellow raincoat, walks along a wet wooden pier at dawn, cold blue "
                    "light, fog over the water.",
                    "remember": [
                        {"who": "Mara", "weight": 3},
                        {"place": "wooden pier", "weight": 1},
                    ],
                },
                {
                    "cut": False,
                    "prompt": "The camera follows as Mara, a woman of thirty with short copper "
                    "hair and a yellow raincoat, stops at the end of the wet wooden pier and "
                    "lifts a lantern, cold blue dawn light, fog over the water.",
                    "remember": [],
                },
            ],
        }
    ],
}
RULES = (
    "Each shot is one continuous take of about {seconds} seconds with one action that can be seen. "
    "No montage, no cut within a prompt.",
    "A prompt stands by itself: the video model reads it alone and knows nothing of the others. "
    "Never write 'as before', 'the same room', or a pronoun for somebody who was not named in it.",
    "Every prompt says, in 30 to 80 words: framing and camera movement; who is there and what they "
    "do; where; light and mood. Only what can be seen{heard}.",
    "Whenever somebody appears, their name is followed by the same short description of age, hair "
    "and clothes, word for word, in every prompt, unless the story changes their clothes.",
    "A place that comes back is described in the same words again.",
    '"cut": true begins a new camera position, place or time. "cut": false continues the very last '
    "frame of the shot before: same place, same people, same light. Most shots are cuts; never "
    "more than two continuations in a row; the first shot of every scene is a cut.",
    "A new scene begins where place or time changes. Scenes count from 1.",
    '"cast" lists the names of everybody who appears, as the prompts write them.',
    '"remember" says what of the shot the film has to remember for later shots: {{"who": name, '
    '"weight": w}} or {{"place": words of the prompt, "weight": w}}. Weight 3: comes back after a '
    "long time, or is the hero; 2: comes back; 1: as usual; 0: never comes back, such as a "
    "passer-by or a place that is left for good. Leave out what is 1. Use it where the plot gives "
    "a reason, mostly at the first clear view of somebody.",
)


def story_request(wish: Wish) -> str:
    """The whole request for a story."""
    seconds = SECONDS_PER_SHOT
    heard = ", and the words that are spoken, in quotes" if wish.dialogue else ", no spoken words"
    lines = [
        f"Write the shooting script of a short film of exactly {counted(wish.shots, 'shot')}, "
        "for a video model that makes one shot after the other and remembers pictures of earlier "
        "shots.",
        "",
        f"Idea: {wish.idea}",
    ]
    if wish.style:
        lines.append(f"Style, named in every prompt: {wish.style}")
    if wish.cast:
        lines += ["Cast, with these names and looks:", *map(_role, wish.cast)]
    lines += [f"Language of all prompts: {LANGUAGES[wish.language]}", "", "Rules:"]
    rules = [rule.format(seconds=seconds, heard=heard) for rule in RULES]
    shape = SHAPE
    if wish.dialogue:
        rules.append(
            'Somebody who speaks is in view, and the prompt has it as: Mara says: "..." - at most '
            "twelve words in a shot."
        )
        rules.append(
            '"dialogue" lists what is said in the shot, in order: {"who": name of the cast, '
            '"says": words}, the same words as in the prompt. A narrator speaks only there, '
            'with "who": "Narrator". Leave it out where nobody speaks.'
        )
        shape = _with_dialogue(SHAPE)
    lines += [f"{number}. {rule}" for number, rule in enumerate(rules, 1)]
    lines += ["", *_form(shape), f"The script has exactly {counted(wish.shots, 'shot')}."]
    return "\n".join(lines)


def again_request(request: str, answer: str, faults: Sequence[str]) -> str:
    """The request again, with an answer and what is wrong with it."""
    if len(answer) > LONGEST_ANSWER:
        half = LONGEST_ANSWER // 2
        answer = f"{answer[:half]}\n[...]\n{answer[-half:]}"
    wrong = "\n".join(f"- {fault}" for fault in faults)
    return (
        f"{request}\n\nYour last answer was:\n\n{answer}\n\nThis is wrong with it:\n{wrong}\n\n"
        "Send the whole corrected JSON, and nothing else."
    )


def rules_in_short() -> list[str]:
    """What holds for single shots, for a request to change some."""
    return [rule.format(seconds=SECONDS_PER_SHOT, heard="") for rule in RULES[:6]]


def _role(role: Role) -> str:
    look = f": {role.look}" if role.look else ""
    portrait = "" if role.look or not role.picture else ": seen in a portrait; describe no face"
    return f"- {role.name}{look or portrait}"


def _with_dialogue(shape: dict) -> dict:
    """The form of an answer in which somebody of the example speaks."""
    (scene,) = shape["scenes"]
    first, *others = scene["shots"]
    said = "It was never this quiet."
    prompt = f'{first["prompt"]} Mara says: "{said}"'
    first = {**first, "prompt": prompt, "dialogue": [{"who": "Mara", "says": said}]}
    return {**shape, "scenes": [{**scene, "shots": [first, *others]}]}


def _form(shape: dict) -> list[str]:
    return [
        "Answer with this JSON and nothing else, with no text before or after it:",
        json.dumps(shape, ensure_ascii=False, indent=1),
    ]
