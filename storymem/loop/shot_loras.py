"""LoRAs of single shots in their keys: by what their files are, not by how a script names them.

A shot without any has the key that it had before there were such LoRAs, whatever node stands ready
to apply them; so has every shot of a loop in which nothing applies them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..files.messages import listed
from ..script.loras import ShotLora
from ..script.story import Shot
from .changed_inputs import changed
from .render_version import render_versions

PART = "shot loras"  # of the code
LORA_FACT = "loras"  # in a record: what its shot had; others have none


class LoraMark(NamedTuple):
    """Which files a LoRA means: marks that change with what is in them; empty for none."""

    high: str = ""
    low: str = ""


@dataclass(frozen=True)
class LoraFiles:
    """What a loop knows of its story's LoRAs."""

    place: str = ""  # where in the body they are applied; empty: nowhere, and none counts
    marks: Mapping[ShotLora, LoraMark] = field(default_factory=dict)

    def key_of(self, shot: Shot) -> list:
        """For a shot's key: what is applied to it and where; empty when nothing is."""
        if not self.place or not shot.loras:
            return []
        entries = []
        for entry in shot.loras:
            mark = self.marks.get(entry)
            files = ([mark.high, entry.high], [mark.low, entry.low]) if mark else (entry.name,)
            entries.append([one for one in files if one[0]])
        versions = render_versions([PART])
        return [self.place, entries, *([versions] if versions else [])]

    def facts_of(self, shot: Shot) -> dict:
        """What a shot's record keeps for people; empty without LoRAs."""
        if not self.place or not shot.loras:
            return {}
        marks = [self.marks.get(entry, LoraMark()) for entry in shot.loras]
        told = [[*entry, *mark] for entry, mark in zip(shot.loras, marks, strict=True)]
        return {LORA_FACT: {"place": self.place, "list": told}}


def lora_changes(facts: Mapping, now: Mapping) -> list[str]:
    """What of a shot's LoRAs is not what its record says, in words.

    Args:
        facts: of the record; anybody may have written it.
        now: what ``facts_of`` gives, and more.
    """
    was, is_now = facts.get(LORA_FACT), now.get(LORA_FACT)
    if was == is_now:
        return []
    texts = [_written(one) for one in (was, is_now)]
    if texts[0] != texts[1]:
        return [changed("its LoRAs", *texts)]
    lists = [one.get("list") if isinstance(one, Mapping) else None for one in (was, is_now)]
    if lists[0] == lists[1]:
        return ["its LoRAs are applied at another place of the loop"]
    return ["a file of its LoRAs changed"]


def of_shots(numbers: Sequence[int]) -> str:
    """``shot 2``, ``shots 2, 3``."""
    return f"shot{'s' * (len(numbers) > 1)} {listed(numbers, 6)}"


def _written(fact: object) -> str | None:
    entries = fact.get("list") if isinstance(fact, Mapping) else None
    if not isinstance(entries, list):
        return None
    names = [
        ShotLora(*entry[:3]).written()
        for entry in entries
        if isinstance(entry, list)
        and len(entry) >= 3
        and isinstance(entry[0], str)
        and all(isinstance(number, int | float) for number in entry[1:3])
    ]
    return listed(names, 4)
