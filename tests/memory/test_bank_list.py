"""The list of a bank on disk: what it says, what it may say, and whose files a save removes."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.files import disk
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame


def small_bank() -> MemoryBank:
    """A reference, two keyframes of two shots and one dropped candidate."""
    return MemoryBank(
        (
            MemoryFrame(noise_image(0), pinned=True, name="\u00c1na", reason="reference image"),
            MemoryFrame(noise_image(1), "Tale", 0, 12, 4.2, "hpsv3", 1 / 3, "differs"),
            MemoryFrame(noise_image(3), "Tale", 11, 2, None, "", -0.25, "differs"),
        ),
        max_frames=7,
        sink=2,
        dropped=(MemoryFrame(noise_image(4), "Tale", 1, 40, 5.0, "hpsv3", 0.95, "known already"),),
    )


def saved_list(folder) -> dict:
    return json.loads((folder / "bank.json").read_text(encoding="utf-8"))


def test_the_list_says_all_of_every_frame_in_words_that_stay(tmp_path):
    """Banks of every version are read by every later one, and edited by hand."""
    bank = small_bank()
    save_bank(tmp_path, bank)
    document = saved_list(tmp_path)
    assert list(document) == ["format", "version", "max_frames", "sink", "frames", "dropped"]
    assert (document["format"], document["version"]) == ("storymem-bank", 1)
    assert (document["max_frames"], document["sink"]) == (7, 2)
    first, dropped = document["frames"][0], document["dropped"][0]
    digest = bank.frames[0].digest
    assert first == {
        "file": f"reference_0000_{digest[:8]}.png", "sha256": digest, "story": "", "scorer": "",
        "reason": "reference image", "name": "\u00c1na", "prompt": "", "edited": "", "shot": -1,
        "frame": 0, "score": None, "similarity": None, "pinned": True,
    }  # fmt: skip
    assert dropped["file"] == f"shot_0002_frame_0040_{bank.dropped[0].digest[:8]}.png"
    assert (tmp_path / "dropped" / dropped["file"]).is_file()
    text = (tmp_path / "bank.json").read_text(encoding="utf-8")
    assert "\u00c1na" in text
    assert text == json.dumps(document, indent=1, ensure_ascii=False) + "\n", "a line for each fact"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_saved_as_none(tmp_path, value):
    frame = MemoryFrame(noise_image(0), "Tale", 0, score=value, scorer="x", similarity=value)
    save_bank(tmp_path, MemoryBank((frame,)))
    (loaded,) = load_bank(tmp_path).frames
    assert (loaded.score, loaded.similarity, loaded.scorer) == (None, None, "x")


def test_a_saved_bank_outlives_a_power_cut(tmp_path, monkeypatch):
    """The disk has all of a file before its name says that it is there."""
    synced, named = [], []
    real, replace_file = os.fsync, os.replace

    def sync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    def rename(source, target):
        assert os.stat(source).st_ino in synced, target
        named.append(os.path.basename(target))
        replace_file(source, target)

    monkeypatch.setattr(disk.os, "fsync", sync)
    monkeypatch.setattr(disk.os, "replace", rename)
    save_bank(tmp_path, small_bank())
    assert (named[0], named[-1]) == ("bank.json.saving", "bank.json")
    assert len(named) == 6


def test_no_file_of_an_artist_is_removed_whatever_the_list_says(tmp_path):
    save_bank(tmp_path, small_bank())
    document = saved_list(tmp_path)
    names = [
        "hero.png", "reference_0000_1f2e3d4c.png.bak", "my_shot_0001_frame_0001_1f2e3d4c.png",
        "shot_0001_frame_0001.png", "shot_0001_frame_0001_1f2e3d4.png",
        "reference_0000_1F2E3D4C.png", "reference_0000_1f2e3d4c.jpg", "reference_1f2e3d4c.png",
        "reference_0000_1f2e3d4c_b.png", "shot_0001_1f2e3d4c.png",
    ]  # fmt: skip
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
        Image.new("RGB", (8, 8)).save(tmp_path / "dropped" / name, "PNG")
        for key in ("frames", "dropped"):
            document[key].append({"file": name})
    (tmp_path / "bank.json").write_text(json.dumps(document))
    save_bank(tmp_path, MemoryBank())
    kept = {path.name for path in tmp_path.iterdir()} - {"dropped", "bank.json"}
    assert kept == set(names)
    assert {path.name for path in (tmp_path / "dropped").iterdir()} == set(names)


def test_twins_of_one_place_have_names_of_their_own_and_go_with_their_bank(tmp_path):
    frame = MemoryFrame(noise_image(0), "Tale", 0)
    save_bank(tmp_path, MemoryBank((frame,) * 3, dropped=(frame,) * 2))
    stem = f"shot_0001_frame_0000_{frame.digest[:8]}"
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {f"{stem}.png", f"{stem}_2.png", f"{stem}_3.png"}
    assert len(load_bank(tmp_path).frames) == 3
    save_bank(tmp_path, MemoryBank())
    assert list(tmp_path.rglob("*.png")) == []


def test_added_pictures_are_numbered_after_the_references_that_are_there(tmp_path):
    frames = (MemoryFrame(noise_image(0), frame=0), MemoryFrame(noise_image(1), frame=4))
    save_bank(tmp_path, MemoryBank(frames))
    for number, name in enumerate(("a", "shot_0003_frame_0002_x", "z", "shot_0000_frame_0001")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{name}.png")
    loaded = load_bank(tmp_path).frames
    assert [(frame.name, frame.shot, frame.frame) for frame in loaded] == [
        ("", REFERENCE_SHOT, 0),
        ("", REFERENCE_SHOT, 4),
        ("a", REFERENCE_SHOT, 5),
        ("shot_0000_frame_0001", REFERENCE_SHOT, 6),
        ("z", REFERENCE_SHOT, 7),
        ("shot_0003_frame_0002_x", 2, 2),
    ]
    assert {frame.reason for frame in loaded[2:]} == {"added by hand"}


def test_a_picture_forgotten_once_holds_back_no_other(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{name}.png")
    bank = load_bank(tmp_path)
    assert save_bank(str(tmp_path), bank.forget([0])) == tmp_path
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["b", "c"]
    Image.new("RGB", (8, 8), (9, 0, 0)).save(tmp_path / "d.png")
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["b", "c", "d"]


def test_keyframes_of_the_released_code_have_their_shots(tmp_path):
    for number, name in enumerate(("02_01_keyframe1", "01_02_keyframe0", "01_01_keyframe2")):
        Image.new("RGB", (8, 8), (80 * number, 0, 0)).save(tmp_path / f"{name}.jpg")
    places = [(frame.shot, frame.frame) for frame in load_bank(tmp_path).frames]
    assert places == [(0, 2), (1, 0), (2, 1)]


def test_a_picture_that_is_there_twice_is_one_memory(tmp_path):
    save_bank(tmp_path, MemoryBank((MemoryFrame(noise_image(0), frame=0, name="Mara"),)))
    for name in ("copy", "another"):
        Image.fromarray(noise_image(0).numpy()).save(tmp_path / f"{name}.png")
        Image.fromarray(noise_image(1).numpy()).save(tmp_path / f"{name}2.png")
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["Mara", "another2"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_frames": -1}, {"sink": -1}, {"max_frames": True}, {"sink": 1_000_000},
        {"max_frames": "10"}, {"version": 2}, {"version": None}, {"format": "other"},
        {"frames": {}}, {"dropped": "x"},
    ],
)  # fmt: skip
def test_a_list_that_says_what_cannot_be_is_an_error_and_the_pictures_still_load(tmp_path, change):
    save_bank(tmp_path, small_bank())
    document = {**saved_list(tmp_path), **change}
    (tmp_path / "bank.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"bank\.json.*load with skip_damaged on"):
        load_bank(tmp_path)
    loaded = load_bank(tmp_path, skip_damaged=True)
    digests = {frame.digest for frame in small_bank().frames}
    assert {frame.digest for frame in loaded.frames} == digests


def test_a_picture_that_is_there_already_is_not_written_again_and_another_one_is(tmp_path):
    bank = small_bank()
    save_bank(tmp_path, bank)
    first, second, third = sorted(tmp_path.glob("*.png"))
    before = (first.stat().st_ino, first.stat().st_mtime_ns)
    Image.new("RGB", (64, 48), (1, 2, 3)).save(second)
    third.write_bytes(third.read_bytes()[:40])
    save_bank(tmp_path, bank)
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == before
    assert [frame.digest for frame in load_bank(tmp_path).frames] == [
        frame.digest for frame in bank.frames
    ]


def test_frames_are_saved_as_they_look_however_they_lie_in_memory(tmp_path):
    turned = MemoryFrame(noise_image(5).permute(1, 0, 2))
    assert not turned.image.is_contiguous()
    save_bank(tmp_path, MemoryBank((turned,)))
    (path,) = tmp_path.glob("*.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert load_bank(tmp_path).frames[0].digest == turned.digest


NONSENSE = ("7", "null", "[]", '"x"', "{}", "{", "")


@pytest.mark.parametrize("text", NONSENSE)
def test_a_bank_is_saved_over_what_is_no_list_and_removes_nothing_then(tmp_path, text):
    save_bank(tmp_path, small_bank())
    (tmp_path / "bank.json").write_text(text)
    save_bank(tmp_path, MemoryBank())
    assert len(list(tmp_path.rglob("*.png"))) == 4


@pytest.mark.parametrize("left", [{"frames": 7}, {"dropped": None}, {}])
def test_what_a_list_names_as_ours_is_removed_whatever_else_it_says(tmp_path, left):
    save_bank(tmp_path, small_bank())
    document = saved_list(tmp_path)
    for key in ("frames", "dropped"):
        document[key] = [7, None, [], {}, {"file": 7}, {"file": None}, *document[key]]
    (tmp_path / "bank.json").write_text(json.dumps({**document, **left}))
    save_bank(tmp_path, MemoryBank())
    assert len(list(tmp_path.glob("*.png"))) == (3 if "frames" in left else 0)
    assert len(list(tmp_path.glob("dropped/*.png"))) == (1 if "dropped" in left else 0)


@pytest.mark.parametrize("text", [*NONSENSE, '[7, null, ["x"], {}]', "\udcff"])
def test_a_list_of_a_save_under_way_may_say_anything(tmp_path, text):
    """A cut-off save left it, or somebody: pictures that it does not name are the artist's."""
    save_bank(tmp_path, small_bank())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    journal = tmp_path / "bank.json.saving"
    journal.write_bytes(text.encode(errors="surrogateescape"))
    bank = load_bank(tmp_path)
    assert [frame.name for frame in bank.frames] == ["\u00c1na", "a", "", ""]
    save_bank(tmp_path, bank)
    assert not journal.exists()
    assert len(load_bank(tmp_path).frames) == 4


def test_pictures_of_a_save_that_was_cut_off_are_no_artists_and_go_with_the_next(tmp_path):
    save_bank(tmp_path, small_bank())
    leftover = "shot_0009_frame_0001_1f2e3d4c.png"
    for name in (leftover, f"dropped/{leftover}", "hero.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    journal = [7, leftover, f"dropped/{leftover}", "hero.png"]
    (tmp_path / "bank.json.saving").write_text(json.dumps(journal))
    assert len(load_bank(tmp_path).frames) == 3, "neither of them, for the save had both"
    save_bank(tmp_path, small_bank())
    assert (tmp_path / "hero.png").is_file()
    assert not (tmp_path / leftover).exists()
    assert not (tmp_path / "dropped" / leftover).exists()


def test_what_another_server_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    save_bank(tmp_path, small_bank())
    real = disk.os.replace

    def replace_and_remove(source, target):
        real(source, target)
        if os.path.basename(target) == "bank.json":
            for path in not_empty([*tmp_path.rglob("*.png"), tmp_path / "bank.json.saving"]):
                path.unlink()

    monkeypatch.setattr(disk.os, "replace", replace_and_remove)
    save_bank(tmp_path, MemoryBank())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.json", "dropped"]


@pytest.mark.parametrize("entry", [7, None, [], {}, {"file": 7}, {"file": "a/b.png"}])
def test_an_entry_without_a_file_is_named_and_left_out_when_asked(tmp_path, entry):
    save_bank(tmp_path, small_bank())
    for key in ("frames", "dropped"):
        document = saved_list(tmp_path)
        document[key].insert(0, entry)
        (tmp_path / "bank.json").write_text(json.dumps(document))
        with pytest.raises(ValueError, match=f'^bank.json, "{key}": an entry has no plain file'):
            load_bank(tmp_path)
        loaded = load_bank(tmp_path, skip_damaged=True)
        assert (len(loaded.frames), len(loaded.dropped)) == (3, 1)
        save_bank(tmp_path, small_bank())


def test_a_wrong_word_is_told_with_the_file_of_its_entry(tmp_path):
    save_bank(tmp_path, small_bank())
    document = saved_list(tmp_path)
    document["frames"][1]["pinned"] = "yes"
    (tmp_path / "bank.json").write_text(json.dumps(document))
    name = document["frames"][1]["file"]
    with pytest.raises(ValueError, match=f'^bank.json, {name}: "pinned" has the wrong type'):
        load_bank(tmp_path)


def test_a_list_without_settings_gives_those_of_a_new_bank(tmp_path):
    (tmp_path / "bank.json").write_text('{"format": "storymem-bank", "version": 1}')
    loaded = load_bank(tmp_path)
    assert (loaded.max_frames, loaded.sink, loaded.frames, loaded.dropped) == (10, 3, (), ())


def test_settings_that_no_list_can_hold_leave_the_bank_that_is_there(tmp_path):
    save_bank(tmp_path, small_bank())
    with pytest.raises(ValueError, match="JSON"):
        save_bank(tmp_path, MemoryBank(max_frames=float("inf")))
    assert len(load_bank(tmp_path).frames) == 3
