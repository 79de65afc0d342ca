"""What an artist calls the nodes of a loop, and which seeds of theirs change by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import nodes

from ...storymem.files.json_text import parse_json
from ...storymem.files.messages import short
from ...storymem.loop.changed_inputs import BodyNames
from .graph import LoopGraph

MOVING = ("randomize", "increment", "decrement")


def body_names(graph: LoopGraph, metadata: Mapping[str, str]) -> BodyNames:
    """Names in the order of ``graph.described``.

    Args:
        metadata: of the run; its workflow knows what becomes of a seed after each run.
    """
    kinds = nodes.NODE_DISPLAY_NAME_MAPPINGS
    titles = []
    for node_id in graph.described:
        node = graph.node(node_id)
        title = node.get("_meta", {}).get("title") or kinds.get(node["class_type"])
        titles.append(short(str(title or node["class_type"])))
    count = Counter(titles)
    shown_ids = [graph.dynprompt.get_display_node_id(n) for n in graph.described]
    named = [
        f"'{title}' (node {node_id})" if count[title] > 1 else f"'{title}'"
        for title, node_id in zip(titles, shown_ids, strict=True)
    ]
    workflow = _workflow(metadata)
    controls = {i: word for i, n in enumerate(shown_ids) if (word := _control(workflow, n))}
    return BodyNames(named, kinds, controls)


def _workflow(metadata: Mapping[str, str]) -> Mapping:
    """The workflow that the prompt was made of; empty when the host embeds none."""
    try:
        found = parse_json(metadata.get("workflow", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _control(workflow: Mapping, node_id: str) -> str:
    """The control after generate of a node; empty for none and for fixed."""
    try:
        subgraphs = {part["id"]: part for part in workflow.get("definitions", {})["subgraphs"]}
    except (KeyError, TypeError):
        subgraphs = {}
    level, node = workflow, {}
    for part in node_id.split(":"):  # a node inside a subgraph has the path to it
        try:
            node = next(n for n in level["nodes"] if str(n["id"]) == part)
        except (KeyError, TypeError, StopIteration):
            return ""
        level = subgraphs.get(node.get("type"), {})
    values = node.get("widgets_values") or ()
    values = values.values() if isinstance(values, dict) else values
    return next((v for v in values if isinstance(v, str) and v in MOVING), "")
