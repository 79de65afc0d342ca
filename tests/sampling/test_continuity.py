"""How a shot of a story begins, and which seed it has."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from storymem.sampling.continuity import (
    CONTINUITY_CHOICES,
    LOOP_CONTINUITY,
    ShotPlan,
    choose_mode,
    take_overlap_frames,
)
from storymem.script.story import Shot


def shot(index=3, **fields) -> Shot:
    return Shot(**{"index": index, "scene": 2, "number": 1, "prompt": "p", "cut": False, **fields})


def test_the_choices_are_those_of_saved_workflows():
    assert LOOP_CONTINUITY == ("last_frame", "last_five_frames", "cut")
    assert CONTINUITY_CHOICES == ("auto", "cut", "last_frame", "last_five_frames")


@pytest.mark.parametrize(
    ("cut", "own", "of_loop", "has_previous", "mode"),
    [
        (False, None, "last_frame", True, "mi2v"),
        (False, None, "last_five_frames", True, "mm2v"),
        (False, None, "cut", True, "m2v"),
        (False, "last_frame", "last_five_frames", True, "mi2v"),
        (False, "last_five_frames", "last_frame", True, "mm2v"),
        (False, "last_five_frames", "cut", True, "m2v"),
        (True, None, "last_frame", True, "m2v"),
        (True, "last_five_frames", "last_five_frames", True, "m2v"),
        (False, None, "last_five_frames", False, "m2v"),
        (False, "last_frame", "last_frame", False, "m2v"),
    ],
)
def test_the_mode_that_the_loop_plans(cut, own, of_loop, has_previous, mode):
    planned = choose_mode(shot(cut=cut, continuity=own), of_loop, has_previous=has_previous)
    assert planned == mode


@pytest.mark.parametrize(("mode", "frames"), [("m2v", 0), ("mi2v", 1), ("mm2v", 5)])
def test_as_many_frames_repeat_as_the_shot_continues_from(mode, frames):
    assert ShotPlan(shot(), "Tale", "p", mode).overlap_frames == frames
    previous = torch.arange(5.0).view(5, 1, 1, 1)
    taken = take_overlap_frames(mode, previous)
    assert (0 if taken is None else taken.shape[0]) == frames


@pytest.mark.parametrize("mode", ["mi2v", "mm2v"])
def test_nothing_to_continue_from_is_told_as_no_frames(mode):
    with pytest.raises(ValueError, match="previous_frames holds 0"):
        take_overlap_frames(mode, None)


def test_a_plan_without_more_is_a_cut_without_a_picture_and_stays_so():
    plan = ShotPlan(shot(), "Tale", "p")
    assert (plan.mode, plan.has_start) == ("m2v", False)
    with pytest.raises(FrozenInstanceError):
        plan.mode = "mi2v"


def test_seeds_go_on_through_the_scenes_and_a_shots_own_wins():
    """Shot 3 of the story is the first of scene 2; the release starts over there."""
    assert ShotPlan(shot(3), "Tale", "p").seed(100) == 103
    assert ShotPlan(shot(3, seed=7), "Tale", "p").seed(100) == 7
    assert ShotPlan(shot(3, seed=0), "Tale", "p").seed(100) == 0, "0 is a seed like any other"


def test_seeds_beyond_the_largest_begin_again_at_0():
    largest = 0xFFFFFFFFFFFFFFFF
    assert ShotPlan(shot(0), "Tale", "p").seed(largest) == largest
    assert ShotPlan(shot(1), "Tale", "p").seed(largest) == 0
    assert ShotPlan(shot(3), "Tale", "p").seed(largest) == 2
