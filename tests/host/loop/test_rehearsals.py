"""Rehearse, then film: drafts and the film in one prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.loop_graphs import loop_graph, ran, story
from helpers.plan_ahead import ask_plan

pytestmark = pytest.mark.usefixtures("fresh")
PROMPTS = ["Mara sits alone.", "Tom walks in.", "Mara and Tom talk."]


def rehearsed(log, count, *, prompts=PROMPTS, body=None, opened=None, **fields) -> dict:
    script = json.loads(story(prompts=prompts, **fields))
    script["cast"] = ["Mara", "Tom"]
    opened = {"rehearsals": count, **(opened or {})}
    return loop_graph(json.dumps(script), log, body=body, opened=opened)


def manifest(host, name: str) -> dict:
    return json.loads((host.base / "output" / "loop" / name / "story.json").read_text())


def seen_first(log: Path) -> list[int]:
    """How many frames the first shot of each pass saw."""
    lines = [line.split() for line in Path(f"{log}.used").read_text().splitlines()]
    return [len(line) - 1 for line in lines if line[0] == "1"]


def test_the_film_begins_with_frames_of_the_last_rehearsal(host, log):
    found = host.run(rehearsed(log, 2))
    assert ran(log) == [1, 2, 3] * 3
    assert seen_first(log) == [0, 2, 2], "Mara and Tom, from the first draft on"
    assert found["folder"].endswith("Tale")
    passes = host.pack("storymem.film.passes")
    there = passes.passes_of(host.base / "output" / "loop" / "Tale")
    assert list(there) == ["film", "draft", "draft2"]
    pinned = [frame for frame in found["bank"].frames if frame.pinned]
    assert [frame.name for frame in pinned] == ["Mara", "Tom"]
    assert list(there["draft2"].glob("Tale.draft2_*.mp4"))


def test_nothing_is_made_twice(host, log):
    graph = rehearsed(log, 2)
    host.run(graph)
    ran(log)
    keys = {name: manifest(host, name)["shots"] for name in ("Tale", "Tale.draft", "Tale.draft2")}
    for _ in range(2):
        host.restart()
        found = host.run(graph)
        assert ran(log) == []
        assert found["folder"].endswith("Tale")
    for name, shots in keys.items():
        now = manifest(host, name)["shots"]
        assert [one["key"] for one in now.values()] == [one["key"] for one in shots.values()]
    host.run(rehearsed(log, 2, body={"seed": 8}))
    assert ran(log) == [1, 2, 3] * 3


def test_a_draft_that_is_there_is_the_first_rehearsal(host, log):
    host.run(rehearsed(log, 0, opened={"pass": "draft"}))
    assert ran(log) == [1, 2, 3]
    host.run(rehearsed(log, 1))
    assert ran(log) == [1, 2, 3], "the film alone"
    host.run(rehearsed(log, 0))
    assert ran(log) == [1, 2, 3], "a film without it is another one"
    host.run(rehearsed(log, 3, opened={"pass": "draft"}))
    assert ran(log) == [], "a draft has no rehearsals"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_it_goes_on_where_it_stopped(host, log, tmp_path, nth):
    """In the first draft, in the second, and in the film."""
    switch = tmp_path / "switch"
    graph = rehearsed(log, 2, body={"fail_on": f"@{switch}"})
    host.run(graph)
    passes = host.pack("storymem.loop.passes")
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output" / ".storymem")
    gone = ["draft", "draft2", "film"][nth - 1 :]
    for record in list(store.records_of("Tale")):
        if passes.pass_of_facts(record.facts) in gone:
            shutil.rmtree(record.folder)
    ran(log)
    host.restart()
    switch.write_text("Tom walks")
    with pytest.raises(RuntimeError, match="broke on purpose"):
        host.run(graph)
    switch.write_text("")
    ran(log)
    host.restart()
    host.run(graph)
    assert ran(log) == [2, 3] + [1, 2, 3] * (3 - nth)


def test_a_part_of_the_film_is_rehearsed_as_a_whole(host, log):
    host.run(rehearsed(log, 1, opened={"preview": True}))
    assert ran(log) == [1, 2, 3, 1]


def test_a_script_that_names_nobody_is_told_before_anything_is_made(host, log):
    graph = loop_graph(story(2), log, opened={"rehearsals": 1})
    with pytest.raises(RuntimeError, match="names nobody"):
        host.run(graph)
    assert not log.exists()
    assert "names nobody" in ask_plan(host, graph)["error"]


@pytest.mark.parametrize("is_drafted", [True, False])
def test_a_rehearsal_memory_beside_it_is_refused_before_anything_is_made(host, log, is_drafted):
    """Both choose the first memory: its draft would be made anew, and its choice be another."""
    if is_drafted:
        host.run(rehearsed(log, 0, opened={"pass": "draft"}))
        ran(log)
    graph = rehearsed(log, 1)
    inputs = {"story": ["story", 0], "folder": "", "filename_prefix": "loop"}
    graph["rehearsal"] = {"class_type": "StoryMemRehearsal", "inputs": inputs}
    graph["open"]["inputs"]["bank"] = ["rehearsal", 0]
    with pytest.raises(RuntimeError, match="rehearsals is 1, but bank comes from Rehearsal Memory"):
        host.run(graph)
    assert ran(log) == []
    assert "set rehearsals to 0" in ask_plan(host, graph)["error"]
    graph["open"]["inputs"]["rehearsals"] = 0
    if is_drafted:
        host.run(graph)
        assert ran(log) == [1, 2, 3], "the film alone"


def test_what_it_will_make_is_told_beforehand(host, log):
    graph = rehearsed(log, 2)
    answer = ask_plan(host, graph)
    assert (answer["error"], answer["failed"]) == ("", "")
    assert [shot["state"] for shot in answer["shots"]] == ["unknown"] * 3
    first = "2 rehearsals of 3 shots before the film: 3 of 3 shots of the draft are to be made"
    assert answer["warnings"] == [first]
    host.run(graph)
    ran(log)
    answer = ask_plan(host, graph)
    assert [shot["state"] for shot in answer["shots"]] == ["finished"] * 3
    assert answer["summary"] == "nothing to make, 3 shots finished"
