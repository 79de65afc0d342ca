"""Loops found in a prompt: the nodes between Open and Close, or Next Shot and Finish Shot."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_execution.graph_utils import is_link

import nodes

from .graph import BODY_INPUTS, CLOSE, FLOW_SLOT, NEXT_SHOT, OPEN, LoopGraph
from .host_loops import BODY, START, OneTurn
from .wires import links_of, name_of, upstream


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
