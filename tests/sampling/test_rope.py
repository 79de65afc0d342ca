"""Temporal positions with memory."""

from __future__ import annotations

import pytest
import torch

from storymem.sampling.rope import temporal_positions


def test_memory_lies_before_the_shot_with_gaps_of_five():
    positions = temporal_positions(3, 4)
    assert positions.tolist() == [-15, -10, -5, 0, 1, 2, 3]
    assert positions.dtype == torch.float32


def test_an_offset_of_one_is_plain_contiguous_time():
    assert temporal_positions(2, 3, offset=1).tolist() == [-2, -1, 0, 1, 2]


def test_no_memory_leaves_the_shot_alone():
    assert temporal_positions(0, 3).tolist() == [0, 1, 2]


def test_an_offset_of_zero_puts_memory_on_the_first_frame():
    assert temporal_positions(2, 2, offset=0).tolist() == [0, 0, 0, 1]


def test_large_positions_stay_whole_numbers():
    positions = temporal_positions(100, 100, offset=5)
    assert positions[0] == -500
    assert torch.equal(positions, positions.round())
    assert not torch.equal(positions, positions.bfloat16().float())  # why it is float32


@pytest.mark.parametrize("arguments", [(-1, 3, 5), (1, 0, 5), (1, 3, -5), (1, 3, 0.5)])
def test_impossible_counts_are_refused(arguments):
    memory, shot, offset = arguments
    with pytest.raises(ValueError, match=r"must be|needs at least"):
        temporal_positions(memory, shot, offset=offset)
