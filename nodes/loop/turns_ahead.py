"""The turns that ComfyUI's own loops will make of a story's Finish Shot nodes, as far as they are
known before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from comfy_execution.graph_utils import is_link

from ..host import executor as host_cache
from .host_loops import FIRST, INDEX, ITEM, LAST, START, TURN, OneTurn, loops_around
from .wires import links_of, name_of

FINISH_SHOT = "StoryMemFinishShot"
SHOT_COUNT = 1  # output of Begin Story
# Inputs of Start Loop that say how often it goes around, and the host's own values for them.
SIMPLE, FOR = "simple", "For"
COUNT, FROM, TO, BY = (
    "mode.num_iterations", "mode.start_iteration_index", "mode.max_iteration", "mode.step",
)  # fmt: skip
USUAL = {COUNT: 4, FROM: 0, TO: 4, BY: 1}


def finishes_of(dynprompt, begin_id: str) -> list[str]:
    """The Finish Shot nodes that a story goes through, nearest first; of one inside of a loop of
    the host there is one for all shots."""
    users: dict[str, list[str]] = {}
    for node_id in sorted(dynprompt.all_node_ids()):
        node = host_cache.node_as_queued(dynprompt, node_id)
        if node["class_type"] == TURN:  # of a loop that goes around already
            continue
        for name, source, _ in links_of(node):
            # Frames and bank come to a Finish Shot as well, but the state goes through it.
            if name == "state" or node["class_type"] != FINISH_SHOT:
                users.setdefault(source, []).append(node_id)
    found, waiting, seen = [], [begin_id], {begin_id}
    while waiting:
        here = waiting.pop(0)
        if dynprompt.get_node(here)["class_type"] == FINISH_SHOT:
            found.append(here)
        for user in users.get(here, []):
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return found


@dataclass
class TurnsAhead:
    """The order in which a story's shots are finished.

    Args:
        dynprompt: the host's prompt.
        finishes: the Finish Shot nodes, in the order of the story.
        shots: how many shots the story has.
        numbers: what wires bring that say how often a loop goes around, by source and output.
    """

    dynprompt: object
    finishes: Sequence[str]
    shots: int
    numbers: Mapping[tuple[str, int], object]
    order: list[tuple[str, dict]] = field(default_factory=list)  # a finish, and its turns
    is_open: bool = False  # whether a loop goes around as often as only a run can tell

    def __post_init__(self):
        self._around = {n: loops_around(self.dynprompt, n) for n in self.finishes}
        self._unroll(self.finishes, {})

    @property
    def loop(self) -> str:
        """The outermost Start Loop around a shot; empty when there is none."""
        return next((loops[0] for loops in self._around.values() if loops), "")

    def too_many(self) -> str:
        """What to tell of turns that have no shot; empty when there are none."""
        if not self.loop or self.is_open or len(self.order) <= self.shots:
            return ""
        return _too_many(self.dynprompt, self.loop, self.shots)

    def too_few(self) -> str:
        """What to tell of shots that have no turn; empty when there are none."""
        if not self.loop or self.is_open or len(self.order) >= self.shots:
            return ""
        return (
            f"{name_of(self.dynprompt, self.loop)} goes around for {len(self.order)} of the "
            f"{self.shots} shots, so the film ends there; connect the shot_count of Begin Story to "
            "its num_iterations for all of them"
        )

    def _unroll(self, finishes: Sequence[str], turns: dict[str, dict]) -> None:
        depth = len(turns)

        def loop_of(node_id: str) -> str:
            return next(iter(self._around[node_id][depth:]), "")

        for start, group in groupby(finishes, loop_of):
            inside = list(group)
            if not start:
                self.order += [(node_id, turns) for node_id in inside]
                continue
            for values in self._turns(start, turns):
                if len(self.order) > self.shots:
                    return
                self._unroll(inside, {**turns, start: values})

    def _turns(self, start: str, turns: dict[str, dict]) -> list[dict]:
        inputs = OneTurn(self.dynprompt, turns).get_node(start)["inputs"]
        count, first, end, step = (self._number(inputs, name) for name in (COUNT, FROM, TO, BY))
        mode = inputs.get("mode", SIMPLE)
        if mode == SIMPLE:
            total, first, step = count, 0, 1
        elif mode == FOR:
            is_known = None not in (first, end, step) and step > 0
            total = max(0, -(-(end - first) // step)) if is_known else None
        else:  # how long a list is, and what is in it, only a run can tell
            total, first, step = None, 0, 1
        self.is_open |= total is None
        found = []
        for i in range(self.shots + 1 if total is None else min(total, self.shots + 1)):
            values: dict[str, object] = {FIRST: i == 0}
            values |= {} if None in (first, step) else {INDEX: first + i * step}
            values |= {} if total is None else {LAST: i == total - 1}
            values |= {ITEM: None} if mode in (SIMPLE, FOR) else {}
            found.append(values)
        return found

    def _number(self, inputs: Mapping, name: str) -> int | None:
        value = inputs.get(name, USUAL[name])
        value = self.numbers.get((value[0], value[1])) if is_link(value) else value
        return value if type(value) is int else None


def number_wires(dynprompt, finishes: Sequence[str]) -> list[list]:
    """The wires that say how often the loops around these nodes go around."""
    starts = {start for node_id in finishes for start in loops_around(dynprompt, node_id)}
    inputs = [dynprompt.get_node(start)["inputs"] for start in sorted(starts)]
    return [given[name] for given in inputs for name in USUAL if is_link(given.get(name))]


def check_turns(dynprompt, begin_id: str, shots: int) -> list[str]:
    """What an artist should know of the loops around a story, before its first shot.

    Raises:
        ValueError: for a loop that would go on after the last shot.
    """
    finishes = finishes_of(dynprompt, begin_id)
    ahead = TurnsAhead(dynprompt, finishes, shots, {(begin_id, SHOT_COUNT): shots})
    if told := ahead.too_many():
        raise ValueError(told)
    return [told] if (told := ahead.too_few()) else []


def check_turns_left(dynprompt, finish_id: str, done: int, shots: int) -> None:
    """Look at the turns that a loop of the host has made of a story, before the first of them
    samples: how many there are may have come over a wire.

    Args:
        finish_id: the Finish Shot of the shot that is about to be made.
        done: how many shots stand before it.

    Raises:
        ValueError: when a turn would be left after the last shot.
    """
    users: dict[str, list[str]] = {}
    for node_id in dynprompt.all_node_ids():
        node = dynprompt.get_node(node_id)
        if node["class_type"] == START:  # its turns are not made yet
            continue
        for name, source, _ in links_of(node):
            if name == "state" or node["class_type"] != FINISH_SHOT:
                users.setdefault(source, []).append(node_id)
    left, around, waiting, seen = 1, "", [finish_id], {finish_id}
    while waiting:
        for user in users.get(waiting.pop(), []):
            if user in seen:
                continue
            seen.add(user)
            waiting.append(user)
            kind = dynprompt.get_node(user)["class_type"]
            left += kind == FINISH_SHOT
            around = user if kind == TURN and not around else around
    if around and done + left > shots:
        raise ValueError(_too_many(dynprompt, around, shots))


def _too_many(dynprompt, loop: str, shots: int) -> str:
    return (
        f"{name_of(dynprompt, dynprompt.get_display_node_id(loop))} goes around more often than "
        f"the story has shots ({shots}), and a loop of ComfyUI cannot end early; connect the "
        "shot_count of Begin Story to its num_iterations"
    )
