"""The story carried by one wire: what a host's own Start Loop / End Loop would carry around."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from helpers.keyframe_graphs import record
from helpers.loop_graphs import decoded, edited, loop_graph, one_wire, ran, story

pytestmark = pytest.mark.usefixtures("fresh")


def test_one_wire_gives_the_same_story_as_the_shot_loop(host, tmp_path):
    log = tmp_path / "log"
    wired = host.run(one_wire(story(3), log, 3))
    assert wired["done"] is True
    assert Path(wired["folder"]).parent.name == "wire"
    assert ran(log) == [1, 2, 3]
    looped = host.run(loop_graph(story(3), log))
    # The same nodes make the same shots: the loop finds them finished.
    assert ran(log) == []
    for name in ("Tale_00001_.mp4", "shot_01_02.mp4"):
        assert decoded(Path(wired["folder"]) / name) == decoded(Path(looped["folder"]) / name)
    assert [f.digest for f in wired["bank"].frames] == [f.digest for f in looped["bank"].frames]


def test_a_start_image_of_the_script_comes_from_next_shot(host, tmp_path):
    Image.new("RGB", (16, 8), (250, 0, 0)).save(host.base / "input" / "wired.png")
    graph = one_wire(story(2, start_image=["wired.png", None]), tmp_path / "log", 2)
    for i in (0, 1):
        graph[f"seen{i}"] = record([f"next{i}", 7], f"start{i}")
    found = host.run(graph)
    assert list(found["start0"].shape) == [1, 8, 16, 3]
    assert found["start0"][0, 0, 0, 0] > 0.9
    assert found["start1"] is None


def test_finished_shots_run_nothing_and_edits_run_what_follows(host, tmp_path):
    log = tmp_path / "log"
    host.run(one_wire(story(4), log, 4))
    ran(log)
    for cache in ("ram", "classic", "lru", "none"):
        host.restart(cache)
        host.run(one_wire(story(4), log, 4))
        assert ran(log) == [], cache
    host.run(one_wire(edited(4, 3), log, 4))
    assert ran(log) == [3, 4]


def test_records_say_how_long_a_shot_took_as_in_the_shot_loop(host, tmp_path):
    out = host.run(one_wire(story(3), tmp_path / "log", 3))
    shots = json.loads((Path(out["folder"]) / "story.json").read_text())["shots"]
    times = [shots[label]["work"] for label in sorted(shots)]
    assert [time["first"] for time in times] == [True, False, False]
    assert all(0 < time["seconds"] < 60 for time in times)
    assert [(time["frames"], time["width"], time["height"]) for time in times] == [(13, 64, 48)] * 3
    looped = host.run(loop_graph(story(3, name="Looped"), tmp_path / "log"))
    shots = json.loads((Path(looped["folder"]) / "story.json").read_text())["shots"]
    known = shots["01_01"]["work"]
    assert (known["pace"], known["machine"]) == (times[0]["pace"], times[0]["machine"])


def test_a_loop_that_ends_early_joins_what_there_is(host, tmp_path):
    out = host.run(one_wire(story(3), tmp_path / "log", 2))
    assert out["done"] is False
    assert (Path(out["folder"]) / "Tale_shots_01-02_00001_.mp4").is_file()


def test_a_loop_that_goes_on_too_long_is_told(host, tmp_path):
    with pytest.raises(RuntimeError, match="all 2 shots of 'Tale' are finished"):
        host.run(one_wire(story(2), tmp_path / "log", 3))


def test_finish_shot_must_belong_to_one_next_shot(host, tmp_path):
    graph = one_wire(story(2), tmp_path / "log", 2)
    graph["finish1"]["inputs"]["frames"] = ["body0", 0]
    with pytest.raises(RuntimeError, match="after one Next Shot, but they come from 2"):
        host.run(graph)


def test_clicks_on_the_memory_count_as_in_the_shot_loop(host, tmp_path):
    log = tmp_path / "log"

    def with_clicks(graph, node, edits=""):
        inputs = {"max_frames": 4, "sink": 1, "pin_references": True, "edits": json.dumps(edits)}
        graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": inputs}
        graph[node]["inputs"]["bank"] = ["memory", 0]
        return graph

    def wired(edits):
        return host.run(with_clicks(one_wire(story(6), log, 6), "begin", edits))["bank"]

    plain = wired({})
    assert ran(log) == [1, 2, 3, 4, 5, 6]
    second, third = plain.frames[1].digest, plain.frames[2].digest
    assert wired({"pin": [second]}).frames[1].pinned
    assert ran(log) == [6]
    dropped = wired({"drop": [third]})
    assert ran(log) == [4, 5, 6]
    assert [f.digest for f in dropped.dropped] == [third]
    host.restart()
    assert [f.digest for f in wired({}).frames] == [f.digest for f in plain.frames]
    assert ran(log) == []
    looped = host.run(with_clicks(loop_graph(story(6), log), "open", {"drop": [third]}))["bank"]
    assert ran(log) == []
    assert [f.digest for f in looped.frames] == [f.digest for f in dropped.frames]


def test_frames_in_parts_are_joined_in_order(host, tmp_path):
    whole = host.run(one_wire(story(2), tmp_path / "log", 2))
    before = [decoded(Path(whole["folder"]) / f"shot_01_0{i}.mp4") for i in (1, 2)]
    graph = one_wire(story(2), tmp_path / "log", 2)
    for i in range(2):
        rebatch = {"images": [f"body{i}", 0], "batch_size": 6}
        graph[f"parts{i}"] = {"class_type": "RebatchImages", "inputs": rebatch}
        graph[f"finish{i}"]["inputs"]["frames"] = [f"parts{i}", 0]
    for _ in range(2):  # made, and found again
        host.restart()
        folder = Path(host.run(graph)["folder"])
        assert [decoded(folder / f"shot_01_0{i}.mp4") for i in (1, 2)] == before
    assert ran(tmp_path / "log") == [1, 2, 1, 2]


def test_what_changed_is_named_in_the_log(host, log, caplog):
    def run(seed) -> None:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            host.run(one_wire(story(2), log, 2, seed=seed))

    run(7)
    assert "regenerated because" not in caplog.text
    run(8)
    lines = [line for line in caplog.messages if "regenerated because" in line]
    words = "is regenerated because seed of 'StoryMemTestBody' changed from 7 to 8"
    assert lines == [f"StoryMem: shot {n} {words}" for n in (1, 2)]
    run(8)
    assert "regenerated because" not in caplog.text
