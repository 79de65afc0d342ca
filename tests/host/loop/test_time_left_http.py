"""How long a story will take, as a real server tells the page: nothing before the first shot."""

from __future__ import annotations

import asyncio
import json

import pytest

from helpers.gallery_page import gallery_server
from helpers.loop_graphs import begun, edited, hold, loop_graph, ran, release, story
from helpers.not_empty import not_empty
from helpers.record_files import body_of, write_body
from helpers.story_events import ask_story, events_of

pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    """One server; each test has titles and a pace of its own, by a widget of the test body."""
    with gallery_server(tmp_path_factory.mktemp("time_server"), base_folder) as running:
        yield running


def records_of(server, name: str) -> list:
    found = server.base.glob("output/.storymem/shots/*/*/record.json")
    return [p.parent for p in not_empty(found) if body_of(p.parent)["facts"]["story"] == name]


def test_figures_come_with_the_first_finished_shot_and_none_before(server, log):
    text = story(3, name="New")
    assert ask_story(server, text)["times"] == {"waiting": None}
    graph = loop_graph(text, log, body={"seconds": 0.01})
    heard = asyncio.run(events_of(server, graph))
    assert [event["state"] for event in heard] == [
        "started", *["shot", "finished"] * 3, "done",
    ]  # fmt: skip
    told = [event["time_left"] for event in heard]
    assert told[:2] == [None, None]
    assert told[-1] is None
    for left in told[2:-1]:
        assert set(left) == {"shot", "least", "most"}
        assert all(isinstance(value, float) and value >= 0 for value in left.values())
    assert told[2]["shot"] == 0 < told[2]["least"] == told[2]["most"]
    assert 0 < told[3]["least"] < told[2]["least"]
    assert told[-2] == {"shot": 0, "least": 0, "most": 0}
    assert "time left: unknown until the first shot is finished" in server.log()
    answer = ask_story(server, text)
    assert all(shot["took"] > 0 for shot in answer["shots"])
    assert answer["times"] == {"waiting": {"shot": 0, "least": 0, "most": 0}}
    fact = body_of(records_of(server, "New")[0])["facts"]["work"]
    assert (fact["frames"], fact["width"], fact["height"]) == (13, 64, 48)
    assert len(fact["machine"]) == 16


def test_another_story_of_the_same_graph_knows_it_from_the_start(server, log):
    body = {"seconds": 0.02}
    server.run(loop_graph(story(2, name="Known"), log, body=body))
    heard = asyncio.run(events_of(server, loop_graph(story(2, name="Next"), log, body=body)))
    assert heard[0]["state"] == "started"
    assert heard[0]["time_left"]["shot"] > 0
    others = asyncio.run(
        events_of(server, loop_graph(story(1, name="Slow"), log, body={"seconds": 0.03}))
    )
    assert others[0]["time_left"] is None, "another body tells nothing of this one"


def test_shots_that_may_have_to_be_made_are_apart_and_a_reload_is_told(server, log):
    body = {"seconds": 0.04}
    server.run(loop_graph(story(3, name="Open"), log, body=body))
    text = edited(3, 1, name="Open")
    waiting = ask_story(server, text)["times"]["waiting"]
    assert 0 < waiting["least"] < waiting["most"]
    ran(log)
    hold(log, 1)
    try:
        heard = asyncio.run(events_of(server, loop_graph(text, log, body=body), "shot"))
        left = heard[-1]["time_left"]
        assert left["least"] == 0 < left["most"]
        server.wait_until(lambda: begun(log) == [1])
        running = ask_story(server, text)["times"]["running"]
        assert running["most"] == left["most"]
        assert running["shot"] <= left["shot"]
    finally:
        release(log)
    server.wait_until(lambda: not server.get("/queue")["queue_running"])
    assert "running" not in ask_story(server, text)["times"]


def test_a_store_of_an_earlier_version_is_used_as_it_is(server, log):
    graph = loop_graph(story(2, name="Old"), log, body={"seconds": 0.05})
    server.run(graph)
    assert ran(log) == [1, 2]
    for folder in not_empty(records_of(server, "Old")):
        body = body_of(folder)
        del body["facts"]["work"]
        write_body(folder, body)
    manifest = server.base / "output" / "loop" / "Old" / "story.json"
    known = json.loads(manifest.read_text())
    for entry in known["shots"].values():
        del entry["work"]
    manifest.write_text(json.dumps(known))
    answer = ask_story(server, story(2, name="Old"))
    assert [shot["took"] for shot in answer["shots"]] == [None, None]
    assert [shot["state"] for shot in answer["shots"]] == ["done", "done"]
    server.run(graph)
    assert ran(log) == []
