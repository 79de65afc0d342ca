"""A prompt's wires as the checks before a run look at them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfy_execution.graph_utils import is_link

import nodes

from ...storymem.loop.neutral_inputs import OF_SOUND
from ...storymem.sampling.draft import OF_DISTILLED, Draft

M2V_SAMPLER = "StoryMemM2VSampler"
SAMPLERS = (M2V_SAMPLER, "StoryMemM2VConditioning")  # that obey a draft's settings
HEARD = ("StoryMemShotLoopClose", "StoryMemFinishShot", "StoryMemJoinStory")  # take a sound
OPEN_SHOT = 1  # output of Shot Loop Open and Next Shot
# What M2V Conditioning does not have.
OF_RECIPE = ("steps", "cfg", "cfg_low", "cfg_cut", *OF_DISTILLED)


def links_of(node: dict) -> list[tuple[str, str, int]]:
    """``(input, source node, source slot)`` of each linked input, in a fixed order."""
    inputs = node["inputs"]
    return [(name, *inputs[name]) for name in sorted(inputs) if is_link(inputs[name])]


def upstream(
    dynprompt, sources: list[str], stop: set[str], *, ends: Sequence[str] = ()
) -> list[str]:
    """Everything that ``sources`` depend on, themselves included; users before sources.

    Args:
        stop: ids of nodes that are left out, with what only they depend on.
        ends: classes of such nodes.
    """
    order: list[str] = []
    seen: set[str] = set(stop)
    stack: list[tuple[str, bool]] = [(s, False) for s in reversed(sources)]
    while stack:  # depth first, without recursion
        node_id, is_done = stack.pop()
        if is_done:
            order.append(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            node = dynprompt.get_node(node_id)
            if node["class_type"] in ends:
                continue
            stack.append((node_id, True))
            silent = OF_SOUND if node["class_type"] in HEARD else ()  # another loop's
            for name, source, _ in reversed(links_of(node)):
                if name not in silent:
                    stack.append((source, False))
    return order[::-1]


def obeys(node: dict, open_id: str) -> bool:
    """Whether a node takes a pass's settings from the shot of ``open_id``."""
    return node["class_type"] in SAMPLERS and node["inputs"].get("shot") == [open_id, OPEN_SHOT]


def inputs_of_pass(node: dict, open_id: str, draft: Draft | None) -> dict:
    """A node's inputs, with what a pass overrides of them."""
    inputs = node["inputs"]
    if draft is None or not obeys(node, open_id):
        return inputs
    found = draft.overrides(inputs)
    if node["class_type"] != M2V_SAMPLER:
        found = {name: value for name, value in found.items() if name not in OF_RECIPE}
    return {**inputs, **found}


def name_of(dynprompt, node_id: str) -> str:
    """A node as the artist knows it."""
    node = dynprompt.get_node(node_id)
    title = node.get("_meta", {}).get("title") or node["class_type"]
    return f"'{title}' (node {dynprompt.get_display_node_id(node_id)})"


@dataclass(frozen=True)
class Notice:
    """What an artist should know of one node before the first shot."""

    node_id: str  # as the host shows it
    text: str


class Wires:
    """The nodes that a loop's frames and bank depend on, and what feeds them.

    Args:
        dynprompt: the host's prompt.
        open_id: the node that a shot begins at: Shot Loop Open, or Next Shot.
        used: ids of everything that frames and bank depend on.
        draft: what the pass before the film sets; ``None`` for the film.
        lora_nodes: those that apply the LoRAs of single shots. They are none of ``used``: models
            go past them.
    """

    def __init__(
        self, dynprompt, open_id: str, used: list[str], draft: Draft | None = None,
        lora_nodes: Sequence[str] = (),
    ):  # fmt: skip
        self.dynprompt, self.open_id, self.used = dynprompt, open_id, used
        self.draft, self.lora_nodes = draft, lora_nodes

    def kind(self, node_id: str) -> str:
        return self.dynprompt.get_node(node_id)["class_type"]

    def inputs(self, node_id: str) -> dict:
        """A node's inputs, as its shots of this pass have them."""
        return inputs_of_pass(self.dynprompt.get_node(node_id), self.open_id, self.draft)

    def of_kind(self, *kinds: str) -> list[str]:
        """Used nodes of these kinds, in a fixed order."""
        return [node_id for node_id in self.used if self.kind(node_id) in kinds]

    def name(self, node_id: str) -> str:
        """A node as the artist knows it."""
        return name_of(self.dynprompt, node_id)

    def source(self, node_id: str, name: str) -> tuple[str, int] | None:
        """The output that feeds an input; ``None`` when nothing is connected."""
        value = self.inputs(node_id).get(name)
        return (value[0], value[1]) if is_link(value) else None

    def before(self, node_id: str, *names: str) -> Iterator[str]:
        """Nodes upstream of these inputs (of all, when none is named), nearest first. Open is one
        of them, and what feeds it is not."""
        names = names or tuple(self.inputs(node_id))
        waiting = deque(found[0] for name in names if (found := self.source(node_id, name)))
        seen: set[str] = set()
        while waiting:
            here = waiting.popleft()
            if here in seen:
                continue
            seen.add(here)
            yield here
            if here != self.open_id:
                waiting += [source for _, source, _ in links_of(self.dynprompt.get_node(here))]

    def is_of_loop(self, node_id: str, *names: str) -> bool:
        """Whether these inputs (of all, when none is named) change from shot to shot."""
        return self.open_id in self.before(node_id, *names)

    def every_way(self, sources: Sequence[str], node_id: str, name: str) -> list[str]:
        """Nodes that everything from ``sources`` to an input goes through, nearest first; empty
        when none of them feeds it."""
        found = self.source(node_id, name)
        over: dict[str, str | None] = (
            {found[0]: None} if found else {}
        )  # what is on every way, next
        depth: dict[str, int] = {}

        def common(one: str | None, other: str | None) -> str | None:
            while one != other:
                if one is None or other is None:
                    return None
                if depth[one] < depth[other]:
                    one, other = other, one
                one = over[one]
            return one

        for here in self.used:  # users before sources
            if here not in over:
                continue
            depth[here] = 0 if over[here] is None else depth[over[here]] + 1
            for _, source, _ in links_of(self.dynprompt.get_node(here)):
                if source not in depth:
                    over[source] = common(over[source], here) if source in over else here
        ways = []
        for source in sources:
            way, here = [], over.get(source)
            while here is not None:
                way.append(here)
                here = over[here]
            if source in over:
                ways.append(way)
        return [n for n in ways[0] if all(n in way for way in ways)][::-1] if ways else []

    def may_be_skipped(self, node_id: str) -> bool:
        """Whether a node after this one may decide not to run it, as a switch does."""
        reached = {node_id}
        for here in reversed(self.used):  # sources before users
            for name, source, _ in links_of(self.dynprompt.get_node(here)):
                if source in reached:
                    reached.add(here)
                    if _is_lazy(self.kind(here), name):
                        return True
        return False

    def uses_memory(self, sampler: str) -> bool:
        """Whether a sampler sees what the loop remembers."""
        return self.is_of_loop(sampler, "bank")

    def notice(self, node_id: str, text: str) -> Notice:
        return Notice(self.dynprompt.get_display_node_id(node_id), text)


def _is_lazy(kind: str, name: str) -> bool:
    groups = nodes.NODE_CLASS_MAPPINGS[kind].INPUT_TYPES()
    known = [g[name] for key, g in groups.items() if key in ("required", "optional") and name in g]
    return any(len(one) > 1 and one[1].get("lazy") for one in known)
