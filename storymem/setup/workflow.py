"""A workflow's nodes, their settings and their wires, from the page's form or the API's.

Only what is needed to see which files a workflow names and where they are wired: nodes that are
muted or bypassed do not count, and what is inside a subgraph counts as if it were outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20  # as nodes of a subgraph, where links begin and end
AFTER_SEED = ("fixed", "increment", "decrement", "randomize")  # a value without an input
PAGE_ONLY = {  # nodes that the page alone knows
    "Note", "MarkdownNote", "Reroute", "PrimitiveNode", "SetNode", "GetNode",
}  # fmt: skip
DEEPEST = 20  # subgraphs inside each other
MOST_NODES = 20_000
MOST_PARTS = 200_000  # nodes, inputs and links, counted as often as their subgraph is used
MOST_STEPS = 1000  # of a wire through nodes that hand on


@dataclass(frozen=True)
class Wire:
    """A link to an input: where it comes from, and what it carries (empty: not known)."""

    source: str
    slot: int
    type: str = ""


@dataclass
class Node:
    """A node that runs.

    Args:
        kind: its class.
        inputs: settings and wires by name.
        sources: addresses of model files that the workflow's maker noted, by file name.
        pack: the pack that it is from, where the workflow says so.
    """

    id: str
    kind: str
    inputs: dict[str, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    pack: str = ""


class WorkflowError(ValueError):
    """What was given is no workflow."""


def read_nodes(workflow: object) -> dict[str, Node]:
    """The nodes of a workflow that run, by id.

    Raises:
        WorkflowError: for anything that is no workflow in either form.
    """
    if not isinstance(workflow, Mapping):
        raise WorkflowError("it is no workflow")
    if isinstance(workflow.get("nodes"), list):
        return _Page(workflow).nodes()
    if isinstance(workflow.get("prompt"), Mapping):  # as it is posted
        workflow = workflow["prompt"]
    found: dict[str, Node] = {}
    if len(workflow) > MOST_NODES:
        raise WorkflowError("it has too many nodes")
    for number, node in workflow.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
            raise WorkflowError("it is no workflow")
        inputs = node.get("inputs")
        inputs = inputs if isinstance(inputs, Mapping) else {}
        found[str(number)] = Node(
            str(number), node["class_type"], {str(k): _wired(v) for k, v in inputs.items()}
        )
    if not found:
        raise WorkflowError("it has no nodes")
    return found


def _wired(value: object) -> object:
    match value:
        case [str(source), int(slot)]:
            return Wire(source, slot)
    return value


class _Page:
    """The page's form: links in a list of their own, settings by their order, subgraphs apart."""

    def __init__(self, workflow: Mapping):
        definitions = workflow.get("definitions")
        graphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
        graphs = [g for g in graphs or () if isinstance(g, Mapping)]
        self._subgraphs = {str(g.get("id")): g for g in graphs}
        self._found: dict[str, Node] = {}
        self._bypassed: dict[str, list[tuple[str, Wire | None]]] = {}
        self._graph = workflow
        self._count = 0  # of nodes and of subgraphs, as often as they are used

    def nodes(self) -> dict[str, Node]:
        self._add(self._graph, "", {}, 0)
        for node in self._found.values():
            for name, value in list(node.inputs.items()):
                if isinstance(value, Wire):
                    node.inputs[name] = self._through(value)
        if not self._found:
            raise WorkflowError("it has no nodes")
        return self._found

    def _add(self, graph: Mapping, above: str, given: Mapping[int, object], depth: int) -> None:
        """The nodes of one graph, and of those inside; ``given``: what its inputs are set to."""
        if depth > DEEPEST:
            raise WorkflowError("its subgraphs are nested too deeply")
        links = {link.id: link for link in _links(graph)}
        self._count_up(len(links) + len(_parts(graph, "inputs")))
        for node in graph["nodes"]:
            self._count_up()
            if not isinstance(node, Mapping) or node.get("mode") == MUTED:
                continue
            self._count_up(len(_parts(node, "inputs")))
            number, kind = f"{above}{node.get('id')}", str(node.get("type"))
            inputs = {}
            for name, value in _settings(node):
                inputs[name] = value
            for part in _parts(node, "inputs"):
                number_of_link, name = part.get("link"), str(part.get("name"))
                link = links.get(number_of_link) if isinstance(number_of_link, int | str) else None
                if link is None:
                    continue
                if link.source != SUBGRAPH_INPUTS:
                    inputs[name] = Wire(f"{above}{link.source}", link.slot, link.type)
                elif link.slot in given:
                    inputs[name] = given[link.slot]
            if kind in self._subgraphs and node.get("mode") != BYPASSED:
                self._enter(number, self._subgraphs[kind], node, inputs, depth)
            elif node.get("mode") == BYPASSED or kind in PAGE_ONLY:
                wires = [(w.type, w) for w in inputs.values() if isinstance(w, Wire)]
                self._bypassed[number] = wires
            else:
                self._found[number] = Node(number, kind, inputs, _sources(node), _pack(node))

    def _count_up(self, by: int = 1) -> None:
        self._count += by
        if self._count > MOST_PARTS:
            raise WorkflowError("it has too many nodes")

    def _enter(
        self, number: str, graph: Mapping, node: Mapping, inputs: Mapping, depth: int
    ) -> None:
        if not isinstance(graph.get("nodes"), list):
            raise WorkflowError("one of its subgraphs cannot be read")
        names = [str(part.get("name")) for part in _parts(graph, "inputs")]
        given = {slot: inputs[name] for slot, name in enumerate(names) if name in inputs}
        self._add(graph, f"{number}:", given, depth + 1)
        outputs = {}  # where what the subgraph gives comes from
        for link in _links(graph):
            is_end = link.target == SUBGRAPH_OUTPUTS and 0 <= link.target_slot < MOST_NODES
            if is_end and link.source != SUBGRAPH_INPUTS:
                outputs[link.target_slot] = Wire(f"{number}:{link.source}", link.slot, link.type)
        count = max(outputs, default=-1) + 1
        self._bypassed[number] = [("output", outputs.get(slot)) for slot in range(count)]

    def _through(self, wire: Wire) -> Wire:
        """Where a wire comes from, past nodes that are bypassed and out of subgraphs."""
        for _ in range(MOST_STEPS):
            if wire.source not in self._bypassed:
                return wire
            ways = self._bypassed[wire.source]
            if ways and ways[0][0] == "output":
                found = ways[wire.slot][1] if 0 <= wire.slot < len(ways) else None
            else:
                same = [way for kind, way in ways if kind == wire.type or not wire.type]
                found = same[min(max(wire.slot, 0), len(same) - 1)] if same else None
            if found is None:
                return wire
            wire = Wire(found.source, found.slot, found.type or wire.type)
        return wire


def _parts(holder: Mapping, name: str) -> list[Mapping]:
    parts = holder.get(name)
    return [p for p in parts if isinstance(p, Mapping)] if isinstance(parts, list) else []


@dataclass(frozen=True)
class _Link:
    """A link as the page keeps it; ids are numbers or texts."""

    id: object
    source: object
    slot: int
    target: object
    target_slot: int
    type: str


def _links(graph: Mapping) -> Iterator[_Link]:
    links = graph.get("links")
    for link in links if isinstance(links, list) else ():
        match link:
            case [
                int() | str() as number, int() | str() as source, int(slot),
                int() | str() as target, int(target_slot), carried, *_,
            ]:  # fmt: skip
                yield _Link(number, source, slot, target, target_slot, str(carried))
            case {
                "id": int() | str() as number,
                "origin_id": int() | str() as source, "origin_slot": int(slot),
                "target_id": int() | str() as target, "target_slot": int(target_slot),
            }:  # fmt: skip
                carried = str(link.get("type", ""))
                yield _Link(number, source, slot, target, target_slot, carried)


def _settings(node: Mapping) -> Iterator[tuple[str, object]]:
    """Names and values of a node's widgets, which the page keeps by order alone."""
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        yield from ((str(name), value) for name, value in values.items())
        return
    names = [str(part["widget"].get("name")) for part in _parts(node, "inputs")
             if isinstance(part.get("widget"), Mapping)]  # fmt: skip
    names = names or KNOWN_WIDGETS.get(str(node.get("type")), [])
    left = list(values) if isinstance(values, list) else []
    for name in names:
        if not left:
            return
        yield name, left.pop(0)
        if name in ("seed", "noise_seed") and left and left[0] in AFTER_SEED:
            left.pop(0)


KNOWN_WIDGETS = {  # of files that an older page wrote
    "UNETLoader": ["unet_name", "weight_dtype"], "VAELoader": ["vae_name"],
    "CLIPLoader": ["clip_name", "type", "device"], "UnetLoaderGGUF": ["unet_name"],
    "CLIPLoaderGGUF": ["clip_name", "type"], "CheckpointLoaderSimple": ["ckpt_name"],
    "LoraLoaderModelOnly": ["lora_name", "strength_model"], "CLIPVisionLoader": ["clip_name"],
    "LoraLoader": ["lora_name", "strength_model", "strength_clip"],
    "StoryMemLoadLoRA": ["lora_high", "lora_low", "strength", "scale"],
}  # fmt: skip


def _sources(node: Mapping) -> dict[str, str]:
    properties = node.get("properties")
    models = properties.get("models") if isinstance(properties, Mapping) else None
    found = [m for m in models if isinstance(m, Mapping)] if isinstance(models, list) else []
    return {str(m.get("name")): str(m["url"]) for m in found if isinstance(m.get("url"), str)}


def _pack(node: Mapping) -> str:
    properties = node.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    return str(properties.get("cnr_id") or properties.get("aux_id") or "")
