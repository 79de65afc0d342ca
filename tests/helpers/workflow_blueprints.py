"""Subgraph blueprints: a whole graph in one node, in the form that the host serves to its page."""

from __future__ import annotations

import uuid

from helpers.workflow_files import ROW, TITLE, Builder
from storymem.files.workflow_file import SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS, widget_rows

OPTIONAL_SHAPE = 7  # how the front end draws an input that may stay empty
TEXT_HEIGHT = 160


class Blueprint(Builder):
    """Builds the inside of a subgraph node by node, then says what shows on its outside."""

    def __init__(self, info: dict, name: str, *, description: str, aliases: list[str]):
        super().__init__(info, name)
        self.description = description
        self.aliases = aliases
        self.entry = {"id": SUBGRAPH_INPUTS, "type": "inputs", "outputs": []}
        self.exit = {"id": SUBGRAPH_OUTPUTS, "type": "outputs", "inputs": []}
        self.outside: list[dict] = []  # the inputs of the one node
        self.values: list = []  # of its widgets, in their order
        self.texts = 0  # widgets of several lines
        self.lent: list[list[str]] = []
        self.displays = 0  # height of what web/js/outside shows on it

    def show(self, node: dict, socket: str, name: str | None = None) -> None:
        """Make an input or a widget of a node inside one of the outside."""
        self.show_all(name or socket, (node, socket))

    def show_all(self, name: str, *sockets: tuple[dict, str]) -> None:
        """One input outside for several ``(node, input)`` inside; the first says what it is."""
        node, socket = sockets[0]
        kind = next(s["type"] for s in node["inputs"] if s["name"] == socket)
        self.entry["outputs"].append({"name": name, "type": kind, "links": []})
        outer = {"name": name, "type": kind, "link": None}
        values = dict(widget_rows(self.info[node["type"]], node["widgets_values"]))
        if socket in values:
            outer["widget"] = {"name": name}
            self.values.append(values[socket])
            self.texts += bool(self._options(node, socket).get("multiline"))
        elif all(s in self.info[n["type"]]["input"].get("optional", {}) for n, s in sockets):
            outer["shape"] = self.entry["outputs"][-1]["shape"] = OPTIONAL_SHAPE
        self.outside.append(outer)
        for node, socket in sockets:
            slot = [s["name"] for s in node["inputs"]].index(socket)
            self._link((self.entry, name), node, slot)

    def lend(self, node: dict, *widgets: str) -> None:
        """Show widgets of a node inside below those of ``show``, without inputs of their own.

        For combos of a node that has a seed: the front end of ComfyUI 0.18 gives those another
        widget's value when they are inputs of a blueprint that is put onto the canvas.
        """
        self.lent += [[str(node["id"]), widget] for widget in widgets]

    def _options(self, node: dict, name: str) -> dict:
        sections = self.info[node["type"]]["input"].values()
        spec = next(section[name] for section in sections if name in section)
        return spec[1] if len(spec) > 1 else {}

    def give(self, node: dict, output: str, name: str | None = None) -> None:
        """Make an output of a node inside one of the outside."""
        kind = next(o["type"] for o in node["outputs"] if o["name"] == output)
        self.exit["inputs"].append({"name": name or output, "type": kind, "link": None})
        self._link((node, output), self.exit, len(self.exit["inputs"]) - 1)

    def file(self) -> dict:
        kind = str(uuid.uuid5(uuid.NAMESPACE_URL, f"storymem/blueprint/{self.name}"))
        outputs = [{"name": i["name"], "type": i["type"], "links": []} for i in self.exit["inputs"]]
        names = [i["name"] for i in self.outside if "widget" in i]
        rows = max(len(self.outside) - len(names), len(outputs)) + len(names) + len(self.lent)
        height = TITLE + ROW * rows + TEXT_HEIGHT * self.texts + self.displays
        node = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": [0, 0],
            "size": [440, height],
            "flags": {},
            "order": 0,
            "mode": 0,
            "title": self.name,
            "inputs": self.outside,
            "outputs": outputs,
            "properties": {
                "proxyWidgets": [*(["-1", name] for name in names), *self.lent],
                **({"storymem_outside": True} if self.displays else {}),
            },
            "widgets_values": self.values + [None] * len(self.lent),
        }
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"storymem/{self.name}")),
            "revision": 0,
            "last_node_id": node["id"],
            "last_link_id": len(self.links),
            "nodes": [node],
            "links": [],
            "groups": [],
            "definitions": {"subgraphs": [self._definition(kind)]},
            "config": {},
            "extra": {
                "BlueprintDescription": self.description,
                "BlueprintSearchAliases": self.aliases,
            },
            "version": 0.4,
        }

    def _definition(self, kind: str) -> dict:
        left = min(n["pos"][0] for n in self.nodes) - 260
        right = max(n["pos"][0] + n["size"][0] for n in self.nodes) + 120
        fields = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return {
            "id": kind,
            "version": 1,
            "state": {
                "lastGroupId": len(self.groups),
                "lastNodeId": len(self.nodes),
                "lastLinkId": len(self.links),
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "category": "StoryMem",
            "description": self.description,
            "inputNode": {"id": SUBGRAPH_INPUTS, **_box(left, self.entry["outputs"])},
            "outputNode": {"id": SUBGRAPH_OUTPUTS, **_box(right, self.exit["inputs"])},
            "inputs": [self._slot("input", s, s["links"]) for s in self.entry["outputs"]],
            "outputs": [self._slot("output", s, [s["link"]]) for s in self.exit["inputs"]],
            "widgets": [],
            "nodes": self.nodes,
            "groups": self.groups,
            "links": [dict(zip(fields, link, strict=True)) for link in self.links],
            "extra": {},
        }

    def _slot(self, side: str, slot: dict, links: list[int]) -> dict:
        number = uuid.uuid5(uuid.NAMESPACE_URL, f"storymem/{self.name}/{side}/{slot['name']}")
        known = {k: v for k, v in slot.items() if k in ("name", "type", "shape")}
        return {"id": str(number), **known, "linkIds": links}


def _box(x: int, slots: list) -> dict:
    return {"bounding": [x, 0, 140, 40 + 20 * len(slots)]}
