"""Memento's learned choice: scores by the equations and by the released code, and who stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.keyframe_queries import CASES, HEADS, WIDTH, case_inputs, plain_scores, tiny_query
from storymem.selection.keyframe_query import Chosen, KeyframeQuery, choose

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "keyframe_query.json").read_text("utf-8")
)["cases"]
MUTANTS = ("rows swapped", "query normalised", "keys normalised", "keys not turned",
           "rows and columns not turned", "kept below 0", "sum of heads", "one text")  # fmt: skip


def scored(name: str, dtype=torch.float32):
    case = case_inputs(name)
    query = KeyframeQuery(case.pop("weights"), HEADS)
    return query.score(case.pop("memory").to(dtype), **case)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_equations(name):
    local, whole_story = plain_scores(**case_inputs(name))
    found = scored(name, torch.float64)
    assert np.allclose(found.local, local, rtol=1e-10, atol=1e-10)
    assert (found.whole_story is None) == (whole_story is None)
    if whole_story is not None:
        assert np.allclose(found.whole_story, whole_story, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_scores_and_choice_are_those_of_the_released_code(name):
    found, released = scored(name), GOLDEN[name]
    assert found.local == pytest.approx(released["local"], abs=1e-5)
    assert (found.whole_story or ()) == pytest.approx(released["global"] or (), abs=1e-5)
    chosen = choose(found.local, found.whole_story, global_count=CASES[name][2])
    assert [one.index for one in chosen] == released["kept"]
    assert [one.part for one in chosen] == ["local"] * 6 + ["global"] * (len(chosen) - 6)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_in_the_equations_would_be_seen(mutant):
    case = case_inputs("two shots")
    right, wrong = plain_scores(**case), plain_scores(**case, mutant=mutant)
    apart = max(float(np.abs(a - b).max()) for a, b in zip(right, wrong, strict=True))
    assert apart > 1e-2


def test_weights_in_half_precision_are_computed_with_in_full():
    case = case_inputs("nine")
    rounded = {key: value.bfloat16() for key, value in case.pop("weights").items()}
    found = KeyframeQuery(rounded, HEADS).score(**case)
    local, _ = plain_scores({key: value.float() for key, value in rounded.items()}, **case)
    assert found.local == pytest.approx(local.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"memory": torch.zeros(9, 16, 8)}, r"memory must be \[M, 16, h, w\] latents"),
        ({"memory": torch.zeros(0, 16, 6, 8), "positions": []}, "memory must be"),
        ({"positions": [0]}, "9 memory frames came with 1 positions"),
        ({"prompt": torch.zeros(7, WIDTH + 1)}, r"prompt must be \[L, 32\] embedded text"),
        ({"global_prompt": None}, "global_prompt must be .* but is nothing"),
        ({"prompt": torch.full((7, WIDTH), torch.nan)}, "scores are not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes, told):
    case = {**case_inputs("nine"), **changes}
    with pytest.raises(ValueError, match=told):
        KeyframeQuery(case.pop("weights"), HEADS).score(**case)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 32 cannot have 3 heads"):
        KeyframeQuery(tiny_query(), 3)


FALLING = [float(-i) for i in range(10)]
RISING = FALLING[::-1]


def test_a_small_pool_is_used_whole():
    assert choose(FALLING[:8], RISING[:8], fixed=[1])[:2] == (
        Chosen(0, "whole"),
        Chosen(1, "pinned"),
    )
    assert len(choose(FALLING[:8], None)) == 8
    assert choose([], None) == ()


def test_local_frames_come_first_and_global_ones_are_others():
    found = choose(FALLING, FALLING)
    assert [one.index for one in found] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [one.part for one in found] == ["local"] * 6 + ["global"] * 2
    found = choose(FALLING, RISING)
    assert [one.index for one in found] == [0, 1, 2, 3, 4, 5, 9, 8]  # the better one first


def test_of_equal_scores_the_earlier_frame_is_chosen():
    assert [one.index for one in choose([0.0] * 12, [0.0] * 12)] == list(range(8))


def test_pins_take_local_places_and_never_go():
    found = choose(FALLING, RISING, fixed=[9, 7])
    assert [(one.index, one.part) for one in found] == [
        *((i, "local") for i in range(4)),
        (7, "pinned"),
        (9, "pinned"),
        (8, "global"),
        (6, "global"),
    ]
    assert {one.index for one in choose(FALLING, RISING, fixed=range(9))} == set(range(10))


def test_a_shot_that_sees_fewer_frames_gives_up_global_places_first():
    assert [one.part for one in choose(FALLING, RISING, most=7)] == ["local"] * 6 + ["global"]
    assert [one.index for one in choose(FALLING, RISING, most=3)] == [0, 1, 2]
    assert choose(FALLING, RISING, most=0) == ()
