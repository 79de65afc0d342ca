"""Evenly spaced candidates, as Memento's release takes them from each shot."""

from __future__ import annotations

import pytest
import torch

from storymem.selection.even import choose_evenly, even_indices


def test_indices_are_those_of_the_release():
    assert even_indices(81) == (0, 11, 23, 34, 46, 57, 69, 80)
    assert even_indices(49) == (0, 7, 14, 21, 27, 34, 41, 48)
    assert even_indices(8) == even_indices(8, 100) == tuple(range(8))
    assert even_indices(5) == (0, 1, 2, 3, 4)
    # Halves go to the even number, as Python rounds: 10 / 4 = 2.5 and 30 / 4 = 7.5.
    assert even_indices(11, 5) == (0, 2, 5, 8, 10)
    assert even_indices(9, 1) == (0,)


@pytest.mark.parametrize("wrong", [(0, 8), (8, 0), (8, -1)])
def test_there_is_at_least_one_frame(wrong):
    with pytest.raises(ValueError, match="1 or more"):
        even_indices(*wrong)


def test_frames_that_repeat_the_shot_before_count_and_are_told():
    images = torch.arange(81, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    found = choose_evenly(images, story="s", shot=2, overlap=1, begin=162).frames
    assert [int(f.image[0, 0, 0]) for f in found] == [0, 11, 23, 34, 46, 57, 69, 80]
    assert [f.moment for f in found] == [162, 173, 185, 196, 208, 219, 231, 242]
    assert [f.frame for f in found] == [0, 10, 22, 33, 45, 56, 68, 79]
    assert {(f.story, f.shot, f.is_reference) for f in found} == {("s", 2, False)}
    assert found[0].reason == "evenly spaced, 1 of 8, repeats the shot before"
    assert found[7].reason == "evenly spaced, 8 of 8"


def test_without_a_story_there_is_no_moment():
    found = choose_evenly(torch.rand(3, 2, 2, 3)).frames
    assert [f.moment for f in found] == [None] * 3


def test_frames_that_are_no_numbers_are_refused():
    images = torch.rand(9, 2, 2, 3)
    images[4, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="frame 4"):
        choose_evenly(images)
