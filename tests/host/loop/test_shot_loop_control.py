"""The shot loop under the artist's hand: redo, lock, parts, per-shot fields, names, failures."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

import pytest

from helpers.call_count import count_calls
from helpers.loop_graphs import edited, lines_of, loop_graph, ran, story
from helpers.shared_data import STBENCH, needs_stbench

pytestmark = pytest.mark.usefixtures("fresh")


def picture_of(out, shot):
    """Digest of the keyframe that the test body remembered of a shot (from 1)."""
    return next(f.digest for f in out["bank"].frames if f.shot == shot - 1)


def shot_bytes(out, shot):
    return (Path(out["folder"]) / f"shot_01_{shot:02d}.mp4").read_bytes()


# --- redo and lock ---------------------------------------------------------------------------


def test_redo_rolls_a_shot_again_and_recomputes_what_follows(host, log):
    first = host.run(loop_graph(story(4), log))
    ran(log)
    again = host.run(loop_graph(story(4), log, opened={"redo_shots": "3"}))
    assert ran(log) == [3, 4]
    assert picture_of(again, 3) != picture_of(first, 3)
    assert picture_of(again, 2) == picture_of(first, 2)
    third = host.run(loop_graph(story(4), log, opened={"redo_shots": "3", "redo_take": 2}))
    assert ran(log) == [3, 4]
    assert picture_of(third, 3) not in (picture_of(first, 3), picture_of(again, 3))
    back = host.run(loop_graph(story(4), log))
    assert ran(log) == []
    assert picture_of(back, 3) == picture_of(first, 3)


def test_redo_may_leave_later_shots_as_they_are(host, log):
    first = host.run(loop_graph(story(4), log))
    kept = shot_bytes(first, 4)
    ran(log)
    opened = {"redo_shots": "2", "after_redo": "keep_later"}
    again = host.run(loop_graph(story(4), log, opened=opened))
    assert ran(log) == [2]
    assert shot_bytes(again, 4) == kept
    host.restart()
    host.run(loop_graph(story(4), log, opened=opened))
    assert ran(log) == []
    host.run(loop_graph(story(4), log, opened={"redo_shots": "2"}))
    assert ran(log) == [3, 4]


def test_keep_later_still_makes_a_shot_that_was_itself_changed(host, log):
    host.run(loop_graph(story(4), log))
    ran(log)
    prompts = ["shot number 1", "two, edited", "shot number 3", "four, edited"]
    host.run(loop_graph(story(prompts=prompts), log, opened={"after_redo": "keep_later"}))
    assert ran(log) == [2, 4]


@pytest.mark.parametrize(
    ("text", "words"), [("9", "has shots 1 to 3"), ("two", "must look like"), ("3-1", "1 to 3")]
)
def test_wrong_redo_shots_are_told(host, log, text, words):
    with pytest.raises(RuntimeError, match=words):
        host.run(loop_graph(story(3), log, opened={"redo_shots": text}))
    assert lines_of(log) == []


def test_a_locked_shot_keeps_its_result_whatever_changed(host, log):
    first = host.run(loop_graph(story(3), log))
    kept = shot_bytes(first, 2)
    ran(log)
    locked = story(3, lock=[None, True, None])
    host.run(loop_graph(locked, log, body={"seed": 1234}))
    assert ran(log) == [1, 3]
    assert shot_bytes(first, 2) == kept


def test_a_locked_shot_without_a_result_is_made_once(host, log):
    locked = story(2, lock=[True, True])
    host.run(loop_graph(locked, log))
    assert ran(log) == [1, 2]
    host.run(loop_graph(locked, log, body={"seed": 99}))
    assert ran(log) == []


# --- parts -----------------------------------------------------------------------------------


def test_preview_stops_after_the_first_shot_and_the_story_goes_on_from_there(host, log):
    out = host.run(loop_graph(story(3), log, opened={"preview": True}))
    assert ran(log) == [1]
    assert (Path(out["folder"]) / "Tale_shots_01-01_00001_.mp4").is_file()
    host.run(loop_graph(story(3), log))
    assert ran(log) == [2, 3]


def test_a_part_of_the_story_is_worked_on_alone(host, log):
    host.run(loop_graph(story(4), log, opened={"end_shot": 2}))
    assert ran(log) == [1, 2]
    out = host.run(loop_graph(story(4), log, opened={"start_shot": 2, "end_shot": 3}))
    assert ran(log) == [3]
    assert (Path(out["folder"]) / "Tale_shots_02-03_00001_.mp4").is_file()


def test_shots_before_the_part_are_taken_as_they_were_and_never_made(host, log):
    host.run(loop_graph(story(4), log, opened={"end_shot": 2}))
    ran(log)
    host.run(loop_graph(edited(4, 1), log, opened={"start_shot": 3}))
    assert ran(log) == [3, 4]


def test_a_part_without_anything_before_it_begins_with_a_cut(host, log):
    host.run(loop_graph(story(4), log, opened={"start_shot": 3}))
    assert lines_of(log) == ["begin 3 m2v", "end 3 m2v", "begin 4 mm2v", "end 4 mm2v"]


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        ({"start_shot": 5}, "has shots 1 to 3"),
        ({"start_shot": 3, "end_shot": 2}, "between start_shot"),
        ({"end_shot": 9}, "last shot"),
    ],
)
def test_a_part_that_the_story_does_not_have_is_told(host, opened, words):
    with pytest.raises(RuntimeError, match=words):
        host.run(loop_graph(story(3), opened=opened))


# --- what the script says about one shot -----------------------------------------------------


def test_seed_length_negative_and_continuity_of_a_shot_come_from_the_script(host, log):
    script = story(
        3,
        seed=[None, 5, None],
        length=[17, None, 21],
        negative_prompt=[None, "no rain", None],
        continuity=[None, "last_frame", None],
    )
    graph = loop_graph(script, log, opened={"negative": "blurry"})
    graph["sink"] = {
        "class_type": "StoryMemTestSink",
        "inputs": {"value": ["open", 5], "log": str(log)},
    }
    out = host.run(graph)
    lines = lines_of(log)
    assert [line for line in lines if line.startswith("begin")] == [
        "begin 1 m2v", "begin 2 mi2v", "begin 3 mm2v",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("sink")] == [
        "sink blurry", "sink no rain", "sink blurry",
    ]  # fmt: skip
    manifest = json.loads((Path(out["folder"]) / "story.json").read_text())
    assert manifest["shots"]["01_02"]["seed"] == 5
    import av

    frames = []
    for shot in (1, 2, 3):
        with av.open(str(Path(out["folder"]) / f"shot_01_0{shot}.mp4")) as container:
            frames.append(sum(1 for _ in container.decode(video=0)))
    assert frames == [17, 12, 16]


def test_a_shots_own_reference_images_join_the_memory_from_there_on(host, log):
    from PIL import Image

    path = host.base / "input" / "dragon.png"
    Image.new("RGB", (32, 16), (10, 200, 30)).save(path)
    script = story(3, reference_images=[None, ["dragon.png"], None])
    out = host.run(loop_graph(script, log))
    assert [(f.shot, f.name) for f in out["bank"].frames] == [
        (0, ""), (1, "dragon.png"), (1, ""), (2, ""),
    ]  # fmt: skip
    ran(log)
    Image.new("RGB", (32, 16), (200, 10, 30)).save(path)
    host.run(loop_graph(script, log))
    assert ran(log) == [2, 3]


@pytest.mark.parametrize("name", ["missing.png", "../outside.png"])
def test_a_missing_reference_image_is_told_before_anything_runs(host, log, name):
    with pytest.raises(RuntimeError, match=r"shot 2 .* names the reference image"):
        host.run(loop_graph(story(2, reference_images=[None, [name]]), log))
    assert lines_of(log) == []


def test_unknown_fields_are_named_in_a_warning(host, log, caplog):
    with caplog.at_level(logging.WARNING):
        host.run(loop_graph(story(2, seeds=[1, 2]), log))
    assert "scene 1 has fields that are ignored: seeds" in caplog.text


def test_a_broken_script_is_refused_when_it_is_queued(host):
    with pytest.raises(RuntimeError, match="scene 1 has 2 video_prompts but 1 cut values"):
        host.run(loop_graph(story(prompts=["a", "b"], cuts=[True])))
    with pytest.raises(RuntimeError, match="is not valid JSON"):
        host.run(loop_graph('{"story_name": "x", '))


def test_a_script_file_of_the_input_folder_is_read(host, log):
    (host.base / "input" / "my story.txt").write_text("a cat\n---\n[continue]\nthe cat jumps")
    graph = loop_graph("", log)
    graph["story"]["inputs"]["file"] = "my story.txt"
    out = host.run(graph)
    assert ran(log) == [1, 2]
    assert Path(out["folder"]).name == "my story"
    assert (Path(out["folder"]) / "script.txt").read_text().startswith("a cat")
    graph["story"]["inputs"]["script"] = "and a text"
    with pytest.raises(RuntimeError, match="clear one of them"):
        host.run(graph)


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", "con", "NUL.txt", "   "])
def test_names_that_lead_elsewhere_are_refused_before_anything_runs(host, log, name):
    outside = sorted(host.base.iterdir())
    with pytest.raises(RuntimeError, match=r"must"):
        host.run(loop_graph(story(2, name=name), log))
    with pytest.raises(RuntimeError, match=r"filename_prefix must"):
        host.run(loop_graph(story(2), log, prefix=name))
    assert lines_of(log) == []
    assert sorted(host.base.iterdir()) == outside
    assert list((host.base / "output").iterdir()) == []


def test_two_stories_of_one_name_share_a_folder_and_neither_is_lost(host, log):
    first = host.run(loop_graph(story(prompts=["a cat", "a dog"]), log))
    folder = Path(first["folder"])
    kept = (folder / "shot_01_01.mp4").read_bytes()
    client = {"client_id": "test"}
    second = host.run(loop_graph(story(prompts=["a ship"]), log), extra_data=client)
    assert second["folder"] == str(folder)
    (notice,) = host.ui("close")["storymem_notice"]
    assert "output/loop/Tale holds another film of that title (2 shots, none with a p" in notice
    assert sorted(path.name for path in folder.glob("shot_*")) == ["shot_01_01.mp4"]
    ran(log)
    again = host.run(loop_graph(story(prompts=["a cat", "a dog, edited"]), log), extra_data=client)
    assert again["folder"] == str(folder)
    assert ran(log) == [2]
    assert (folder / "shot_01_01.mp4").read_bytes() == kept
    assert "used again" in host.ui("close")["storymem_notice"][0]
    host.run(loop_graph(story(prompts=["a cat", "a bird"]), log), extra_data=client)
    assert "storymem_notice" not in host.ui("close")


def test_a_memory_beyond_what_the_model_knows_says_so_on_the_node(host, log, caplog):
    graph = loop_graph(story(1), log, opened={"bank": ["memory", 0]})
    settings = {"max_frames": 11, "sink": 3, "pin_references": True}
    graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": settings}
    with caplog.at_level(logging.WARNING):
        host.run(graph, extra_data={"client_id": "test"})
    (notice,) = host.ui("close")["storymem_notice"]
    words = "max_frames is 11, but the model was trained with up to 10"
    assert words in notice
    assert caplog.text.count(words) == 1


def test_names_that_differ_only_in_case_get_folders_that_do_not(host):
    first = Path(host.run(loop_graph(story(1, name="Tale")))["folder"])
    second = Path(host.run(loop_graph(story(1, name="TALE")))["folder"])
    assert first.name.casefold() != second.name.casefold()
    assert Path(host.run(loop_graph(story(1, name="TALE")))["folder"]) == second


def test_a_shortened_story_leaves_no_visible_shot_behind(host, log):
    host.run(loop_graph(story(3), log))
    out = host.run(loop_graph(story(2), log))
    shots = sorted(p.name for p in Path(out["folder"]).glob("shot_*.mp4"))
    assert shots == ["shot_01_01.mp4", "shot_01_02.mp4"]


def test_strange_stories_run(host, log):
    prompts = [
        "🐉 a dragon, 龙, \u202eright to left",
        "x" * 10_000,
        "quote \" and 'and\nnewline -->",
    ]
    script = json.dumps(
        {
            "story_name": 'Zoë\'s "tale": part 1? 🎬',
            "scenes": [
                {"scene_num": 1, "video_prompts": prompts, "cut": ["True", "False", True]},
                {"scene_num": 1, "video_prompts": ["again scene one"], "cut": [False]},
            ],
        }
    )
    out = host.run(loop_graph(script, log))
    assert ran(log) == [1, 2, 3, 4]
    folder = Path(out["folder"])
    assert folder.name == "Zoë's _tale__ part 1_ 🎬"
    assert sorted(p.name for p in folder.glob("shot*")) == [
        f"shot_01_0{i}.mp4" for i in (1, 2, 3, 4)
    ]
    host.restart()
    host.run(loop_graph(script, log))
    assert ran(log) == []


def test_a_story_of_two_hundred_shots_is_checked_with_little_work_and_does_not_overflow(host, log):
    import execution

    def graph_of(shots: int) -> dict:
        graph = loop_graph(story(shots), log, body={"width": 16, "height": 16, "length": 5})
        graph["open"]["inputs"]["continuity"] = "last_frame"
        return graph

    def check(graph: dict) -> None:
        valid, *_ = asyncio.run(execution.validate_prompt("p", graph, None))
        assert valid

    graph = graph_of(200)
    check(graph)  # what is done once is done
    short, long = (count_calls(lambda g=g: check(g)) for g in (graph_of(50), graph))
    assert long < 4.5 * short
    host.run(graph)
    assert ran(log) == list(range(1, 201))


def test_a_shot_begins_as_soon_as_the_one_before_it_is_finished(host, log, monkeypatch):
    """The look-out for shots that never finish must not be what wakes the next one."""
    monkeypatch.setattr(host.pack("nodes.loop.run"), "POLL_SECONDS", 100)
    begin = time.monotonic()
    host.run(loop_graph(story(3), log))
    assert ran(log) == [1, 2, 3]
    assert time.monotonic() - begin < 100, "a shot waited for the look-out"


@needs_stbench
def test_a_real_script_runs_with_every_mode(host, log):
    script = (STBENCH / "cat.json").read_text(encoding="utf-8")
    host.run(loop_graph(script, log, opened={"end_shot": 5}))
    assert [line for line in lines_of(log) if line.startswith("begin")] == [
        "begin 1 m2v", "begin 2 mm2v", "begin 3 mm2v", "begin 4 m2v", "begin 5 mm2v",
    ]  # fmt: skip
