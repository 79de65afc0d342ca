"""A story in the host's own Start Loop and End Loop; on a host without them, in stand-ins that make
the same copies."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from helpers.core_loops import give_loops, quiet_page
from helpers.loop_graphs import core_loop, decoded, edited, lines_of, one_wire, ran, story
from helpers.plan_ahead import ask_plan, checker

pytestmark = pytest.mark.usefixtures("fresh", "server_of_loops")


@pytest.fixture
def server_of_loops(host, monkeypatch):
    quiet_page(monkeypatch)
    give_loops(host, monkeypatch)


@pytest.fixture
def check(host, log, caplog):
    checked = checker(host, log, caplog)
    return lambda graph: checked(graph, "begin", tells_summary=False)


def test_it_gives_the_same_story_as_shots_in_a_row(host, log):
    looped = host.run(core_loop(story(3), log))
    assert ran(log) == [1, 2, 3]
    host.restart()
    unrolled = host.run(one_wire(story(3), log, 3))
    assert ran(log) == [], "a shot has another key in the loop"
    assert [f.digest for f in looped["bank"].frames] == [f.digest for f in unrolled["bank"].frames]


def test_each_turn_is_known_by_its_values(host, log):
    """Typed by hand, the values that Start Loop gives make the same shots."""
    looped = host.run(core_loop(story(3), log, wires={"seed": "iteration_index"}))
    assert ran(log) == [1, 2, 3]
    films = [decoded(Path(looped["folder"]) / f"shot_01_0{i}.mp4") for i in (1, 2, 3)]
    by_hand = one_wire(story(3, name="Hand"), log, 3)
    for i in range(3):
        by_hand[f"body{i}"]["inputs"]["seed"] = i
    made = host.run(by_hand)
    assert [decoded(Path(made["folder"]) / f"shot_01_0{i}.mp4") for i in (1, 2, 3)] == films
    by_hand["story"]["inputs"]["script"] = story(3)
    ran(log)
    host.run(by_hand)
    assert ran(log) == []


@pytest.mark.parametrize("cache", ["ram", "classic", "lru", "none"])
def test_finished_turns_run_nothing(host, log, cache):
    graph = core_loop(story(3), log, wires={"seed": "iteration_index", "outside": "is_first"})
    host.restart(cache)
    host.run(graph)
    assert ran(log) == [1, 2, 3]
    host.run(graph)
    assert ran(log) == []
    host.restart(cache)
    host.run(graph)
    assert ran(log) == []


def test_what_is_said_before_is_what_it_does(check, log):
    wired = {"seed": "iteration_index", "outside": "is_last"}
    assert check(core_loop(story(3), log, wires=wired)).made == [1, 2, 3]
    assert check(core_loop(story(3), log, wires=wired)).of("finished") == [1, 2, 3]
    said = check(core_loop(story(4), log, wires=wired))  # the third is no longer the last
    assert (said.of("finished"), said.made) == ([1, 2], [3, 4])
    assert said.answer["changes"][0]["reasons"] == [
        "outside of 'StoryMemTestBody' changed from True to False"
    ]
    said = check(core_loop(edited(4, 2), log, wires=wired))
    assert said.made == [2, 3, 4]
    assert said.answer["loop"] == {"open": "begin", "close": "finish0"}


def test_what_came_around_is_no_part_of_a_key(check, log):
    graph = core_loop(story(3), log, wires={"outside": "current_iteration_value"})
    assert check(graph).made == [1, 2, 3]
    assert check(graph).of("finished") == [1, 2, 3]


def test_more_turns_than_shots_are_refused_before_the_first(host, log):
    graph = core_loop(story(2), log, 3)
    told = "goes around more often than the story has shots .2.*connect the shot_count"
    answer = ask_plan(host, graph, "begin")
    assert answer["at_fault"] == "start"
    with pytest.raises(RuntimeError, match=told) as refused:
        host.run(graph)
    assert str(refused.value).endswith(answer["error"])
    assert ran(log) == []


def test_turns_that_only_the_run_can_count_are_refused_before_the_first_shot(host, log):
    graph = core_loop(story(2), log, 3)
    graph["count"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"value": 3, "name": "count", "log": ""},
    }
    graph["start"]["inputs"]["mode.num_iterations"] = ["count", 0]
    assert ask_plan(host, graph, "begin")["error"] == ""
    told = "'StartLoop' .*goes around more often than the story has shots .2.*shot_count"
    with pytest.raises(RuntimeError, match=told):
        host.run(graph)
    assert ran(log) == []
    graph["count"]["inputs"]["value"] = 2
    host.run(graph)
    assert ran(log) == [1, 2]


def test_fewer_turns_than_shots_are_told(host, log, caplog):
    graph = core_loop(story(3), log, 2)
    told = "goes around for 2 of the 3 shots, so the film ends there"
    answer = ask_plan(host, graph, "begin")
    assert [shot["state"] for shot in answer["shots"]] == ["make", "make", "left out"]
    assert told in answer["warnings"][0]
    with caplog.at_level(logging.WARNING):
        host.run(graph)
    assert told in caplog.text
    assert ran(log) == [1, 2]


def test_it_goes_on_after_a_stop(host, log, tmp_path):
    stop = tmp_path / "stop"
    wires = {"seed": "iteration_index"}
    whole = host.run(core_loop(story(4, name="Whole"), log, wires=wires))
    names = [f"shot_01_0{i}.mp4" for i in (1, 2, 3, 4)]
    films = [decoded(Path(whole["folder"]) / name) for name in names]
    ran(log)
    stop.write_text("shot number 3")
    graph = core_loop(story(4), log, wires=wires, fail_on=f"@{stop}")
    with pytest.raises(RuntimeError, match="broke on purpose"):
        host.run(graph)
    assert ran(log) == [1, 2]
    stop.unlink()
    host.restart()
    made = host.run(graph)
    assert ran(log) == [3, 4]
    assert [decoded(Path(made["folder"]) / name) for name in names] == films


def test_nodes_outside_of_the_loop_run_once(host, log):
    graph = core_loop(story(3), log)
    graph["count"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"name": "outside", "log": str(log)},
    }
    graph["body0"]["inputs"]["outside"] = ["count", 0]
    host.run(graph)
    assert [line for line in lines_of(log) if line.startswith("ran")] == ["ran outside"]
