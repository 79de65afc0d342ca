"""Draft, then render: a pass before the film in ComfyUI, apart from it in every way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from helpers.loop_graphs import loop_graph, one_wire, ran, story
from helpers.pass_graphs import passed, sampled
from helpers.plan_ahead import ask_plan, checker

pytestmark = pytest.mark.usefixtures("fresh")


def folder_of(host, name: str, prefix: str = "loop") -> Path:
    return host.base / "output" / prefix / name


def files_in(folder: Path) -> dict[str, tuple]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".storymem.lock"
    }


def info(path: Path) -> tuple[int, int, int]:
    """Width, height, frames of a video."""
    import av

    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in video.decode(stream))


def body_text(host, graph: dict, draft=None) -> str:
    from comfy_execution.graph import DynamicPrompt

    loop = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(graph), "close")
    loop.draft = draft
    return asyncio.run(loop.describe())


# --- apart ---------------------------------------------------------------------------------------


def test_a_draft_leaves_the_film_as_it_is_and_the_other_way_round(host, log):
    film = loop_graph(story(3), log)
    draft, stills = passed(film, "draft"), passed(film, "stills")
    host.run(film)
    before = files_in(folder_of(host, "Tale"))
    assert ran(log) == [1, 2, 3]
    for graph in (draft, stills):
        host.run(graph)
        assert ran(log) == [1, 2, 3]
    assert files_in(folder_of(host, "Tale")) == before
    passes = {p: files_in(folder_of(host, f"Tale.{p}")) for p in ("draft", "stills")}
    for name, files in passes.items():
        assert json.loads(files["story.json"][0])["pass"] == name
        assert {"shot_01_03.mp4", "script.json", "bank/bank.json"} <= {*files}
    for graph in (film, draft, stills):
        host.restart()
        host.run(graph)
        assert ran(log) == []
    now = {p: files_in(folder_of(host, f"Tale.{p}")) for p in ("draft", "stills")}
    for was, found in (
        (before, files_in(folder_of(host, "Tale"))),
        *zip(passes.values(), now.values(), strict=True),
    ):
        assert {n: was[n][0] for n in was if n != "story.json"} == {
            n: found[n][0] for n in found if n != "story.json"
        }


def test_a_film_whose_folder_is_taken_by_a_draft_is_told_so(host, log):
    host.run(passed(loop_graph(story(1), log), "draft"))
    with pytest.raises(RuntimeError, match="holds a draft, and not the film"):
        host.run(loop_graph(story(1, name="Tale.draft"), log))


def test_a_draft_goes_on_where_it_stopped(host, log, tmp_path):
    switch = tmp_path / "switch"
    switch.write_text("number 2")
    graph = passed(loop_graph(story(3), log, body={"fail_on": f"@{switch}"}), "draft")
    with pytest.raises(RuntimeError, match="broke on purpose"):
        host.run(graph)
    ran(log)
    assert json.loads((folder_of(host, "Tale.draft") / "story.json").read_text())["stopped"]
    switch.write_text("")
    host.restart()
    host.run(graph)
    assert ran(log) == [2, 3]
    assert not folder_of(host, "Tale").exists()


def test_a_shot_of_the_draft_is_rolled_again_alone(host, log):
    film = loop_graph(story(3, cuts=[True, True, True]), log)
    host.run(film)
    host.run(passed(film, "draft"))
    ran(log)
    again = {"redo_shots": "2", "redo_take": 2, "after_redo": "keep_later"}
    redo = passed(loop_graph(story(3, cuts=[True, True, True]), log, opened=again), "draft")
    host.run(redo)
    assert ran(log) == [2]
    host.run(film)
    assert ran(log) == []


def test_locks_and_takes_stay_within_their_pass(host, log):
    films = [loop_graph(text, log) for text in (story(2), story(2, lock=[True, False]))]
    host.run(films[0])
    host.run(films[1])
    film = json.loads((folder_of(host, "Tale") / "story.json").read_text())
    ran(log)
    host.run(passed(films[1], "draft"))
    assert ran(log) == [1, 2], "the film's locked shot is no draft"
    draft = json.loads((folder_of(host, "Tale.draft") / "story.json").read_text())
    keys = [{one["shots"][label]["key"] for label in one["shots"]} for one in (film, draft)]
    assert not keys[0] & keys[1]
    assert draft["locks"]["01_01"] in keys[1]
    takes = host.pack("storymem.loop.takes")
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output/.storymem")
    for name, own in zip(("film", "draft"), keys, strict=True):
        assert {take.key for take in takes.read_takes(store, "Tale", name)} == own
    named = json.loads(story(2))
    named["scenes"][0]["use_take"] = [film["shots"]["01_01"]["key"][:16], ""]
    host.run(passed(loop_graph(json.dumps(named), log), "draft"))
    assert ran(log) == [], "the film's take is not the draft's"
    now = json.loads((folder_of(host, "Tale.draft") / "story.json").read_text())
    assert now["shots"]["01_01"]["key"] in keys[1]


def test_a_film_is_the_same_with_and_without_the_new_inputs(host):
    film = sampled(story(1))
    assert body_text(host, film) == body_text(host, passed(film, "film", steps=2))


# --- what is made --------------------------------------------------------------------------------


def test_a_draft_is_smaller_and_has_its_few_steps(host, log):
    graph = sampled(story(2))
    host.run(graph)
    host.run(passed(graph, "draft", steps=2, size=0.5))
    assert info(folder_of(host, "Tale") / "shot_01_01.mp4") == (64, 48, 9)
    assert info(folder_of(host, "Tale.draft") / "shot_01_01.mp4") == (32, 32, 9)
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output/.storymem")
    works = {}
    for record in store.records_of("Tale"):
        name = record.facts.get("draft", {}).get("name", "film")
        works[name] = record.facts["work"]
    assert [works[name]["steps"] for name in ("film", "draft")] == [3, 2]
    assert works["draft"]["width"] == 32
    assert works["film"]["pace"] != works["draft"]["pace"]


def test_a_draft_sees_no_more_memory_than_it_says(host, log):
    graph = loop_graph(story(4), log)
    host.run(passed(graph, "draft", max_frames=1))
    used = [line.split()[1:] for line in Path(f"{log}.used").read_text().splitlines()]
    assert [len(frames) for frames in used] == [0, 1, 1, 1]


def test_stills_are_held_and_continue_by_memory(host, log):
    script = story(3, cuts=[True, False, True], length=[None, 13, None])
    host.run(passed(sampled(script), "stills"))
    folder = folder_of(host, "Tale.stills")
    assert [info(folder / f"shot_01_0{i}.mp4") for i in (1, 2, 3)] == [
        (64, 48, 9), (64, 48, 13), (64, 48, 9),
    ]  # fmt: skip
    assert info(folder / "Tale.stills_00001_.mp4")[2] == 31
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output/.storymem")
    records = sorted(store.records_of("Tale"), key=lambda record: record.facts["shot"])
    assert [record.facts["mode"] for record in records] == ["m2v"] * 3
    assert [record.facts["work"]["frames"] for record in records] == [1, 1, 1]
    bank = store.load(records[0]).bank
    assert bank.frames[-1].digest in records[1].facts["saw"]


def test_one_wire_makes_a_draft_too(host, log):
    graph = one_wire(story(2), log, 2)
    host.run(graph)
    before = files_in(folder_of(host, "Tale", "wire"))
    ran(log)
    host.run(passed(graph, "draft", steps=6))
    assert ran(log) == [1, 2]
    assert files_in(folder_of(host, "Tale", "wire")) == before
    assert (folder_of(host, "Tale.draft", "wire") / "Tale.draft_00001_.mp4").is_file()
    host.restart()
    host.run(passed(graph, "draft", steps=6))
    host.run(graph)
    assert ran(log) == []


# --- asked beforehand ----------------------------------------------------------------------------


def test_what_a_draft_will_make_is_told_beforehand(host, log, caplog):
    check = checker(host, log, caplog)
    film = loop_graph(story(3), log)
    draft = passed(film, "draft", steps=6)
    assert check(draft).of("make") == [1, 2, 3]
    assert check(draft).of("finished") == [1, 2, 3]
    assert check(film).of("make") == [1, 2, 3]
    said = check(passed(film, "draft", steps=8))
    (change,) = said.answer["changes"]
    assert change["reasons"] == ["steps of the draft changed from 6 to 8"]
    assert ask_plan(host, draft)["shots"][0]["state"] == "finished"
    (text,) = ask_plan(host, passed(film, "draft", steps=9))["notices"].values()
    assert "no M2V Sampler" in text


def test_what_a_draft_on_one_wire_will_make_is_told_beforehand(host, log, caplog):
    check = checker(host, log, caplog)
    draft = passed(one_wire(story(2), log, 2), "draft")
    assert check(draft, "begin", tells_summary=False).made == [1, 2]
    assert check(draft, "begin", tells_summary=False).of("finished") == [1, 2]


def test_settings_that_no_draft_can_have_are_told_before_anything_runs(host, log):
    answer = ask_plan(host, passed(loop_graph(story(1), log), "sketch"))
    assert "sketch" in answer["error"]
