"""Rehearse, then film, through the host's own executor."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from helpers.loop_graphs import loop_graph, ran, story
from helpers.plan_ahead import ask_plan

pytestmark = pytest.mark.usefixtures("fresh")
PROMPTS = ["Mara waits", "Pip sleeps", "Pip and Mara run"]
CAST = ["Mara", "Pip"]


def script() -> str:
    return json.dumps(json.loads(story(prompts=PROMPTS, cuts=[True] * 3)) | {"cast": CAST})


def film_of(draft, log, **rehearsal) -> dict:
    """A film whose memory begins with a rehearsal."""
    graph = loop_graph(script(), log, prefix="film", body={"seed": 9})
    inputs = {"story": ["story", 0], "folder": draft, **rehearsal}
    graph["rehearsal"] = {"class_type": "StoryMemRehearsal", "inputs": inputs}
    graph["open"]["inputs"]["bank"] = ["rehearsal", 0]
    graph["opening"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["rehearsal", 0], "key": "opening"},
    }
    return graph


@pytest.fixture
def draft(host, log):
    host.run(loop_graph(script(), log, prefix="draft"))
    assert sorted(ran(log)) == [1, 2, 3]
    return "draft/Tale"


def test_a_film_begins_with_frames_of_its_rehearsal(host, log, draft):
    graph = film_of(draft, log)
    recorded = host.run(graph)
    assert sorted(ran(log)) == [1, 2, 3]
    opening, bank = recorded["opening"], recorded["bank"]
    assert [(f.name, f.pinned) for f in opening.frames] == [("Mara", True), ("Pip", True)]
    assert [f.digest for f in bank.frames[:2]] == [f.digest for f in opening.frames]
    host.run(graph)
    assert ran(log) == []


def test_draft_and_film_may_be_one_graph(host, log):
    drafting = loop_graph(script(), log, prefix="draft")
    graph = film_of("", log)
    for name in ("open", "body", "close"):
        graph[f"d_{name}"] = copy.deepcopy(drafting[name])
    graph["d_body"]["inputs"].update(
        shot=["d_open", 1], bank=["d_open", 2], previous_frames=["d_open", 3], prompt=["d_open", 4]
    )
    graph["d_close"]["inputs"].update(flow=["d_open", 0], frames=["d_body", 0], bank=["d_body", 1])
    graph["rehearsal"]["inputs"]["folder"] = ["d_close", 2]
    recorded = host.run(graph)
    assert ran(log) == [1, 2, 3, 1, 2, 3]
    assert [frame.name for frame in recorded["opening"].frames] == ["Mara", "Pip"]
    host.run(graph)
    assert ran(log) == []


def test_the_story_s_own_draft_is_found_beside_the_film(host, log, draft):
    output = host.base / "output"
    own = output / "film" / "Tale.draft"
    shutil.copytree(output / draft, own)
    manifest = json.loads((own / "story.json").read_text())
    (own / "story.json").write_text(json.dumps({**manifest, "pass": "draft"}))
    recorded = host.run(film_of("", log, filename_prefix="film"))
    assert [f.reason.split(",")[0] for f in recorded["opening"].frames] == [
        "from the draft's shot 1", "from the draft's shot 2",
    ]  # fmt: skip


def test_a_draft_that_is_not_there_is_told(host, log):
    graph = film_of("", log, filename_prefix="film")
    said = "there is no draft of 'Tale' in output/film/Tale.draft: choose draft as the pass"
    assert said in ask_plan(host, graph)["error"]
    with pytest.raises(RuntimeError, match=said.replace(".", r"\.")):
        host.run(graph)
    with pytest.raises(RuntimeError, match="there is no folder output/film/Other; finish"):
        host.run(film_of("film/Other", log))
    assert ran(log) == []


def test_one_graph_makes_the_draft_and_then_the_film(host, log):
    graph = film_of("", log, filename_prefix="film")
    graph["open"]["inputs"]["pass"] = "draft"
    host.run(graph)
    assert ran(log) == [1, 2, 3]
    host.run(graph)  # a draft does not begin with frames of its own
    assert ran(log) == []
    graph["open"]["inputs"]["pass"] = "film"
    recorded = host.run(graph)
    assert ran(log) == [1, 2, 3]
    assert [frame.name for frame in recorded["bank"].frames[:2]] == ["Mara", "Pip"]
    graph["open"]["inputs"]["pass"] = "draft"
    assert {shot["state"] for shot in ask_plan(host, graph)["shots"]} == {"finished"}


def test_a_film_does_not_rehearse_from_itself(host, log, draft):
    graph = film_of("draft/Tale", log)
    graph["open"]["inputs"]["filename_prefix"] = "draft"
    with pytest.raises(RuntimeError, match="output/draft/Tale is the film's own folder"):
        host.run(graph)


def test_a_folder_outside_of_the_output_folder_is_refused(host, log):
    with pytest.raises(Exception, match="must be a story's folder inside the output folder"):
        host.run(film_of("../input", log))


def test_only_a_draft_that_shows_other_frames_regenerates_the_film(host, log, draft):
    graph = film_of(draft, log)
    host.run(graph)
    again = loop_graph(script(), log, prefix="draft", opened={"redo_shots": "3", "redo_take": 2})
    host.run(again)  # nobody is alone in shot 3: its frame is not chosen
    ran(log)
    host.run(graph)
    assert ran(log) == []
    again["open"]["inputs"].update(redo_shots="1, 2, 3", redo_take=3)
    host.run(again)
    ran(log)
    host.run(graph)
    assert ran(log) == [1, 2, 3]


def test_a_click_takes_a_frame_out_and_brings_the_next_best_in(host, log, draft):
    opening = host.run(film_of(draft, log))["opening"]
    chosen, waiting = opening.frames[0].digest, opening.dropped[0].digest
    edits = json.dumps({"drop": [chosen], "keep": [waiting]})
    changed = host.run(film_of(draft, log, edits=edits))["opening"]
    assert chosen not in [frame.digest for frame in changed.frames]
    assert waiting in [frame.digest for frame in changed.frames]


def test_a_draft_is_decoded_once_while_nothing_of_it_changes(host, log, draft, monkeypatch):
    node, calls = host.pack("nodes.memory.rehearsal"), []
    original, graph = node.rehearse, film_of(draft, log)

    def counted(*given, **how):
        calls.append(given)
        return original(*given, **how)

    monkeypatch.setattr(node, "rehearse", counted)
    for _ in range(3):
        assert ask_plan(host, graph)["error"] == ""
    assert len(calls) == 1
    shot = host.base / "output" / draft / "shot_01_01.mp4"
    shot.write_bytes(shot.read_bytes())  # only its time is another
    ask_plan(host, graph)
    assert len(calls) == 2


def test_the_look_ahead_knows_what_a_rehearsal_gives(host, log, draft):
    graph = film_of(draft, log)
    answer = ask_plan(host, graph)
    assert (answer["unknown"], answer["error"]) == ([], "")
    assert {shot["state"] for shot in answer["shots"]} == {"make"}
    host.run(graph)
    assert {shot["state"] for shot in ask_plan(host, graph)["shots"]} == {"finished"}
