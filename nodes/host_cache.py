"""What the host keeps of a finished shot, and how to make it let go.

The host keeps the outputs of every expanded node until the prompt ends (and longer), which is
390 MB for each shot's decoded frames of 81 x 832 x 480. A finished shot is on disk, so its entries
can go.
There is no call for that. The executor is looked up among the callers of the running node, only
what is found in the form known here is touched, and in an unknown host nothing happens.
"""

from __future__ import annotations

import logging
import sys

from comfy_execution.progress import NodeState, get_progress_state

logger = logging.getLogger(__name__)


def find_executor():
    """The host's executor that runs the current node, or ``None``."""
    frame = sys._getframe(1)
    while frame is not None:
        candidate = frame.f_locals.get("self") if frame.f_code.co_name == "execute" else None
        if hasattr(candidate, "caches") and hasattr(candidate, "status_messages"):
            return candidate
        frame = frame.f_back
    return None


def forget(executor, node_ids: list[str]) -> int:
    """Drop the cached outputs and the progress entries of expanded nodes; how many were dropped."""
    progress = get_progress_state().nodes
    for node_id in node_ids:
        progress.pop(node_id, None)
    outputs = getattr(getattr(executor, "caches", None), "outputs", None)
    dropped = 0
    for node_id in node_ids:
        try:
            find = getattr(outputs, "_get_cache_for", None)
            cache = find(node_id) if find else outputs
            key = cache.cache_key_set.get_data_key(node_id)
            dropped += cache.cache.pop(key, None) is not None
            for table in ("used_generation", "timestamps", "children"):
                getattr(cache, table, {}).pop(key, None)
        except (AttributeError, TypeError, AssertionError):
            return dropped  # --cache-none, or a host that keeps its cache in another form
    return dropped


def is_finished(node_id: str | None) -> bool:
    """Whether the host is done with a node of the running prompt, also when it passed it over."""
    return get_progress_state().nodes.get(node_id, {}).get("state") is NodeState.Finished


def last_error(executor) -> dict | None:
    """The host's message about what stopped the prompt; changing it changes what is shown."""
    for event, data in reversed(getattr(executor, "status_messages", None) or []):
        if event in ("execution_error", "execution_interrupted"):
            return data if isinstance(data, dict) else None
    return None
