"""The shot loop in the host: any body, what runs again, in this process."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from helpers.loop_graphs import (
    OTHER_GRAPH,
    decoded,
    edited,
    lines_of,
    loop_graph,
    ran,
    renamed,
    story,
)

CLIENT = {"client_id": "test"}  # somebody looks on
CACHES = ("ram", "classic", "lru", "none")


pytestmark = pytest.mark.usefixtures("fresh")


def frame_count(path) -> int:
    return len(decoded(path))


# --- any body --------------------------------------------------------------------------------


def test_a_story_becomes_files_that_an_artist_finds(host, log):
    graph = loop_graph(story(3), log, closed={"prompt_subtitles": True})
    out = host.run(graph, extra_data={"extra_pnginfo": {"workflow": {"id": 1}}})
    assert lines_of(log) == [
        "begin 1 m2v", "end 1 m2v", "begin 2 mm2v", "end 2 mm2v", "begin 3 mm2v", "end 3 mm2v",
    ]  # fmt: skip
    folder = Path(out["folder"])
    assert folder == host.base / "output" / "loop" / "Tale"
    assert sorted(p.name for p in folder.iterdir() if p.name[0] != ".") == [
        "Tale_00001_.mp4", "Tale_00001_.srt", "Tale_00001_.vtt", "bank", "script.json",
        "shot_01_01.mp4", "shot_01_02.mp4", "shot_01_03.mp4", "story.json", "versions",
    ]  # fmt: skip
    assert [frame_count(folder / f"shot_01_0{i}.mp4") for i in (1, 2, 3)] == [13, 8, 8]
    assert frame_count(folder / "Tale_00001_.mp4") == 13 + 8 + 8
    assert (folder / "script.json").read_text() == story(3)
    assert len(list((folder / "bank").glob("*.png"))) == 3
    assert [frame.shot for frame in out["bank"].frames] == [0, 1, 2]
    assert (folder / "Tale_00001_.srt").read_text().splitlines()[:3] == [
        "1", "00:00:00,000 --> 00:00:00,812", "shot number 1",
    ]  # fmt: skip


def test_the_story_video_carries_the_graph_and_sixteen_frames_a_second(host):
    import av

    graph = loop_graph(story(2))
    out = host.run(graph, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
    with av.open(str(Path(out["folder"]) / "Tale_00001_.mp4")) as container:
        assert json.loads(container.metadata["prompt"])["body"]["inputs"]["seed"] == 7
        assert json.loads(container.metadata["workflow"]) == {"id": "w"}
        assert container.streams.video[0].average_rate == 16


def test_the_video_shows_on_the_artists_close_node(host):
    host.run(loop_graph(story(2)), extra_data=CLIENT)
    shown = host.ui("close")["images"][0]
    assert (shown["filename"], shown["subfolder"]) == (
        "Tale_00001_.mp4",
        os.path.join("loop", "Tale"),
    )


def test_progress_shows_on_the_artists_nodes(host):
    host.run(loop_graph(story(2)), extra_data=CLIENT)
    seen = [d["display_node"] for e, d in host.messages if e == "executing" and d.get("node")]
    assert set(seen) == {"story", "open", "body", "close", "folder", "bank"}
    assert seen.count("body") == 2
    ids = [d["node"] for e, d in host.messages if e == "executing" and d.get("node")]
    assert not [i for i in ids if ":" in i]


@pytest.mark.parametrize("cache", CACHES)
def test_values_from_outside_the_loop_are_made_once(host, log, cache):
    host.restart(cache)
    graph = loop_graph(story(4), log, body={"outside": ["counter", 0]})
    graph["counter"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"name": "loader", "log": str(log)},
    }
    host.run(graph)
    lines = lines_of(log)
    assert lines.count("ran loader") == 1
    assert [line for line in lines if line.startswith("end")] == [
        "end 1 m2v", "end 2 mm2v", "end 3 mm2v", "end 4 mm2v",
    ]  # fmt: skip


@pytest.mark.parametrize("cache", CACHES)
def test_an_output_node_in_the_body_runs_once_per_shot(host, log, cache):
    host.restart(cache)
    graph = loop_graph(story(3), log)
    graph["sink"] = {
        "class_type": "StoryMemTestSink",
        "inputs": {"value": ["open", 4], "other": ["body", 0], "log": str(log)},
    }
    host.run(graph)
    assert [line for line in lines_of(log) if line.startswith("sink")] == [
        "sink shot number 1", "sink shot number 2", "sink shot number 3",
    ]  # fmt: skip


def test_a_body_with_branches_and_stock_nodes_runs(host, log):
    graph = loop_graph(story(2, cuts=[True, True]), log)
    graph["flip"] = {
        "class_type": "ImageScaleBy",
        "inputs": {"image": ["body", 0], "upscale_method": "bicubic", "scale_by": 2.0},
    }
    graph["side"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"value": ["body", 0], "name": "side branch", "log": str(log)},
    }
    graph["preview"] = {"class_type": "PreviewImage", "inputs": {"images": ["side", 0]}}
    graph["close"]["inputs"]["frames"] = ["flip", 0]
    out = host.run(graph, extra_data=CLIENT)
    assert lines_of(log).count("ran side branch") == 2
    assert (
        len([1 for e, d in host.messages if e == "executed" and d["display_node"] == "preview"])
        == 2
    )
    import av

    with av.open(str(Path(out["folder"]) / "Tale_00001_.mp4")) as container:
        assert container.streams.video[0].width == 128


def test_two_loops_in_one_graph_run_apart(host, log):
    first = loop_graph(story(2, name="One"), log)
    second = renamed(loop_graph(story(2, name="Two"), log, body={"seed": 99}), "_b")
    out = host.run({**first, **second})
    assert sorted(ran(log)) == [1, 1, 2, 2]
    assert out["folder"] != out["folder_b"]
    assert [f.story for f in out["bank_b"].frames] == ["Two", "Two"]
    assert out["bank"].frames[0].digest != out["bank_b"].frames[0].digest


def test_the_same_loop_twice_in_one_graph_gives_the_same_story(host, log):
    graph = loop_graph(story(2), log)
    out = host.run({**graph, **renamed(graph, "_b")})
    assert out["folder"] == out["folder_b"]
    assert [f.digest for f in out["bank"].frames] == [f.digest for f in out["bank_b"].frames]


def test_a_second_loop_may_begin_with_the_memory_of_the_first(host, log):
    first = loop_graph(story(2, name="One"), log)
    second = renamed(loop_graph(story(2, name="Two"), log), "_b")
    second["open_b"]["inputs"]["bank"] = ["close", 1]
    out = host.run({**first, **second})
    assert [f.story for f in out["bank_b"].frames] == ["One", "Two", "One", "Two"]
    assert ran(log) == [1, 2, 1, 2]
    host.run({**first, **second})
    assert ran(log) == []


# --- loops that are not well formed ----------------------------------------------------------


def _unclosed(graph):
    graph["sink"] = {"class_type": "StoryMemTestSink", "inputs": {"value": ["body", 0], "log": ""}}
    for name in ("close", "folder", "bank"):
        del graph[name]


def _closed_twice(graph):
    graph["close2"] = {
        "class_type": "StoryMemShotLoopClose",
        "inputs": dict(graph["close"]["inputs"]),
    }


def _crossed(graph):
    graph.update(renamed(loop_graph(story(2, name="Other")), "_b"))
    graph["body"]["inputs"]["bank"] = ["open_b", 2]


def _inside(graph):
    graph.update(renamed(loop_graph(story(2, name="Other")), "_b"))
    graph["open_b"]["inputs"]["bank"] = ["body", 1]
    graph["close"]["inputs"]["bank"] = ["close_b", 1]


def _independent(graph):
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 32, "height": 16, "batch_size": 9, "color": 0},
    }
    graph["close"]["inputs"]["frames"] = ["image", 0]


def _mixed(graph):
    graph["sink"] = {
        "class_type": "StoryMemTestSink",
        "inputs": {"value": ["open", 4], "other": ["close", 2], "log": ""},
    }


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unclosed, "never closed"),
        (_closed_twice, "closed 2 times"),
        (_crossed, "loops must not cross"),
        (_inside, "loops must not cross or be nested"),
        (_independent, "do not depend on"),
        (_mixed, "both from inside, or both from after the loop"),
    ],
)
def test_a_malformed_loop_is_told_before_anything_runs(host, log, spoil, words):
    graph = loop_graph(story(2), log, body={"outside": ["counter", 0]})
    graph["counter"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"name": "loader", "log": str(log)},
    }
    spoil(graph)
    with pytest.raises(RuntimeError, match=words):
        host.run(graph)
    assert lines_of(log) == []
    assert list((host.base / "output").iterdir()) == []


def test_the_loops_own_nodes_explain_themselves_when_placed_by_hand(host):
    graph = {
        "end": {"class_type": "StoryMemLoopEnd", "inputs": {"loop": "x", "run": "y"}},
    }
    with pytest.raises(RuntimeError, match="adds it automatically"):
        host.run(graph)


# --- only what changed runs again ------------------------------------------------------------


@pytest.mark.parametrize("cache", CACHES)
def test_editing_a_shot_runs_it_and_what_follows(host, log, cache):
    host.restart(cache)
    host.run(loop_graph(story(4), log))
    assert ran(log) == [1, 2, 3, 4]
    host.run(loop_graph(story(4), log))
    assert ran(log) == []
    host.run(OTHER_GRAPH)
    host.run(loop_graph(story(4), log))
    assert ran(log) == []
    host.run(loop_graph(edited(4, 3), log))
    assert ran(log) == [3, 4]
    host.restart(cache)
    host.run(loop_graph(edited(4, 3), log))
    assert ran(log) == []
    host.run(loop_graph(story(4), log))
    assert ran(log) == []  # the first version is still there


def test_what_does_not_touch_the_pixels_makes_no_shot_anew(host, log):
    host.run(loop_graph(story(3), log))
    ran(log)
    changes = [
        {"prefix": "elsewhere"},
        {"closed": {"fps": 24.0}},
        {"closed": {"crf": 30}},
        {"closed": {"transition": "cross_fade"}},
        {"opened": {"start_shot": 2}},
        {"opened": {"end_shot": 2}},
        {"opened": {"preview": True}},
        {"closed": {"subtitles": False}},
        {"closed": {"prompt_subtitles": True}},
    ]
    for change in changes:
        out = host.run(loop_graph(story(3), log, **change))
        assert ran(log) == [], change
    assert Path(out["folder"]).is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"body": {"seed": 8}},
        {"body": {"width": 96}},
        {"opened": {"continuity": "last_frame"}},
        {"opened": {"negative": "blurry"}},
    ],
)
def test_what_may_touch_the_pixels_makes_the_shots_anew(host, log, change):
    host.run(loop_graph(story(2), log))
    ran(log)
    host.run(loop_graph(story(2), log, **change))
    assert ran(log)[-1] == 2


def test_another_first_memory_makes_the_shots_anew(host, log):
    def with_reference(color):
        graph = loop_graph(story(2), log, opened={"bank": ["memory", 0]})
        graph["image"] = {
            "class_type": "EmptyImage",
            "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": color},
        }
        graph["memory"] = {
            "class_type": "StoryMemMemoryBank",
            "inputs": {"images": ["image", 0], "max_frames": 10, "sink": 3, "pin_references": True},
        }
        return graph

    host.run(with_reference(1))
    assert ran(log) == [1, 2]
    host.run(with_reference(2))
    assert ran(log) == [1, 2]
    host.run(with_reference(1))
    assert ran(log) == []


def test_node_ids_and_unrelated_nodes_do_not_matter(host, log):
    host.run(loop_graph(story(2), log))
    ran(log)
    host.run({**renamed(loop_graph(story(2), log), "_x"), **OTHER_GRAPH})
    assert ran(log) == []


def test_a_node_that_always_changes_is_named_in_the_log(host, log, caplog):
    graph = loop_graph(story(2), log, body={"seed": ["dice", 0]})
    graph["dice"] = {"class_type": "StoryMemTestAlwaysChanged", "inputs": {}}
    host.run(graph)
    assert ran(log) == [1, 2]
    with caplog.at_level(logging.WARNING):
        host.run(graph)
    assert ran(log) == [1, 2]
    assert "'StoryMemTestAlwaysChanged' (node dice) reports a change on every run" in caplog.text


@pytest.mark.parametrize("cache", CACHES)
def test_a_file_replaced_under_the_same_name_makes_the_shots_anew(host, log, cache):
    host.restart(cache)
    path = host.base / "input" / "picture.txt"
    path.write_text("one")
    graph = loop_graph(story(2), log, body={"outside": ["reader", 0]})
    graph["reader"] = {
        "class_type": "StoryMemTestCounter",
        "inputs": {"name": "picture.txt", "log": str(log)},
    }
    host.run(graph)
    assert ran(log) == [1, 2]
    host.run(graph)
    assert ran(log) == []
    path.write_text("another")
    host.run(graph)
    lines = lines_of(log)
    assert [line for line in lines if line.startswith("end")] == ["end 1 m2v", "end 2 mm2v"]
    assert "ran picture.txt" in lines  # the host's old copy of what it read was not used
    host.run(graph)
    assert ran(log) == []


def test_settings_of_an_empty_bank_reach_the_first_shot(host):
    graph = loop_graph(story(1, name="Settings"), opened={"bank": ["start", 0]})
    graph["start"] = {
        "class_type": "StoryMemMemoryBank",
        "inputs": {"max_frames": 4, "sink": 1, "pin_references": True},
    }
    bank = host.run(graph)["bank"]
    assert (bank.max_frames, bank.sink) == (4, 1)
