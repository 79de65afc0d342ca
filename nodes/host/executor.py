"""Everything that this pack knows of the host beyond what it offers to packs, behind one door.

ComfyUI offers ``comfy_api``, hidden inputs, ``GraphBuilder``, ``folder_paths``,
``NODE_CLASS_MAPPINGS``, ``PromptServer`` with its routes and ``send_sync``, and for models its
patchers. What stands here is its own business and may change with any version of it: its executor
and caches, its error messages and the node they name, the table of nodes in progress, the cache of
fingerprints, what goes into its history, the running prompt's id, the page that asked, the folders
that its web server lists, and the list of loaded models. Each use looks first whether the host is
as expected. If not, it says once what that costs and goes on without: no film changes by it.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial

import nodes

from .changes import ask_node

logger = logging.getLogger(__name__)
_LATEST: list[weakref.ref] = []  # the executor that was seen last
UNEXPECTED = (AttributeError, KeyError, TypeError, ValueError, AssertionError, ImportError)


@cache
def _warn_once(what: str, cost: str) -> None:
    logger.warning(
        "StoryMem: this ComfyUI does not have %s in the expected place; %s. Films are not "
        "affected. A newer version of the pack may support this ComfyUI.",
        what,
        cost,
    )


# --- the executor: what it keeps of finished shots, and what it says of an error ---------------


def find_executor():
    """The host's executor that runs the current node, looked up among its callers, or ``None``."""
    found = note_executor()
    if found is None:
        _warn_once(
            "its executor",
            "the frames of finished shots stay in memory until the story ends (390 MB for each "
            "shot of 81 frames of 832 x 480), and its error messages do not say which shot failed",
        )
    return found


def note_executor():
    """``find_executor`` where nothing is lost without it; ``kept_outputs`` asks the latest one."""
    frame = sys._getframe(1)
    while frame is not None:
        candidate = frame.f_locals.get("self") if frame.f_code.co_name == "execute" else None
        if hasattr(candidate, "caches") and hasattr(candidate, "status_messages"):
            _LATEST[:] = [weakref.ref(candidate)]
            return candidate
        frame = frame.f_back
    return None


def forget(executor, node_ids: list[str]) -> int:
    """Drop the cached outputs and the progress entries of expanded nodes; how many were dropped.

    The host keeps them until the prompt ends (and longer). A finished shot is on disk.
    """
    _forget_progress(node_ids)
    if executor is None:
        return 0
    dropped = 0
    try:
        outputs = executor.caches.outputs
        if type(outputs).__name__ == "NullCache":  # --cache-none
            return 0
        find = getattr(outputs, "_get_cache_for", None)
        for node_id in node_ids:
            kept = find(node_id) if find else outputs
            key = kept.cache_key_set.get_data_key(node_id)
            dropped += kept.cache.pop(key, None) is not None
            for table in ("used_generation", "timestamps", "children"):
                getattr(kept, table, {}).pop(key, None)
    except UNEXPECTED:
        _warn_once(
            "its cache of results",
            "the frames of finished shots stay in memory until the story ends (390 MB for each "
            "shot of 81 frames of 832 x 480)",
        )
    return dropped


def _forget_progress(node_ids: list[str]) -> None:
    try:
        from comfy_execution.progress import get_progress_state

        table = get_progress_state().nodes
        for node_id in node_ids:
            table.pop(node_id, None)
    except UNEXPECTED:
        _warn_once(
            "its table of nodes in progress",
            "it tells the page of every node of a long story again at each step of the sampler",
        )


@dataclass(frozen=True)
class Stop:
    """What stopped a prompt, as the host tells it."""

    node_id: str
    node_type: str
    message: str  # empty: somebody cancelled it
    _data: dict

    def retell(self, message: str) -> None:
        """Change what the host shows of the error."""
        self._data["exception_message"] = message


def what_stopped(executor) -> Stop | None:
    """What stopped the prompt; ``None`` when the host does not say."""
    if executor is None:  # said when it was looked for
        return None
    try:
        for event, data in reversed(executor.status_messages):
            if event in ("execution_error", "execution_interrupted"):
                message = data["exception_message"].strip() if event == "execution_error" else ""
                return Stop(data["node_id"], data["node_type"], message, data)
            if not isinstance(data, dict):
                raise TypeError
    except UNEXPECTED:
        _warn_once(
            "its error messages",
            "they do not say which shot failed; the log, the loop's nodes and story.json do",
        )
        return None
    return Stop("", "", "", {})  # the host was ended


def blame_shown_nodes(dynprompt, prefix: str) -> None:
    """Have the host tell an error of an expanded node as one of the node that the artist sees.

    It tells them of the node that expanded, which would be the loop's end for everything.

    Args:
        prefix: how the ids of the expanded nodes begin.
    """
    try:
        by_host = dynprompt.get_real_node_id
        shown = dynprompt.original_prompt

        def shown_node(node_id: str) -> str:
            display = dynprompt.get_display_node_id(node_id)
            is_ours = node_id.startswith(prefix) and display in shown
            return display if is_ours else by_host(node_id)

        dynprompt.get_real_node_id = shown_node
    except UNEXPECTED:
        _warn_once(
            "the node that an error is told of",
            "errors inside of a loop are shown on Shot Loop Close",
        )


def history_of(executor) -> object:
    """What the host would put into its history now; another value than before at a prompt's end."""
    return getattr(executor, "history_result", None)


async def tell_in_history(executor, shown: str, made_by: str, given: dict) -> None:
    """At a prompt's end, have the history tell of the node ``shown`` what another one gave; the
    same once more for a later prompt that finds ``shown`` in the host's cache.

    Args:
        made_by: a node that ``shown`` expanded to; what it gave is told of ``shown`` only.
        given: what else is to be told of ``shown``.
    """
    try:
        result = executor.history_result
        outputs, meta = result["outputs"], result["meta"]
        output = {**outputs.get(shown, {}), **outputs.get(made_by, {}), **given}
        if not output:
            return
        known = {"display_node": shown, "parent_node": None, "real_node_id": shown}
        facts = {**known, **meta.get(shown, {}), "node_id": shown}
        outputs.pop(made_by, None)
        meta.pop(made_by, None)
        outputs[shown], meta[shown] = output, facts
        cached = await executor.caches.outputs.get(shown)
        if cached is not None and cached.ui is None:
            told = {"meta": facts, "output": output}
            await executor.caches.outputs.set(shown, cached._replace(ui=told))
    except UNEXPECTED:
        _warn_once(
            "what goes into its history",
            "/history may list a loop's film under the id of a node that the loop added",
        )


def running_prompt_id() -> str:
    """The id of the prompt whose node runs now; empty when the host does not say."""
    try:
        from comfy_execution.utils import get_executing_context

        return get_executing_context().prompt_id
    except UNEXPECTED:
        _warn_once(
            "the running prompt's id",
            "after a reload of the page, the line on the loop's nodes may say for a moment that a "
            "story runs which has just ended",
        )
        return ""


@contextmanager
def shown_as_loading() -> Iterator[None]:
    """Meanwhile the page shows the running node as loading. Most hosts cannot: nothing is told."""
    tell = None
    with suppress(*UNEXPECTED):
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        tell = partial(get_progress_state().set_activity, get_executing_context().node_id)
    with suppress(*UNEXPECTED):
        tell("loading")
    try:
        yield
    finally:  # the host itself leaves it on the node
        with suppress(*UNEXPECTED):
            tell(None)


# --- what nodes say of their own changes ------------------------------------------------------


def fingerprints(dynprompt) -> Callable[[str], Awaitable]:
    """What a node, by id, says of its own changes: asked as the host asks for its cache.

    The answer is ``False`` from a node that says nothing, NaN from one that changes every time (or
    fails when asked), else a list of what ``IS_CHANGED`` or ``fingerprint_inputs`` gave.
    """
    try:
        from execution import IsChangedCache

        of_host = IsChangedCache("storymem", dynprompt, None)
    except UNEXPECTED:
        of_host = None

    async def fingerprint(node_id: str):
        try:
            return await of_host.get(node_id)
        except UNEXPECTED:
            _warn_once(
                "its cache of fingerprints",
                "nodes of the loop are asked directly whether they changed, and the shots of one "
                "that cannot be asked so are regenerated in every run",
            )
            return await ask_node(dynprompt.get_node(node_id))

    return fingerprint


def node_as_queued(dynprompt, node_id: str) -> dict:
    """A node with the inputs that it was queued with: once the host's own loop has made its turns,
    End Loop is given as if nothing were connected to it."""
    node = dynprompt.get_node(node_id)
    if node_id not in getattr(dynprompt, "node_overrides", ()):
        return node
    try:
        return dynprompt.ephemeral_prompt.get(node_id) or dynprompt.original_prompt[node_id]
    except UNEXPECTED:
        _warn_once(
            "the nodes of its prompt",
            "shots that use the result of a Start Loop may be made again in every run",
        )
        return node


# --- a prompt that is not queued yet ----------------------------------------------------------


async def read_prompt(prompt: dict, output: str):
    """A prompt as a run of one output node would have it, and what the host says against it.

    Args:
        prompt: in API form, the caller's own: widgets of it are put into the types that the host
            puts them into.

    Returns:
        What the host's nodes are given as ``dynprompt``; and errors by node id.

    Raises:
        ValueError: when the host does not take the prompt at all.
    """
    from comfy_execution.graph import DynamicPrompt
    from execution import validate_prompt

    is_good, error, good, of_nodes = await validate_prompt("storymem", prompt, [output])
    told = {
        str(node_id): [str(e.get("details") or e["message"]) for e in found["errors"]]
        for node_id, found in of_nodes.items()
    }
    if not told and (not is_good or output not in good):
        raise ValueError(str((error or {}).get("message") or "ComfyUI does not take the workflow"))
    return DynamicPrompt(prompt), told


async def kept_outputs(dynprompt, node_id: str) -> list | None:
    """What the host still holds of a node for these very inputs, a list of values for each output;
    ``None`` for nothing. Its caches are left as they are."""
    executor = _LATEST[0]() if _LATEST else None
    if executor is None:
        return None
    try:
        from execution import IsChangedCache

        cache = executor.caches.outputs
        keys = cache.key_class(dynprompt, [node_id], IsChangedCache("storymem", dynprompt, None))
        await keys.add_keys([node_id])
        entry = cache.cache.get(keys.get_data_key(node_id))
        return None if entry is None else entry.outputs
    except UNEXPECTED:
        return None


# --- the server and the page ------------------------------------------------------------------


def asking_page(server) -> str | None:
    """The id of the page that queued the running prompt; ``None`` when no page did."""
    if server is None:
        return None
    try:
        return server.client_id
    except AttributeError:
        _warn_once(
            "the page that queued a prompt",
            "the page does not show how far a story is until it ends",
        )
        return None


def rename_web_folder(old: str, new: str) -> bool:
    """Have the host list the page's files of a pack under another name; whether it does."""
    folders = getattr(nodes, "EXTENSION_WEB_DIRS", None)
    if not isinstance(folders, dict):
        _warn_once("its list of web folders", "the page may not show this pack's buttons")
        return False
    if old not in folders:
        return False
    folders[new] = folders.pop(old)
    return True


def is_busy(server) -> bool:
    """Whether the host makes something, or has it in its queue; ``server`` is its own."""
    try:
        return server.prompt_queue.get_tasks_remaining() > 0
    except UNEXPECTED:
        _warn_once("its queue", "takes can be removed while a run needs them")
        return False


# --- models -----------------------------------------------------------------------------------


def loaded_models_beside(patcher) -> list:
    """The host's entries of all loaded models but this one, as ``free_memory`` takes them."""
    try:
        from comfy.model_management import current_loaded_models

        return [entry for entry in current_loaded_models if entry.model is not patcher]
    except UNEXPECTED:
        _warn_once(
            "its list of loaded models",
            "all models are taken off the card after keyframes were chosen, and loaded again when "
            "they are used",
        )
        return []
