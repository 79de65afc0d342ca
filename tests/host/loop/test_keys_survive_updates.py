"""What an update of the pack leaves of a finished story: every shot whose pixels do not change."""

from __future__ import annotations

import asyncio
import inspect
import sys

import pytest

from helpers.loop_graphs import loop_graph, ran, story
from helpers.node_schemas import pack_nodes
from storymem.loop.neutral_inputs import NEUTRAL

# Begin Story is in no loop's body, and is looked at in every run.
NODES = [k for k in NEUTRAL if k.startswith("StoryMem") and k != "StoryMemBeginStory"]
pytestmark = pytest.mark.usefixtures("fresh")


def raise_version(host, monkeypatch, part: str) -> None:
    module = host.pack("storymem.loop.render_version")
    monkeypatch.setitem(module.PARTS, part, module.Part(module.PARTS[part].version + 1, ()))


@pytest.mark.parametrize("part", ["memory", "hand-over"])
def test_a_raised_version_of_a_used_part_regenerates_the_shots(host, log, monkeypatch, part):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == [1, 2]


@pytest.mark.parametrize("part", ["selection", "sampling", "colour", "headless"])
def test_a_raised_version_of_a_part_that_the_loop_does_not_use_keeps_them(
    host, log, monkeypatch, part
):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == []


# --- inputs that an update adds ----------------------------------------------------------------


def body_text(host, graph: dict, close: str = "close") -> str:
    from comfy_execution.graph import DynamicPrompt

    loop = host.pack("nodes.loop.graph").read_loop(DynamicPrompt(graph), close)
    return asyncio.run(loop.describe())


def with_node(kind: str, inputs: dict) -> dict:
    """A loop whose frames also depend on one node of that kind."""
    graph = loop_graph(story(1), body={"other": ["added", 0]})
    required = {"folder": "gone"} if kind == "StoryMemLoadMemoryBank" else {}
    graph["added"] = {"class_type": kind, "inputs": {**required, **inputs}}
    return graph


def test_a_graph_that_was_saved_before_an_input_existed_keeps_its_shots(host, log, monkeypatch):
    module = host.pack("storymem.loop.neutral_inputs")
    saved_before = loop_graph(story(2), log)
    host.run(saved_before)
    assert ran(log) == [1, 2]
    monkeypatch.setitem(module.NEUTRAL, "StoryMemTestBody", {"late": 0.5})
    host.restart()
    host.run(saved_before)
    assert ran(log) == []
    host.run(loop_graph(story(2), log, body={"late": 0.5}))
    assert ran(log) == []
    host.run(loop_graph(story(2), log, body={"late": 0.75}))
    assert ran(log) == [1, 2]


def test_an_input_that_never_counts_regenerates_nothing(host, log, monkeypatch):
    module = host.pack("storymem.loop.neutral_inputs")
    monkeypatch.setitem(module.NEVER_COUNT, "StoryMemTestBody", frozenset({"colour_of_the_node"}))
    host.run(loop_graph(story(2), log))
    assert ran(log) == [1, 2]
    host.run(loop_graph(story(2), log, body={"colour_of_the_node": "red"}))
    assert ran(log) == []


# Open ends the body: its settings are part of each shot as values.
@pytest.mark.parametrize("kind", [k for k in NODES if k != "StoryMemShotLoopOpen"])
def test_a_node_that_was_saved_without_its_optional_inputs_is_the_same_body(host, kind):
    before = body_text(host, with_node(kind, {}))
    for name, value in NEUTRAL[kind].items():
        assert body_text(host, with_node(kind, {name: value})) == before
        assert body_text(host, with_node(kind, {name: "other"})) != before
    assert body_text(host, with_node(kind, dict(NEUTRAL[kind]))) == before


@pytest.mark.parametrize("kind", NODES)
def test_a_node_computes_the_same_without_an_input_as_at_its_neutral_value(host, kind):
    node = pack_nodes(sys.modules[host._pack])[kind]
    parameters = inspect.signature(node.execute).parameters
    without = {name: parameters[name].default for name in NEUTRAL[kind]}
    assert without == NEUTRAL[kind]
