"""What the samplers of a graph are set to, for the time that a shot takes."""

from __future__ import annotations

import json

import pytest

from helpers.told_notices import CLOSE, CONDITIONING, SAMPLER, inputs, of, shipped_prompts


@pytest.fixture(scope="module")
def prompts(host) -> dict:
    return shipped_prompts()


@pytest.fixture
def asked(host):
    """``(Work, whether memory counts)`` of a loop in a prompt."""

    def of_prompt(prompt: dict):
        from comfy_execution.graph import DynamicPrompt

        graph, clock = host.pack("nodes.loop.read_graph"), host.pack("nodes.loop.clock")
        wires = graph.read_loop(DynamicPrompt(prompt), of(prompt, CLOSE)).wires()
        return clock.asked_work(wires), clock.sees_memory(wires)

    return of_prompt


def test_every_shipped_loop_says_its_size_and_steps(prompts, asked):
    loops = {
        name: json.loads(text)
        for name, text in prompts.items()
        if CLOSE in text and SAMPLER in text
    }
    assert len(loops) >= 5
    for name, prompt in loops.items():
        work, sees_memory = asked(prompt)
        assert min(work.frames, work.width, work.height, work.steps) > 0, name
        assert work.memory == 0, "told by the run"
        assert sees_memory, name


def test_the_samplers_own_widgets_count_and_no_picture_node_beside_them(prompts, asked):
    prompt = json.loads(prompts["storymem_story"])
    own = inputs(prompt, SAMPLER)
    own.update(width=640, height=352, length=49, steps=12)
    prompt["900"] = {"class_type": "EmptyImage", "inputs": {"width": 4096, "height": 4096}}
    own["start_image"] = ["900", 0]
    work, _ = asked(prompt)
    assert (work.width, work.height, work.frames, work.steps) == (640, 352, 49, 12)


@pytest.mark.parametrize("value", [["7", 0], "832", True, -16, 0, None, 1.5, 10**400])
def test_a_size_that_is_no_number_is_not_guessed(prompts, asked, value):
    prompt = json.loads(prompts["storymem_story"])
    prompt["7"] = {"class_type": "PrimitiveInt", "inputs": {"value": 832}}
    inputs(prompt, SAMPLER).update(width=value, length=value)
    work, _ = asked(prompt)
    assert (work.width, work.frames) == (0, 0)
    assert work.height > 0


def test_a_sampler_without_the_loops_memory_is_not_slower_by_it(prompts, asked):
    prompt = json.loads(prompts["storymem_story"])
    assert CONDITIONING not in json.dumps(prompt)
    del inputs(prompt, SAMPLER)["bank"]
    assert asked(prompt)[1] is False


def test_a_device_that_the_host_cannot_name_stops_nothing(host, monkeypatch):
    place = host.pack("nodes.host.machine")

    def broken(_):
        raise RuntimeError("no driver")

    place.machine.cache_clear()
    monkeypatch.setattr(place, "get_torch_device_name", broken)
    try:
        assert place.machine() == ""
    finally:
        place.machine.cache_clear()


def test_a_graph_that_cannot_be_read_says_nothing(host):
    clock = host.pack("nodes.loop.clock")
    assert clock.asked_work(None) == type(clock.asked_work(None))()
    assert clock.sees_memory(None) is False
    assert clock.begin_one_wire(None) is None
    assert clock.finish_one_wire(None, None, "body", (9, 32, 48, 3)) is None
