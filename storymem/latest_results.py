"""Which result of an earlier run belongs to a shot, by what ``story.json`` keeps of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .cast import without_marks
from .story import Shot, Story

if TYPE_CHECKING:
    from .shot_loop import Step


def describe_result(step: Step) -> dict:
    """What the manifest keeps of a finished shot: what it was made from, not what was asked for,
    for a locked shot may say something else by now."""
    facts = step.record.facts
    entry = {
        "key": step.record.key,
        "own": facts.get("own", step.own),
        "prompt": facts.get("prompt", step.plan.prompt),
    }
    if not _is_for(entry["prompt"], step.plan.shot):
        entry["held_for"] = step.plan.prompt
    return entry


def latest_result(latest: Mapping, shot: Shot, story: Story | None = None) -> Mapping:
    """What the manifest knows of a shot: under its label, or under the one that it had before
    other shots were put in; never what was made for another prompt. The character description
    before the prompt may be another one.

    Args:
        story: of the shot; with it a locked shot keeps the result under its label also when its
            prompt was changed, unless that result belongs to another shot of the story.
    """
    for name in sorted(latest, key=lambda name: name != shot.label):
        entry = latest[name]
        if _has_key(entry) and any(_is_for(prompt, shot) for prompt in _prompts(entry)):
            return entry
    entry = latest.get(shot.label)
    if story is not None and shot.lock and _has_key(entry):
        others = [other for other in story.shots if other.index != shot.index]
        if not any(_is_for(prompt, other) for prompt in _prompts(entry) for other in others):
            return entry
    return {}


def is_held(entry: Mapping, shot: Shot) -> bool:
    """Whether a result was made for another prompt than the shot has now."""
    return not _is_for(entry.get("prompt"), shot)


def moved_results(latest: Mapping, story: Story, listed: Iterable[Step]) -> dict[str, dict]:
    """Results whose place in the manifest another shot is about to take, under their new labels:
    those that a run keeps, and those of shots that it does not come to."""
    listed = list(listed)
    moved = {}
    for step in listed:
        if step.reason:
            entry, known = describe_result(step), latest.get(step.label)
            if not isinstance(known, Mapping) or any(known.get(k) != entry[k] for k in entry):
                moved[step.label] = entry
    last = listed[-1].plan.shot.index if listed else -1
    for shot in story.shots[last + 1 :]:
        entry = latest_result(latest, shot, story)
        if entry and latest.get(shot.label) is not entry:
            moved[shot.label] = {k: entry[k] for k in ("key", "own", *_PROMPTS) if k in entry}
    return moved


_PROMPTS = ("prompt", "held_for")


def _has_key(entry) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("key"), str)


def _prompts(entry: Mapping) -> list:
    return [entry.get(name) for name in _PROMPTS]


def _is_for(prompt, shot: Shot) -> bool:
    written = without_marks(shot.prompt)  # as in the prompts that the manifest keeps
    return isinstance(prompt, str) and f"\n{prompt}".endswith(f"\n{written}")
