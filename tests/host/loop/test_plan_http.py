"""What a real server says before a run of the shipped workflow, on the tiny model."""

from __future__ import annotations

import copy
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.host_server import PACK
from helpers.long_story import long_script
from helpers.loop_graphs import begun, hold, loop_graph, ran, release, story
from helpers.record_files import body_of
from helpers.server_base import serving, shipped_base
from helpers.tiny_workflows import make_tiny
from storymem.files.workflow_file import to_api

pytestmark = pytest.mark.http
SCRIPT = "[title: Asked]\nA cat sits.\n---\n[continue]\nIt runs.\n---\nIt eats."


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    with serving(shipped_base(tmp_path_factory.mktemp("plan"), base_folder)) as running:
        yield running


def shipped(server, script=SCRIPT) -> dict:
    workflow = json.loads((PACK / "workflows/storymem_story.json").read_text(encoding="utf-8"))
    return make_tiny(to_api(workflow, server.get("/object_info")), script=script)


def only(prompt: dict, kind: str) -> str:
    return next(n for n, node in prompt.items() if node["class_type"] == kind)


def plan(server, prompt: dict, **more) -> dict:
    return server.post("/storymem/plan", {"prompt": prompt, "node": opened(prompt), **more})


def opened(prompt: dict) -> str:
    return only(prompt, "StoryMemShotLoopOpen")


def records(server) -> set:
    return set(server.base.glob("output/.storymem/shots/*/*/record.json"))


def states(answer: dict, *wanted: str) -> set[int]:
    return {shot["number"] for shot in answer["shots"] if shot["state"] in wanted}


def test_the_shipped_workflow_keeps_what_was_said(server):
    known = records(server)

    def check(prompt: dict) -> dict:
        nonlocal known
        answer = plan(server, prompt)
        assert (answer["error"], answer["unknown"]) == ("", [])
        server.run(prompt)
        new = records(server) - known
        made = {body_of(path.parent)["facts"]["shot"] + 1 for path in new}
        known |= new
        assert states(answer, "make") <= made <= states(answer, "make", "depends")
        return answer

    first = shipped(server)
    assert states(check(first), "make") == {1, 2, 3}
    assert states(check(first), "finished") == {1, 2, 3}
    sampler = only(first, "StoryMemM2VSampler")
    lora = only(first, "StoryMemLoadLoRA")
    for node, name, value in (
        (sampler, "seed", 99),
        (lora, "strength", 0.5),
        (opened(first), "negative", "fog"),
        (only(first, "StoryMemKeyframeSelect"), "threshold", 0.7),
    ):
        changed = copy.deepcopy(first)
        assert name in changed[node]["inputs"], changed[node]
        changed[node]["inputs"][name] = value
        answer = check(changed)
        assert 1 in states(answer, "make")
        assert name in str(answer["changes"][0]["reasons"]).replace("negative prompt", "negative")
    assert states(check(first), "finished") == {1, 2, 3}  # what it was made of is as it was
    edited = check(shipped(server, SCRIPT.replace("It runs.", "It jumps.")))
    assert states(edited, "finished") == {1}
    assert (edited["shots"][2]["state"], edited["shots"][2]["on"]) == ("depends", 2)


def test_no_body_breaks_it(server):
    prompt = shipped(server)
    for body in ({}, {"prompt": 5}, {"prompt": prompt}, {"prompt": prompt, "node": {"a": 1}}):
        answer = server.post("/storymem/plan", body)
        assert answer["error"] or not answer["runs"]
    with pytest.raises(RuntimeError, match="a JSON object is expected"):
        server.post("/storymem/plan", [1])


def test_a_running_generation_is_not_held_up(server, log):
    """Two hundred shots are looked at, again and again, while a shot is being made."""
    long = loop_graph(long_script(200), log, prefix="long")
    hold(log, 2)
    running = loop_graph(story(3, name="Running"), log, prefix="running")
    running["body"]["inputs"]["log"] = str(log)
    queued = server.queue(running)
    server.wait_until(lambda: "begin 2" in (log.read_text() if log.exists() else ""))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(plan, server, long) for _ in range(4)]
        longest = 0.0
        while not all(one.done() for one in asked):
            then = time.monotonic()
            server.get("/queue")  # the host goes on answering everybody
            longest = max(longest, time.monotonic() - then)
        answers = [one.result() for one in asked]
    assert all(len(states(answer, "make")) == 200 for answer in answers)
    assert longest < 5
    assert begun(log) == [1, 2]
    release(log)
    assert server.wait(queued)["status"]["status_str"] == "success"
    assert ran(log) == [2, 3]
