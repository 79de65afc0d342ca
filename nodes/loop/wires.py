"""A prompt's wires as the checks before a run look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comfy_execution.graph_utils import is_link

SAMPLERS = ("StoryMemM2VSampler", "StoryMemM2VConditioning")


def links_of(node: dict) -> list[tuple[str, str, int]]:
    """``(input, source node, source slot)`` of each linked input, in a fixed order."""
    inputs = node["inputs"]
    return [(name, *inputs[name]) for name in sorted(inputs) if is_link(inputs[name])]


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
    """

    def __init__(self, dynprompt, open_id: str, used: list[str]):
        self.dynprompt, self.open_id, self.used = dynprompt, open_id, used

    def kind(self, node_id: str) -> str:
        return self.dynprompt.get_node(node_id)["class_type"]

    def inputs(self, node_id: str) -> dict:
        return self.dynprompt.get_node(node_id)["inputs"]

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
        waiting = [found[0] for name in names if (found := self.source(node_id, name))]
        seen: set[str] = set()
        while waiting:
            here = waiting.pop(0)
            if here in seen:
                continue
            seen.add(here)
            yield here
            if here != self.open_id:
                waiting += [source for _, source, _ in links_of(self.dynprompt.get_node(here))]

    def between(self, start: tuple[str, ...], node_id: str, name: str) -> list[str]:
        """Nodes on the way from nodes of the kinds ``start`` to an input, nearest first."""
        found = []
        for here in self.before(node_id, name):
            if self.kind(here) not in start and any(
                self.kind(n) in start for n in self.before(here)
            ):
                found.append(here)
        return found

    def uses_memory(self, sampler: str) -> bool:
        """Whether a sampler sees what the loop remembers."""
        return self.open_id in self.before(sampler, "bank")

    def notice(self, node_id: str, text: str) -> Notice:
        return Notice(self.dynprompt.get_display_node_id(node_id), text)
