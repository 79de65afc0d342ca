"""Tells the page what an artist should know of single nodes, before the first shot."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..host import executor as host_cache
from ..host.folders import short_places
from ..host.server import find_server
from ..page.node_notice import EVENT
from .wires import Notice, Wires

logger = logging.getLogger(__name__)


class RefusedError(ValueError):
    """A loop that cannot give what it is asked for, because of one of its nodes.

    Args:
        node_id: the node at fault.
        text: what is wrong, and what to do.
    """

    def __init__(self, node_id: str, text: str):
        super().__init__(text)
        self.node_id = node_id


def tell(wires: Wires, close_id: str, notices: Sequence[Notice], workflow: str) -> None:
    """Log each notice, and show it on its node; what was shown for this loop before goes.

    Args:
        close_id: the node that stands for the loop.
        workflow: id of the workflow that was queued; empty when it is not known.
    """
    names = {wires.dynprompt.get_display_node_id(n): wires.name(n) for n in _all(wires, close_id)}
    for notice in notices:
        logger.warning(
            "StoryMem: %s: %s",
            names.get(notice.node_id, f"node {notice.node_id}"),
            short_places(notice.text),
        )
    server = find_server()
    asking = host_cache.asking_page(server)
    if asking is None:
        return
    texts: dict[str, list[str]] = {}
    for notice in notices:
        texts.setdefault(notice.node_id, []).append(short_places(notice.text))
    facts = {
        "prompt_id": host_cache.running_prompt_id(),
        "loop": wires.dynprompt.get_display_node_id(close_id),
        "workflow": workflow,
        "notices": {node_id: "\n".join(lines) for node_id, lines in texts.items()},
    }
    server.send_sync(EVENT, facts, asking)


def _all(wires: Wires, close_id: str) -> list[str]:
    return [*wires.used, *wires.lora_nodes, wires.open_id, close_id]
