"""A run that makes finished shots again names the input that changed, on the node as well."""

from __future__ import annotations

import copy
import json
import logging
import os

import pytest

from helpers.loop_graphs import loop_graph, ran, story

pytestmark = pytest.mark.usefixtures("fresh")
WORKFLOW = {
    "nodes": [
        {"id": 3, "type": "StoryMemTestBody", "widgets_values": ["", 7, "randomize", 64]},
        {"id": 9, "type": "group", "widgets_values": []},
    ],
    "definitions": {
        "subgraphs": [
            {"id": "group", "nodes": [{"id": 3, "type": "x", "widgets_values": {"c": "increment"}}]}
        ]
    },
}


def said(host, caplog, graph, *, workflow=None) -> str:
    """What a run says on the node; it says so once in the log, too."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        host.run(graph, extra_data={"client_id": "test", **extra})
    (notice,) = (host.ui("close") or {}).get("storymem_notice", [""])
    for line in notice.splitlines():
        assert caplog.text.count(line) == 1
    return notice


def titled(log, *, script=None, opened=None, **body) -> dict:
    graph = loop_graph(script or story(3), log, body=body, opened=opened)
    graph["body"]["_meta"] = {"title": "My sampler"}
    return graph


def test_a_seed(host, log, caplog):
    assert said(host, caplog, titled(log)) == ""
    assert said(host, caplog, titled(log)) == ""
    ran(log)
    notice = said(host, caplog, titled(log, seed=917))
    assert notice == "shots 1-3 are regenerated because seed of 'My sampler' changed from 7 to 917"
    assert ran(log) == [1, 2, 3]
    assert said(host, caplog, titled(log)) == ""  # back to what is there


@pytest.mark.parametrize(("node", "word"), [("3", "randomize"), ("9:3", "increment")])
def test_a_seed_that_moves_after_each_run(host, log, caplog, node, word):
    def graph(**body):
        made = titled(log, **body)
        made[node] = made.pop("body")
        for name in ("frames", "bank"):
            made["close"]["inputs"][name][0] = node
        return made

    said(host, caplog, graph(), workflow=WORKFLOW)
    notice = said(host, caplog, graph(seed=8), workflow=WORKFLOW)
    assert notice.endswith(f"from 7 to 8 (its control after generate is '{word}', not 'fixed')")
    fixed = json.loads(json.dumps(WORKFLOW).replace(word, "fixed"))
    assert said(host, caplog, graph(seed=9), workflow=fixed).endswith("changed from 8 to 9")


def test_a_node_before_the_loop(host, log, caplog):
    def graph(color):
        made = titled(log, outside=["image", 0])
        size = {"width": 32, "height": 16, "batch_size": 1}
        made["image"] = {"class_type": "EmptyImage", "inputs": {**size, "color": color}}
        made["image"]["_meta"] = {"title": "A colour"}
        return made

    said(host, caplog, graph(3))
    notice = said(host, caplog, graph(4))
    assert notice.endswith("because color of 'A colour' changed from 3 to 4")
    removed = said(host, caplog, titled(log))
    assert removed.endswith(
        (" because 'Empty Image' was removed", "because 'EmptyImage' was removed")
    )


def test_a_file(host, log, caplog):
    path = host.base / "input" / "weights.safetensors"
    path.write_bytes(b"one")
    graph = titled(log, fail_on="weights.safetensors")
    said(host, caplog, graph)
    path.write_bytes(b"other")
    notice = said(host, caplog, graph)
    assert notice.endswith("because the file 'weights.safetensors' was replaced")
    os.utime(path, (1, 1))
    notice = said(host, caplog, graph)
    assert notice.endswith("because the file 'weights.safetensors' was written anew")


def test_an_edited_prompt_is_told_in_the_log_alone(host, log, caplog):
    said(host, caplog, titled(log))
    prompts = ["shot number 1, edited", "shot number 2", "shot number 3"]
    assert said(host, caplog, titled(log, script=story(prompts=prompts))) == ""
    words = "shot 1 is regenerated because its prompt changed from 'shot number 1' to"
    assert words in caplog.text
    assert "; shots 2-3 follow if what they see changes" in caplog.text


def test_settings_of_open(host, log, caplog):
    said(host, caplog, titled(log))
    notice = said(host, caplog, titled(log, opened={"negative": "dark"}))
    assert notice.endswith("because its negative prompt changed from '' to 'dark'")


def test_every_input_of_every_node_is_named(host, log, caplog):
    """Whatever an artist changes in the loop: the words name it."""
    graph = titled(log)
    said(host, caplog, graph)
    for name, value in {"width": 80, "height": 32, "length": 17, "seconds": 0.001}.items():
        graph = copy.deepcopy(graph)
        old = graph["body"]["inputs"][name]
        graph["body"]["inputs"][name] = value
        notice = said(host, caplog, graph)
        assert notice.endswith(f"because {name} of 'My sampler' changed from {old} to {value}")
