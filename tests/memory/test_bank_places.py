"""Places, pins and what was dropped, at the edges; and what a frame and its picture are."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame
from storymem.memory.picture import Picture
from storymem.memory.policies import Choice, window


def bank_of(count: int, *, pinned=(), max_frames=10, sink=3) -> MemoryBank:
    image = noise_image(0, 4, 4)
    frames = tuple(MemoryFrame(image, shot=i, pinned=i in pinned) for i in range(count))
    return MemoryBank(frames, max_frames=max_frames, sink=sink)


@pytest.mark.parametrize("settings", [{"max_frames": -1}, {"sink": -1}])
def test_a_bank_with_less_than_no_places_is_refused(settings):
    with pytest.raises(ValueError, match="max_frames and sink must be 0 or more"):
        MemoryBank(**settings)
    assert MemoryBank(max_frames=0, sink=0).used() == ()


def test_pins_and_window_equal_a_plain_rewriting():
    """A pin takes the place of the oldest recent frame, and only then those of the sink."""
    chance = random.Random(5)
    for _ in range(300):
        count, max_frames, sink = chance.randrange(15), chance.randrange(9), chance.randrange(5)
        pinned = chance.sample(range(count), min(count, max_frames, chance.randrange(5)))
        bank = bank_of(count, pinned=pinned, max_frames=max_frames, sink=sink)
        seen = window(count, max_frames=max_frames, sink=sink)
        of_sink = [i for i in seen if i < sink and count > max_frames]
        others = [i for i in seen if i not in of_sink]
        seen = list(seen)
        for pin in pinned:
            if pin not in seen:
                free = [i for i in others + of_sink[::-1] if i in seen and i not in pinned]
                seen[seen.index(free[0])] = pin
        assert bank.used_indices() == tuple(sorted(seen))
        assert [frame.shot for frame in bank.used()] == sorted(seen)


def test_the_last_32_turned_down_can_be_looked_at():
    bank = MemoryBank()
    for shot in range(40):
        bank = bank.remember([], dropped=[MemoryFrame(noise_image(shot, 4, 4), shot=shot)])
        assert [frame.shot for frame in bank.dropped] == list(range(shot + 1))[-32:]


def test_what_was_chosen_for_a_shot_does_not_outlive_a_change():
    bank = replace(bank_of(5, max_frames=3), choice=Choice((1, 3), {}))
    assert [frame.shot for frame in bank.used()] == [1, 3]
    for changed in (
        bank.remember([MemoryFrame(noise_image(1), shot=9)]),
        bank.with_pins(pin=[1]),
        bank.forget([2]),
        bank.with_edits(BankEdits(pin=(bank.frames[0].digest,))),
    ):
        assert changed.choice is None


def test_a_change_by_hand_says_so_and_takes_the_clicks_word_back():
    clicked = replace(
        bank_of(3),
        frames=tuple(replace(frame, edited="keep") for frame in bank_of(3).frames),
    )
    pinned = clicked.with_pins(pin=[1])
    assert [(f.pinned, f.edited) for f in pinned.frames] == [
        (False, "keep"), (True, ""), (False, "keep"),
    ]  # fmt: skip
    (gone,) = clicked.forget([1]).dropped
    assert (gone.shot, gone.edited, gone.why) == (1, "", "dropped by hand")
    dropped = replace(MemoryBank(), dropped=(replace(gone, edited="drop"),))
    (back,) = dropped.restore([0]).frames
    assert (back.edited, back.why) == ("", "kept by hand")


def test_a_frame_dropped_by_number_loses_its_clicks_and_others_keep_theirs():
    frames = tuple(MemoryFrame(noise_image(i, 4, 4), shot=i) for i in range(3))
    clicked = MemoryBank(frames).with_edits(BankEdits(pin=tuple(f.digest for f in frames)))
    left = (frames[0].digest, frames[2].digest)
    assert clicked.forget([1]).edits.pin == left
    assert clicked.with_pins(unpin=[1]).edits.pin == left
    assert clicked.forget([1]).restore([0]).frames[1].pinned


def test_a_bank_on_a_wire_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        bank_of(1).max_frames = 3
    with pytest.raises(FrozenInstanceError):
        bank_of(1).frames[0].pinned = True


def test_the_wrong_number_of_a_frame_is_told_as_it_was_counted():
    bank = bank_of(3).forget([1])
    for act in (lambda: bank.with_pins(pin=[2]), lambda: bank.forget([2])):
        with pytest.raises(ValueError, match="no frame 3 in a bank of 2 frames"):
            act()
    for number in (-1, 1):
        with pytest.raises(ValueError, match=f"no dropped frame {number + 1}: .* 1 dropped frame$"):
            bank.restore([number])
        with pytest.raises(ValueError, match=f"no dropped frame {number + 1}: 1 were dropped"):
            bank.edit(restore=[number])
    with pytest.raises(ValueError, match="no frame 0 in a bank of 2 frames"):
        bank.forget([-1])


def test_restoring_some_leaves_the_others_dropped_in_their_order():
    bank = bank_of(5).forget([0, 2, 4])
    back = bank.restore([2, 0, 2])
    assert [frame.shot for frame in back.frames] == [0, 1, 3, 4]
    assert [frame.shot for frame in back.dropped] == [2]


def test_dropping_and_restoring_goes_in_the_order_of_the_bank_whatever_is_named_first():
    bank = bank_of(10, max_frames=10)
    gone = bank.forget([8, 1, 9, 0])
    assert [frame.shot for frame in gone.dropped] == [0, 1, 8, 9]
    frames = tuple(MemoryFrame(noise_image(i, 4, 4), shot=0) for i in range(10))  # of one place
    back = MemoryBank(dropped=frames).restore([8, 1])
    assert [frame.digest for frame in back.frames] == [frames[1].digest, frames[8].digest]


def test_restoring_forgets_none_of_the_others_however_many_there_are():
    """The artist names them by their numbers in the list."""
    gone = bank_of(40).forget(range(40))
    assert [frame.shot for frame in gone.dropped] == list(range(40))
    assert [frame.shot for frame in gone.restore([5]).dropped] == [*range(5), *range(6, 40)]


def test_of_two_that_clicks_dropped_one_can_be_restored_by_its_number():
    frames = tuple(MemoryFrame(noise_image(i, 4, 4), shot=i) for i in range(3))
    clicks = BankEdits(drop=(frames[0].digest, frames[2].digest))
    back = MemoryBank(frames).with_edits(clicks).restore([1])
    assert [(frame.shot, frame.edited) for frame in back.frames] == [(1, ""), (2, "")]
    assert [(frame.shot, frame.edited) for frame in back.dropped] == [(0, "drop")]
    assert back.edits == BankEdits(drop=(frames[0].digest,))


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(
        ValueError, match=r"^policy must be one of window, relevant, entities, entities_only, but"
    ):
        MemoryBank(policy="newest")


def test_banks_are_compared_by_themselves_and_may_stand_in_a_set():
    first, second = bank_of(1), bank_of(1)
    assert len({first, second, first}) == 2
    assert len({*first.frames, *second.frames, *first.frames}) == 2


def test_references_may_come_from_anything_that_gives_them_one_by_one():
    pixels = torch.rand(2, 4, 4, 3)
    assert len(start_bank(iter(pixels), names=("Mara",))) == 2
    assert start_bank().frames == start_bank(iter(())).frames == ()


def test_references_have_their_names_and_added_ones_come_after_them():
    pixels = torch.rand(3, 4, 4, 3)
    edits = BankEdits(pin=("0" * 12,))
    bank = start_bank(
        pixels, names=("Mara", "Pip"),
        added={"boat.png": noise_image(1), "cat.png": noise_image(2)},
        max_frames=5, sink=1, policy="entities", embedder="clip", edits=edits,
    )  # fmt: skip
    assert [frame.name for frame in bank.frames] == ["Mara", "Pip", "", "boat.png", "cat.png"]
    assert [frame.frame for frame in bank.frames] == [0, 1, 2, 3, 4]
    assert {frame.shot for frame in bank.frames} == {REFERENCE_SHOT}
    assert {frame.reason for frame in bank.frames} == {"reference picture"}
    assert all(frame.pinned for frame in bank.frames)
    assert torch.equal(bank.frames[4].image, noise_image(2))
    assert torch.equal(bank.frames[1].image, MemoryFrame.from_pixels(pixels[1]).image)
    told = (bank.max_frames, bank.sink, bank.policy, bank.embedder, bank.edits)
    assert told == (5, 1, "entities", "clip", edits)
    loose = start_bank(pixels, added={"boat.png": noise_image(1)}, pinned=False)
    assert not any(frame.pinned for frame in loose.frames)


def test_more_names_than_references_is_an_error():
    with pytest.raises(ValueError, match=r"1 reference picture cannot have 2 names \(Mara, Pip\)"):
        start_bank(torch.rand(1, 4, 4, 3), names=("Mara", "Pip"))


def test_clicks_count_for_the_pictures_that_a_story_begins_with():
    digest = MemoryFrame(noise_image(1)).digest
    pictures = {"a.png": noise_image(0), "b.png": noise_image(1)}
    bank = start_bank(added=pictures, edits=BankEdits(drop=(digest,)))
    assert [frame.name for frame in bank.frames] == ["a.png"]
    with pytest.raises(ValueError, match="2 frames are pinned but only max_frames = 1"):
        start_bank(added=pictures, max_frames=1)


def test_where_a_frame_is_from_is_told_as_people_count():
    image = noise_image(0, 4, 4)
    assert MemoryFrame(image).place == "reference 1"
    assert MemoryFrame(image, frame=4).place == "reference 5"
    assert MemoryFrame(image, shot=0, frame=0).place == "shot 1, frame 0"
    assert MemoryFrame(image, shot=6, frame=40).place == "shot 7, frame 40"


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (4, 4, 1), (1, 4, 4, 3)])
def test_what_is_no_picture_is_no_memory(shape):
    with pytest.raises(ValueError, match=r"an image must be \[H, W, 3\]"):
        MemoryFrame.from_pixels(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"a memory frame must be uint8 \[H, W, 3\]"):
        MemoryFrame(torch.zeros(shape, dtype=torch.uint8))


def test_a_memory_frame_holds_levels_and_not_pixels():
    with pytest.raises(ValueError, match=r"but it is torch\.float32"):
        MemoryFrame(torch.zeros(4, 4, 3))


def test_a_picture_on_disk_is_read_each_time_and_known_without_reading():
    reads = []

    def read() -> torch.Tensor:
        reads.append(1)
        return noise_image(3)

    picture = Picture.on_disk("ab" * 32, read)
    frame = MemoryFrame(picture)
    assert (frame.digest, picture.is_in_memory, reads) == ("ab" * 32, False, [])
    assert torch.equal(frame.image, noise_image(3))
    assert torch.equal(frame.image, noise_image(3))
    assert len(reads) == 2
    assert not picture.is_in_memory
    assert repr(picture) == "Picture(abababababab, on disk)"
    assert Picture(noise_image(3)).is_in_memory
    assert repr(Picture(noise_image(3))).endswith(", in memory)")


def test_the_digest_of_a_picture_is_the_same_for_ever():
    """Records, banks and clicks name pictures by it."""
    levels = torch.arange(2 * 3 * 3, dtype=torch.uint8).view(2, 3, 3)
    known = "43e74a109ae56fd65e442c6603eece4198f5d0f4215477c733526c85ed91b530"
    assert MemoryFrame(levels).digest == known
    assert MemoryFrame(levels.flip(0).contiguous().flip(0)).digest == known
    planes = levels.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not planes.is_contiguous()
    assert MemoryFrame(planes).digest == known
