"""Workflows of two tabs, whose nodes have the same ids, over one server."""

from __future__ import annotations

import pytest

from helpers.loop_graphs import decoded, loop_graph, ran, story


def shown(base, name="Tale") -> list[list[bytes]]:
    """The frames of each visible shot, and of the newest film."""
    folder = base / "output" / "loop" / name
    newest = sorted(folder.glob(f"{name}_*.mp4"))[-1]
    return [decoded(path) for path in [*sorted(folder.glob("shot_*.mp4")), newest]]


@pytest.mark.http
def test_neither_tab_takes_its_story_for_whole_when_its_files_are_gone(start_server, log):
    """Run A, run B, delete A's film, queue A: it is there again."""
    server = start_server("--disable-api-nodes", "--cache-lru", "50")
    graphs = {name: loop_graph(story(2, name=name), log) for name in "AB"}
    folders = {name: server.base / "output" / "loop" / name for name in "AB"}
    for graph in graphs.values():
        server.run(graph)
    ran(log)
    (folders["A"] / "A_00001_.mp4").unlink()
    server.run(graphs["A"])
    assert (folders["A"] / "A_00001_.mp4").is_file()
    (folders["B"] / "shot_01_02.mp4").unlink()
    server.run(graphs["A"])
    server.run(graphs["B"])
    assert (folders["B"] / "shot_01_02.mp4").is_file()
    assert ran(log) == []


def test_tabs_that_take_turns_join_no_film_again(host, fresh, log):
    host.restart("lru")
    (host.base / "input" / "both.txt").write_text("8")
    graphs = [loop_graph(story(2, name=name), log) for name in "AB"]
    for graph in graphs:
        graph["file"] = {
            "class_type": "StoryMemTestFileLoader",
            "inputs": {"images": ["body", 0], "name": "both.txt"},
        }
        graph["close"]["inputs"]["frames"] = ["file", 0]
        host.run(graph)
    paths = sorted(host.base.glob("output/loop/*/?_*.mp4"))
    written = [path.stat().st_mtime_ns for path in paths]
    for graph in graphs * 2:
        host.run(graph)
    assert len(written) == 2
    assert written == [path.stat().st_mtime_ns for path in paths]


def test_tabs_that_write_one_film_each_write_their_own(host, fresh, log):
    host.restart("lru")
    graphs = [loop_graph(story(2), log, body={"seed": seed}) for seed in (1, 2)]
    seen = []
    for graph in graphs * 2:
        host.run(graph)
        seen.append(shown(host.base))
    assert ran(log) == [1, 2, 1, 2]
    assert seen[0] == seen[2] != seen[1] == seen[3]


def test_watching_has_an_end_and_what_is_not_watched_is_not_taken_for_whole(
    host, monkeypatch, tmp_path
):
    watching = host.pack("nodes.loop.file_watch")
    monkeypatch.setattr(watching, "MOST_FILES", 3)
    watch = watching.FileWatch()
    for number in range(5):
        (tmp_path / f"{number}").write_text("x")
    watch.remember("5", "a", [tmp_path / "0", tmp_path / "1"])
    before = watch.token("5")
    watch.remember("5", "b", [tmp_path / "2"])
    assert watch.token("5") == before
    watch.remember("5", "c", [tmp_path / "3", tmp_path / "4"])
    assert watch.token("5") != before
    before = watch.token("5")
    (tmp_path / "0").unlink()
    assert watch.token("5") == before, "it is not watched any more"
    (tmp_path / "4").unlink()
    assert watch.token("5") != before
    assert watch.token("6") == "0 changes"
