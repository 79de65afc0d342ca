"""A prompt as Memento was trained with it: who is in the shot, then what happens.

``global caption: [Person A]: a girl with red hair; shot caption: [Person A] runs.`` is one prompt,
encoded as a whole. Of its first part the queries of Memento's memory choice are asked that look
for persons and places (its released code, ``memory2video_learnable_rope_fine.py``).
"""

from __future__ import annotations

GLOBAL = "global caption:"
SHOT = "shot caption:"
ENDS = " \t.;,。；，"  # of a line that goes on in a list


def split_captions(prompt: str) -> tuple[str, str]:
    """The global part of a prompt and the part of the shot alone, as the released code takes them
    apart; the whole prompt for both where it does not have both words."""
    if GLOBAL not in prompt or SHOT not in prompt:
        return prompt, prompt
    before, _, shot = prompt.partition(SHOT)
    whole = before.replace(GLOBAL, "").strip().rstrip(";").strip()
    return whole, shot.strip()


def words_of(prompt: str) -> str:
    """What happens in a shot, for people: its own part of the prompt; all where that is empty."""
    return split_captions(prompt)[1] or prompt


def has_captions(prompt: str) -> bool:
    """Whether a prompt begins with its global part and goes on with the shot's."""
    return prompt.lstrip().startswith(GLOBAL) and SHOT in prompt


def describe_within(prompt: str, character: str) -> str:
    """A prompt that has captions, with a description of the characters as the first of its global
    part: such a prompt begins with ``global caption:``, or the model does not know it."""
    lines = [line.strip().rstrip(ENDS) for line in character.splitlines()]
    described = "; ".join(filter(None, lines))
    rest = prompt.lstrip().removeprefix(GLOBAL).lstrip()
    if not described:
        return prompt
    begins = f"{GLOBAL} {described};"
    return f"{begins} {rest.lstrip('; ')}"
