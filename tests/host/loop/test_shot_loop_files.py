"""Files below the shot loop that are replaced, damaged or moved to another shot's place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.loop_graphs import loop_graph, ran, renamed, story

pytestmark = pytest.mark.usefixtures("fresh")


def first_pixel(path) -> int:
    import av

    with av.open(str(path)) as container:
        return int(next(container.decode(video=0)).to_ndarray(format="rgb24")[0, 0, 0])


def prompts_of_films(host, out) -> dict[str, str]:
    """What each visible shot was made for, by its record."""
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output" / ".storymem")
    manifest = json.loads((Path(out["folder"]) / "story.json").read_text())
    return {
        name: store.find(entry["key"]).facts["prompt"] for name, entry in manifest["shots"].items()
    }


@pytest.mark.parametrize("cache", ["ram", "classic"])
def test_a_replaced_file_is_loaded_anew_by_nodes_that_keep_it_by_name(host, log, cache):
    host.restart(cache)
    path = host.base / "input" / f"kept_{cache}.txt"
    path.write_text("10")
    graph = loop_graph(story(1), log)
    loader = {"images": ["body", 0], "name": path.name}
    graph["load"] = {"class_type": "StoryMemTestFileLoader", "inputs": loader}
    graph["close"]["inputs"]["frames"] = ["load", 0]
    shot = Path(host.run(graph)["folder"]) / "shot_01_01.mp4"
    assert first_pixel(shot) == pytest.approx(10, abs=3)
    path.write_text("200")
    host.run(graph)
    assert first_pixel(shot) == pytest.approx(200, abs=3)
    path.write_text("90")
    host.run(graph)
    assert first_pixel(shot) == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    "value", ["x.txt", {"on": True, "lora": "x.txt"}, [["x.txt", 1.0]], {"all": ["x.txt", 1.0]}]
)
def test_files_are_found_in_nested_inputs(host, value):
    path = host.base / "input" / "x.txt"
    path.write_text("1")
    found = host.pack("nodes.loop.graph").files_of({"inputs": {"lora_1": value}})
    assert [Path(p).resolve() for p in found] == [path.resolve()]


def test_a_cut_off_picture_is_repaired_by_the_next_run(host, log):
    graph = loop_graph(story(3), log)
    before = host.run(graph)["bank"]
    ran(log)
    pictures = host.base / "output" / ".storymem" / "pictures"
    os.truncate(next(pictures.glob(f"*/{before.frames[0].digest}.png")), 20)
    made = []
    for _ in range(2):
        host.restart()
        host.run(graph)
        made.append(ran(log))
    assert made[0]
    assert not made[1]


def test_shots_keep_their_films_when_another_is_put_before_them(host, log):
    def script(prompts, **fields):
        return story(prompts=prompts, cuts=[True] * len(prompts), **fields)

    host.run(loop_graph(script(["A", "B", "C"]), log))
    ran(log)
    locked = script(["A", "X", "B", "C"], lock=[None, None, True, True])
    out = host.run(loop_graph(locked, log))
    assert ran(log) == [2]
    films = prompts_of_films(host, out)
    assert films == {"01_01": "A", "01_02": "X", "01_03": "B", "01_04": "C"}


def test_earlier_shots_are_taken_for_what_they_say_not_for_their_number(host, log):
    def script(prompts):
        return story(prompts=prompts, cuts=[True] * len(prompts))

    host.run(loop_graph(script(["A", "B", "C"]), log))
    graph = loop_graph(script(["A", "X", "B", "D"]), log, opened={"start_shot": 4})
    films = prompts_of_films(host, host.run(graph))
    assert {name: films[name] for name in ("01_01", "01_03", "01_04")} == {
        "01_01": "A", "01_03": "B", "01_04": "D",
    }  # fmt: skip


def test_a_loop_after_a_loop_is_not_made_again_for_a_lost_copy(host, log):
    first = loop_graph(story(2), log)
    second = renamed(loop_graph(story(2, name="Two"), log), "_2")
    second["body_2"]["inputs"]["outside"] = ["close", 2]
    graph = {**first, **second}
    out = host.run(graph)
    assert ran(log) == [1, 2, 1, 2]
    (Path(out["folder"]) / "shot_01_01.mp4").unlink()
    host.run(graph)
    assert ran(log) == []
    assert (Path(out["folder"]) / "shot_01_01.mp4").is_file()


def test_a_story_named_like_a_shot_leaves_that_shot_alone(host, log):
    folder = Path(host.run(loop_graph(story(2, name="shot_01_01"), log))["folder"])
    assert (folder / "story_shot_01_01_00001_.mp4").is_file()
    assert (folder / "shot_01_01.mp4").stat().st_size < (
        folder / "story_shot_01_01_00001_.mp4"
    ).stat().st_size
