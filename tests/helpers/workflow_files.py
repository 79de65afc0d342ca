"""Workflow files built from a short description, in the front end's format.

Needs the host's node descriptions (``/object_info``), so that order and kinds of widgets are the
host's, not guesses.
"""

from __future__ import annotations

from storymem.files.workflow_file import (
    DYNAMIC_COMBO,
    expand_dynamic,
    inputs_of,
    is_widget,
)

AUTOGROW = "COMFY_AUTOGROW_V3"
TITLE, ROW, TEXT_ROWS = 30, 26, 5
GALLERY = 216  # pictures of the memory that the page shows inside these nodes
SHOW_MEMORY = (
    "StoryMemMemoryBank", "StoryMemRemember", "StoryMemPreviewMemoryBank", "StoryMemChooseMemory",
)  # fmt: skip


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
        queue, sockets, links = inputs_of(description), 0, []
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
            widget = is_widget(input_kind, options)
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
                    queue = expand_dynamic(name, options, value) + queue
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
