"""Whose folder it is, and what locks hold in it, in a real server: nothing is lost unsaid."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from helpers.gallery_page import gallery_server
from helpers.loop_graphs import begun, hold, loop_graph, ran, release, story
from helpers.not_empty import not_empty
from helpers.story_events import ask_story, events_of

pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    """One server; each test has titles of its own."""
    with gallery_server(tmp_path_factory.mktemp("folder_server"), base_folder) as running:
        yield running


def script(*prompts, name, **fields) -> str:
    return story(prompts=list(prompts), name=name, cuts=[True] * len(prompts), **fields)


def notice_of(entry: dict) -> str:
    shown = [output.get("storymem_notice", []) for output in entry["outputs"].values()]
    return "\n".join(line for lines in shown for line in lines)


def manifest_of(server, name: str) -> dict:
    return json.loads((folder_of(server, name) / "story.json").read_text())


def folder_of(server, name: str) -> Path:
    return server.base / "output" / "loop" / name


def told_by_the_page(server, text: str) -> list[str]:
    return ask_story(server, text)["warnings"]


def test_a_lock_holds_when_every_prompt_is_edited(server, log):
    server.run(loop_graph(script("a", "b", name="Locked"), log))
    key = manifest_of(server, "Locked")["shots"]["01_02"]["key"]
    film = (folder_of(server, "Locked") / "shot_01_02.mp4").read_bytes()
    assert ran(log) == [1, 2]
    for prompts in (("c", "d"), ("e", "f")):
        text = script(*prompts, name="Locked", lock=[None, True])
        entry = server.run(loop_graph(text, log))
        assert ran(log) == [1]
        assert "holds another film of that title" in notice_of(entry) or prompts == ("e", "f")
        manifest = manifest_of(server, "Locked")
        assert manifest["locks"] == {"01_02": key}
        assert manifest["shots"]["01_02"]["key"] == key
        assert (folder_of(server, "Locked") / "shot_01_02.mp4").read_bytes() == film
    assert not folder_of(server, "Locked_2").exists()


def test_a_locked_row_that_was_moved_and_rewritten_keeps_its_result(server, log):
    def with_row(*prompts, locked):
        shots = [{"prompt": p, "id": "k3x9"} if p == locked else p for p in prompts]
        locks = [p == locked or None for p in prompts]
        return story(prompts=shots, name="Rows", cuts=[True] * len(prompts), lock=locks)

    server.run(loop_graph(with_row("a", "b", "c", locked="b"), log))
    key = manifest_of(server, "Rows")["shots"]["01_02"]["key"]
    ran(log)
    server.run(loop_graph(with_row("a", "new", "c", "rewritten", locked="rewritten"), log))
    assert 4 not in ran(log)
    assert manifest_of(server, "Rows")["shots"]["01_04"]["key"] == key


def test_a_folder_with_another_film_is_told_before_the_first_shot(server, log):
    server.run(loop_graph(script("a", "b", "c", name="Twice"), log))
    folder, first = folder_of(server, "Twice"), manifest_of(server, "Twice")
    other = script("x", name="Twice")
    told = "output/loop/Twice holds another film of that title (3 shots, none with a prompt of"
    assert [line for line in told_by_the_page(server, other) if told in line]
    ran(log)
    hold(log, 1)
    try:
        heard = asyncio.run(events_of(server, loop_graph(other, log), "shot"))
        assert begun(log) in ([], [1])
        assert all(told in event["notice"] for event in heard)
        assert heard[0]["state"] == "started"
        assert f"StoryMem: {told}" in server.log()
        manifest = manifest_of(server, "Twice")
        assert manifest["earlier"][0]["shots"] == first["shots"]  # before a shot is put there
        assert (folder / "shot_01_03.mp4").is_file()
    finally:
        release(log)
    server.wait_until(lambda: not server.get("/queue")["queue_running"])
    assert sorted(path.name for path in folder.glob("shot_*")) == ["shot_01_01.mp4"]
    assert told_by_the_page(server, other) == []
    ran(log)
    entry = server.run(loop_graph(script("a", "b", "c", name="Twice"), log))
    assert ran(log) == []  # its shots stayed in the store
    assert "its finished shots and locks are used again" in notice_of(entry)
    assert manifest_of(server, "Twice")["shots"].keys() == first["shots"].keys()


def test_untitled_stories_say_that_they_share_a_folder(server, log):
    told = "this script has no title of its own: all such stories share output/loop/story"
    for text in ("a\n---\nb", "a\n---\nc"):
        assert [line for line in told_by_the_page(server, text) if told in line]
        assert told in notice_of(server.run(loop_graph(text, log)))
    assert ran(log) == [1, 2, 2]


def test_a_numbered_folder_of_an_earlier_version_is_told_and_left_alone(server, log):
    server.run(loop_graph(script("x", name="Old"), log))
    server.run(loop_graph(script("a", "b", name="Old_2"), log))
    old = folder_of(server, "Old_2")
    manifest = {**manifest_of(server, "Old_2"), "name": "Old"}
    (old / "story.json").write_text(json.dumps(manifest))
    before = {path: path.read_bytes() for path in not_empty(old.iterdir()) if path.is_file()}
    ran(log)
    entry = server.run(loop_graph(script("c", "b", name="Old", lock=[None, True]), log))
    assert "put this story's 2 shots into output/loop/Old_2; they go to" in notice_of(entry)
    assert ran(log) == [1]
    key = manifest["shots"]["01_02"]["key"]
    assert manifest_of(server, "Old")["shots"]["01_02"]["key"] == key
    assert {
        path: path.read_bytes() for path in not_empty(old.iterdir()) if path.is_file()
    } == before
