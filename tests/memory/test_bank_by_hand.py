"""An artist's hand in a bank's folder: pictures put in, moved out of ``dropped``, and dropped."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame


def put_in(folder: Path, *names: str) -> None:
    """Pictures that differ, under these names."""
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 50, 0)).save(folder / f"{name}.png")


def move_out(folder: Path) -> Path:
    """Move the one picture that is in ``dropped`` out of it."""
    (picture,) = (folder / "dropped").iterdir()
    return picture.rename(folder / picture.name)


def kept_and_dropped() -> MemoryBank:
    """A keyframe, and a dropped one of a later shot."""
    frames = (MemoryFrame(noise_image(0), "Tale", 0, 3, reason="differs"),)
    return MemoryBank(frames, dropped=(MemoryFrame(noise_image(1), "Tale", 1, 40, reason="known"),))


def places(frames) -> list[str]:
    return [frame.place for frame in frames]


# --- moved out of dropped ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["number", "click"])
def test_what_was_moved_out_of_dropped_and_then_dropped_again_does_not_come_back(tmp_path, by):
    save_bank(tmp_path, kept_and_dropped())
    moved = move_out(tmp_path)
    bank = load_bank(tmp_path)
    assert places(bank.frames) == ["shot 1, frame 3", "shot 2, frame 40"]
    if by == "number":
        bank = bank.forget([1])
    else:
        bank = bank.with_edits(BankEdits(drop=(bank.frames[1].digest,)))
    for _ in range(2):
        save_bank(tmp_path, bank)
        loaded = load_bank(tmp_path)
        assert places(loaded.frames) == ["shot 1, frame 3"]
        assert [(f.place, f.why) for f in loaded.dropped] == [
            ("shot 2, frame 40", "dropped by hand")
        ]
        assert '"forgotten"' not in (tmp_path / "bank.json").read_text()
    assert not moved.exists()
    move_out(tmp_path)
    assert places(load_bank(tmp_path).frames) == ["shot 1, frame 3", "shot 2, frame 40"]


def test_what_was_moved_out_while_a_story_went_on_is_kept_after_its_next_save(tmp_path):
    save_bank(tmp_path, kept_and_dropped())
    moved = move_out(tmp_path)
    save_bank(tmp_path, kept_and_dropped())
    assert moved.exists()
    back = load_bank(tmp_path).frames[1]
    assert (back.place, back.story, back.reason) == ("shot 2, frame 40", "Tale", "kept by hand")


def test_an_artists_own_picture_is_left_alone_when_it_is_dropped(tmp_path):
    put_in(tmp_path, "a", "b")
    save_bank(tmp_path, load_bank(tmp_path).forget([0]))
    save_bank(tmp_path, load_bank(tmp_path))
    assert (tmp_path / "a.png").is_file()
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["b"]


def test_an_artists_own_picture_that_is_kept_after_all_is_one_of_the_bank_by_itself(tmp_path):
    put_in(tmp_path, "a", "b")
    bank = load_bank(tmp_path)
    save_bank(tmp_path, bank.forget([0]))
    save_bank(tmp_path, bank)
    for copy in not_empty(tmp_path.glob("reference_*.png")):
        copy.unlink()
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["a", "b"]


def test_references_that_are_moved_out_of_dropped_count_for_the_numbers_of_others(tmp_path):
    dropped = (MemoryFrame(noise_image(1), frame=9), MemoryFrame(noise_image(2), frame=1))
    save_bank(tmp_path, MemoryBank((MemoryFrame(noise_image(0), frame=4),), dropped=dropped))
    for picture in not_empty((tmp_path / "dropped").iterdir()):
        picture.rename(tmp_path / picture.name)
    put_in(tmp_path, "m", "z")  # the first is read before them, the second after
    numbers = {frame.frame: frame.name for frame in load_bank(tmp_path).frames}
    assert numbers == {1: "", 4: "", 5: "m", 9: "", 10: "z"}


# --- put in --------------------------------------------------------------------------------------


def test_pictures_in_a_bank_of_shots_alone_are_numbered_from_nought(tmp_path):
    save_bank(tmp_path, MemoryBank((MemoryFrame(noise_image(0), "Tale", 0, 12),)))
    put_in(tmp_path, "a", "b")
    loaded = load_bank(tmp_path).frames
    assert [(frame.shot, frame.frame) for frame in loaded] == [
        (REFERENCE_SHOT, 0), (REFERENCE_SHOT, 1), (0, 12),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("shot_0001_frame_0003", (0, 3)),
        ("shot_1_frame_0", (0, 0)),
        ("shot_999999_frame_999999", (999_998, 999_999)),
        ("shot_0002_frame_0017_anything", (1, 17)),
        ("shot_0000_frame_0003", (REFERENCE_SHOT, 0)),
        ("my_shot_0001_frame_0003", (REFERENCE_SHOT, 0)),
        ("shot_0001_frame", (REFERENCE_SHOT, 0)),
    ],
)
def test_a_name_that_begins_with_a_place_gives_the_picture_that_place(tmp_path, name, order):
    put_in(tmp_path, name)
    (frame,) = load_bank(str(tmp_path)).frames
    assert (frame.order, frame.name) == (order, name)


def test_letters_are_in_one_order_whatever_their_case_and_only_plain_digits_are_numbers(tmp_path):
    names = ["bo_x", "Boa", "BOB", "boc", "\u0669", "1", "1\u06692", "1\u4e002", "8"]
    put_in(tmp_path, *reversed(names))
    assert [frame.name for frame in load_bank(tmp_path).frames] == names


def test_a_damaged_picture_that_was_put_in_keeps_no_other_out(tmp_path, caplog):
    put_in(tmp_path, "a", "b", "d")
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"c\.png.*repair or delete it, or load with skip_damaged"):
        load_bank(tmp_path)
    bank = load_bank(tmp_path, skip_damaged=True)
    assert [frame.name for frame in bank.frames] == ["a", "b", "d"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"StoryMem: left out of the memory bank: {tmp_path / 'c.png'} cannot")
    # Nor is it in the way when others are dropped, before it and after it.
    save_bank(tmp_path, bank.forget([0, 2]))
    assert [frame.name for frame in load_bank(tmp_path, skip_damaged=True).frames] == ["b"]


def test_a_list_of_forgotten_pictures_holds_back_those_of_its_names_alone(tmp_path):
    put_in(tmp_path, "a", "b")
    save_bank(tmp_path, load_bank(tmp_path).forget([0]))
    text = (tmp_path / "bank.json").read_text()
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["b", "c"]
    start = text.index('"forgotten": ') + len('"forgotten": ')
    for nonsense in ("7", "[]", "null", '{"c.png": [], "a.png": 7}'):
        (tmp_path / "bank.json").write_text(f"{text[:start]}{nonsense}\n}}\n")
        bank = load_bank(tmp_path)
        assert [frame.name for frame in bank.frames] == ["b", "c"]
        save_bank(tmp_path, bank)
        assert [frame.name for frame in load_bank(tmp_path).frames] == ["b", "c"]


def test_a_damaged_keyframe_is_told_once(tmp_path, caplog):
    save_bank(tmp_path, kept_and_dropped())
    (picture,) = tmp_path.glob("*.png")
    picture.write_bytes(b"")
    assert len(load_bank(tmp_path, skip_damaged=True)) == 0
    assert caplog.text.count(picture.name) == 1


# --- what is told --------------------------------------------------------------------------------


def told(folder: Path, caplog) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load_bank(folder)
    return [record.getMessage() for record in caplog.records]


def test_a_change_by_hand_is_told_and_nothing_else(tmp_path, caplog):
    save_bank(tmp_path, kept_and_dropped())
    (picture,) = tmp_path.glob("*.png")
    assert told(tmp_path, caplog) == []
    put_in(tmp_path, picture.stem)
    assert told(tmp_path, caplog) == [f"StoryMem: {picture} was changed by hand since it was saved"]
    document = (tmp_path / "bank.json").read_text()
    digest = kept_and_dropped().frames[0].digest
    (tmp_path / "bank.json").write_text(document.replace(f'"{digest}"', "7"))
    assert told(tmp_path, caplog) == [], "a list that does not say how it was"
    picture.unlink()
    assert told(tmp_path, caplog) == [
        f"StoryMem: {picture} was deleted from the memory bank by hand"
    ]


def test_the_level_of_the_packs_log_counts_for_what_a_folder_tells(tmp_path, caplog):
    save_bank(tmp_path, kept_and_dropped())
    next(tmp_path.glob("*.png")).unlink()
    logging.getLogger("storymem").setLevel(logging.ERROR)
    assert told(tmp_path, caplog) == []
