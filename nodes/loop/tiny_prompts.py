"""Prompts that the tiny model's encoder passes over: told on its node before the first shot."""

from __future__ import annotations

from collections.abc import Sequence

from ...storymem.files.messages import count_shots, listed, shown
from ...storymem.loop.plan import Step
from ...storymem.tiny.known_words import is_poor, understood
from .wires import Notice, Wires

ENCODER = "StoryMemTinyTextEncoder"


def tiny_notices(wires: Wires, steps: Sequence[Step]) -> list[Notice]:
    """Shots to be made of whose prompts the tiny model knows less than half of the words."""
    encoders = [n for n in wires.of_kind(ENCODER) if wires.is_of_loop(n, "prompt")]
    if not encoders:
        return []
    poor = [step.plan for step in steps if step.record is None and is_poor(step.plan.prompt)]
    if not poor:
        return []
    numbers = listed((str(plan.shot.index + 1) for plan in poor), 5)
    which = f"shot {numbers}" if len(poor) == 1 else f"{count_shots(len(poor))} ({numbers})"
    prompt = poor[0].prompt
    told = (
        f"the tiny model knows less than half of the words of {which}; of {shown(prompt)} it "
        f"understands {understood(prompt)}; hover over prompt for its words"
    )
    return [wires.notice(encoder, told) for encoder in encoders]
