"""What a story in Memento's form gives on wires of its own: the cast of a shot, the persons of the
story, and when each remembered frame happened."""

from __future__ import annotations

import json

import pytest

from helpers.keyframe_graphs import record
from helpers.loop_graphs import lines_of, loop_graph, one_wire, ran

pytestmark = pytest.mark.usefixtures("fresh")
TARGET = "[Person A] a girl (red hair)\n[Animal B] a dog"
PARTS = [("[Person A]: a girl (red hair)", "[Person A] runs."), ("[Animal B]: a dog", "It sleeps.")]
ESCAPED = TARGET.replace("(", "\\(").replace(")", "\\)")


def script(target=TARGET, **more) -> str:
    prompts = [f"global caption: {who}; shot caption: {what}" for who, what in PARTS]
    scene = {"scene_num": 1, "video_prompts": prompts, "cut": [True, False]}
    return json.dumps(
        {"story_name": "Two", "reconstruct_target": target, **more, "scenes": [scene]}
    )


def sinks(graph: dict, source: str, log) -> dict:
    for name, slot in (("prompt", 4), ("global", 9), ("reconstruct", 10)):
        inputs = {"value": [source, slot], "log": str(log)}
        graph[name] = {"class_type": "StoryMemTestSink", "inputs": inputs}
    return graph


def test_open_gives_the_texts_of_the_current_shot(host, tmp_path):
    log = tmp_path / "log"
    host.run(sinks(loop_graph(script(character="Tall."), log), "open", log))
    found = [line[5:] for line in lines_of(log) if line.startswith("sink ")]
    assert sum(line.startswith("global caption: Tall; [") for line in found) == 2
    assert "Tall; [Person A]: a girl \\(red hair\\)" in found
    assert "Tall; [Animal B]: a dog" in found
    assert [line for line in found if line == ESCAPED.split("\n")[0]] != []


def test_one_wire_gives_them_too_and_moments_are_counted_in_both(host, tmp_path):
    log = tmp_path / "log"
    graph = one_wire(script(), log, 2)
    for i in (0, 1):
        graph[f"global{i}"] = record([f"next{i}", 9], f"global{i}")
        graph[f"target{i}"] = record([f"next{i}", 10], f"target{i}")
        graph[f"shot{i}"] = record([f"next{i}", 1], f"shot{i}")
    out = host.run(graph)
    assert out["global0"] == "[Person A]: a girl \\(red hair\\)"
    assert out["global1"] == "[Animal B]: a dog"
    assert out["target0"] == out["target1"] == ESCAPED
    assert [out[f"shot{i}"].begin for i in (0, 1)] == [0, 13]
    assert ran(log) == [1, 2]
    looped = host.run(loop_graph(script(), log))
    assert ran(log) == []  # the same keys
    for bank in (out["bank"], looped["bank"]):
        found = [(f.shot, f.moment - f.frame) for f in bank.frames]
        assert set(found) == {(0, 0), (1, 13 + 5)}  # five frames of the second shot are repeated


def test_the_target_makes_those_shots_again_whose_pictures_are_made_of_it(host, tmp_path):
    log = tmp_path / "log"
    host.run(loop_graph(script(), log))
    assert ran(log) == [1, 2]
    host.run(loop_graph(script("[Person A] a man"), log))
    assert ran(log) == []
    reads = {"prompt": ["open", 10]}
    host.run(loop_graph(script(), log, body=reads))
    assert ran(log) == [1, 2]
    host.run(loop_graph(script("[Person A] a man"), log, body=reads))
    assert ran(log) == [1, 2]
