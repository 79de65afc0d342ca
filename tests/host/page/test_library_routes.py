"""The routes of the list of stories over HTTP."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from helpers.gallery_page import ask
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import loop_graph, story
from storymem.film.manifest import write_script_copy
from storymem.script.reader import load_story

pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def tale(server):
    folder = write_results(server.base / "output", "listed", 3, missing=(2,))
    write_script_copy(folder, load_story(long_script(3), quiet=True))
    return folder


def about(server, what: str, folder: str) -> tuple[int, dict]:
    status, _, answer = ask(server, f"/storymem/library/{what}?folder={quote(folder, safe='')}")
    return status, json.loads(answer)


def test_the_list_tells_what_is_there_and_how_to_show_it(server, tale):
    listed = {s["folder"]: s for s in server.get("/storymem/library")["stories"]}
    found = listed["listed/Long 3"]
    assert (found["title"], found["shots"], found["finished"]) == ("Long 3", 3, 2)
    assert found["path"] == str(tale)
    assert found["film"] is None
    poster = found["poster"]
    assert (poster["filename"], poster["subfolder"]) == ("shot_01_01.mp4", "listed/Long 3")


def test_one_story_gives_its_script_and_its_films(server, tale):
    status, found = about(server, "story", "listed/Long 3")
    assert (status, found["error"]) == (200, "")
    assert json.loads(found["script"]) == json.loads(long_script(3))
    names = [shot["video"] and shot["video"]["filename"] for shot in found["shots"]]
    assert names == ["shot_01_01.mp4", None, "shot_01_03.mp4"]
    assert found["shots"][0]["prompt"].startswith("shot number 1")
    assert about(server, "graph", "listed/Long 3") == (200, {})


def test_a_story_that_was_made_here_has_its_graph(server, log):
    workflow = {"id": "7", "nodes": []}
    graph = loop_graph(story(2, name="Graphed"), log, prefix="listed")
    server.run(graph, extra_data={"extra_pnginfo": {"workflow": workflow}})
    status, found = about(server, "graph", "listed/Graphed")
    assert (status, found["workflow"]) == (200, workflow)
    assert found["prompt"]["close"]["class_type"] == "StoryMemShotLoopClose"
    (listed,) = (s for s in server.get("/storymem/library")["stories"] if s["title"] == "Graphed")
    assert (listed["finished"], listed["shots"], listed["film"]["subfolder"]) == (
        2, 2, "listed/Graphed",
    )  # fmt: skip


@pytest.mark.parametrize("what", ["story", "graph"])
@pytest.mark.parametrize(
    "name", ["", "listed", "../output/listed", "listed/../..", "/etc/passwd", "listed/nowhere"]
)
def test_nothing_else_is_given(server, tale, what, name):
    assert about(server, what, name) == (404, {"error": "no such story"})


def test_a_script_that_cannot_be_read_is_told(server):
    folder = server.base / "output" / "listed" / "Broken"
    folder.mkdir(parents=True)
    (folder / "story.json").write_text("{}")
    assert "no script" in about(server, "story", "listed/Broken")[1]["error"]
    (folder / "script.json").write_text("{")
    status, found = about(server, "story", "listed/Broken")
    assert (status, found["script"], found["shots"]) == (200, "{", [])
    assert "not valid JSON" in found["error"]


@pytest.mark.parametrize("path", ["", "/story", "/graph"])
def test_other_pages_are_refused(server, path):
    status, _, _ = ask(
        server, f"/storymem/library{path}", headers={"Origin": "http://evil.example"}
    )
    assert status == 403
