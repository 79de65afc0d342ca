"""What a turn of the host's own loops is given, as part of what makes a shot."""

from __future__ import annotations

import json
import logging

import pytest
import torch

TURN = {"iteration_index": 3, "is_first": False, "is_last": True, "list_item": "a.png"}


@pytest.fixture
def loops(host):
    return host.pack("nodes.loop.host_loops")


def prompt_of(host, item="a.png", carried=("other", 0)):
    from comfy_execution.graph import DynamicPrompt

    inputs = {**TURN, "list_item": item, "current_iteration_value": list(carried)}
    links = {name: ["turn", slot] for slot, name in enumerate((*TURN, "carried"))}
    return DynamicPrompt({
        "turn": {"class_type": "LoopIteration", "inputs": inputs},
        "node": {"class_type": "Body", "inputs": {**links, "typed": 7, "wired": ["other", 1]}},
        "begin": {"class_type": "StoryMemBeginStory", "inputs": {}},
        "other": {"class_type": "EmptyImage", "inputs": {}},
    })  # fmt: skip


def test_values_stand_where_wires_were(host, loops):
    seen = loops.OneTurn(prompt_of(host)).get_node("node")["inputs"]
    assert seen == {**TURN, "carried": ["other", 0], "typed": 7, "wired": ["other", 1]}


@pytest.mark.parametrize(
    "typed", [{"on": True, "lora": "a.safetensors"}, [["a", "b"], 2], ["a"], None, 1.5, True]
)
def test_what_is_typed_stays_as_it_is(host, loops, typed):
    """Some packs' widgets hold lists and tables: shots made with them keep their keys."""
    from comfy_execution.graph import DynamicPrompt

    node = {"class_type": "Power Lora Loader (rgthree)", "inputs": {"lora_1": typed}}
    prompt = DynamicPrompt({"loader": node})
    assert loops.OneTurn(prompt).get_node("loader") is prompt.get_node("loader")


def test_a_state_that_comes_around_is_none_of_them(host, loops):
    turn = loops.OneTurn(prompt_of(host, carried=("begin", 0)))
    assert turn.get_node("node")["inputs"]["carried"] is None
    assert loops.OneTurn(prompt_of(host, carried=("begin", 1))).value(["turn", 4]) == ["begin", 1]


def test_a_value_that_a_run_tells_is_said_to_be_unknown(loops):
    from comfy_execution.graph import DynamicPrompt

    start = {"class_type": "StartLoop", "inputs": {}, "_meta": {"title": "Shots"}}
    turn = loops.OneTurn(DynamicPrompt({"start": start}), {"start": {"is_first": True}})
    assert turn.value(["start", 1]) is True
    with pytest.raises(loops.NotKnownError, match=r"'Shots' \(node start\)"):
        json.dumps(turn.value(["start", 3]), default=loops.as_digest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4, 3).index_fill(1, torch.tensor(2), 1e-6)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.float16)),
        (torch.zeros(4, dtype=torch.bfloat16), torch.ones(4, dtype=torch.bfloat16)),
        ({"samples": torch.zeros(2)}, {"samples": torch.ones(2)}),
        ([[torch.zeros(2), {}]], [[torch.zeros(2), {"strength": 1.0}]]),
        (["ab", "c"], ["a", "bc"]),
        ([1], [True]),
    ],
)
def test_values_are_told_apart_by_what_they_hold(loops, one, other):
    digests = [loops.Given(value).digest() for value in (one, other)]
    assert len({*digests, None}) == 3
    assert loops.Given(one).digest() == digests[0]


def test_a_thing_that_cannot_be_compared_is_another_one_each_time(loops, caplog):
    given = loops.Given(object())
    with caplog.at_level(logging.WARNING):
        assert loops.as_digest(given) != loops.as_digest(given)
    assert "no finished shot that uses them can be reused" in caplog.text
