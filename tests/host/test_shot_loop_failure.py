"""Shots that fail: what is told, what stays, and what the host keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loop_graphs import loop_graph, ran, story

pytestmark = pytest.mark.usefixtures("fresh")


def test_a_shot_that_raises_is_named_with_its_prompt_and_cause_and_the_rest_stays(host, log):
    switch = log.with_name("switch")
    switch.write_text("number 3")
    graph = loop_graph(story(4), log, body={"fail_on": f"@{switch}"})
    with pytest.raises(RuntimeError) as failure:
        host.run(graph)
    text = str(failure.value)
    assert "stopped in shot 3 (scene 1, shot 3: 'shot number 3')" in text
    assert "the body broke on purpose" in text
    assert "2 of 4 shots are finished" in text
    assert ran(log) == [1, 2]
    folder = host.base / "output" / "loop" / "Tale"
    assert "shot 3" in json.loads((folder / "story.json").read_text())["stopped"]
    assert (folder / "shot_01_02.mp4").is_file()
    switch.unlink()
    host.run(graph)
    assert ran(log) == [3, 4]
    assert json.loads((folder / "story.json").read_text())["stopped"] == ""


def test_a_story_that_stopped_has_the_script_of_its_films(host, log):
    folder = Path(host.run(loop_graph(story(2), log))["folder"])
    assert [path.name for path in folder.glob("script.*")] == ["script.json"]
    plain = "[title: Tale]\n---\nshot number 1\n---\nwhat fails"
    with pytest.raises(RuntimeError, match="on purpose"):
        host.run(loop_graph(plain, log, body={"fail_on": "what fails"}))
    assert [path.name for path in folder.glob("script.*")] == ["script.txt"]
    assert (folder / "script.txt").read_text() == plain


def test_the_last_shot_may_fail_too(host, log):
    with pytest.raises(RuntimeError, match="stopped in shot 2"):
        host.run(loop_graph(story(2), log, body={"fail_on": "number 2"}))


def test_frames_that_are_no_pictures_are_refused(host, log):
    graph = loop_graph(story(1), log)
    graph["nan"] = {"class_type": "StoryMemTestNaN", "inputs": {"images": ["body", 0]}}
    graph["close"]["inputs"]["frames"] = ["nan", 0]
    with pytest.raises(RuntimeError, match="frame 0 of the shot holds NaN"):
        host.run(graph)


def test_a_shot_too_short_to_continue_from_is_told(host, log):
    with pytest.raises(RuntimeError, match="has only 4; make it longer, or choose last_frame"):
        host.run(loop_graph(story(3), log, body={"length": 9}))


def test_an_output_folder_that_cannot_be_written_is_told_before_any_shot(host, log):
    (host.base / "output" / ".storymem").write_text("a file where the folder should be")
    with pytest.raises(RuntimeError, match="could not be written"):
        host.run(loop_graph(story(2), log))


def test_what_the_host_keeps_of_a_finished_shot_is_let_go(host):
    import torch

    for cache in ("ram", "classic", "lru"):
        host.restart(cache)
        host.run(loop_graph(story(4, name=f"For {cache}")))
        outputs = host.executor.caches.outputs
        entries = list(outputs.cache.values())
        for sub in outputs.subcaches.values():
            entries += sub.cache.values()
        held = [
            value
            for entry in entries
            for output in entry.outputs
            for value in output
            if isinstance(value, torch.Tensor)
        ]
        assert held == [], cache
