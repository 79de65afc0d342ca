"""The nodes between Shot Loop Open and Close: found, checked, described and cloned."""

from __future__ import annotations

import json
import logging
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from comfy_execution.graph_utils import is_link

import nodes

from ...storymem.loop.neutral_inputs import inputs_that_count
from ...storymem.loop.render_version import versions_of_nodes
from ...storymem.sampling.draft import Draft
from ..host import executor as host_cache
from .cards import PastCards, is_of_cards
from .draft_settings import lora_path
from .host_loops import BODY, CLOSED_BY, END, START, OneTurn, as_digest
from .lora_scales import LORA, scale_inputs
from .named_files import files_of
from .shot_loras import WithoutShotLoras, lora_place
from .text_wires import text_marks
from .wires import Wires, inputs_of_pass, links_of, name_of, upstream

OPEN, CLOSE = "StoryMemShotLoopOpen", "StoryMemShotLoopClose"
NEXT_SHOT, BEGIN_STORY = "StoryMemNextShot", "StoryMemBeginStory"
STORY_SHOTS = "StoryMemStoryShots"  # what its shots are made of is in their seeds
FLOW_SLOT = 0  # of Open
BODY_INPUTS = ("frames", "bank")  # of Close
logger = logging.getLogger(__name__)


def check_open(dynprompt, open_id: str) -> None:
    """Every Open has exactly one Close.

    Raises:
        ValueError: for an unclosed loop, and for one that is closed twice.
    """
    closes = [
        node_id
        for node_id in dynprompt.all_node_ids()
        if (node := dynprompt.get_node(node_id))["class_type"] == CLOSE
        and is_link(node["inputs"].get("flow"))
        and node["inputs"]["flow"][0] == open_id
    ]
    if not closes:
        raise ValueError(
            f"{name_of(dynprompt, open_id)} is never closed: connect its flow output to the flow "
            "input of a Shot Loop Close"
        )
    if len(closes) > 1:
        raise ValueError(
            f"{name_of(dynprompt, open_id)} is closed {len(closes)} times, by "
            f"{', '.join(name_of(dynprompt, c) for c in sorted(closes))}: give each Close its "
            f"own Open"
        )


@dataclass
class LoopGraph:
    """One loop of a prompt."""

    dynprompt: object
    close_id: str
    open_id: str
    body: list[str]  # nodes that run once per shot, in a fixed order
    dependencies: list[
        str
    ]  # everything that frames and bank depend on, body and outside, in a fixed order
    draft: Draft | None = None  # what the pass before the film sets; None: the film
    part: str = ""  # of a Close that makes several passes: which one this is; empty: the last
    turns: Mapping[str, Mapping] = field(default_factory=dict)  # see ``OneTurn``
    counts_cards: bool = True  # nodes that say on which cards things run are described, too
    _clones: dict[str, str] = field(default_factory=dict)

    @cached_property
    def turn(self) -> OneTurn:
        """The prompt as it is in one turn of the host's own loops around this one."""
        return OneTurn(self.dynprompt, self.turns)

    def node(self, node_id: str) -> dict:
        return self.turn.get_node(node_id)

    @property
    def ends(self) -> list[str]:
        """The nodes that frames and bank come from."""
        given = [self.node(self.close_id)["inputs"][name] for name in BODY_INPUTS]
        return [value[0] for value in given if is_link(value)]

    def shown_ids(self) -> set[str]:
        """Ids by which the host tells of this loop's nodes, those outside of its body included."""
        own = (self.open_id, self.close_id, *self.body, *self.dependencies)
        return {self.dynprompt.get_display_node_id(n) for n in own}

    def wires(self) -> Wires:
        """The loop's wires, for checks; not those of another loop whose result this one uses."""
        ends = {n for n in self.dependencies if self.node(n)["class_type"] == CLOSE}
        used = upstream(self.past_loras, self.ends, {self.open_id, *ends})
        loras = [n for n in self.dependencies if self.past_loras.applies(n)]
        return Wires(self.past_loras, self.open_id, used, self.draft, loras)

    @cached_property
    def past_loras(self) -> WithoutShotLoras:
        """The prompt as it is without the LoRAs of single shots."""
        return WithoutShotLoras(self.turn, self.open_id)

    @cached_property
    def has_card_nodes(self) -> bool:
        """Whether nodes say on which cards anything runs that frames and bank depend on."""
        return any(is_of_cards(self.node(n)) for n in self.dependencies)

    @property
    def described(self) -> list[str]:
        """The nodes that ``describe`` tells of, in its order: dependencies of any shot."""
        return self._of_any_card if self._is_past_cards else self._of_any_shot

    @property
    def _is_past_cards(self) -> bool:
        return self.has_card_nodes and not self.counts_cards

    @property
    def _as_described(self) -> WithoutShotLoras:
        return self._past_cards if self._is_past_cards else self.past_loras

    @cached_property
    def _past_cards(self) -> WithoutShotLoras:
        return WithoutShotLoras(PastCards(self.turn), self.open_id)

    @cached_property
    def _of_any_shot(self) -> list[str]:
        if not any(map(self.past_loras.applies, self.dependencies)):
            return self.dependencies
        return self._feeding(self.past_loras)

    @cached_property
    def _of_any_card(self) -> list[str]:
        return self._feeding(self._past_cards)

    def _feeding(self, prompt: WithoutShotLoras) -> list[str]:
        return upstream(prompt, self.ends, {self.open_id})

    @property
    def lora_place(self) -> str:
        """Where LoRAs of single shots are applied; empty for nowhere."""
        return lora_place(self._as_described, self.described)

    def clone(
        self, shot: int, shot_node: str, fresh: dict[str, str], salt: str = ""
    ) -> tuple[dict, dict[str, list]]:
        """The body for one shot, and what Close takes from it.

        Args:
            shot: number of the shot, for the ids.
            shot_node: id of the node that stands in for Open.
            fresh: outside nodes that were cloned for the whole loop (see ``stale_nodes``).
            salt: marks the ids when files were replaced: the host keeps a node's instance by its
                id, and what that loaded by name.
        """
        ids = {self.open_id: shot_node, **fresh}
        mark = f".{salt}" if salt else ""
        ids.update({n: self.child_id(f"{shot}.{i}{mark}") for i, n in enumerate(self.body)})
        graph = {ids[node_id]: self._copy(node_id, ids) for node_id in self.body}
        close = self.dynprompt.get_node(self.close_id)["inputs"]
        return graph, {name: _moved(close[name], ids) for name in BODY_INPUTS}

    def clone_outside(self, stale: list[str], salt: str) -> tuple[dict, dict[str, str]]:
        """Outside nodes once more, under ids that the host has no old result for."""
        ids = {node_id: self.child_id(f"outside.{i}.{salt}") for i, node_id in enumerate(stale)}
        graph = {ids[node_id]: self._copy(node_id, ids) for node_id in stale}
        for info in graph.values():
            # Nothing reads this input; it makes the host's cache key another one.
            info["inputs"] = {**info["inputs"], "storymem_file_version": salt}
        return graph, ids

    def child_id(self, name: str) -> str:
        """An id for an expanded node; a colon would be read as a path into a subgraph."""
        parts = (self.close_id.replace(":", "-"), self.part, name)
        return ".".join(filter(None, parts))

    @property
    def run_name(self) -> str:
        """What a run of this loop is found by."""
        return f"{self.close_id} {self.part}".strip()

    def refuse(self, node_id: str, text: str) -> tuple[dict, list]:
        """A node that raises ``text`` as an error of ``node_id``, for Close to expand to."""
        refusal = self.child_id("refuse")
        info = {
            "class_type": "StoryMemLoopRefuse",
            "inputs": {"text": text},
            "override_display_id": self.dynprompt.get_display_node_id(node_id),
        }
        return {refusal: info}, [[refusal, slot] for slot in range(3)]

    def stale_nodes(self, stale_files: set[str]) -> list[str]:
        """Outside nodes that read one of these files, and those that build on them."""
        stale: list[str] = []
        outside = [node_id for node_id in self.dependencies if node_id not in self.body]
        for node_id in reversed(outside):  # sources come before what uses them
            node = self.node(node_id)
            reads = any(path in stale_files for path in files_of(node))
            if reads or any(source in stale for _, source, _ in links_of(node)):
                stale.append(node_id)
        return stale

    def files(self) -> dict[str, list[int]]:
        """Size and change time of every file that the dependencies name."""
        found = {}
        paths = [path for n in self.dependencies for path in files_of(self.node(n))]
        if self.draft:
            paths += filter(None, map(lora_path, (self.draft.lora_high, self.draft.lora_low)))
        for path in paths:
            status = os.stat(path)
            found[path] = [status.st_size, status.st_mtime_ns]
        return found

    def render_versions(self) -> dict[str, int]:
        """Versions of the pack's own code that the dependencies run."""
        return versions_of_nodes(self.node(n)["class_type"] for n in self.described)

    async def describe(self) -> str:
        """Everything that decides frames and bank except the shot itself, as a text.

        Node numbers are replaced by positions, so that the same graph drawn again is the same body.
        """
        fingerprint_of = host_cache.fingerprints(self.dynprompt)
        numbers = {node_id: i for i, node_id in enumerate(self.described)}
        numbers[self.open_id] = "open"
        lines = []
        for node_id in self.described:
            node = self._as_described.get_node(node_id)
            given = inputs_of_pass(node, self.open_id, self.draft)
            if given is not node["inputs"] and "length" in given:  # a still is held for it
                given = {**given, "length": node["inputs"]["length"]}
            # What these say is whether files lie there as they did, not what they give.
            is_about_files = node["class_type"] in (CLOSE, BEGIN_STORY, STORY_SHOTS, START, END)
            is_lora = node["class_type"] == LORA  # it tells of files, too: their scale counts
            fingerprint = None if is_about_files else await fingerprint_of(node_id)
            fingerprint = False if is_lora else fingerprint
            if is_nan(fingerprint):
                logger.warning(
                    "StoryMem: %s reports a change on every run, so no finished shot can be "
                    "reused; take it out of the loop or fix its seed",
                    name_of(self.dynprompt, node_id),
                )
                fingerprint = uuid.uuid4().hex
            inputs = {
                name: ["#", numbers[value[0]], value[1]] if is_link(value) else value
                for name, value in inputs_that_count(node["class_type"], given).items()
            }
            inputs |= scale_inputs(node["inputs"]) if is_lora else {}
            lines.append([node["class_type"], repr(fingerprint), inputs])
        close = self.node(self.close_id)["inputs"]
        outputs = [
            [numbers[close[name][0]], close[name][1]] if is_link(close[name]) else close[name]
            for name in BODY_INPUTS
        ]
        files = sorted([os.path.basename(path), stat] for path, stat in self.files().items())
        described = [outputs, lines, files, *text_marks(map(self.node, numbers), self.open_id)]
        return json.dumps(described, sort_keys=True, ensure_ascii=False, default=as_digest)

    def largest(self, *names: str) -> int:
        """The largest whole number among these widgets of the body; 0 when none has it."""
        nodes_in = [inputs_of_pass(self.node(n), self.open_id, self.draft) for n in self.body]
        values = [inputs.get(name) for inputs in nodes_in for name in names]
        return max((v for v in values if isinstance(v, int) and not isinstance(v, bool)), default=0)

    def _copy(self, node_id: str, ids: dict[str, str]) -> dict:
        node = self.dynprompt.get_node(node_id)
        copy = {
            "class_type": node["class_type"],
            "inputs": {name: _moved(value, ids) for name, value in node["inputs"].items()},
            "override_display_id": self.dynprompt.get_display_node_id(node_id),
        }
        if CLOSED_BY in node:  # a Start Loop of the host, which finds its turns by these
            copy |= {CLOSED_BY: ids[node[CLOSED_BY]], BODY: [ids[n] for n in node[BODY]]}
        return copy


def read_loop(dynprompt, close_id: str, turns: Mapping[str, Mapping] | None = None) -> LoopGraph:
    """The loop that a Close ends.

    Args:
        turns: what is known of loops of the host around it; see ``OneTurn``.

    Raises:
        ValueError: for a loop that is not well formed, naming the nodes.
    """
    close = dynprompt.get_node(close_id)
    named = name_of(dynprompt, close_id)
    flow = close["inputs"].get("flow")
    if (
        not is_link(flow)
        or dynprompt.get_node(flow[0])["class_type"] != OPEN
        or flow[1] != FLOW_SLOT
    ):
        raise ValueError(
            f"the flow of {named} must come straight from the flow of a Shot Loop Open"
        )
    open_id = flow[0]
    check_open(dynprompt, open_id)
    for name in BODY_INPUTS:
        if not is_link(close["inputs"].get(name)):
            raise ValueError(f"{named} has nothing connected to {name}")
    inside = _downstream(dynprompt, open_id, close_id)
    turn = OneTurn(dynprompt, turns)
    given = [turn.get_node(close_id)["inputs"][name] for name in BODY_INPUTS]
    outputs = [value[0] for value in given if is_link(value)]
    others = {n for n in dynprompt.all_node_ids() if dynprompt.get_node(n)["class_type"] == CLOSE}
    for node_id in upstream(turn, outputs, {open_id, *others}):
        if dynprompt.get_node(node_id)["class_type"] == OPEN:
            raise ValueError(
                f"{named} closes {name_of(dynprompt, open_id)}, but its frames or bank also come "
                f"from {name_of(dynprompt, node_id)}, which is another loop: loops must not cross"
            )
    before = upstream(turn, outputs, {open_id})
    frames_source = close["inputs"]["frames"][0]
    if frames_source != open_id and frames_source not in inside:
        raise ValueError(
            f"the frames of {named} do not depend on {name_of(dynprompt, open_id)}: every shot "
            "would be the same; use its shot, prompt or bank output in the nodes that make the "
            "frames"
        )
    side_outputs = [
        node_id for node_id in inside if node_id not in before and _is_output(dynprompt, node_id)
    ]
    branches = upstream(turn, side_outputs, {open_id})
    for node_id in branches:
        if node_id == close_id:
            raise ValueError(
                f"{name_of(dynprompt, side_outputs[0])} uses values from inside the loop together "
                f"with the result of {named}: take both from inside, or both from after the loop"
            )
    body = [node_id for node_id in (*before, *branches) if node_id in inside]
    body = list(dict.fromkeys(body))
    return LoopGraph(dynprompt, close_id, open_id, body, before, turns=turns or {})


def read_one_wire(
    dynprompt, finish_id: str, turns: Mapping[str, Mapping] | None = None
) -> LoopGraph:
    """The nodes between a Next Shot and a Finish Shot.

    Args:
        turns: of loops of the host that have not made their turns yet; see ``OneTurn``.

    Raises:
        ValueError: when frames or bank do not come from exactly one Next Shot.
    """
    turn, written = OneTurn(dynprompt, turns), dynprompt.get_node(finish_id)["inputs"]
    finish = turn.get_node(finish_id)
    outputs = [
        finish["inputs"][name][0] for name in BODY_INPUTS if is_link(finish["inputs"].get(name))
    ]
    dependencies = upstream(turn, outputs, set(), ends=(NEXT_SHOT,))
    sources = {
        source for n in (finish_id, *dependencies) for _, source, _ in links_of(turn.get_node(n))
    }
    used = sorted(n for n in sources if turn.get_node(n)["class_type"] == NEXT_SHOT)
    if not all(is_link(written.get(name)) for name in BODY_INPUTS) or len(used) != 1:
        raise ValueError(
            f"{name_of(dynprompt, finish_id)} must get state, frames and bank from the nodes after "
            f"one Next Shot, but they come from {len(used)}"
        )
    return LoopGraph(dynprompt, finish_id, used[0], [], dependencies, turns=turns or {})


def _moved(value, ids: dict[str, str]):
    return [ids[value[0]], value[1]] if is_link(value) and value[0] in ids else value


def _downstream(dynprompt, open_id: str, close_id: str) -> set[str]:
    """Nodes that depend on Open by anything but its flow, up to Close."""
    users: dict[str, list[str]] = {}
    for node_id in dynprompt.all_node_ids():
        for _, source, slot in links_of(dynprompt.get_node(node_id)):
            if (source, slot) != (open_id, FLOW_SLOT):
                users.setdefault(source, []).append(node_id)
    # A loop of the host is inside as a whole: from its Start Loop on, if that takes nothing of a
    # shot but its turns do.
    loops: dict[str, list[str]] = {}
    for start in dynprompt.all_node_ids():
        turns = _turns_of(dynprompt, start)
        for node_id in turns if close_id not in turns else ():
            loops.setdefault(node_id, []).append(start)
    found, waiting = set(), list(users.get(open_id, []))
    while waiting:
        node_id = waiting.pop()
        if node_id in found or node_id == close_id:
            continue
        kind = dynprompt.get_node(node_id)["class_type"]
        if kind in (OPEN, CLOSE):
            raise ValueError(
                f"{name_of(dynprompt, node_id)} uses values from inside the loop of "
                f"{name_of(dynprompt, open_id)}: loops must not cross or be nested; run the second "
                "one after the first one's Close"
            )
        found.add(node_id)
        waiting += users.get(node_id, [])
        waiting += [n for n in loops.get(node_id, ()) if n not in found]
    return found


def _turns_of(dynprompt, node_id: str) -> list[str]:
    """The nodes of a loop of the host, if a node is its Start Loop."""
    node = dynprompt.get_node(node_id)
    return node.get(BODY, []) if node["class_type"] == START else []


def _is_output(dynprompt, node_id: str) -> bool:
    kind = nodes.NODE_CLASS_MAPPINGS[dynprompt.get_node(node_id)["class_type"]]
    return getattr(kind, "OUTPUT_NODE", False) is True


def is_nan(value: object) -> bool:
    """Whether a node's fingerprint says that it gives something else in every run."""
    if isinstance(value, list | tuple):
        return any(is_nan(item) for item in value)
    return isinstance(value, float) and math.isnan(value)
