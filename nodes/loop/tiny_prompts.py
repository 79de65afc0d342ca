"""Prompts that the tiny model's encoder passes over: told on its node before the first shot."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...storymem.files.messages import count_shots, listed, shown
from ...storymem.loop.plan import Step
from ...storymem.tiny import text
from .wires import Notice, Wires

ENCODER = "StoryMemTinyTextEncoder"
SMALL_WORDS = frozenset(
    ["a", "an", "and", "at", "in", "is", "of", "on", "the", "then", "to", "with"]
)


def tiny_notices(wires: Wires, steps: Sequence[Step]) -> list[Notice]:
    """Shots to be made of whose prompts the tiny model knows less than half of the words."""
    encoders = [n for n in wires.of_kind(ENCODER) if wires.open_id in wires.before(n, "prompt")]
    if not encoders:
        return []
    poor = [step.plan for step in steps if step.record is None and _is_poor(step.plan.prompt)]
    if not poor:
        return []
    known = [word for word in text.parse(poor[0].prompt) if word]
    words = "no word" if not known else f"only {listed(known, 6)}"
    numbers = listed((str(plan.shot.index + 1) for plan in poor), 5)
    which = f"shot {numbers}" if len(poor) == 1 else f"{count_shots(len(poor))} ({numbers})"
    told = (
        f"the tiny model knows less than half of the words of {which}; of "
        f"{shown(poor[0].prompt)} it understands {words}; hover over prompt for its words"
    )
    return [wires.notice(encoder, told) for encoder in encoders]


def _is_poor(prompt: str) -> bool:
    words = [w for w in re.findall(r"\w+", prompt.lower()) if w not in SMALL_WORDS]
    return sum(word in text.VOCABULARY for word in words) * 2 < len(words)
