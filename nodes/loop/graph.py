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


def _moved(value, ids: dict[str, str]):
    return [ids[value[0]], value[1]] if is_link(value) and value[0] in ids else value


def is_nan(value: object) -> bool:
    """Whether a node's fingerprint says that it gives something else in every run."""
    if isinstance(value, list | tuple):
        return any(is_nan(item) for item in value)
    return isinstance(value, float) and math.isnan(value)
