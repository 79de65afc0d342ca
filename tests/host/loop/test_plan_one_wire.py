"""What is said before a run of a story on one wire is what the run then does."""

from __future__ import annotations

import json

import pytest
import torch

from helpers.loop_graphs import edited, one_wire, story
from helpers.plan_ahead import ask_plan, checker, forget_all
from helpers.record_files import body_of

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def check(host, log, caplog):
    checked = checker(host, log, caplog)
    return lambda graph: checked(graph, "begin", tells_summary=False)


def locked(prompts, *locks) -> str:
    script = json.loads(story(prompts=prompts))
    script["scenes"][0]["lock"] = [i + 1 in locks for i in range(len(prompts))]
    return json.dumps(script)


def test_new_finished_and_edited_shots(check, log):
    first = check(one_wire(story(4), log, 4))
    assert (first.of("make"), first.made) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert first.answer["loop"] == {"open": "begin", "close": "finish3"}
    again = check(one_wire(story(4), log, 4))
    assert (again.of("finished"), again.made) == ([1, 2, 3, 4], [])
    said = check(one_wire(edited(4, 2), log, 4))
    assert said.shot(2)["reasons"] == [
        "its prompt changed from 'shot number 2' to 'shot number 2, edited'"
    ]
    assert [said.shot(n)["on"] for n in (3, 4)] == [2, 2]
    assert said.answer["summary"] == (
        "1 shot to make, 2 shots that depend on shot 2, 1 shot finished"
    )


def test_a_widget_and_a_part_of_the_story(check, log):
    check(one_wire(story(3), log, 3))
    seeded = check(one_wire(story(3), log, 3, seed=8))
    assert seeded.of("make") == seeded.made == [1, 2, 3]
    assert "seed of" in seeded.answer["changes"][0]["reasons"][0]
    part = check(one_wire(story(3), log, 2, seed=9))
    assert (part.of("make"), part.of("left out")) == ([1, 2], [3])


def test_locks(check, log):
    prompts = ["one", "two", "three", "four"]
    check(one_wire(locked(prompts, 2), log, 4))
    said = check(one_wire(locked(["other", "two", "three", "four"], 2), log, 4))
    assert said.of("finished")[0] == 2
    assert said.shot(2)["why"] == "locked"
    said = check(one_wire(locked(["other", "2", "three", "four"], 2, 4), log, 4))
    assert {2, 4} <= set(said.of("finished"))


def test_takes_that_the_script_names(check, host, log):
    prompts = ["one", "two", "three"]
    check(one_wire(story(prompts=prompts), log, 3))
    records = (host.base / "output").glob(".storymem/shots/*/*/record.json")
    (key,) = [path.parent.name for path in records if body_of(path.parent)["facts"]["shot"] == 1]
    script = json.loads(story(prompts=["other", "another", "three"]))
    script["scenes"][0]["use_take"] = [None, key[:16], None]
    said = check(one_wire(json.dumps(script), log, 3))
    assert (said.shot(2)["state"], said.shot(2)["why"]) == ("finished", "chosen")


def test_a_bank_that_is_not_known(host, log, clips):
    clips["portrait"] = torch.rand(1, 16, 32, 3)
    graph = one_wire(locked(["one", "two"], 1), log, 2)
    graph["paint"] = {"class_type": "StoryMemTestClip", "inputs": {"name": "portrait"}}
    values = {"images": ["paint", 0], "max_frames": 10, "sink": 3, "pin_references": True}
    graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": values}
    graph["begin"]["inputs"]["bank"] = ["memory", 0]
    host.run(graph)
    assert [s["state"] for s in ask_plan(host, graph, "begin")["shots"]] == ["finished"] * 2
    forget_all(host)
    answer = ask_plan(host, graph, "begin")
    assert [s["state"] for s in answer["shots"]] == ["finished", "unknown"]
    assert answer["unknown"][0]["name"] == "'StoryMemTestClip' (node paint)"


def test_a_story_that_nothing_takes_up(host, log):
    graph = one_wire(story(2), log, 0)
    assert "no Finish Shot" in ask_plan(host, graph, "begin")["error"]
    for end in ("done", "join", "folder", "bank"):
        del graph[end]
    assert "no output node" in ask_plan(host, graph, "begin")["error"]
