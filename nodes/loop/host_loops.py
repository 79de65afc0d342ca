"""ComfyUI's own Start Loop and End Loop, around a story's nodes or among them.

Start Loop makes copies of the nodes of each turn, and a Loop Iteration that gives a turn's values
in its place. Whoever looks at what makes a shot must not walk through that node to the turn before
it: its values are what counts, as if they were typed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from comfy_execution.graph_utils import is_link

from ...storymem.files.hashing import digest_of
from ..host import executor as host_cache

START, END, TURN = "StartLoop", "EndLoop", "LoopIteration"
# Outputs of Start Loop and of Loop Iteration, which has the first four among its inputs.
INDEX, FIRST, LAST, ITEM, CARRIED = (
    "iteration_index", "is_first", "is_last", "list_item", "current_iteration_value",
)  # fmt: skip
OUTPUTS = (INDEX, FIRST, LAST, ITEM, CARRIED)
BODY, CLOSED_BY = "_loop_body", "_loop_end"  # what the host writes into a Start Loop it checked
STATE_SOURCES = ("StoryMemBeginStory", "StoryMemNextShot", "StoryMemFinishShot")
# What changes nothing of what a loop gives.
UNIMPORTANT = ("cache_iterations", "parent_iteration")
logger = logging.getLogger(__name__)


class NotKnownError(Exception):
    """A value that only a run can tell.

    Args:
        node_id: of the node that gives it, as the host shows it.
        name: as the artist knows that node.
        because: a word for the page: ``computed``, or ``relevant`` for what a policy chooses.

    ``input`` is what it is for, where somebody wrote that down.
    """

    input = ""

    def __init__(self, node_id: str, name: str, because: str = "computed"):
        super().__init__(name)
        self.node_id, self.name, self.because = node_id, name, because


@dataclass(frozen=True)
class Given:
    """A value on a turn's wire that is no text or number, such as a picture of a list."""

    value: object

    def digest(self) -> str | None:
        """SHA-256 of what it holds; ``None`` when that cannot be told."""
        digest = hashlib.sha256()
        try:
            for part in _parts(self.value):
                digest.update(len(part).to_bytes(8, "big") + part)
        except TypeError:
            return None
        return digest.hexdigest()


@dataclass(frozen=True)
class Untold:
    """A value on a turn's wire that is not known before the run."""

    node_id: str
    name: str

    def refuse(self) -> None:
        raise NotKnownError(self.node_id, self.name)


class OneTurn:
    """The host's prompt as one turn of its loops has it: with the values of Start Loop in the place
    of wires from it, and End Loop as it was connected.

    Args:
        dynprompt: the host's.
        turns: values by name, by id of each Start Loop that has not made its turns yet.
    """

    def __init__(self, dynprompt, turns: Mapping[str, Mapping[str, object]] | None = None):
        self._dynprompt, self._turns = dynprompt, turns or {}
        self._seen: dict[str, dict] = {}
        self.is_used = False  # whether anything that was looked at takes a value of the turn

    def __getattr__(self, name: str):
        return getattr(self._dynprompt, name)

    def get_node(self, node_id: str) -> dict:
        if node_id not in self._seen:
            self._seen[node_id] = self._look_at(node_id)
        return self._seen[node_id]

    def value(self, given: object) -> object:
        """What an input's value is in this turn; a wire where it does not come with the turn."""
        if not is_link(given):
            return given
        while is_link(given):
            node = self._dynprompt.get_node(given[0])
            is_turn = node["class_type"] == TURN
            if not is_turn and given[0] not in self._turns:
                return given
            name = OUTPUTS[given[1]]
            values = node["inputs"] if is_turn else self._turns[given[0]]
            is_state = name == CARRIED and self._is_state(self._before(node, is_turn))
            self.is_used |= not is_state
            if is_state:
                return None  # what a shot begins from is in its key
            if name != CARRIED:
                return _typed(values.get(name, Untold(*self._named(given[0]))))
            if not is_turn:
                return Untold(*self._named(given[0]))
            given = self._before(node, is_turn)
        return _typed(given)

    def _look_at(self, node_id: str) -> dict:
        node = host_cache.node_as_queued(self._dynprompt, node_id)
        inputs = node["inputs"]
        told = {n: found for n, v in inputs.items() if (found := self.value(v)) is not v}
        if node["class_type"] in (START, END):
            inputs = {n: v for n, v in inputs.items() if n not in UNIMPORTANT}
        if inputs is node["inputs"] and not told:
            return node
        return {**node, "inputs": {**inputs, **told}}

    @staticmethod
    def _before(node: dict, is_turn: bool) -> object:
        """What comes around to a turn, or to the first one."""
        return node["inputs"].get(CARRIED if is_turn else "initial_iteration_value")

    def _is_state(self, given: object) -> bool:
        """Whether a wire brings a story's state, which is all that comes around with it."""
        seen = set()
        while is_link(given) and given[0] not in seen:
            seen.add(given[0])
            node = host_cache.node_as_queued(self._dynprompt, given[0])
            kind, inputs = node["class_type"], node["inputs"]
            if kind in STATE_SOURCES:
                return given[1] == 0
            given = {
                TURN: inputs.get(CARRIED),
                START: inputs.get("initial_iteration_value"),
                END: inputs.get("output_value"),
            }.get(kind)
        return False

    def _named(self, node_id: str) -> tuple[str, str]:
        title = self._dynprompt.get_node(node_id).get("_meta", {}).get("title") or "Start Loop"
        shown = self._dynprompt.get_display_node_id(node_id)
        return shown, f"'{title}' (node {shown})"


def loops_around(dynprompt, node_id: str) -> list[str]:
    """Start Loops that have not made their turns yet and whose turns a node is in, outermost
    first."""
    found = []
    for start in sorted(dynprompt.all_node_ids()):
        node = dynprompt.get_node(start)
        if node["class_type"] == START and node_id in node.get(BODY, ()):
            found.append((-len(node[BODY]), start))
    return [start for _, start in sorted(found)]


def untold(starts: list[str]) -> dict[str, dict]:
    """Turns of which nothing is known."""
    return {start: {} for start in starts}


def as_digest(value: object) -> object:
    """For ``json.dumps``: what stands for a value that is no JSON in the description of a shot.

    Raises:
        NotKnownError: for one that only a run can tell.
    """
    if isinstance(value, Untold):
        value.refuse()
    if not isinstance(value, Given):
        return digest_of(value)
    digest = value.digest()
    if digest is None:
        logger.warning(
            "StoryMem: the list of a Start Loop holds values (%s) that cannot be compared with "
            "those of another run, so no finished shot that uses them can be reused",
            type(value.value).__name__,
        )
    return {"given": digest or uuid.uuid4().hex}


def _typed(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str | Given | Untold):
        return value
    return Given(value)


def _parts(value: object) -> Iterator[bytes]:
    """A value as bytes that differ for different values.

    Raises:
        TypeError: for a thing of which that is not known, such as a model.
    """
    if isinstance(value, torch.Tensor):
        held = value.detach().cpu().contiguous()
        yield f"tensor {held.dtype} {tuple(held.shape)}".encode()
        yield held.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"array {value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key in sorted(value):
            yield from _parts(key)
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}".encode()
        for one in value:
            yield from _parts(one)
    elif value is None or isinstance(value, bool | int | float | str):
        yield json.dumps(value).encode()
    else:
        raise TypeError(type(value).__name__)
