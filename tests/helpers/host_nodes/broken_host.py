"""Makes the running host one whose private parts are not what this pack knows."""

from __future__ import annotations

import asyncio

import comfy_execution.graph
import comfy_execution.progress
import comfy_execution.utils
import execution
from comfy_api.latest import io


class Sealed:
    """What it is made around, without some of its names."""

    def __init__(self, inner, *hidden: str):
        self._inner, self._hidden = inner, hidden

    def __getattr__(self, name):
        if name in self._hidden:
            raise AttributeError(f"this host has no {name}")
        return getattr(self._inner, name)


def without_executor():
    """The executor is not found among the callers of a node: its method has another name."""

    def run(self, prompt, prompt_id, extra_data, execute_outputs):
        asyncio.run(self.execute_async(prompt, prompt_id, extra_data, execute_outputs))

    return execution.PromptExecutor, "execute", run


def without_cache():
    """Results are kept in another form."""
    build = execution.CacheSet.__init__

    def sealed(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.outputs = Sealed(self.outputs, "cache", "cache_key_set", "_get_cache_for")
        self.all = [self.outputs, self.objects]

    return execution.CacheSet, "__init__", sealed


def without_messages():
    """Messages are objects, not pairs."""
    keep = execution.PromptExecutor.add_message

    def add(self, event, data, broadcast):
        keep(self, event, data, broadcast)
        self.status_messages[-1] = {"event": event, "data": self.status_messages[-1][1]}

    return execution.PromptExecutor, "add_message", add


def without_progress():
    """Nothing can be taken out of the table of nodes in progress."""

    class Table(dict):
        pop = None

    begin = comfy_execution.progress.ProgressRegistry.__init__

    def with_table(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.nodes = Table()

    return comfy_execution.progress.ProgressRegistry, "__init__", with_table


def without_prompt_id():
    return comfy_execution.utils, "get_executing_context", lambda: None


def without_fingerprints():
    """The host's own cache of fingerprints cannot be made without its cache of results."""

    class Strict(execution.IsChangedCache):
        def __init__(self, prompt_id, dynprompt, outputs_cache):
            if outputs_cache is None:
                raise TypeError("outputs_cache must be a cache")
            super().__init__(prompt_id, dynprompt, outputs_cache)

    return execution, "IsChangedCache", Strict


def without_blame():
    """The host's prompt lets nobody say which node an expanded one is told as."""

    def guard(self, name, value):
        if name == "get_real_node_id":
            raise AttributeError(name)
        object.__setattr__(self, name, value)

    return comfy_execution.graph.DynamicPrompt, "__setattr__", guard


def without_history():
    """Nothing can be taken out of what goes into the history."""
    keep = execution.PromptExecutor.__setattr__

    class Table(dict):
        pop = None

    def set_one(self, name, value):
        if name == "history_result" and "outputs" in value:
            value = {**value, "outputs": Table(value["outputs"])}
        keep(self, name, value)

    return execution.PromptExecutor, "__setattr__", set_one


DOORS = {
    "executor": without_executor,
    "cache": without_cache,
    "messages": without_messages,
    "progress": without_progress,
    "prompt_id": without_prompt_id,
    "fingerprints": without_fingerprints,
    "blame": without_blame,
    "history": without_history,
}
_whole: list[tuple[object, str, object]] = []


def break_doors(names: list[str]) -> None:
    """Break these doors and mend all others."""
    while _whole:
        place, name, value = _whole.pop()
        setattr(place, name, value)
    for door in names:
        place, name, value = DOORS[door]()
        _whole.append((place, name, getattr(place, name)))
        setattr(place, name, value)


class BreakHost(io.ComfyNode):
    """Breaks the named doors from the next prompt on; none mends all."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestBreakHost",
            category="StoryMem/test",
            inputs=[io.String.Input("doors", default="")],
            outputs=[],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")

    @classmethod
    def execute(cls, doors):
        break_doors(doors.split())
        return io.NodeOutput()


NODES = [BreakHost]
