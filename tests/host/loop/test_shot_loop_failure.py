"""Shots that fail: what is told, what stays, and what the host keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers.keyframe_graphs import node, scorer, select
from helpers.loop_graphs import loop_graph, ran, renamed, story

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


def test_the_node_that_raised_is_the_one_that_is_blamed(host, log):
    with pytest.raises(RuntimeError):
        host.run(loop_graph(story(2), log, body={"fail_on": "number 2"}))
    (error,) = [d for e, d in host.executor.status_messages if e == "execution_error"]
    assert (error["node_id"], error["node_type"]) == ("body", "StoryMemTestBody")


def test_what_the_end_of_the_loop_refuses_is_its_own(host, log):
    graph = loop_graph(story(1), log)
    graph["nan"] = {"class_type": "StoryMemTestNaN", "inputs": {"images": ["body", 0]}}
    graph["close"]["inputs"]["frames"] = ["nan", 0]
    with pytest.raises(RuntimeError):
        host.run(graph)
    (error,) = [d for e, d in host.executor.status_messages if e == "execution_error"]
    assert error["node_id"] == "close"


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


@pytest.mark.parametrize("judge", ["scorer", "embedder"])
def test_a_judge_that_cannot_be_read_is_told_before_any_shot(host, log, judge):
    folder, name = {
        "scorer": ("aesthetics", "HPSv3.safetensors"),
        "embedder": ("clip_vision", "ViT-B-32.pt"),
    }[judge]
    graph = loop_graph(story(2), log)
    (host.base / "models" / folder).mkdir(exist_ok=True)
    (host.base / "models" / folder / name).write_bytes(b"cut short")
    graph["scorer"] = scorer("hpsv3")
    graph["embedder"] = node("StoryMemLoadEmbedder", embedder="clip", clip_name="auto")
    judges = {judge: [judge, 0]}
    graph["select"] = select(["body", 0], shot=["open", 1], **judges)
    graph["remember"] = node("StoryMemRemember", keyframes=["select", 0], bank=["open", 2])
    graph["close"]["inputs"]["bank"] = ["remember", 0]
    try:
        with pytest.raises(RuntimeError, match=rf"{re.escape(name)} cannot be read"):
            host.run(graph)
    finally:
        (host.base / "models" / folder / name).unlink()
    assert ran(log) == []


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


# --- whose failure it is, and when ------------------------------------------------------------


def manifest(host, name="Tale") -> dict:
    return json.loads((host.base / "output" / "loop" / name / "story.json").read_text())


def page_states(host, graph) -> list[str]:
    """What the page is told of each shot while it asks the server."""
    routes = host.pack("nodes.page.story_routes")
    answer = routes.read_story(graph["story"]["inputs"]["script"], "none", "", "loop")
    return [shot["state"] for shot in answer["shots"]]


def test_a_cancel_after_a_shot_is_kept_does_not_say_before_the_first(host, log, monkeypatch):
    import nodes

    loop_run = host.pack("nodes.loop.run")
    finish_shot = loop_run.finish_shot

    def cancelled(loop, step, *inputs, **options):
        made = finish_shot(loop, step, *inputs, **options)
        if step.plan.shot.index == cancelled.at:
            nodes.interrupt_processing(True)
        return made

    monkeypatch.setattr(loop_run, "finish_shot", cancelled)
    # The host looks for a cancel between nodes: shot 3 may have begun by then.
    for cancelled.at, where in ((1, "after shot 2|in shot 3"), (2, "while its shots were joined")):
        with pytest.raises(RuntimeError):
            host.run(loop_graph(story(3), log))
        assert re.search(f"stopped ({where})", manifest(host)["stopped"])
        assert f"{cancelled.at + 1} of 3 shots are finished" in manifest(host)["stopped"]


def test_of_two_loops_only_the_one_that_failed_is_blamed(host, log):
    first = loop_graph(story(3, name="One"), log)
    second = loop_graph(story(3, name="Two"), log, body={"seed": 99, "fail_on": "number 2"})
    with pytest.raises(RuntimeError) as failure:
        host.run({**first, **renamed(second, "_b")})
    assert "'Two' stopped in shot 2" in str(failure.value)
    assert "'One'" not in str(failure.value)
    assert manifest(host, "Two")["failed"] == "01_02"
    assert manifest(host, "One")["failed"] == ""
    assert "another node of the workflow failed" in manifest(host, "One")["stopped"]
    assert "on purpose" not in manifest(host, "One")["stopped"]


def test_two_loops_never_write_different_shots_to_one_folder(host, log):
    first = loop_graph(story(2), log)
    second = renamed(loop_graph(story(2), log, body={"seed": 99}), "_b")
    with pytest.raises(RuntimeError, match="give each Shot Loop Open a filename_prefix of its own"):
        host.run({**first, **second})
    second["open_b"]["inputs"]["filename_prefix"] = "other"
    out = host.run({**first, **second})
    assert out["bank"].frames[0].digest != out["bank_b"].frames[0].digest
    # Parts of one story may be made in different ways.
    first["open"]["inputs"]["end_shot"] = 1
    second["open_b"]["inputs"] |= {"start_shot": 2, "filename_prefix": "loop"}
    assert host.run({**first, **second})["folder"] == out["folder"]


def test_a_shot_that_failed_is_not_shown_as_failed_while_it_is_made_again(host, log, monkeypatch):
    switch = log.with_name("switch")
    switch.write_text("number 2")
    graph = loop_graph(story(3), log, body={"fail_on": f"@{switch}"})
    with pytest.raises(RuntimeError, match="on purpose"):
        host.run(graph)
    assert page_states(host, graph) == ["done", "failed", "waiting"]
    switch.unlink()
    loop_run = host.pack("nodes.loop.run")
    finish_shot, seen = loop_run.finish_shot, []

    def look(loop, step, *inputs, **options):
        seen.append(page_states(host, graph))
        return finish_shot(loop, step, *inputs, **options)

    monkeypatch.setattr(loop_run, "finish_shot", look)
    host.run(graph)
    assert seen == [["done", "waiting", "waiting"], ["done", "done", "waiting"]]


def test_a_shot_that_failed_with_another_setting_is_not_called_done(host, log):
    graph = loop_graph(story(3), log)
    host.run(graph)
    with pytest.raises(RuntimeError, match="on purpose"):
        host.run(loop_graph(story(3), log, body={"seed": 8, "fail_on": "number 1"}))
    assert page_states(host, graph) == ["failed", "depends 1", "depends 1"]
    host.run(graph)
    assert page_states(host, graph) == ["done"] * 3
