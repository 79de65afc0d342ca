"""A draft in a real server: killed, cancelled, and beside a film that stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.loop_graphs import begun, finished_shots, hold, loop_graph, ran, release, story
from helpers.not_empty import not_empty
from helpers.server_base import link_base

pytestmark = [pytest.mark.http, pytest.mark.slow]

STORE = Path("output", ".storymem")  # below the base folder


def test_a_killed_and_a_cancelled_draft_go_on_and_leave_the_film_alone(
    start_server, base_folder, tmp_path
):
    base, log = link_base(tmp_path / "kept", base_folder), tmp_path / "log"
    server = start_server("--disable-api-nodes", output=base)
    film = loop_graph(story(3), log)
    draft = loop_graph(story(3), log, opened={"pass": "draft"})
    server.run(film)
    assert ran(log) == [1, 2, 3]
    shown = {
        path.name: path.read_bytes()
        for path in not_empty((base / "output" / "loop" / "Tale").iterdir())
        if path.is_file()
    }
    assert len(shown) > 5

    hold(log, 2)
    server.queue(draft)
    server.wait_until(lambda: "begin 2" in (log.read_text() if log.exists() else ""))
    server.kill()
    assert len(finished_shots(base / STORE)) == 3
    assert sum(1 for _ in (base / STORE / "shots").glob("*/*/record.json")) == 4
    assert begun(log) == [1, 2]
    server.start()
    prompt_id = server.queue(draft)
    server.wait_until(lambda: "begin 2" in (log.read_text() if log.exists() else ""))
    server.post("/interrupt", {})
    entry = server.wait(prompt_id)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    folder = base / "output" / "loop" / "Tale.draft"
    manifest = json.loads((folder / "story.json").read_text())
    assert "cancelled" in manifest["stopped"]
    assert manifest["pass"] == "draft"
    assert ran(log) == []
    release(log)
    server.run(draft)
    assert ran(log) == [2, 3]
    server.run(film)
    assert ran(log) == []
    now = {name: (folder.parent / "Tale" / name).read_bytes() for name in shown}
    del now["story.json"], shown["story.json"]
    assert now == shown


def test_the_history_of_a_rehearsed_film_is_that_of_the_film(start_server, base_folder, tmp_path):
    base, log = link_base(tmp_path / "kept", base_folder), tmp_path / "log"
    server = start_server("--disable-api-nodes", output=base)
    script = json.loads(story(prompts=["Mara sits.", "Mara walks."]))
    text = json.dumps({**script, "cast": ["Mara"]})
    graph = loop_graph(text, log, opened={"rehearsals": 2})
    for made in ([1, 2] * 3, []):
        prompt_id = server.queue(graph)
        entry = server.wait(prompt_id)
        assert entry["status"]["status_str"] == "success"
        assert ran(log) == made
        if made:
            told = entry["outputs"]["close"]
            assert [one["subfolder"] for one in told["images"]] == ["loop/Tale"]
            assert len(told["storymem_shots"]) == 2
            assert "Tale.draft" not in json.dumps(told)
    hold(log, 2)
    again = loop_graph(text, log, opened={"rehearsals": 2}, body={"seed": 9})
    prompt_id = server.queue(again)
    server.wait_until(lambda: "begin 2" in (log.read_text() if log.exists() else ""))
    server.post("/interrupt", {})
    server.wait(prompt_id)
    manifest = json.loads((base / "output/loop/Tale.draft/story.json").read_text())
    assert "cancelled" in manifest["stopped"]
    film = json.loads((base / "output/loop/Tale/story.json").read_text())
    assert film["stopped"] == ""
    release(log)
    server.run(again)
    assert ran(log) == [1, 2, 1, 2, 1, 2]
