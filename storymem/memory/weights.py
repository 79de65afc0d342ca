"""How much each frame of a bank matters, as the script's ``remember`` says it.

A frame weighs what its shot says of whom or what it is kept for; one of a shot that says nothing,
and a picture from the artist, is neutral. Weights are looked up in the script as it is now, so that
a changed one needs no shot made again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..script.remembered import NEUTRAL, Remembered
from ..script.story import Story
from .bank import MemoryBank
from .frame import MemoryFrame

Subjects = Mapping[str, int]  # name of somebody or of a place, as written -> weight


def weights_of(bank: MemoryBank, story: Story) -> list[dict[str, int]]:
    """What each of ``bank.frames`` weighs for whom; empty for a neutral frame."""
    if not story.remembers:
        return [{} for _ in bank.frames]
    told = {shot.prompt: shot.remember for shot in reversed(story.shots)}
    return [_subjects(_remembered(frame, story, told)) for frame in bank.frames]


def whole_weight(subjects: Subjects) -> int:
    """What a frame weighs by itself: most of what it is kept for counts."""
    return max(subjects.values(), default=NEUTRAL)


def heavy_and_light(bank: MemoryBank, story: Story) -> dict[str, int]:
    """What the frames that are not neutral weigh, by digest."""
    found = {
        frame.digest: whole_weight(subjects)
        for frame, subjects in zip(bank.frames, weights_of(bank, story), strict=True)
        if subjects
    }
    return {digest: weight for digest, weight in found.items() if weight != NEUTRAL}


def _remembered(
    frame: MemoryFrame, story: Story, told: Mapping[str, tuple[Remembered, ...]]
) -> tuple[Remembered, ...]:
    if frame.is_reference or frame.story != story.name:
        return ()
    here = story.shots[frame.shot] if frame.shot < len(story.shots) else None
    if here is not None and frame.prompt in ("", here.prompt):
        return here.remember
    if frame.prompt in told:  # its shot has moved
        return told[frame.prompt]
    return here.remember if here is not None else ()  # its prompt was edited


def _subjects(entries: tuple[Remembered, ...]) -> dict[str, int]:
    return {entry.name: entry.weight for entry in entries}
