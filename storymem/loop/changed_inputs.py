"""Which inputs of the nodes that make a shot, or of a headless run, are not what they were.

A loop's body is a text of which each change makes other shots. Two of them are compared here, so
that people are told what changed: from the graph's positions and links back to inputs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import takewhile

from ..files.json_text import parse_json
from ..files.messages import shown
from ..files.names import is_digest
from .neutral_inputs import NEUTRAL

LONGEST = 40  # characters of a value
BEFORE = 8  # characters of a long text before the place where it changed
UPDATED = "an update of the pack changes how shots are made"
ODD = (ValueError, TypeError, KeyError, AttributeError, LookupError, RecursionError)
MISSING = object()
SCALE_OF = "scale of "  # and a LoRA's input: of files that an update applies at another scale


@dataclass(frozen=True)
class BodyNames:
    """What people call the nodes of a body."""

    nodes: Sequence[str] = ()  # in the body's order, such as "'M2V Sampler'"
    kinds: Mapping[str, str] = field(default_factory=dict)  # display names by class
    controls: Mapping[int, str] = field(default_factory=dict)  # control after generate, by place

    def of_node(self, place: int, kind: str) -> str:
        return self.nodes[place] if place < len(self.nodes) else self.of_kind(kind)

    def of_kind(self, kind: str) -> str:
        return f"'{self.kinds.get(kind, kind)}'"


def body_changes(before: str, after: str, names: BodyNames) -> list[str]:
    """What changed from one body to another, in words; empty when that cannot be said.

    Args:
        before: as it was kept with an earlier result; anybody may have written it.
        after: the body of this run.
        names: of the nodes of ``after``.
    """
    try:
        old, new = parse_json(before), parse_json(after)
        if isinstance(new, dict):
            return _settings_changes(old, new)
        return _graph_changes(old, new, names)
    except ODD:
        return []


def changed(what: str, old: object, new: object) -> str:
    """``seed changed from 42 to 917``; long texts from where they differ."""
    if isinstance(old, str) and isinstance(new, str):
        same = (a == b for a, b in zip(old, new, strict=False))
        start = max(0, sum(takewhile(bool, same)) - BEFORE)
        if start and max(len(old), len(new)) > LONGEST:
            old, new = f"...{old[start:]}", f"...{new[start:]}"
    said = [_said(old), _said(new)]
    is_telling = said[0] != said[1] and not (is_digest(old) or is_digest(new))
    return f"{what} changed from {said[0]} to {said[1]}" if is_telling else f"{what} changed"


def _rescaled(what: str, change: object) -> str:
    """``change`` is ``8 instead of 16``, or nothing when the scale is again what it was."""
    return f"the {what} is {change if isinstance(change, str) else 'as in earlier versions'}"


def _said(value: object) -> str:
    return "nothing" if value is None else shown(value, LONGEST)


# --- headless runs -------------------------------------------------------------------------------


def _settings_changes(old: Mapping, new: Mapping) -> list[str]:
    found = [UPDATED] if old["code"] != new["code"] else []
    for group in ("settings", "recipe", "judges"):
        for name in _names(old[group], new[group]):
            values = [part[group].get(name) for part in (old, new)]
            if values[0] != values[1]:
                found.append(changed(name, *values))
    for name in _names(old["weights"], new["weights"]):
        if old["weights"].get(name) != new["weights"].get(name):
            found.append(f"the {name} files changed")
    scales = [part.get("scale_of_lora", {}) for part in (old, new)]
    for name in _names(*scales):
        if scales[0].get(name) != scales[1].get(name):
            found.append(_rescaled(f"{SCALE_OF}{shown(name, LONGEST)}", scales[1].get(name)))
    for name in ("lora_scale", "vae_tiling", "start_image", "dtype"):
        if old.get(name) != new.get(name):
            found.append(changed(name, old.get(name), new.get(name)))
    return found


# --- graphs --------------------------------------------------------------------------------------


def _graph_changes(old: list, new: list, names: BodyNames) -> list[str]:
    (old_versions, old_text), (new_versions, new_text) = old, new
    # Behind these stand marks of what is read, if anything: whoever reads it differs, too.
    old_ends, old_lines, old_files, *_ = parse_json(old_text)
    new_ends, new_lines, new_files, *_ = parse_json(new_text)
    kinds = [[kind for kind, _, _ in lines] for lines in (old_lines, new_lines)]
    pairs = _pairs(*kinds)
    places = {i: j for i, j in pairs} | {"open": "open"}
    gone = [i for i in range(len(old_lines)) if i not in places]
    added = sorted(set(range(len(new_lines))) - set(places.values()))
    found = [UPDATED] if old_versions != new_versions else []
    found += [f"{names.of_kind(kinds[0][i])} was removed" for i in gone]
    found += [f"{names.of_node(j, kinds[1][j])} was added" for j in added]
    widgets, links, contents = [], [], []
    values: list[object] = []  # of changed widgets, which also explain another file
    for i, j in pairs:
        kind, name = kinds[1][j], names.of_node(j, kinds[1][j])
        inputs = old_lines[i][2], new_lines[j][2]
        count = len(widgets) + len(links)
        for one in _names(*inputs):
            was, now = (_value(part, kind, one) for part in inputs)
            if _is_link(was) or _is_link(now):
                if _moved(was, places) != now:
                    links.append(f"{one} of {name} is connected otherwise")
            elif was != now and one.startswith(SCALE_OF):
                widgets.append(_rescaled(f"{one} of {name}", now))
            elif was != now:
                values += [was, now]
                widgets.append(changed(f"{one} of {name}", was, now) + _control(names, j, now))
        if old_lines[i][1] != new_lines[j][1] and len(widgets) + len(links) == count:
            contents.append(f"what {name} reads changed")
    for end, was, now in zip(("frames", "bank"), old_ends, new_ends, strict=True):
        if [places.get(was[0]), was[1]] != now:
            links.append(f"another node gives the loop its {end}")
    found += widgets + _file_changes(old_files, new_files, values)
    # Nodes that came or went have other links around them; a file says more than who reads it.
    found += [] if gone or added else links
    return found or contents


def _pairs(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """Which node was which, by their kinds: as many as possible in their order, then any."""
    pairs = []
    for a, b, size in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        pairs += [(a + n, b + n) for n in range(size)]
    left = [i for i in range(len(old)) if i not in {i for i, _ in pairs}]
    free = [j for j in range(len(new)) if j not in {j for _, j in pairs}]
    for i in left:
        same = [j for j in free if new[j] == old[i]]
        if same:
            pairs.append((i, same[0]))
            free.remove(same[0])
    return sorted(pairs, key=lambda pair: pair[1])


def _file_changes(old: list, new: list, values: list[object]) -> list[str]:
    before, after = ({name: stat for name, stat in files} for files in (old, new))
    named = {os.path.basename(v) for v in values if isinstance(v, str)}
    found = []
    for name in _names(before, after):
        if before.get(name) == after.get(name) or name in named:
            continue
        if name in before and name in after:
            word = "was replaced" if before[name][0] != after[name][0] else "was written anew"
        else:
            word = "is there now" if name in after else "is gone"
        found.append(f"the file {shown(name, LONGEST)} {word}")
    return found


def _value(inputs: Mapping, kind: str, name: str) -> object:
    """An input as the body has it; one at its neutral value is left out there."""
    return inputs.get(name, NEUTRAL.get(kind, {}).get(name))


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and value[0] == "#"


def _moved(value: object, places: Mapping) -> object:
    return ["#", places.get(value[1]), value[2]] if _is_link(value) else value


def _control(names: BodyNames, place: int, value: object) -> str:
    word = names.controls.get(place)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f" (its control after generate is '{word}', not 'fixed')" if word and is_number else ""


def _names(old: Mapping, new: Mapping) -> list[str]:
    return [*new, *(name for name in old if name not in new)]
