"""The host's own loops in full: nested, over lists, with previews; only where the host has them."""

from __future__ import annotations

import pytest

from helpers.core_loops import counted, has_loops, inner_loop, nested, quiet_page
from helpers.loop_graphs import core_loop, loop_graph, one_wire, ran, story
from helpers.plan_ahead import ask_plan, checker

pytestmark = pytest.mark.usefixtures("fresh", "own_loops")


@pytest.fixture
def own_loops(host, monkeypatch):
    if not has_loops():
        pytest.skip("this ComfyUI has no Start Loop: its loops are not tested here")
    quiet_page(monkeypatch)


@pytest.fixture
def check(host, log, caplog):
    checked = checker(host, log, caplog)

    def check(graph):
        return checked(graph, "begin", tells_summary=False)

    check.log = log
    return check


def test_a_preview_in_the_loop_has_every_shot_made_again(host, log):
    graph = core_loop(story(2), log)
    graph["look"] = {"class_type": "PreviewImage", "inputs": {"images": ["body0", 0]}}
    graph["end"]["inputs"]["terminations.termination0"] = ["look", 0]
    host.run(graph)
    assert ran(log) == [1, 2]
    host.run(graph)
    assert ran(log) == [1, 2]


def test_an_output_node_that_does_not_reach_end_loop_is_refused_by_the_host(host, log):
    graph = core_loop(story(2), log)
    graph["look"] = {"class_type": "PreviewImage", "inputs": {"images": ["body0", 0]}}
    with pytest.raises(RuntimeError, match="Loop body is not closed"):
        host.run(graph)


def test_a_loop_that_counts_in_steps(check):
    def graph(start, end):
        return counted(
            core_loop(story(3), check.log, wires={"seed": "iteration_index"}), start, end, 5
        )

    assert check(graph(10, 25)).made == [1, 2, 3]
    assert check(graph(10, 25)).of("finished") == [1, 2, 3]
    assert check(graph(5, 20)).made == [1, 2, 3]


def test_a_count_beyond_all_numbers_is_refused_in_plain_words(host, log):
    graph = counted(core_loop(story(2), log), 0, 2**64 - 1, 1)
    assert "goes around more often" in ask_plan(host, graph, "begin")["error"]


def test_loops_in_a_loop(check, host):
    graph = nested(core_loop(story(4), check.log), 2, 2)
    assert check(graph).made == [1, 2, 3, 4]
    assert check(graph).of("finished") == [1, 2, 3, 4]
    by_hand = one_wire(story(4), check.log, 4)
    for i in range(4):
        by_hand[f"body{i}"]["inputs"] |= {"seed": i % 2, "outside": i // 2}
    host.run(by_hand)
    assert ran(check.log) == [], "a turn's values are others than those typed by hand"
    shorter = nested(core_loop(story(4), check.log), 1, 3)
    assert "for 3 of the 4 shots" in ask_plan(host, shorter, "begin")["warnings"][0]
    longer = nested(core_loop(story(4), check.log), 2, 3)
    assert "more often than" in ask_plan(host, longer, "begin")["error"]


def test_a_loop_among_the_nodes_of_a_shot(check, host):
    def graph(turns):
        looped = core_loop(story(2), check.log)
        inner_loop(looped, ["body0", 0], turns)
        looped["finish0"]["inputs"]["frames"] = ["done", 0]
        return looped

    assert check(graph(2)).made == [1, 2]
    host.restart()
    assert check(graph(2)).of("finished") == [1, 2]
    assert check(graph(3)).made == [1, 2]  # what feeds the loop, and how it goes, is in the key
    said = check(graph(3))
    assert said.of("finished") == [1, 2]


def test_a_loop_before_the_story_is_part_of_what_makes_it(check, host):
    def graph(color):
        looped = core_loop(story(2), check.log)
        blank = {"width": 32, "height": 16, "batch_size": 1, "color": color}
        looped["blank"] = {"class_type": "EmptyImage", "inputs": blank}
        inner_loop(looped, ["blank", 0], 2)
        looped["body0"]["inputs"]["outside"] = ["done", 0]
        return looped

    assert check(graph(1)).made == [1, 2]
    host.restart()
    assert check(graph(1)).of("finished") == [1, 2]
    assert check(graph(2)).made == [1, 2]


def test_a_list_gives_each_shot_its_own(host, log, clips):
    def graph(*colors):
        looped = core_loop(story(2), log, wires={"outside": "list_item"})
        for i, color in enumerate(colors):
            blank = {"width": 32, "height": 16, "batch_size": 1, "color": color}
            looped[f"blank{i}"] = {"class_type": "EmptyImage", "inputs": blank}
        batch = {"image1": ["blank0", 0], "image2": ["blank1", 0]}
        looped["batch"] = {"class_type": "ImageBatch", "inputs": batch}
        rebatch = {"images": ["batch", 0], "batch_size": 1}
        looped["list"] = {"class_type": "RebatchImages", "inputs": rebatch}
        inputs = looped["start"]["inputs"]
        del inputs["mode.num_iterations"]
        inputs |= {"mode": "List", "mode.list": ["list", 0]}
        return looped

    host.run(graph(1, 2))
    assert ran(log) == [1, 2]
    host.restart()
    host.run(graph(1, 2))
    assert ran(log) == []
    host.run(graph(1, 3))
    assert ran(log) == [2]
    assert ask_plan(host, graph(1, 3), "begin")["unknown"][0]["node"] == "start"


def test_a_loop_of_the_host_inside_of_the_shot_loop(host, log):
    def graph(turns, **invert):
        looped = inner_loop(loop_graph(story(2), log), ["body", 0], turns, **invert)
        looped["close"]["inputs"]["frames"] = ["done", 0]
        return looped

    host.run(graph(1))
    assert ran(log) == [1, 2]
    host.restart()
    host.run(graph(1))
    assert ran(log) == []
    host.run(graph(2))
    assert ran(log) == [1, 2]


def test_that_the_host_may_keep_turns_makes_no_shot_again(host, log):
    def graph(keeps: bool):
        looped = inner_loop(loop_graph(story(2), log), ["body", 0], 2)
        looped["again"]["inputs"]["cache_iterations"] = keeps
        looped["close"]["inputs"]["frames"] = ["done", 0]
        return looped

    host.run(graph(False))
    assert ran(log) == [1, 2]
    host.restart()
    host.run(graph(True))
    assert ran(log) == []


def test_a_shot_loop_inside_of_a_loop_of_the_host(host, log):
    graph = loop_graph(story(2), log, opened={"filename_prefix": ["name", 0]})
    name = {"values.a": ["start", 0], "f_string": "film_{a}"}
    graph["name"] = {"class_type": "StringFormat", "inputs": name}
    start = {"mode": "simple", "mode.num_iterations": 2, "cache_iterations": False}
    graph["start"] = {"class_type": "StartLoop", "inputs": start}
    end = {"output_value": ["close", 2], "accumulate": True}
    graph["end"] = {"class_type": "EndLoop", "inputs": end}
    graph["bank"]["inputs"]["value"] = ["end", 0]
    graph["folder"]["inputs"]["value"] = ["end", 0]
    host.run(graph)
    assert ran(log) == [1, 2]  # the second film is of the same shots
    graph["body"]["inputs"]["seed"] = ["start", 0]
    host.run(graph)
    assert ran(log) == [1, 2, 1, 2]
    assert {path.name for path in (host.base / "output").glob("film_*")} == {"film_0", "film_1"}
    host.restart()
    host.run(graph)
    assert ran(log) == []
