"""How long shots will take, from how long others took: against a plain reference, and honest."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from storymem.loop.time_left import (
    NEWEST,
    Timed,
    Work,
    find_rate,
    machine_of,
    pace_of,
    read_timed,
    spoken,
)

HERE, THERE = machine_of("card A"), machine_of("card B")
PACE, OTHER = pace_of("body"), pace_of("another body")
SHOT = Work(frames=81, width=832, height=480, memory=0, steps=40)


def timed(seconds, work=SHOT, machine=HERE, pace=PACE, **more) -> Timed:
    return Timed(work, seconds, machine, pace, **more)


# --- what a shot costs -------------------------------------------------------------------------


@pytest.mark.parametrize(("memory", "seconds"), [(0, 3.771), (3, 4.755), (10, 7.270)])
def test_a_pass_costs_what_was_measured_of_the_large_model(memory, seconds):
    """Against docs/performance.md, in units of the pass without memory."""
    ratio = replace(SHOT, memory=memory).cost / SHOT.cost
    assert ratio == pytest.approx(seconds / 3.771, rel=0.02)


def test_the_cost_is_that_of_a_plain_reference():
    tokens = (21 + 3) * (832 // 16) * (480 // 16)
    assert replace(SHOT, memory=3).cost == pytest.approx(41 * (tokens + tokens**2 / 18_000))
    assert Work(1, 16, 16, 0, 0).cost == pytest.approx(1 + 1 / 18_000)


@pytest.mark.parametrize("name", ["frames", "width", "height", "memory", "steps"])
def test_more_of_anything_never_costs_less(name):
    dice = random.Random(name)
    for _ in range(300):
        work = Work(*(dice.randint(1, 500) for _ in range(5)))
        costs = [replace(work, **{name: n}).cost for n in sorted(dice.choices(range(1, 500), k=8))]
        assert all(less <= more for less, more in pairwise(costs)), work


@pytest.mark.parametrize("name", ["frames", "width", "height"])
def test_a_shot_without_a_size_costs_nothing_until_it_gets_one(name):
    unknown = replace(SHOT, **{name: 0})
    assert unknown.cost == 0
    assert unknown.sized(SHOT) == SHOT
    assert replace(unknown, memory=7).sized(replace(SHOT, memory=2)).memory == 7


# --- the estimate ------------------------------------------------------------------------------


def test_the_median_of_the_newest_few_tells_the_rate():
    seconds = [10.0, 300.0, 12.0, 11.0, 13.0, 9000.0, 9000.0]  # the newest first
    rate = find_rate([timed(s) for s in seconds], HERE, PACE)
    assert NEWEST == 5
    assert rate.seconds_of(SHOT) == pytest.approx(12.0)
    longer = replace(SHOT, frames=161, memory=5)
    assert rate.seconds_of(longer) == pytest.approx(12.0 * longer.cost / SHOT.cost)


def test_shots_of_several_sizes_tell_one_rate():
    works = [SHOT, replace(SHOT, memory=10), replace(SHOT, frames=41, width=640)]
    rate = find_rate([timed(work.cost / 1000, work) for work in works], HERE, PACE)
    assert rate.seconds_of(replace(SHOT, steps=20)) == pytest.approx(21 * SHOT.cost / 41 / 1000)


def test_the_first_shot_of_a_run_counts_only_where_there_is_no_other():
    first = timed(100.0, first=True)
    assert find_rate([first], HERE, PACE).seconds_of(SHOT) == pytest.approx(100)
    assert find_rate([first, timed(20.0)], HERE, PACE).seconds_of(SHOT) == pytest.approx(20)


def test_other_machines_and_other_models_tell_nothing():
    assert find_rate([], HERE, PACE) is None
    assert find_rate([timed(5.0, machine=THERE), timed(5.0, pace=OTHER)], HERE, PACE) is None
    mixed = [timed(5.0, machine=THERE), timed(7.0), timed(5.0, pace=OTHER)]
    assert find_rate(mixed, HERE, PACE).seconds_of(SHOT) == pytest.approx(7)


# --- what a record says of it ------------------------------------------------------------------


def test_what_a_record_says_is_read_back():
    one = timed(12.345, replace(SHOT, memory=4), first=True, finished=1_790_000_000)
    assert read_timed(json.loads(json.dumps(one.as_fact()))) == one


HOSTILE = [
    {"seconds": value}
    for value in (None, "12", True, -1, 0, 0.0, float("nan"), float("inf"), 1e12, 10**400, [3])
]
HOSTILE += [
    {name: value}
    for name in ("frames", "width", "height", "memory", "steps", "finished")
    for value in (None, "8", True, -1, 1.5, 10**400, float("nan"), [1], {})
]
HOSTILE += [{name: 0} for name in ("frames", "width", "height")]
HOSTILE += [{name: v} for name in ("machine", "pace") for v in (None, 7, "", "a" * 65, [], "Mara")]


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_a_record_that_cannot_be_true_tells_nothing(change):
    fact = timed(12.0).as_fact()
    assert read_timed(fact) is not None
    assert read_timed({**fact, **change}) is None


@pytest.mark.parametrize("fact", [None, 5, "work", [], {}, [["seconds", 5]], {"seconds": 5}])
def test_what_is_no_time_at_all_tells_nothing(fact):
    assert read_timed(fact) is None


def test_only_a_true_first_is_one():
    fact = timed(12.0).as_fact()
    assert not any(read_timed({**fact, "first": v}).first for v in (None, 1, "yes", [1], False))


# --- which bodies are of one pace --------------------------------------------------------------


def graph(*, files=(("wan.safetensors", [28, 1]),), versions=None, other=None, **inputs) -> str:
    sampler = {"width": 832, "height": 480, "length": 81, "steps": 40, "seed": 1, "cfg": 3.5}
    sampler |= {"model": ["#", 1, 0]} | inputs
    other = other or {}
    lines = [
        ["StoryMemM2VSampler", "False", sampler],
        ["KSampler", "False", {"steps": 4} | other],
        ["Loader", "False", {"unet_name": "wan.safetensors"}],
    ]
    return json.dumps([versions or {"sampling": 1}, json.dumps([[[0, 0]], lines, list(files)])])


@pytest.mark.parametrize(
    "same",
    [
        {"width": 1280, "height": 720}, {"length": 49}, {"steps": 8}, {"seed": 99},
        {"versions": {"sampling": 2}}, {"files": [["wan.safetensors", [28, 2]]]},
        {"files": [["wan.safetensors", [28, 1]], ["start.png", [5, 5]]]}, {"other": {"steps": 20}},
    ],
    ids=str,
)  # fmt: skip
def test_size_length_steps_and_seed_leave_the_pace(same):
    assert pace_of(graph(**same)) == pace_of(graph())


@pytest.mark.parametrize(
    "other",
    [
        {"cfg": 1.0}, {"files": [["wan.safetensors", [14, 1]]]}, {"width": ["#", 1, 0]},
        {"files": [["wan.safetensors", [28, 1]], ["fast.safetensors", [1, 1]]]}, {"lora": "fast"},
        # What is not read of a graph, and so not known of its cost:
        {"other": {"width": 832}}, {"other": {"steps": "8"}}, {"other": {"steps": 8.0}},
        {"steps": True}, {"length": None},
    ],
    ids=str,
)  # fmt: skip
def test_other_models_and_settings_have_another_pace(other):
    assert pace_of(graph(**other)) != pace_of(graph())


def headless(**groups) -> str:
    body = {
        "settings": {"width": 832, "seed": 0},
        "recipe": {"steps": 40, "cfg": 3.5},
        "weights": {"i2v": "abc", "clip": "c", "lora": []},
        "dtype": "bfloat16",
        "code": {"headless": 1},
    }
    return json.dumps(body | groups, sort_keys=True)


def test_a_headless_run_has_a_pace_too():
    whole = pace_of(headless())
    assert pace_of(headless(settings={"width": 640, "seed": 4}, code={"headless": 2})) == whole
    assert pace_of(headless(recipe={"steps": 8, "cfg": 3.5})) == whole
    assert pace_of(headless(recipe={"steps": 40, "cfg": 1.0})) != whole
    assert pace_of(headless(weights={"i2v": "def", "lora": []})) != whole


@pytest.mark.parametrize("body", ["", "body", "[]", "{}", "[1, 2]", '[{}, "[1, 2]"]', "[" * 5000])
def test_any_text_has_a_pace(body):
    assert len(pace_of(body)) == len(PACE)


def test_a_machine_is_known_again_and_says_no_name():
    assert machine_of("card A") == HERE != THERE
    assert set(HERE) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"), (44.1, "45 s"), (60, "1 min"), (61, "2 min"), (3540, "59 min"),
        (3541, "1 h 00 min"), (7500, "2 h 05 min"),
    ],
)  # fmt: skip
def test_times_in_the_log_are_never_less_than_they_are(seconds, words):
    assert spoken(seconds) == words
