"""What a script says of sound that concerns more than one of its shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..files.messages import counted, listed
from .dialogue import with_names
from .story import Story

OF_ONE_SHOT = ("audio", "dialogue", "subtitle")  # rarely meant for several


def is_each_shots(value: object, count: int) -> bool:
    """Whether the dialogue of a scene of ``count`` shots has an entry for each of them: every list
    does, but for the lines of a scene's only shot."""
    if not isinstance(value, list):
        return False
    return count != 1 or (len(value) == 1 and (value[0] is None or isinstance(value[0], list)))


def tell_shared(scene: Mapping, prompts: Sequence, where: str) -> list[str]:
    """A sentence when a scene says once what all of its shots then have."""
    found = [name for name in OF_ONE_SHOT if scene.get(name) and not isinstance(scene[name], list)]
    if not found or len(prompts) < 2:
        return []
    return [
        f"{where} gives {listed(found)} once for its {counted(len(prompts), 'shot')}, so each of "
        "them has it; if one shot is meant, put it there"
    ]


def with_speakers(story: Story) -> Story:
    """The story with everybody who speaks named as the cast has the name."""
    if not any(shot.dialogue for shot in story.shots):
        return story
    shots = (replace(s, dialogue=with_names(s.dialogue, story.names)) for s in story.shots)
    return replace(story, shots=tuple(shots))
