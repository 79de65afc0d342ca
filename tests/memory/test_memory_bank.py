"""The bank itself: the window, pins, order, and what is listed as dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame
from storymem.memory.policies import memory_warnings, window
from storymem.script.numbers import parse_ranges


def bank_of(count: int, *, pinned=(), max_frames=10, sink=3) -> MemoryBank:
    image = noise_image(0, 4, 4)
    frames = tuple(MemoryFrame(image, shot=i, pinned=i in pinned) for i in range(count))
    return MemoryBank(frames, max_frames=max_frames, sink=sink)


def test_every_golden_window_is_the_intended_one(golden):
    for case in golden("memory_window.json"):
        found = window(case["n"], max_frames=case["max"], sink=case["fix"])
        assert list(found) == case["intended"], case


def test_files_in_any_order_give_the_bank_in_order_of_shot_and_frame(golden):
    for case in golden("memory_window.json"):
        frames = []
        for name in case["shuffled"]:
            scene, shot, keyframe = name.removesuffix(".jpg").split("_")
            place = (int(scene) * 100 + int(shot), int(keyframe.removeprefix("keyframe")))
            frames.append(MemoryFrame(noise_image(0, 4, 4), shot=place[0], frame=place[1]))
        ordered = [frame.order for frame in MemoryBank().remember(frames).frames]
        assert ordered == sorted(ordered)


def test_the_frame_of_keyframe_10_comes_after_that_of_keyframe_2():
    image = noise_image(0, 4, 4)
    bank = MemoryBank().remember([MemoryFrame(image, shot=0, frame=f) for f in (10, 2, 1)])
    assert [frame.frame for frame in bank.frames] == [1, 2, 10]


def test_ten_frames_are_seen_of_which_the_first_three_stay_unless_told_otherwise():
    """What the model was trained with, and what every film without other settings was made with."""
    papers = (0, 1, 2, 23, 24, 25, 26, 27, 28, 29)
    assert window(30) == papers
    assert window(10) == tuple(range(10))
    assert window(11) == (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)
    assert MemoryBank(bank_of(30).frames).used_indices() == papers
    started = start_bank(torch.rand(30, 2, 2, 3), pinned=False)
    assert (started.max_frames, started.sink, started.used_indices()) == (10, 3, papers)
    assert (started.policy, MemoryBank().policy) == ("window", "window")


def test_eleven_memory_frames_are_told_and_ten_are_not():
    assert memory_warnings(10, 3, "window") == []
    (told,) = memory_warnings(11, 3, "window")
    assert told.startswith("max_frames is 11, but the model was trained with up to 10 memory")


@pytest.mark.parametrize(
    ("max_frames", "sink", "told"), [(4, 3, 0), (3, 3, 1), (1, 3, 1), (0, 3, 0)]
)
def test_a_sink_that_fills_every_place_is_told(max_frames, sink, told):
    warnings = memory_warnings(max_frames, sink, "window")
    assert len(warnings) == told
    for text in warnings:
        assert f"{sink} of them, fill all {max_frames} places of the memory, so no shot" in text
        assert text.endswith(f"opening_frames (sink) to {max_frames // 3}")
    for policy in ("entities", "entities_only"):
        for text in memory_warnings(max_frames, sink, policy):
            assert "so no shot that names nobody of the cast sees" in text


@pytest.mark.parametrize(
    ("values", "words"),
    [((-1, 10, 3), "^count must be 0 .* is -1"), ((3, -1, 3), "^max_frames must be 0 .* is -1")],
)
def test_a_window_of_negative_numbers_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        window(values[0], max_frames=values[1], sink=values[2])


def test_a_pinned_frame_stays_in_the_window_for_ever():
    bank = bank_of(40, pinned={7})
    assert bank.used_indices() == (0, 1, 2, 7, 34, 35, 36, 37, 38, 39)


def test_a_pinned_frame_that_is_seen_anyway_takes_no_place_twice():
    assert bank_of(40, pinned={1, 39}).used_indices() == bank_of(40).used_indices()


def test_pins_take_the_recent_places_first_and_then_the_sink():
    bank = bank_of(20, pinned={5, 6, 7, 8}, max_frames=6, sink=3)
    assert bank.used_indices() == (0, 1, 5, 6, 7, 8)


def test_more_pins_than_places_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="3 frames are pinned but only max_frames = 2"):
        bank_of(5, pinned={0, 1, 2}, max_frames=2).used_indices()


def test_remembering_gives_a_new_bank_and_leaves_the_old_one():
    old = bank_of(2)
    new = old.remember([MemoryFrame(noise_image(1), shot=9)], dropped=[MemoryFrame(noise_image(2))])
    assert (len(old), len(old.dropped)) == (2, 0)
    assert (len(new), len(new.dropped)) == (3, 1)


def test_frames_can_be_pinned_and_unpinned():
    bank = bank_of(3).with_pins(pin=[0, 2])
    assert [frame.pinned for frame in bank.frames] == [True, False, True]
    assert [frame.pinned for frame in bank.with_pins(unpin=[0]).frames] == [False, False, True]


def test_a_frame_can_be_forgotten_and_restored_by_hand():
    bank = bank_of(3).forget([1])
    assert [frame.shot for frame in bank.frames] == [0, 2]
    assert [(frame.shot, frame.reason) for frame in bank.dropped] == [(1, "dropped by hand")]
    back = bank.restore([0])
    assert [frame.shot for frame in back.frames] == [0, 1, 2]
    assert back.frames[1].reason == "kept by hand"
    assert back.dropped == ()


@pytest.mark.parametrize(
    "act",
    [
        lambda bank: bank.with_pins(pin=[3]),
        lambda bank: bank.with_pins(unpin=[-1]),
        lambda bank: bank.forget([9]),
        lambda bank: bank.restore([0]),
    ],
)
def test_a_frame_that_is_not_there_is_an_error(act):
    with pytest.raises(ValueError, match="there is no"):
        act(bank_of(3))


def test_reference_pictures_begin_the_bank_in_their_order_and_pinned():
    bank = start_bank(torch.rand(3, 8, 8, 3), max_frames=5)
    assert [frame.order for frame in bank.frames] == [(REFERENCE_SHOT, i) for i in range(3)]
    assert all(frame.pinned for frame in bank.frames)
    assert not any(
        frame.pinned for frame in start_bank(torch.rand(3, 8, 8, 3), pinned=False).frames
    )


def test_more_references_than_places_is_an_error_at_once():
    with pytest.raises(ValueError, match="6 frames are pinned but only max_frames = 5"):
        start_bank(torch.rand(6, 8, 8, 3), max_frames=5)


def test_pixels_become_the_nearest_of_the_256_levels():
    """As a film or PNG holds them; what sampling and resizing overshoot is black or white."""
    levels = torch.arange(256.0)
    for off in (-0.49, 0.0, 0.49):
        pixels = ((levels + off) / 255).view(16, 16, 1).expand(-1, -1, 3)
        frame = MemoryFrame.from_pixels(pixels)
        assert torch.equal(frame.image[..., 0].flatten(), levels.to(torch.uint8))
    beyond = MemoryFrame.from_pixels(torch.tensor([[[-0.2, 1.2, 0.5], [-0.01, 1.01, 3.0]]]))
    assert beyond.image.tolist() == [[[0, 255, 128], [0, 255, 255]]]


def test_levels_survive_the_way_through_pixels_to_the_bit():
    frame = MemoryFrame(torch.arange(256, dtype=torch.uint8).view(16, 16, 1).repeat(1, 1, 3))
    assert MemoryFrame.from_pixels(frame.pixels()).digest == frame.digest
    assert (frame.pixels().min(), frame.pixels().max()) == (0.0, 1.0)


def test_a_reference_with_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        start_bank(torch.full((1, 8, 8, 3), float("nan")))


def test_the_same_pixels_are_the_same_frame_whatever_is_said_of_them():
    one, other = MemoryFrame(noise_image(1)), MemoryFrame(noise_image(1), shot=4, reason="x")
    assert one.digest == other.digest != MemoryFrame(noise_image(2)).digest
    turned = MemoryFrame(noise_image(1).reshape(64, 48, 3))
    assert turned.digest != one.digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("1", (0,)),
        ("1, 4-6", (0, 3, 4, 5)),
        ("2;3,", (1, 2)),
        (" 7 - 7 ", (6,)),
        ("1 2", (0, 1)),
    ],
)
def test_numbers_of_the_contact_sheet_are_read(text, expected):
    assert parse_ranges(text, "pin") == expected


@pytest.mark.parametrize("text", ["a", "0", "-1", "3-1", "1-", "1.5", "1-2-3", "1-9999999"])
def test_what_is_no_number_of_the_sheet_is_refused(text):
    with pytest.raises(ValueError, match="pin must be numbers"):
        parse_ranges(text, "pin")


def test_all_changes_at_once_count_from_the_bank_as_it_was_shown():
    gone = MemoryFrame(noise_image(7), shot=8, reason="known")
    bank = replace(bank_of(5, pinned={4}), dropped=(gone,))
    edited = bank.edit(pin=[1], unpin=[4], forget=[0, 2], restore=[0])
    assert [(f.shot, f.pinned) for f in edited.frames] == [
        (1, True),
        (3, False),
        (4, False),
        (8, False),
    ]
    assert [frame.shot for frame in edited.dropped] == [0, 2]
    with pytest.raises(ValueError, match="no dropped frame 2"):
        bank.edit(forget=[0], restore=[1])


def test_pinning_more_than_fits_is_an_error_when_it_is_asked_for():
    with pytest.raises(ValueError, match="3 frames are pinned but only max_frames = 2"):
        bank_of(3, max_frames=2).edit(pin=[0, 1, 2])


def test_each_expert_may_have_a_memory_of_its_own():
    images = [torch.full((1, 1, 3), i, dtype=torch.uint8) for i in range(4)]
    pools = ("", "high", "low", "")
    frames = [
        MemoryFrame(x, shot=i, pool=p) for i, (x, p) in enumerate(zip(images, pools, strict=True))
    ]
    high, low = MemoryBank(tuple(frames)).memories()
    assert [f.shot for f in high] == [0, 1, 3]
    assert [f.shot for f in low] == [0, 2, 3]
