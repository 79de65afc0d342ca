"""A note on one node, for what is known only when it runs, outside of a loop."""

from __future__ import annotations

from ..host import executor as host_cache
from ..host.folders import short_places
from ..host.server import find_server

EVENT = "storymem.notices"  # of a loop, which a node outside of them is for itself
TOLD_BY_LOOPS = ("StoryMemShotLoopClose", "StoryMemFinishShot")


def tell_node(hidden, text: str) -> None:
    """Show ``text`` on the node that runs, until it is told something else; empty: nothing.

    In a story its loop tells, before the first shot.

    Args:
        hidden: the node's hidden values: its id, the prompt and the workflow.
    """
    server = find_server()
    asking = host_cache.asking_page(server)
    prompt = getattr(hidden, "dynprompt", None)
    if asking is None or prompt is None:
        return
    kinds = {prompt.get_node(node_id)["class_type"] for node_id in prompt.all_node_ids()}
    if kinds.intersection(TOLD_BY_LOOPS):
        return
    node_id = prompt.get_display_node_id(hidden.unique_id)
    given = hidden.extra_pnginfo if isinstance(hidden.extra_pnginfo, dict) else {}
    graph = given.get("workflow") if isinstance(given.get("workflow"), dict) else {}
    facts = {
        "prompt_id": host_cache.running_prompt_id(),
        "loop": node_id,
        "workflow": str(graph.get("id") or ""),
        "notices": {node_id: short_places(text)} if text else {},
    }
    server.send_sync(EVENT, facts, asking)
