"""Workflow files as ComfyUI takes them: the front end's format into what ``/prompt`` wants.

Only the standard library, and no import of the pack's own: try_it.py runs this before anything is
installed. It needs the host's node descriptions (``/object_info``), so that order and kinds of
widgets are the host's, not guesses.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20  # as nodes of a subgraph, where links begin and end


def inputs_of(description: dict) -> list[tuple[str, object, dict]]:
    """(name, type, options) of every declared input, in the order the front end shows them."""
    found = []
    for section in ("required", "optional"):
        for name, spec in description["input"].get(section, {}).items():
            found.append((name, spec[0], spec[1] if len(spec) > 1 else {}))
    return found


def is_widget(kind: object, options: dict) -> bool:
    """Whether the front end shows an input as a widget."""
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or kind in WIDGET_TYPES or kind == DYNAMIC_COMBO


def expand_dynamic(name: str, options: dict, value: object) -> list[tuple[str, object, dict]]:
    """The inputs that a dynamic combo shows for its chosen option."""
    for option in options["options"]:
        if option["key"] == value:
            shown = {"input": option["inputs"]}
            return [(f"{name}.{n}", k, o) for n, k, o in inputs_of(shown)]
    raise ValueError(f"{name} has no option {value!r}")


def widget_rows(description: dict, values: list) -> list[tuple[str, object]]:
    """(name, value) of each widget of a node, from the list that a workflow file holds."""
    rows: list[tuple[str, object]] = []
    remaining = list(values)
    queue = [i for i in inputs_of(description) if is_widget(i[1], i[2])]
    while queue:
        name, kind, options = queue.pop(0)
        if options.get("hidden"):
            if kind == DYNAMIC_COMBO:  # kept for old prompts; the page sends its first option
                rows.append((name, options["options"][0]["key"]))
            continue
        # A widget that the node got after the file was written has its default, as on the page.
        value = remaining.pop(0) if remaining else options["default"]
        rows.append((name, value))
        if options.get("control_after_generate") or options.get("image_upload"):
            remaining and remaining.pop(0)
        if kind == DYNAMIC_COMBO:
            queue = expand_dynamic(name, options, value) + queue
    return rows  # values that are left belong to widgets that an older host lacks


def to_api(workflow: dict, object_info: dict) -> dict:
    """The API prompt of a workflow file, as the front end queues it.

    Muted nodes and their links stay out, bypassed ones hand their input on, and the nodes of a
    subgraph get ids such as ``5:3``: node 3 inside node 5.
    """
    definitions = {s["id"]: s for s in workflow.get("definitions", {}).get("subgraphs", ())}
    prompt = {}
    for scope, node in _Scope(workflow, definitions, object_info).every_node():
        inputs = dict(widget_rows(object_info[node["type"]], node.get("widgets_values") or []))
        for socket in node.get("inputs", []):
            if socket.get("link") is None:
                continue
            source = scope.source(socket["link"])
            if isinstance(source, _Value):
                inputs[socket["name"]] = source.value
            else:
                inputs.pop(socket["name"], None)
                if source is not None:
                    inputs[socket["name"]] = list(source)
        prompt[f"{scope.prefix}{node['id']}"] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node.get("title", node["type"])},
        }
    return prompt


@dataclass(frozen=True)
class _Value:
    """A widget's value from the outside of a subgraph."""

    value: object


class _Scope:
    """The nodes and links of one level: the workflow itself, or a subgraph inside a node of it."""

    def __init__(self, content: dict, definitions: dict, object_info: dict, outside=None):
        self.content = content
        self.definitions = definitions
        self.info = object_info
        self.outside = outside  # (scope, node) that this level is the inside of
        self.prefix = f"{outside[0].prefix}{outside[1]['id']}:" if outside else ""
        self.nodes = {node["id"]: node for node in content["nodes"]}
        self.links = {}
        for link in content["links"]:
            number, origin, slot = (
                (link["id"], link["origin_id"], link["origin_slot"])
                if isinstance(link, dict)
                else link[:3]
            )
            self.links[number] = (origin, slot)

    def inside(self, node: dict) -> _Scope:
        return _Scope(self.definitions[node["type"]], self.definitions, self.info, (self, node))

    def every_node(self):
        """(scope, node) of each node that runs, of this level and below."""
        for node in self.content["nodes"]:
            if node.get("mode", 0) in (MUTED, BYPASSED):
                continue
            if node["type"] in self.definitions:
                yield from self.inside(node).every_node()
            elif node["type"] in self.info:
                yield self, node

    def source(self, link: int) -> tuple[str, int] | _Value | None:
        """What a link brings: an output of a node that runs, a value, or nothing."""
        origin, slot = self.links[link]
        if origin == SUBGRAPH_INPUTS:
            scope, node = self.outside
            return scope.given(node, slot)
        node = self.nodes[origin]
        mode = node.get("mode", 0)
        if mode == BYPASSED:
            return self._passed_through(node, slot)
        if mode == MUTED:
            return None
        if node["type"] in self.definitions:
            inside = self.inside(node)
            return inside.source(inside.content["outputs"][slot]["linkIds"][0])
        return (f"{self.prefix}{origin}", slot) if node["type"] in self.info else None

    def given(self, node: dict, slot: int) -> tuple[str, int] | _Value | None:
        """What a subgraph's node gets at an input."""
        socket = node["inputs"][slot]
        if socket.get("link") is not None:
            return self.source(socket["link"])
        if "widget" in socket:
            names = [i["widget"]["name"] for i in node["inputs"] if "widget" in i]
            return _Value(node["widgets_values"][names.index(socket["widget"]["name"])])
        return None

    def _passed_through(self, node: dict, slot: int) -> tuple[str, int] | _Value | None:
        kind = node["outputs"][slot]["type"]
        same = [i for i in node["inputs"] if i["type"] == kind and i.get("link") is not None]
        return self.source(same[0]["link"]) if same else None
