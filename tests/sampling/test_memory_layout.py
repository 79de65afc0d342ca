"""Where memory stands before the shot: StoryMem's fixed steps, Memento's real time."""

from __future__ import annotations

import pytest
import torch

from storymem.memory.frame import MemoryFrame
from storymem.rope import query_positions, real_time_positions, temporal_positions
from storymem.sampling.memory_layout import (
    MemoryLayout,
    in_order_of_time,
    memento_layout,
    moments_of,
    storymem_layout,
)
from storymem.sampling.methods import choose_method, choose_told


def frame(moment=None, story="s"):
    return MemoryFrame(torch.zeros(1, 1, 3, dtype=torch.uint8), story=story, moment=moment)


def test_positions_are_counted_in_whole_latent_frames_from_the_storys_begin():
    # 81 frames a shot: 81 // 4 = 20, and frame 80 of the first shot is in latent frame 20 too.
    assert real_time_positions([0, 3, 4, 40, 79], 81) == (-20, -20, -19, -10, -1)
    assert query_positions([0, 3, 4, 40, 79], 81) == (-20, -20, -19, -10, -1)


def test_the_position_of_the_shot_itself_is_never_given_to_memory():
    assert real_time_positions([80], 81) == (-1,)
    assert query_positions([80], 81) == (0,)


def test_each_side_is_floored_before_they_are_subtracted():
    # (0 - 81) // 4 would be -21, and (80 - 162) // 4 -21 where it is 20 - 40.
    assert real_time_positions([0], 81) == (-20,)
    assert real_time_positions([80], 162) == (-20,)
    assert real_time_positions([-1, -4, -5], 0) == (-1, -1, -2)


def test_the_far_past_stands_at_the_tables_end():
    assert real_time_positions([0, 8], 4 * 513) == (-512, -511)
    assert real_time_positions([0, 4], 10**6) == (-512, -512)
    assert query_positions([10**6], 0) == (511,)


def test_frames_without_a_moment_stand_before_the_storys_begin_in_order():
    frames = [frame(), frame(10), frame(), frame(5, story="another")]
    assert moments_of(frames, "s") == (-12, 10, -8, -4)
    assert moments_of(frames) == (-8, 10, -4, 5)
    assert moments_of([frame(), frame(-9)], "s") == (-16, -9)  # before what stands before it
    assert real_time_positions(moments_of([frame(), frame()]), 0) == (-2, -1)


def test_memory_is_sorted_by_time_and_keeps_the_order_of_equals():
    frames = [frame(9), frame(), frame(3), frame(9)]
    found, moments = in_order_of_time(frames, "s")
    assert moments == (-4, 3, 9, 9)
    assert [frames.index(f) for f in found] == [1, 2, 0, 3]


def test_storymems_layout_is_its_rule():
    layout = storymem_layout(3, 5)
    assert layout.positions == (-15, -10, -5)
    assert torch.equal(layout.with_shot(4), temporal_positions(3, 4, offset=5))
    assert layout.frames == layout.memory_frames == 3
    assert not layout.is_kept
    assert storymem_layout(0).positions == ()
    with pytest.raises(ValueError, match="rope_shift"):
        storymem_layout(2, -1)


def test_the_identity_frame_stands_first_and_farthest():
    layout = memento_layout([0, 80], 81, has_identity=True)
    assert layout.all_positions == (-512, -20, -1)
    assert (layout.frames, layout.memory_frames) == (3, 2)
    assert layout.is_kept
    assert layout.with_shot(2).tolist() == [-512, -20, -1, 0, 1]
    assert not memento_layout([], 0, has_identity=True).is_kept
    with pytest.raises(ValueError, match="whole"):
        MemoryLayout((-1.5,))


def test_a_method_that_is_not_the_models_is_told_in_the_log(caplog):
    with caplog.at_level("INFO"):
        assert choose_told("auto", "memento") == choose_told("memento", "memento") == "memento"
        assert caplog.text == ""
        assert choose_told("storymem", "memento") == "storymem"
    assert "method is storymem, though the LoRA on the model is not of it" in caplog.text


def test_the_method_is_the_models_unless_the_artist_chooses():
    assert choose_method("auto", "memento") == "memento"
    assert choose_method("storymem", "memento") == "storymem"
    with pytest.raises(ValueError, match="method must be one of auto, storymem, memento"):
        choose_method("Memento", "storymem")
