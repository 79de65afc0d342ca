"""What a look ahead tells the page of a loop's shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import folder_paths
import torch

from ...storymem.loop.plan import Loop, Step
from ...storymem.loop.regeneration import Regeneration
from ...storymem.loop.shot_store import TAIL_FRAMES
from ...storymem.loop.shots import CHOSEN, LOCKED
from ...storymem.loop.time_left import FACT, read_timed
from ..host.output_files import shown_file
from .known_values import NotKnownError
from .opening_choice import ClipChoice
from .wires import Notice, name_of

FINISHED, MAKE, DEPENDS, UNKNOWN, LEFT_OUT = "finished", "make", "depends", "unknown", "left out"
NEW, AGAIN, REDO, LOST = "new", "again", "redo", "lost"  # why a shot is made
# In place of a clip that only a run knows: its shots are unknown, but that there is one is not.
ANY_CLIP = torch.zeros(TAIL_FRAMES, 1, 1, 3)
WORDS = 60  # characters of a prompt by which a shot is known
BANK, PICTURES = "bank", "start_images"  # of Shot Loop Open: what may be known to a run only


class RefusedPlanError(ValueError):
    """Why a prompt cannot run.

    Args:
        text: for the artist.
        node_id: the node at fault, as the host shows it; empty for none.
    """

    def __init__(self, text: str, node_id: str = ""):
        super().__init__(text)
        self.node_id = node_id


@dataclass(frozen=True)
class Looked:
    """A loop that was looked at: what a run would decide, as far as that can be said."""

    loop: Loop
    steps: Sequence[Step]
    unknown: Sequence[NotKnownError] = ()
    found: Sequence[Regeneration] = field(default_factory=tuple)

    def is_certain(self, step: Step) -> bool:
        """Whether what is not known cannot change what becomes of a shot."""
        if not self.unknown or step.reason in (LOCKED, CHOSEN):
            return True
        if step.record is None or step.record.key != step.earlier.get("key"):
            return False
        # It is kept in any case, by what the shot is by itself; its start image is part of that.
        settings = self.loop.settings
        is_before = step.plan.shot.index < settings.range(self.loop.story).start
        is_kept = is_before or (settings.keep_later and step.before and step.has_earlier)
        return bool(is_kept) and all(one.input == BANK for one in self.unknown)


def answer_of(looked: Looked, notices: Sequence[Notice], warnings: Sequence[str]) -> dict:
    """The part of an answer that is the same for every kind of loop."""
    texts: dict[str, list[str]] = {}
    for notice in notices:
        texts.setdefault(notice.node_id, []).append(notice.text)
    return {
        "story": looked.loop.story.name,
        "pass": looked.loop.settings.pass_name,
        "shots": _shot_facts(looked),
        "changes": [] if looked.unknown else _changes(looked),
        "unknown": [unknown_facts(one) for one in looked.unknown],
        "notices": {node_id: "\n".join(lines) for node_id, lines in texts.items()},
        "warnings": list(warnings),
    }


def unknown_facts(unknown: NotKnownError) -> dict:
    return {
        "node": unknown.node_id, "name": unknown.name, "why": unknown.because,
        "input": unknown.input,
    }  # fmt: skip


def not_chosen(opening: ClipChoice) -> NotKnownError:
    """What a look ahead does not know: a clip's keyframes, which are chosen when the story runs."""
    node_id, dynprompt = opening.selector or opening.begin_id, opening.dynprompt
    error = NotKnownError(dynprompt.get_display_node_id(node_id), name_of(dynprompt, node_id))
    error.input = BANK
    return error


def _shot_facts(looked: Looked) -> list[dict]:
    """What becomes of each shot of the story, in its order."""
    by_index = {step.plan.shot.index: step for step in looked.steps}
    reasons = {number: one for one in looked.found for number in one.shots}
    facts = []
    for shot in looked.loop.story.shots:
        step, told = by_index.get(shot.index), reasons.get(shot.index + 1)
        words = " ".join(shot.prompt.split())[:WORDS]
        fact = {"number": shot.index + 1, "label": shot.label, "words": words, "state": LEFT_OUT}
        if step is not None:
            fact |= _fact(looked, step, told)
        facts.append(fact)
    return facts


def _fact(looked: Looked, step: Step, told: Regeneration | None) -> dict:
    if not looked.is_certain(step):
        return {"state": UNKNOWN}
    if step.record is not None:
        return {"state": FINISHED, "why": step.reason, **_take(step)}
    if step.depends_on is not None:
        return {"state": DEPENDS, "on": step.depends_on.plan.shot.index + 1}
    if told is not None:
        return {"state": MAKE, "why": AGAIN, "reasons": list(told.reasons)}
    if step.plan.shot.index in looked.loop.settings.redo:
        return {"state": MAKE, "why": REDO}
    return {"state": MAKE, "why": LOST if step.earlier else NEW}


def _take(step: Step) -> dict:
    """Video and time of a finished shot, and whether the story's folder has something else for it
    until the next run, such as the film of another script."""
    record = step.record
    video = shown_file(record.video, Path(folder_paths.get_output_directory()))
    timed = read_timed(record.facts.get(FACT))
    return {
        "video": video,
        "took": round(timed.seconds, 3) if timed else None,
        "elsewhere": record.key != step.earlier.get("key"),
    }


def _changes(looked: Looked) -> list[dict]:
    """What changed since the last run, and the shots that are made again for it."""
    return [
        {"shots": list(one.shots), "reasons": list(one.reasons), "edited": one.is_edited}
        for one in looked.found
    ]
