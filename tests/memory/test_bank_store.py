"""A bank on disk: whole round trips, an artist's hand in the folder, damage, cut-off saves."""

from __future__ import annotations

import json
import logging
import os
import random
from dataclasses import fields, replace

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from storymem.files import disk
from storymem.files.images import read_picture
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame


def small_bank() -> MemoryBank:
    """A reference, three keyframes of two shots and one dropped candidate, every field in use."""
    return MemoryBank(
        frames=(
            MemoryFrame(noise_image(0), frame=0, pinned=True, name="Ána", reason="reference image"),
            MemoryFrame(
                noise_image(1), "Tale", 0, 0, 3.1000000000000005, "hpsv3", None, "first good"
            ),
            MemoryFrame(
                noise_image(2, 31, 17),
                "Tale",
                0,
                12,
                4.2,
                "hpsv3",
                1 / 3,
                "differs",
                prompt="猫\n@A",
            ),
            MemoryFrame(noise_image(3), "Tale", 11, 2, None, "", -0.25, "differs", pinned=True),
        ),
        max_frames=7,
        sink=2,
        dropped=(MemoryFrame(noise_image(4), "Tale", 1, 40, 5.0, "hpsv3", 0.95, "known already"),),
    )


def same(one: MemoryFrame, other: MemoryFrame) -> bool:
    names = [field.name for field in fields(MemoryFrame) if field.name != "picture"]
    return torch.equal(one.image, other.image) and all(
        getattr(one, name) == getattr(other, name) for name in names
    )


def assert_same_bank(one: MemoryBank, other: MemoryBank) -> None:
    assert (one.max_frames, one.sink) == (other.max_frames, other.sink)
    for mine, theirs in ((one.frames, other.frames), (one.dropped, other.dropped)):
        assert len(mine) == len(theirs)
        assert all(map(same, mine, theirs))


def test_a_bank_read_back_is_the_same_to_the_bit(tmp_path):
    bank = small_bank()
    save_bank(tmp_path / "bank", bank)
    assert_same_bank(load_bank(tmp_path / "bank"), bank)


def test_a_bank_of_an_earlier_version_has_frames_without_prompts(tmp_path):
    save_bank(tmp_path, small_bank())
    document = json.loads((tmp_path / "bank.json").read_text(encoding="utf-8"))
    for entry in (*document["frames"], *document["dropped"]):
        del entry["prompt"]
    (tmp_path / "bank.json").write_text(json.dumps(document))
    assert [frame.prompt for frame in load_bank(tmp_path).frames] == [""] * 4


def test_a_list_reordered_and_marked_by_an_editor_loads_in_order_of_the_story(tmp_path):
    bank = small_bank()
    save_bank(tmp_path, bank)
    path = tmp_path / "bank.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["frames"].reverse()
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    assert_same_bank(load_bank(tmp_path), bank)


def test_an_empty_bank_keeps_its_settings(tmp_path):
    save_bank(tmp_path, MemoryBank(max_frames=4, sink=1))
    loaded = load_bank(tmp_path)
    assert (len(loaded), loaded.max_frames, loaded.sink) == (0, 4, 1)


def test_two_identical_frames_at_one_place_are_both_kept(tmp_path):
    frame = MemoryFrame(noise_image(0), "Tale", 2, 5)
    save_bank(tmp_path, MemoryBank((frame, frame)))
    assert len(load_bank(tmp_path)) == 2


def test_saving_again_replaces_the_older_bank_and_leaves_no_stray_file(tmp_path):
    bank = small_bank()
    save_bank(tmp_path, bank)
    smaller = replace(bank, frames=bank.frames[:1], dropped=())
    save_bank(tmp_path, smaller)
    assert_same_bank(load_bank(tmp_path), smaller)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["bank.json", f"reference_0000_{bank.frames[0].digest[:8]}.png"]


def test_file_names_say_the_shot_from_one_and_the_frame_and_sort_in_order(tmp_path):
    save_bank(tmp_path, small_bank())
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert [name.rsplit("_", 1)[0] for name in names] == [
        "reference_0000",
        "shot_0001_frame_0000",
        "shot_0001_frame_0012",
        "shot_0012_frame_0002",
    ]


# --- by hand ---


def test_a_picture_deleted_by_hand_is_out_of_the_bank(tmp_path):
    bank = small_bank()
    save_bank(tmp_path, bank)
    next(tmp_path.glob("shot_0001_frame_0012*")).unlink()
    kept = [frame.order for frame in load_bank(tmp_path).frames]
    assert kept == [(REFERENCE_SHOT, 0), (0, 0), (11, 2)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_picture_put_in_by_hand_becomes_a_reference_with_its_name(tmp_path, suffix):
    save_bank(tmp_path, small_bank())
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / f"hero.{suffix}")
    added = load_bank(tmp_path).frames[1]
    assert (added.shot, added.frame, added.name) == (REFERENCE_SHOT, 1, "hero")
    assert added.reason == "added by hand"
    assert list(added.image.shape) == [30, 40, 3]


def test_a_picture_whose_name_says_its_place_goes_there(tmp_path):
    save_bank(tmp_path, small_bank())
    Image.new("RGB", (40, 30)).save(tmp_path / "shot_0003_frame_0009.png")
    assert [frame.order for frame in load_bank(tmp_path).frames][3] == (2, 9)


def test_a_picture_moved_out_of_dropped_is_kept_with_its_provenance(tmp_path):
    save_bank(tmp_path, small_bank())
    picture = next((tmp_path / "dropped").iterdir())
    picture.rename(tmp_path / picture.name)
    loaded = load_bank(tmp_path)
    assert loaded.dropped == ()
    (frame,) = [frame for frame in loaded.frames if frame.shot == 1]
    assert (frame.frame, frame.score, frame.scorer, frame.reason) == (
        40,
        5.0,
        "hpsv3",
        "kept by hand",
    )


def test_a_picture_repainted_by_hand_keeps_its_place(tmp_path):
    save_bank(tmp_path, small_bank())
    path = next(tmp_path.glob("shot_0001_frame_0012*"))
    Image.new("RGB", (17, 31), (1, 2, 3)).save(path)
    frame = load_bank(tmp_path).frames[2]
    assert frame.order == (0, 12)
    assert frame.image[0, 0].tolist() == [1, 2, 3]


def test_added_pictures_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "9", "1"):
        Image.new("RGB", (8, 8), (int(name), 0, 0)).save(tmp_path / f"keyframe{name}.png")
    assert [frame.name for frame in load_bank(tmp_path).frames] == [
        "keyframe1",
        "keyframe9",
        "keyframe10",
    ]


def test_numbers_in_names_count_as_numbers_wherever_they_stand(tmp_path):
    """The order of the bank is the order in the shot, and part of what a shot is known by."""
    names = [
        "anna 2", "anna 2b", "ANNA 10", "Anna", "bob", "bob_1_3", "bob_1_20", "bob_2_1", "bob_10",
        "\u00e1nna", "\u0661", "1", "2", "2a", "2b1", "2b11", "010", "11",
    ]  # fmt: skip
    for i, name in enumerate(random.Random(3).sample(names, len(names))):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{name}.png")
    frames = load_bank(tmp_path).frames
    assert [frame.name for frame in frames] == names
    assert [frame.frame for frame in frames] == list(range(len(names)))


def test_what_was_added_by_hand_is_there_once_after_the_next_save(tmp_path):
    save_bank(tmp_path, small_bank())
    Image.new("RGB", (40, 30)).save(tmp_path / "hero.png")
    loaded = load_bank(tmp_path)
    save_bank(tmp_path, loaded)
    assert (tmp_path / "hero.png").is_file()
    assert_same_bank(load_bank(tmp_path), loaded)


def test_a_picture_put_in_by_hand_and_then_forgotten_does_not_come_back(tmp_path):
    save_bank(tmp_path, small_bank())
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "hero.png")
    bank = load_bank(tmp_path)
    forgotten = bank.forget([[frame.name for frame in bank.frames].index("hero")])
    for _ in range(2):
        save_bank(tmp_path, forgotten)
        assert_same_bank(load_bank(tmp_path), forgotten)
        forgotten = replace(forgotten, dropped=())  # as after many others were dropped
    assert (tmp_path / "hero.png").is_file()
    save_bank(tmp_path, bank)  # kept after all
    assert_same_bank(load_bank(tmp_path), bank)
    save_bank(tmp_path, forgotten)
    Image.new("RGB", (40, 30), (99, 9, 9)).save(tmp_path / "hero.png")  # another picture
    assert "hero" in [frame.name for frame in load_bank(tmp_path).frames]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("RGBA", (10, 20, 30, 0), [255, 255, 255]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 127), [133, 138, 143]),  # 0.498 of it, the rest white
        ("LA", (77, 0), [255, 255, 255]),
        ("LA", (77, 255), [77, 77, 77]),
        ("L", 77, [77, 77, 77]),
        ("I;16", 65535, [255, 255, 255]),
        ("I;16", 32896, [128, 128, 128]),
        ("P", 0, [0, 0, 0]),
        ("1", 1, [255, 255, 255]),
    ],
)
def test_every_kind_of_picture_becomes_eight_bit_rgb(tmp_path, mode, value, expected):
    Image.new(mode, (5, 4), value).save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png")[0, 0].tolist() == expected


def test_a_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.jpg", exif=exif)
    assert list(read_picture(tmp_path / "photo.jpg").shape) == [20, 10, 3]


# --- damage ---


def damage(path, kind: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"cut short": data[: len(data) // 2], "empty": b"", "text": b"hello"}[kind])


@pytest.mark.parametrize("kind", ["cut short", "empty", "text"])
def test_a_damaged_picture_is_named_and_the_rest_loads_when_asked(tmp_path, caplog, kind):
    save_bank(tmp_path, small_bank())
    path = next(tmp_path.glob("shot_0001_frame_0012*"))
    damage(path, kind)
    with pytest.raises(ValueError, match=path.name):
        load_bank(tmp_path)
    with caplog.at_level(logging.WARNING):
        loaded = load_bank(tmp_path, skip_damaged=True)
    assert [frame.order for frame in loaded.frames] == [(REFERENCE_SHOT, 0), (0, 0), (11, 2)]
    assert path.name in caplog.text


@pytest.mark.parametrize("kind", ["cut short", "empty", "text"])
def test_a_damaged_list_is_named_and_the_pictures_still_load_when_asked(tmp_path, kind):
    bank = small_bank()
    save_bank(tmp_path, bank)
    damage(tmp_path / "bank.json", kind)
    with pytest.raises(ValueError, match=r"bank\.json"):
        load_bank(tmp_path)
    loaded = load_bank(tmp_path, skip_damaged=True)
    assert [frame.order for frame in loaded.frames] == [frame.order for frame in bank.frames]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../etc/passwd"}, "plain file name"),
        ({"file": 3}, "plain file name"),
        ({"shot": "two"}, '"shot" has the wrong type'),
        ({"shot": True}, '"shot" has the wrong type'),
        ({"pinned": 1}, '"pinned" has the wrong type'),
        ({"score": "high"}, '"score" has the wrong type'),
    ],
)
def test_a_wrong_entry_is_named_and_left_out_when_asked(tmp_path, change, message):
    save_bank(tmp_path, small_bank())
    path = tmp_path / "bank.json"
    document = json.loads(path.read_text())
    document["frames"][3].update(change)
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        load_bank(tmp_path)
    assert len(load_bank(tmp_path, skip_damaged=True)) >= 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a memory bank"),
        ('{"format": "other"}', "not a memory bank"),
        ('{"format": "storymem-bank", "version": 99}', "version 99"),
        ('{"format": "storymem-bank", "version": 1, "max_frames": -1}', "max_frames"),
        ('{"format": "storymem-bank", "version": 1, "frames": 3}', "must be a list"),
    ],
)
def test_a_list_that_is_not_ours_is_an_error(tmp_path, text, message):
    (tmp_path / "bank.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_bank(tmp_path)


def test_a_missing_or_empty_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_bank(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a memory bank"):
        load_bank(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="could not be saved"):
        save_bank(tmp_path / "file" / "bank", small_bank())


# --- interrupted saves ---


class Crash(BaseException):
    """Stands where kill -9 would end the process."""


@pytest.mark.parametrize("writes", range(8))
def test_a_save_cut_off_at_any_write_leaves_the_old_bank_or_the_new_one(
    tmp_path, monkeypatch, writes
):
    old, new = small_bank(), small_bank().remember([MemoryFrame(noise_image(9), "Tale", 12, 1)])
    new = replace(new, dropped=(*new.dropped, MemoryFrame(noise_image(8), "Tale", 12, 30)))
    save_bank(tmp_path, old)
    real, done = disk.os.replace, []

    def replace_until(source, target):
        if len(done) == writes:
            raise Crash
        real(source, target)
        done.append(target)

    monkeypatch.setattr(disk.os, "replace", replace_until)
    try:
        save_bank(tmp_path, new)
        finished = True
    except Crash:
        finished = False
    assert_same_bank(load_bank(tmp_path), new if finished or len(done) >= 4 else old)
    monkeypatch.undo()
    save_bank(tmp_path, new)
    assert_same_bank(load_bank(tmp_path), new)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.glob("*.saving"))


def test_a_save_leaves_files_alone_that_another_server_is_writing(tmp_path):
    bank = start_bank([torch.rand(4, 4, 3)])
    save_bank(tmp_path, bank)
    fresh, old = tmp_path / ".bank.json.1.tmp", tmp_path / ".bank.json.2.tmp"
    mine = disk.unfinished_beside(tmp_path / "bank.json").name
    dead = tmp_path / mine.replace(f"-{disk.OWN_MARK}", "-" + "0" * 6)  # by one of this number
    for path in (fresh, old, dead):
        path.write_text("half")
    os.utime(old, (1, 1))
    with disk.unfinished_file(tmp_path / "bank.json") as written:
        written.write_text("half")
        save_bank(tmp_path, bank)
        assert written.exists()
    assert fresh.exists()
    assert not dead.exists()  # a container gives each process the number of the one before
    assert not old.exists()


def test_whom_the_artist_named_stays_with_a_saved_bank(tmp_path):
    bank = small_bank()
    labels = ((bank.frames[1].digest, "Mara, Pip"), (bank.frames[0].digest, ""))
    save_bank(tmp_path, bank.with_edits(BankEdits(names=labels)))
    assert [f.name for f in load_bank(tmp_path).frames] == ["Ána", "Mara, Pip", "", ""]
