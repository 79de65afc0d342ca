"""Workflow files: build them from a short description, and turn them into what ``/prompt`` takes.

``Builder`` writes the front end's format; ``to_api`` reads it. Both need the host's node
descriptions (``/object_info``), so that order and kinds of widgets are the host's, not guesses.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20  # as nodes of a subgraph, where links begin and end
TITLE, ROW, TEXT_ROWS = 30, 26, 5
GALLERY = 216  # pictures of the memory that the page shows inside these nodes
SHOW_MEMORY = (
    "StoryMemMemoryBank", "StoryMemRemember", "StoryMemPreviewMemoryBank", "StoryMemChooseMemory",
)  # fmt: skip


def _inputs_of(description: dict) -> list[tuple[str, object, dict]]:
    """(name, type, options) of every declared input, in the order the front end shows them."""
    found = []
    for section in ("required", "optional"):
        for name, spec in description["input"].get(section, {}).items():
            found.append((name, spec[0], spec[1] if len(spec) > 1 else {}))
    return found


def _is_widget(kind: object, options: dict) -> bool:
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or kind in WIDGET_TYPES or kind == DYNAMIC_COMBO


def _expand_dynamic(name: str, options: dict, value: object) -> list[tuple[str, object, dict]]:
    """The inputs that a dynamic combo shows for its chosen option."""
    for option in options["options"]:
        if option["key"] == value:
            shown = {"input": option["inputs"]}
            return [(f"{name}.{n}", k, o) for n, k, o in _inputs_of(shown)]
    raise ValueError(f"{name} has no option {value!r}")


def widget_rows(description: dict, values: list) -> list[tuple[str, object]]:
    """(name, value) of each widget of a node, from the list that a workflow file holds."""
    rows: list[tuple[str, object]] = []
    remaining = list(values)
    queue = [i for i in _inputs_of(description) if _is_widget(i[1], i[2])]
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
            queue = _expand_dynamic(name, options, value) + queue
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


class Builder:
    """Builds a workflow file node by node."""

    def __init__(self, object_info: dict, name: str):
        self.info = object_info
        self.name = name
        self.nodes: list[dict] = []
        self.links: list[list] = []
        self.groups: list[dict] = []

    def add(
        self,
        kind: str,
        at: tuple[int, int],
        *,
        title: str | None = None,
        width: int = 340,
        models: list[dict] = (),
        mode: int = 0,
        rows: int | dict[str, int] = TEXT_ROWS,
        widgets: dict | None = None,
        **inputs,
    ) -> dict:
        """A node at (x, y). ``inputs`` are widget values, or ``(node, output name)`` links;
        ``widgets`` more values, for names that are taken here, such as width."""
        inputs |= widgets or {}
        description = self.info[kind]
        node = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": list(at),
            "size": [width, 0],
            "flags": {},
            "order": len(self.nodes),
            "mode": mode,
            "inputs": [],
            "outputs": [
                {"name": name, "type": output, "links": []}
                for name, output in zip(
                    description["output_name"], description["output"], strict=True
                )
            ],
            "properties": {"Node name for S&R": kind},
            "widgets_values": [],
        }
        if title:
            node["title"] = title
        if models:
            node["properties"]["models"] = list(models)
        height = TITLE
        queue, sockets, links = _inputs_of(description), 0, []
        while queue:
            name, input_kind, options = queue.pop(0)
            if options.get("hidden"):
                continue
            if input_kind == AUTOGROW:
                grown = [n for n in inputs if n.startswith(f"{name}.")]
                queue = [(n, "*", {}) for n in grown] + queue
                continue
            given = inputs.pop(name, None)
            linked = isinstance(given, tuple)
            widget = _is_widget(input_kind, options)
            shown_kind = "COMBO" if isinstance(input_kind, list) else input_kind
            socket = {"name": name, "type": shown_kind, "link": None}
            if widget:
                socket["widget"] = {"name": name}
                value = options.get("default")
                if given is not None and not linked:
                    value = given
                if value is None and isinstance(input_kind, list):
                    value = input_kind[0]
                elif value is None and input_kind == "COMBO":
                    value = options["options"][0]
                elif value is None and input_kind == DYNAMIC_COMBO:
                    value = options["options"][0]["key"]
                elif value is None:
                    value = ""
                node["widgets_values"].append(value)
                if options.get("control_after_generate"):
                    node["widgets_values"].append("fixed")
                    height += ROW
                if options.get("image_upload"):
                    node["widgets_values"].append("image")
                    height += 300
                is_text = options.get("multiline") and not linked
                shown_rows = rows.get(name, 3) if isinstance(rows, dict) else rows
                height += ROW * (shown_rows if is_text else 1)
                if input_kind == DYNAMIC_COMBO:
                    queue = _expand_dynamic(name, options, value) + queue
            else:
                sockets += 1
            if input_kind != DYNAMIC_COMBO:
                node["inputs"].append(socket)
            if linked:
                links.append((given, socket))
        # As pages draw them. That of ComfyUI 0.18 puts them so, and leaves links at their places.
        node["inputs"].sort(key=lambda one: "widget" in one)
        for given, socket in links:
            self._link(given, node, node["inputs"].index(socket))
        if inputs:
            raise ValueError(f"{kind} has no inputs {sorted(inputs)}")
        height += ROW * max(sockets, len(node["outputs"]))
        height += GALLERY if kind in SHOW_MEMORY else 0
        node["size"][1] = height + 20
        self.nodes.append(node)
        return node

    def column(self, x: int, y: int = 0, width: int = 340) -> Column:
        """A column of nodes, top to bottom."""
        return Column(self, x, y, width)

    def _link(self, source: tuple[dict, str], target: dict, slot: int) -> None:
        node, name = source
        names = [output["name"] for output in node["outputs"]]
        if name not in names:
            raise ValueError(f"{node['type']} has no output {name!r}, only {names}")
        out = names.index(name)
        kind = node["outputs"][out]["type"]
        link_id = len(self.links) + 1
        self.links.append([link_id, node["id"], out, target["id"], slot, kind])
        node["outputs"][out]["links"].append(link_id)
        target["inputs"][slot]["link"] = link_id

    def note(self, at: tuple[int, int], size: tuple[int, int], title: str, text: str) -> None:
        self.nodes.append(
            {
                "id": len(self.nodes) + 1,
                "type": "MarkdownNote",
                "pos": list(at),
                "size": list(size),
                "flags": {},
                "order": len(self.nodes),
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "title": title,
                "properties": {},
                "widgets_values": [text],
                "color": "#432",
                "bgcolor": "#653",
            }
        )

    def group(self, title: str, nodes: list[dict], color: str = "#3f789e") -> None:
        """A frame around nodes."""
        left = min(n["pos"][0] for n in nodes) - 20
        top = min(n["pos"][1] for n in nodes) - 80
        right = max(n["pos"][0] + n["size"][0] for n in nodes) + 20
        bottom = max(n["pos"][1] + n["size"][1] for n in nodes) + 20
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": color,
                "font_size": 24,
                "flags": {},
            }
        )

    def file(self) -> dict:
        return {
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [100, 160]}},
            "version": 0.4,
        }


class Column:
    """Stacks nodes so that none covers another."""

    GAP = 60

    def __init__(self, graph: Builder, x: int, y: int, width: int):
        self.graph, self.x, self.y, self.width = graph, x, y, width
        self.nodes: list[dict] = []

    def add(self, kind: str, *, skip: int = 0, **options) -> dict:
        """Like ``Builder.add``, below the node before; ``skip`` leaves more room above."""
        options.setdefault("width", self.width)
        node = self.graph.add(kind, (self.x, self.y + skip), **options)
        self.y = node["pos"][1] + node["size"][1] + self.GAP
        self.nodes.append(node)
        return node
