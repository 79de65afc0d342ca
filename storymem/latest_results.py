"""Which result of an earlier run belongs to a shot, by what ``story.json`` keeps of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .cast import without_marks
from .story import Shot, Story

if TYPE_CHECKING:
    from .shot_loop import Step

# What tells of which shot a result is, besides its key: the prompt that was encoded, the shot's own
# part of it (entries of earlier versions lack that), and the one of the shot that a lock holds it
# for.
_TELLING = ("prompt", "shot_prompt", "held_for")


def describe_result(step: Step) -> dict:
    """What the manifest keeps of a finished shot: what it was made from, not what was asked for,
    for a locked shot may say something else by now."""
    facts = step.record.facts
    entry = {
        "key": step.record.key,
        "own": facts.get("own", step.own),
        "prompt": facts.get("prompt", step.plan.prompt),
    }
    if "shot_prompt" in facts:
        entry["shot_prompt"] = facts["shot_prompt"]
    if is_held(entry, step.plan.shot):
        entry["held_for"] = step.plan.shot.prompt
    return entry


def latest_results(latest: Mapping, story: Story) -> list[Mapping]:
    """What the manifest knows of each shot of ``story``, empty for nothing.

    A result goes to the shot of its prompt, in the order of the story, so that shots that were put
    in or taken out move the others, and shots of the same prompt keep their own; a result is never
    given to two shots. The character description before the prompt may be another one. A locked
    shot keeps the result under its label also when its prompt was changed, unless that result is
    another shot's.
    """
    labels = {shot.label: shot for shot in story.shots}
    names = _one_name_of_each(latest, labels)
    texts = [without_marks(shot.prompt) for shot in story.shots]
    found: list[Mapping] = [{} for _ in story.shots]
    taken = set()
    pairs = _in_order(latest, names, story.shots, texts)
    pairs += _moved_elsewhere(latest, names, texts, pairs)
    for text in {texts[i] for i, _ in pairs}:  # shots of one prompt stay in their order
        places = sorted(i for i, _ in pairs if texts[i] == text)
        given = sorted((name for i, name in pairs if texts[i] == text), key=_numbers)
        for i, name in zip(places, given, strict=True):
            found[i] = latest[name]
            taken.add(found[i]["key"])
    for shot in story.shots:
        entry = latest.get(shot.label)
        if not found[shot.index] and shot.lock and _has_key(entry) and entry["key"] not in taken:
            others = (text for i, text in enumerate(texts) if i != shot.index)
            if not any(_fits(entry, text) for text in others):
                found[shot.index] = entry
    return found


def is_held(entry: Mapping, shot: Shot) -> bool:
    """Whether a result was made for another prompt than the shot has now."""
    return not _is_made_for(entry, without_marks(shot.prompt))


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
    results = latest_results(latest, story)
    for shot in story.shots[last + 1 :]:
        entry = results[shot.index]
        if entry and latest.get(shot.label) is not entry:
            moved[shot.label] = {k: entry[k] for k in ("key", "own", *_TELLING) if k in entry}
    return moved


# --- which entry is whose ----------------------------------------------------------------------


def _one_name_of_each(latest: Mapping, labels: Mapping[str, Shot]) -> list[str]:
    """Labels of the entries in order. Of a result that was moved both places may be there: the one
    that fits a shot of the story counts."""
    by_key: dict[str, str] = {}
    for name in sorted(latest, key=_numbers):
        entry = latest[name]
        if not _has_key(entry):
            continue
        known = by_key.get(entry["key"])
        if (
            known is None
            or _is_at_home(entry, name, labels)
            or not _is_at_home(latest[known], known, labels)
        ):
            by_key[entry["key"]] = name
    return sorted(by_key.values(), key=_numbers)


def _is_at_home(entry: Mapping, name: str, labels: Mapping[str, Shot]) -> bool:
    return name in labels and _fits(entry, without_marks(labels[name].prompt))


def _in_order(latest, names: list[str], shots, texts: list[str]) -> list[tuple[int, str]]:
    """As many shots as possible with an entry of their prompt, both in the order of the story; of
    equally many, as many as possible under their old label."""
    same = 0
    while (
        same < min(len(shots), len(names))
        and names[same] == shots[same].label
        and _fits(latest[names[same]], texts[same])
    ):
        same += 1
    rest, left = range(same, len(shots)), names[same:]
    best = [[0] * (len(left) + 1) for _ in range(len(rest) + 1)]  # for what follows i and j
    many = len(shots) + 1  # one more pair counts more than any number of labels
    worth = [
        [many + (name == shots[i].label) if _fits(latest[name], texts[i]) else 0 for name in left]
        for i in rest
    ]
    for i in reversed(range(len(rest))):
        for j in reversed(range(len(left))):
            pair = worth[i][j] + best[i + 1][j + 1] if worth[i][j] else 0
            best[i][j] = max(pair, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [(k, names[k]) for k in range(same)], 0, 0
    while i < len(rest) and j < len(left):
        if worth[i][j] and best[i][j] == worth[i][j] + best[i + 1][j + 1]:
            pairs.append((rest[i], left[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _moved_elsewhere(latest, names: list[str], texts: list[str], pairs) -> list[tuple[int, str]]:
    """Shots that changed places with others: the n-th with the n-th entry of its prompt."""
    given, used = {i for i, _ in pairs}, {name for _, name in pairs}
    left = [name for name in names if name not in used]
    found = []
    for i, text in enumerate(texts):
        name = next((name for name in left if _fits(latest[name], text)), None)
        if i not in given and name is not None:
            left.remove(name)
            found.append((i, name))
    return found


def _numbers(label) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", str(label))]


def _has_key(entry) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("key"), str)


def _fits(entry: Mapping, text: str) -> bool:
    """Whether a result was made, or is held, for a shot of this prompt (without marks)."""
    return _is_made_for(entry, text) or _is_same(entry.get("held_for"), text, entry)


def _is_made_for(entry: Mapping, text: str) -> bool:
    return _is_same(entry.get("shot_prompt", entry.get("prompt")), text, entry)


def _is_same(prompt, text: str, entry: Mapping) -> bool:
    if not isinstance(prompt, str):
        return False
    if "shot_prompt" in entry:
        return without_marks(prompt) == text
    return f"\n{without_marks(prompt)}".endswith(f"\n{text}")  # after the character description
