"""A story that begins from a clip, in the loop and on one wire: asked, run, resumed, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.finishing import finishing
from helpers.keyframe_graphs import node
from helpers.loop_graphs import lines_of, loop_graph, one_wire, ran, renamed, story
from helpers.plan_ahead import ask_plan, checker, forget_all
from storymem.files.video import write_video

pytestmark = pytest.mark.usefixtures("fresh")
CONTINUED = {"cuts": [False, False, True]}


@pytest.fixture
def check(host, log, caplog):
    return checker(host, log, caplog)


def with_clip(graph: dict, frames=9, colour=0x3070B0, begin="open", **opened) -> dict:
    """The graph whose story begins from a clip, of which the last frame is another one."""
    graph["grey"] = node("EmptyImage", width=64, height=48, batch_size=frames - 1, color=0x808080)
    graph["last"] = node("EmptyImage", width=64, height=48, batch_size=1, color=colour)
    graph["clip"] = node("ImageBatch", image1=["grey", 0], image2=["last", 0])
    graph[begin]["inputs"] |= {"opening_frames": ["clip", 0], **opened}
    return graph


def remembering(graph: dict, body="body", begin="open", end="close") -> dict:
    """The graph whose shots' keyframes are chosen by a Keyframe Select."""
    graph["select"] = node(
        "StoryMemKeyframeSelect", frames=[body, 0], bank=[begin, 2], shot=[begin, 1],
        threshold=0.9, max_keyframes=2,
    )  # fmt: skip
    graph["remember"] = node(
        "StoryMemRemember", keyframes=["select", 0], bank=[begin, 2], pin=False
    )
    graph[end]["inputs"]["bank"] = ["remember", 0]
    return graph


def frames_of(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_first_shot_continues_from_the_clip(host, log, check):
    script = story(3, **CONTINUED)
    first = check(with_clip(loop_graph(script, log)))
    assert (first.of("make"), first.made) == ([1, 2, 3], [1, 2, 3])
    assert check(with_clip(loop_graph(script, log))).made == []
    folder = next(host.base.glob("output/loop/Tale"))
    film = folder / "Tale_00001_.mp4"
    assert [frames_of(folder / f"shot_01_0{i}.mp4") for i in (1, 2, 3)] == [8, 8, 13]
    # The clip at the film's head makes another film and no shot.
    headed = check(with_clip(loop_graph(script, log), opening_in_film=True))
    assert headed.made == []
    assert frames_of(film.with_name("Tale_00002_.mp4")) == 9 + frames_of(film) == 38
    # A wire carries the same story, and finds it finished.
    wire = with_clip(one_wire(script, log, 3), begin="begin", opening_in_film=True)
    assert ask_plan(host, wire, "begin")["summary"] == "nothing to make, 3 shots finished"
    out = host.run(wire)
    assert ran(log) == []
    assert frames_of(Path(out["folder"]) / "Tale_00001_.mp4") == 38
    # Another last frame is another first shot.
    other = check(with_clip(loop_graph(script, log), colour=0xFF0000))
    assert other.made[0] == 1
    assert "the clip that the story begins from changed" in other.shot(1)["reasons"]


def test_a_story_that_began_from_a_clip_is_finished_shot_by_shot(host, log):
    host.run(with_clip(loop_graph(story(3, **CONTINUED), log), opening_in_film=True))
    ran(log)
    host.run(finishing("loop/Tale", at_once=4))
    folder = host.base / "output" / "loop" / "Tale finished"
    assert [frames_of(folder / f"shot_01_0{i}.mp4") for i in (1, 2, 3)] == [8, 8, 13]
    assert frames_of(folder / "Tale finished_00001_.mp4") == 29


@pytest.mark.parametrize("limit", ["LARGEST_VIDEO", "LARGEST_FRAMES"])  # small files may be long
def test_a_video_file_is_known_before_the_run(host, log, check, monkeypatch, limit):
    write_video(
        host.base / "input" / "clip.mp4", (np.full((48, 64, 3), 20 * i, np.uint8) for i in range(9))
    )
    graph = loop_graph(story(2, cuts=[False, False]), log)
    graph["file"] = node("LoadVideo", file="clip.mp4")
    graph["clip"] = node("GetVideoComponents", video=["file", 0])
    graph["open"]["inputs"]["opening_frames"] = ["clip", 0]
    assert check(graph).made == [1, 2]
    assert check(graph).made == []
    known = host.pack("nodes.loop.known_values")
    forget_all(host)
    assert ask_plan(host, graph)["summary"] == "nothing to make, 2 shots finished"
    monkeypatch.setattr(known, limit, 10)
    asked = ask_plan(host, graph)
    assert [(one["node"], one["input"]) for one in asked["unknown"]] == [("clip", "opening_frames")]
    assert {shot["state"] for shot in asked["shots"]} == {"unknown"}


def test_what_does_not_go_together_is_told_before_the_first_shot(host, log, caplog):
    script = story(2, cuts=[False, False])
    for graph, begin, words in (
        (loop_graph(script, log), "open", "but there is none"),
        (one_wire(script, log, 2), "begin", "but there is none"),
        (with_clip(loop_graph(script, log), frames=4), "open", "opening_frames holds 4 frames"),
        (with_clip(one_wire(script, log, 2), 4, begin="begin"), "begin", "holds 4 frames"),
    ):
        said = ask_plan(host, graph, begin)["error"]
        assert words in said
        with pytest.raises(RuntimeError) as told:
            host.run(graph)
        assert str(told.value).removeprefix("ValueError: ") == said
    assert lines_of(log) == []
    unused = with_clip(loop_graph(story(1), log))
    assert "has no effect" in ask_plan(host, unused)["warnings"][0]
    host.run(unused)
    assert "StoryMem: the clip that the story begins from has no effect" in caplog.text
    assert lines_of(log) == ["begin 1 m2v", "end 1 m2v"]


def test_a_clips_keyframes_begin_the_memory(host, log, check):
    script = story(2, cuts=[False, False])
    graph = with_clip(remembering(loop_graph(script, log)), remember_opening=True)
    asked = ask_plan(host, graph)
    assert [(one["node"], one["input"]) for one in asked["unknown"]] == [("select", "bank")]
    host.run(graph)
    assert ran(log) == [1, 2]
    seen = dict(line.split(" ", 1) for line in lines_of(Path(f"{log}.used")))
    first = seen["1"].split()
    assert first, "shot 1 sees the clip's keyframes"
    assert seen["2"].split()[: len(first)] == first
    # Known now: nothing runs, and the choice is not made again.
    (chosen,) = (host.base / "output/.storymem/openings").glob("*.json")
    assert json.loads(chosen.read_text())[0]["frame"] in range(9)
    host.restart()
    assert check(graph).made == []
    # Another selector may choose otherwise, which only a run tells.
    graph["select"]["inputs"]["threshold"] = 0.8
    assert ask_plan(host, graph)["unknown"]
    host.run(graph)
    count = len(list((host.base / "output/.storymem/openings").glob("*.json")))
    assert count == 2


def test_a_clips_keyframes_begin_the_memory_on_one_wire(host, log):
    script = story(1, cuts=[False])
    graph = remembering(one_wire(script, log, 1), "body0", "next0", "finish0")
    graph = with_clip(graph, begin="begin", remember_opening=True)
    assert [one["input"] for one in ask_plan(host, graph, "begin")["unknown"]] == ["bank"]
    host.run(graph)
    assert ran(log) == [1]
    assert lines_of(Path(f"{log}.used"))[0] != "1 "
    host.restart()
    assert ask_plan(host, graph, "begin")["summary"] == "nothing to make, 1 shot finished"
    host.run(graph)
    assert ran(log) == []


def test_a_clip_is_judged_as_the_shots_of_its_own_story(host, log):
    """And not as those of a story that goes on with this one's memory, whatever its nodes' ids."""
    from comfy_execution.graph import DynamicPrompt

    graph = remembering(with_clip(loop_graph(story(1), log), remember_opening=True))
    later = renamed(remembering(loop_graph(story(1, name="Next"), log)), "_")
    later["open_"]["inputs"]["bank"] = ["close", 1]
    later["a"] = later.pop("select_")
    later["remember_"]["inputs"]["keyframes"] = ["a", 0]
    module = host.pack("nodes.loop.opening_choice")
    choice = module.ClipChoice(DynamicPrompt({**graph, **later}), "open", None, None)
    assert choice.selector == "select"
