"""Which result of an earlier run belongs to a shot, by what ``story.json`` keeps of each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from ..script.cast import strip_mentions
from ..script.story import Shot, Story
from .plan import Step
from .time_left import FACT, read_timed

NO_LOCKS: Mapping[str, str] = MappingProxyType({})
MOST_MATCHES = 100_000  # of shots with entries of the same prompt, up to which all are compared
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
    if timed := read_timed(facts.get(FACT)):
        entry[FACT] = timed.as_fact()
    if is_held(entry, step.plan.shot):
        entry["held_for"] = step.plan.shot.prompt
    return entry


def latest_results(
    latest: Mapping, story: Story, locks: Mapping[str, str] = NO_LOCKS
) -> list[Mapping]:
    """What the manifest knows of each shot of ``story``, empty for nothing.

    A result goes to the shot of its prompt, in the order of the story, so that shots that were put
    in or taken out move the others, and shots of the same prompt keep their own; a result is never
    given to two shots. The character description before the prompt may be another one. A locked
    shot keeps the result that was locked with its row, also when it was moved and its prompt
    changed; without an id of its row, the one under its label, unless that is another shot's. A
    take that the script names is the shot's in the place of all that, and takes nothing from any
    other shot; of one that the manifest does not know, the store may know more.

    Args:
        latest: entries by label, as ``story.json`` has them.
        locks: keys of locked results, by label and by id of the row.
    """
    texts = [strip_mentions(shot.prompt) for shot in story.shots]
    fitting = texts_that_fit(latest, texts)
    found = _locked_by_row(latest, story, locks, fitting)
    taken = {entry["key"] for entry in found if entry}
    wanted = ["" if found[shot.index] else texts[shot.index] for shot in story.shots]
    names = _one_name_of_each(latest, {s.label: texts[s.index] for s in story.shots}, fitting)
    names = [name for name in names if latest[name]["key"] not in taken]
    pairs = _in_order(names, [shot.label for shot in story.shots], wanted, fitting)
    pairs += _moved_elsewhere(names, wanted, fitting, pairs)
    places: dict[str, list[int]] = defaultdict(list)
    given: dict[str, list[str]] = defaultdict(list)
    for i, name in pairs:
        places[texts[i]].append(i)
        given[texts[i]].append(name)
    for text, shots in places.items():  # shots of one prompt stay in their order
        for i, name in zip(sorted(shots), sorted(given[text], key=_numbers), strict=True):
            found[i] = latest[name]
            taken.add(found[i]["key"])
    count = Counter(texts)
    label_of = {entry["key"]: name for name, entry in latest.items() if _has_key(entry)}
    for shot in story.shots:
        if found[shot.index] or not shot.lock:
            continue
        for name in (label_of.get(locks.get(shot.label, "")), shot.label):
            entry, own = latest.get(name), texts[shot.index]
            if not _has_key(entry) or entry["key"] in taken:
                continue
            if not any(count[text] > (text == own) for text in fitting[name]):
                found[shot.index] = entry
                taken.add(entry["key"])
                break
    for shot in story.shots:
        if shot.take:
            shown = [key for key in label_of if key.startswith(shot.take)]
            found[shot.index] = latest[label_of[shown[0]]] if shown else found[shot.index]
    return found


def _locked_by_row(
    latest: Mapping, story: Story, locks: Mapping[str, str], fitting: Mapping[str, set[str]]
) -> list[Mapping]:
    """Results of locked shots whose row says which one it is."""
    label_of = {entry["key"]: name for name, entry in latest.items() if _has_key(entry)}
    found: list[Mapping] = [{} for _ in story.shots]
    rows: dict[str, list[Shot]] = defaultdict(list)  # by key; several of a row that was copied
    for shot in story.shots:
        if shot.lock and shot.row and (key := locks.get(shot.row)):
            rows[key].append(shot)
    for key, shots in rows.items():
        label = label_of.get(key, "")
        own = [s for s in shots if strip_mentions(s.prompt) in fitting.get(label, ())]
        found[(own or shots)[0].index] = latest.get(label, {"key": key})
    return found


def locks_of(
    story: Story, listed: Iterable[Step], results: Sequence[Mapping], locks: Mapping[str, str]
) -> dict[str, str]:
    """The keys that locks hold from now on, by label and by id of the row (of rows with one id:
    the one that held it before, else the first).

    Args:
        listed: the steps of a run, which know their records.
        results: what ``latest_results`` gives, for shots that the run does not come to.
        locks: those of before; locks of shots that the script does not have now stay.
    """
    keys = {shot.index: results[shot.index].get("key") for shot in story.shots}
    keys |= {s.plan.shot.index: s.record.key for s in listed if s.record is not None}
    found = dict(locks)
    for shot in story.shots:
        for name in (shot.label, shot.row):
            found.pop(name, None)
    for shot in story.shots:
        if shot.lock and (key := keys[shot.index]):
            found[shot.label] = key
            if shot.row and (shot.row not in found or key == locks.get(shot.row)):
                found[shot.row] = key
    return found


def is_held(entry: Mapping, shot: Shot) -> bool:
    """Whether a result was made for another prompt than the shot has now."""
    return not _is_made_for(entry, strip_mentions(shot.prompt))


def moved_results(
    latest: Mapping, story: Story, listed: Iterable[Step], results: Sequence[Mapping] | None = None
) -> dict[str, dict]:
    """Results whose place in the manifest another shot is about to take, under their new labels:
    those that a run keeps, and those of shots that it does not come to.

    Args:
        latest: the manifest's entries by label.
        results: of each shot, where they are known already or come from elsewhere.
    """
    listed = list(listed)
    moved = {}
    for step in listed:
        if step.reason:
            entry, known = describe_result(step), latest.get(step.label)
            if not isinstance(known, Mapping) or any(known.get(k) != entry[k] for k in entry):
                moved[step.label] = entry
    last = listed[-1].plan.shot.index if listed else -1
    results = latest_results(latest, story) if results is None else results
    for shot in story.shots[last + 1 :]:
        entry = results[shot.index]
        if entry and latest.get(shot.label) is not entry:
            moved[shot.label] = {k: entry[k] for k in ("key", "own", FACT, *_TELLING) if k in entry}
    return moved


# --- which entry is whose ----------------------------------------------------------------------


def _one_name_of_each(
    latest: Mapping, texts: Mapping[str, str], fitting: Mapping[str, set[str]]
) -> list[str]:
    """Labels of the entries in order. Of a result that was moved both places may be there: the one
    that fits a shot of the story counts."""
    by_key: dict[str, tuple[str, bool]] = {}
    for name in sorted(latest, key=_numbers):
        entry = latest[name]
        if not _has_key(entry):
            continue
        is_at_home = texts.get(name) in fitting[name]
        if is_at_home or not by_key.get(entry["key"], ("", False))[1]:
            by_key[entry["key"]] = name, is_at_home
    return sorted((name for name, _ in by_key.values()), key=_numbers)


def texts_that_fit(latest: Mapping, texts: Sequence[str]) -> dict[str, set[str]]:
    """Which of the shots' prompts each entry was made, or is held, for."""
    wanted, lengths = set(texts), {len(text) for text in texts}
    found: dict[str, set[str]] = {}
    for name, entry in latest.items():
        fits = found[name] = set()
        if not isinstance(entry, Mapping):
            continue
        for prompt in (entry.get("shot_prompt", entry.get("prompt")), entry.get("held_for")):
            if not isinstance(prompt, str):
                continue
            prompt = strip_mentions(prompt)
            if "shot_prompt" in entry:
                fits |= {prompt} & wanted
                continue
            # After the character description, whose lines nobody marked.
            for start in (0, *(line.end() for line in re.finditer("\n", prompt))):
                if len(prompt) - start in lengths and prompt[start:] in wanted:
                    fits.add(prompt[start:])
    return found


def _in_order(
    names: Sequence[str], labels: Sequence[str], texts: Sequence[str], fitting: Mapping
) -> list[tuple[int, str]]:
    """As many shots as possible with an entry of their prompt, both in the order of the story; of
    equally many, as many as possible under their old label."""
    first, pairs = 0, []
    while (
        first < min(len(texts), len(names))
        and labels[first] == names[first]
        and texts[first] in fitting[names[first]]
    ):
        pairs.append((first, names[first]))
        first += 1
    places = defaultdict(list)  # of each prompt in what is left
    for i in range(first, len(texts)):
        places[texts[i]].append(i)
    left = names[first:]
    if sum(len(places[text]) for name in left for text in fitting[name]) <= MOST_MATCHES:
        return pairs + _heaviest_chain(left, labels, places, fitting)
    # Hundreds of shots with one prompt: those under their old label stay.
    index = {label: i for i, label in enumerate(labels)}
    return pairs + [
        (index[name], name)
        for name in left
        if name in index and texts[index[name]] in fitting[name]
    ]


def _heaviest_chain(
    names: Sequence[str], labels: Sequence[str], places: Mapping, fitting: Mapping
) -> list[tuple[int, str]]:
    """Of all chains of pairs (shot, entry) in which both go up, one with the most pairs, and of
    those with the most old labels."""
    many = len(labels) + 1  # one more pair counts more than any number of labels
    tree = [0] * (len(labels) + 1)  # Fenwick: the heaviest chain that begins after a shot
    starting: dict[int, list[tuple[int, int]]] = defaultdict(list)  # weight -> shot, entry

    def update(i: int, weight: int) -> None:
        place = len(labels) - i
        while place <= len(labels):
            tree[place] = max(tree[place], weight)
            place += place & -place

    def after(i: int) -> int:
        place, weight = len(labels) - i - 1, 0
        while place > 0:
            weight = max(weight, tree[place])
            place -= place & -place
        return weight

    for j in reversed(range(len(names))):
        shots = {i for text in fitting[names[j]] for i in places.get(text, ())}
        weights = {i: after(i) + many + (labels[i] == names[j]) for i in shots}
        for i, weight in weights.items():
            update(i, weight)
            starting[weight].append((i, j))
    pairs, i, j, weight = [], 0, 0, max(starting, default=0)
    while weight:
        next_ones = [pair for pair in starting[weight] if pair[0] >= i and pair[1] >= j]
        at_once = [pair for pair in next_ones if pair[1] == j]
        # The next entry's first shot; else the last shot that such a chain can begin with.
        i, j = min(at_once) if at_once else max(next_ones, key=lambda pair: (pair[0], -pair[1]))
        pairs.append((i, names[j]))
        weight -= many + (labels[i] == names[j])
        i, j = i + 1, j + 1
    return pairs


def _moved_elsewhere(
    names: Sequence[str], texts: Sequence[str], fitting: Mapping, pairs: Sequence[tuple[int, str]]
) -> list[tuple[int, str]]:
    """Shots that changed places with others: the n-th with the n-th entry of its prompt."""
    given, used = {i for i, _ in pairs}, {name for _, name in pairs}
    left: dict[str, deque[str]] = defaultdict(deque)
    for name in names:
        if name not in used:
            for text in fitting[name]:
                left[text].append(name)
    found = []
    for i, text in enumerate(texts):
        if i in given:
            continue
        while left[text] and left[text][0] in used:
            left[text].popleft()
        if left[text]:
            name = left[text].popleft()
            used.add(name)
            found.append((i, name))
    return found


def _numbers(label) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", str(label))]


def _has_key(entry) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("key"), str)


def _is_made_for(entry: Mapping, text: str) -> bool:
    """Whether a result was made for a shot of this prompt (without marks)."""
    prompt = entry.get("shot_prompt", entry.get("prompt"))
    if not isinstance(prompt, str):
        return False
    if "shot_prompt" in entry:
        return strip_mentions(prompt) == text
    return f"\n{strip_mentions(prompt)}".endswith(f"\n{text}")  # after the character description
