"""What ``/history`` of a real server tells of a loop: shots and film, under the loop's own id."""

from __future__ import annotations

import pytest

from helpers.loop_graphs import edited, loop_graph, ran, story
from helpers.server_base import link_base, serving

PAGE = "a page"  # ComfyUI 0.18 tells of what it kept only when a page asked
pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def server(base_folder, host, tmp_path_factory):
    base = link_base(tmp_path_factory.mktemp("history"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


def told(server, entry: dict) -> tuple[list[str], list[str]]:
    """Films and shots that an entry tells of the loop's end, each of which is there; and that it
    tells of no node that is not in the workflow."""
    known = set(entry["prompt"][2])
    assert set(entry["outputs"]) <= known
    assert set(entry["meta"]) == set(entry["outputs"])
    output = entry["outputs"]["close"]
    assert entry["meta"]["close"]["display_node"] == "close"
    films, shots = output.get("images", []), output.get("storymem_shots", [])
    for file in (*films, *shots):
        path = server.base / file["type"] / file["subfolder"] / file["filename"]
        assert path.is_file()
    assert [shot["number"] for shot in shots] == list(range(1, len(shots) + 1))
    return [file["filename"] for file in films], [file["filename"] for file in shots]


def test_a_loop_is_told_of_under_its_own_id_also_later(server, log):
    graph = loop_graph(story(3, name="Kept"), log)
    shots = [f"shot_01_0{n}.mp4" for n in (1, 2, 3)]
    films, listed = told(server, server.run(graph))
    assert ran(log) == [1, 2, 3]
    assert listed == shots
    assert len(films) == 1
    films, listed = told(server, server.run(loop_graph(edited(3, 3, name="Kept"), log)))
    assert ran(log) == [3]
    assert listed == shots
    assert len(films) == 1


def test_a_film_that_was_finished_is_told_of_the_same_way(server, log):
    graph = loop_graph(story(2, name="Again"), log)
    first = told(server, server.run(graph))
    assert ran(log) == [1, 2]
    graph["close"]["inputs"]["subtitles"] = False  # another Close, whose shots are there
    assert told(server, server.run(graph)) == first
    assert ran(log) == []


def test_a_prompt_that_finds_all_in_the_hosts_cache_tells_the_same(server, log):
    graph = loop_graph(story(2, name="Cached"), log)
    first = told(server, server.run(graph, client_id=PAGE))
    for _ in range(2):
        assert told(server, server.run(graph, client_id=PAGE)) == first
    assert ran(log) == [1, 2]


def test_of_a_story_that_stopped_its_finished_shots_are_told(server, log):
    graph = loop_graph(story(3, name="Stopped"), log, body={"fail_on": "number 2"})
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "error"
    assert told(server, entry) == ([], ["shot_01_01.mp4"])


def test_two_loops_of_a_prompt_are_told_of_apart(server, log):
    graph = loop_graph(story(2, name="One"), log)
    other = loop_graph(story(2, name="Two"), log)
    names = {name: f"{name}_2" for name in other}
    for name, node in other.items():
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = [names[value[0]], value[1]]
        graph[names[name]] = node
    outputs = server.run(graph)["outputs"]
    for close, name in (("close", "One"), ("close_2", "Two")):
        (film,) = outputs[close]["images"]
        assert film["subfolder"].endswith(name)
        assert {shot["subfolder"] for shot in outputs[close]["storymem_shots"]} == {
            film["subfolder"]
        }
