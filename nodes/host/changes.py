"""What a node says of its own changes, asked without the host's caches."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

import nodes

logger = logging.getLogger(__name__)


async def ask_node(node: dict):
    """What a node of a prompt says of its own changes, in the form that ``fingerprints`` gives."""
    kind = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
    ask = _question_of(kind)
    if ask is None:
        return False
    known = {name for group in kind.INPUT_TYPES().values() for name in group}
    given = {name: None if is_link(value) else value for name, value in node["inputs"].items()}
    given = {name: value for name, value in given.items() if name in known}
    if getattr(kind, "INPUT_IS_LIST", False):
        given = {name: [value] for name, value in given.items()}
    try:
        answer = ask(**given)
        return [await answer if inspect.isawaitable(answer) else answer]
    except Exception as error:  # anything: it is a stranger's code
        logger.warning("StoryMem: could not tell whether %s has changed: %s", kind.__name__, error)
        return float("nan")


def _question_of(kind) -> Callable | None:
    if issubclass(kind, io.ComfyNode):
        ask = kind.fingerprint_inputs
        return None if ask.__func__ is io.ComfyNode.fingerprint_inputs.__func__ else ask
    return getattr(kind, "IS_CHANGED", None)
