"""Shots of a film that take over pictures and seeds of its draft, through the host's executor."""

from __future__ import annotations

import json

import pytest

from helpers.loop_graphs import loop_graph, one_wire, ran, story
from helpers.plan_ahead import ask_plan

pytestmark = pytest.mark.usefixtures("fresh")
PROMPTS = ["Mara waits", "Pip sleeps", "Pip and Mara run"]


def graph_of(log, *promote, of_pass="film", seed=7, **opened) -> dict:
    """The loop of three shots; ``promote`` of each, as far as given."""
    script = json.loads(story(prompts=PROMPTS, cuts=[True] * 3))
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    for row, words in zip(rows, promote, strict=False):
        row |= {"promote": words} if words else {}
    script["scenes"][0]["video_prompts"] = rows
    body = {"seed": seed}
    graph = loop_graph(json.dumps(script), log, body=body, opened={"pass": of_pass, **opened})
    return graph


def records(host) -> dict[int, dict]:
    """What the newest records of the film say, by shot."""
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output" / ".storymem")
    folder = host.base / "output" / "loop" / "Tale"
    shots = json.loads((folder / "story.json").read_text())["shots"]
    return {int(label[-2:]): store.find(e["key"]).facts for label, e in shots.items()}


@pytest.fixture
def draft(host, log):
    host.run(graph_of(log, of_pass="draft", seed=5))
    assert ran(log) == [1, 2, 3]
    return host.base / "output" / "loop" / "Tale.draft"


def test_the_seed_of_the_draft_is_the_film_s(host, log, draft):
    host.run(graph_of(log, None, "seed"))
    assert [records(host)[n]["seed"] for n in (1, 2, 3)] == [None, 6, None]


def test_a_frame_of_the_draft_is_where_a_shot_starts_from(host, log, draft):
    host.run(graph_of(log, None, "start 4"))
    (picture,) = records(host)[2]["pictures"]
    frames = host.pack("storymem.film.shown_shots")
    told = host.pack("storymem.script.reader").load_story(story(prompts=PROMPTS))
    shot = frames.shown_shots(draft, told)[1]
    frame = host.pack("storymem.memory.frame").MemoryFrame(shot.read_frame(4))
    assert picture == f"start {frame.digest}"


def test_a_frame_of_a_later_shot_is_in_the_memory_from_an_earlier_one_on(host, log, draft):
    recorded = host.run(graph_of(log, "memory 3:6 Mara"))
    first = recorded["bank"].frames[0]
    assert (first.name, first.place) == ("Mara", "reference of shot 1")
    assert first.reason == "promoted: frame 6 of the draft's shot 3"
    assert records(host)[1]["saw"] == [first.digest]
    assert first.digest in records(host)[2]["saw"]


def test_the_keyframes_of_a_shot_of_the_draft_are_in_the_memory(host, log, draft):
    recorded = host.run(graph_of(log, None, "memory"))
    (kept,) = [f for f in recorded["bank"].frames if f.reason.startswith("promoted: the keyframes")]
    assert kept.shot == 1
    assert kept.digest in records(host)[2]["saw"]


def test_only_the_shots_that_take_something_over_and_what_sees_it_are_made(host, log, draft):
    host.run(graph_of(log))
    ran(log)
    host.run(graph_of(log, None, None, "start"))
    assert ran(log) == [3]
    host.run(graph_of(log, None, None, None))
    assert ran(log) == []


def test_a_draft_that_is_made_again_changes_nothing_and_is_told(host, log, draft, caplog):
    graph = graph_of(log, None, "start 4, memory 3:2 Mara, seed")
    host.run(graph)
    before = {n: facts["own"] for n, facts in records(host).items()}
    ran(log)
    again = graph_of(log, of_pass="draft", seed=5, redo_shots="2, 3", redo_take=2)
    host.run(again)
    assert ran(log) == [2, 3]
    caplog.clear()
    answer = ask_plan(host, graph)
    assert {shot["state"] for shot in answer["shots"]} == {"finished"}
    assert any("the draft's shot 2 was made again" in text for text in answer["warnings"])
    host.run(graph)
    assert ran(log) == []
    assert {n: facts["own"] for n, facts in records(host).items()} == before
    assert "the draft's shot 3 was made again since it was promoted to shot 2" in caplog.text


def test_what_is_not_there_is_told_before_the_first_shot(host, log, draft):
    for words, told in (
        ("memory 9:1", "promotes frame 1 of the draft's shot 9, but the story has shots 1 to 3"),
        ("start 99", "has frames 0 to 12, but frame 99 is asked for"),
        ("start from stills", "which is not there: there is no folder output/loop/Tale.stills"),
    ):
        assert told in ask_plan(host, graph_of(log, None, words))["error"]
        with pytest.raises(RuntimeError, match=told):
            host.run(graph_of(log, None, words))
    assert ran(log) == []


def test_a_draft_takes_nothing_over_itself(host, log):
    host.run(graph_of(log, None, "start, memory, seed", of_pass="draft"))
    assert ran(log) == [1, 2, 3]


def test_shots_on_one_wire_take_over_as_well(host, log, draft):
    script = graph_of(log, None, "seed, start 4, memory 3:2 Mara")["story"]["inputs"]["script"]
    graph = one_wire(script, log, 3)
    graph["begin"]["inputs"]["filename_prefix"] = "loop"
    for _ in range(2):  # the second finds all finished
        host.run(graph)
    assert ran(log) == [1, 2, 3]
    second = records(host)[2]
    assert second["seed"] == 6
    assert [one.split()[0] for one in second["pictures"]] == ["promoted", "start"]
    answer = ask_plan(host, graph, "begin")
    assert {shot["state"] for shot in answer["shots"]} == {"finished"}


def test_a_locked_shot_stays_though_its_draft_is_gone(host, log, draft):
    graph = graph_of(log, None, "start")
    host.run(graph)
    ran(log)
    (draft / "story.json").unlink()
    host.run(graph)  # the picture is the store's
    assert ran(log) == []


def test_what_shots_on_one_wire_took_over_stays_from_their_first_run_on(host, log, draft):
    script = graph_of(log, None, "start 4, memory 3:2 Mara")["story"]["inputs"]["script"]
    graph = one_wire(script, log, 3)
    graph["begin"]["inputs"]["filename_prefix"] = "loop"
    host.run(graph)
    assert ran(log) == [1, 2, 3]
    host.run(graph_of(log, of_pass="draft", seed=5, redo_shots="2, 3", redo_take=2))
    assert ran(log) == [2, 3]
    host.restart()
    host.run(graph)
    assert ran(log) == []
