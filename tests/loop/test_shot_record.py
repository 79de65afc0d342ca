"""What a power cut, a copied folder or another version may leave of a finished shot: the shot is
whole or not there, and what the disk is told comes in the right order."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import av
import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from helpers.record_files import body_of, write_body
from storymem.files.disk import StoreError, write_whole
from storymem.files.hashing import checksum, digest_of
from storymem.files.video import write_video
from storymem.loop import shot_store
from storymem.loop.shot_record import DamagedError, describe_bank, read_record
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame

KEY = digest_of("a shot")
FRAMES = torch.rand(6, 16, 16, 3, generator=torch.Generator().manual_seed(3))


def bank() -> MemoryBank:
    return MemoryBank((MemoryFrame(noise_image(1)), MemoryFrame(noise_image(2), shot=1)))


def commit(store, key=KEY):
    return store.commit(key, FRAMES, bank(), {"label": "01_01", "story": "Tale"})


@pytest.fixture
def store(tmp_path):
    return ShotStore(tmp_path / "store")


# --- the format ---------------------------------------------------------------------------------


def test_a_record_as_it_has_always_been_written_is_read(store):
    """Written out here by hand: what is on artists' disks. Another number would lose all of it."""
    folder = store.folder_of(KEY)
    folder.mkdir(parents=True)
    frames = [noise_image(i, 16, 16) for i in range(6)]
    write_video(folder / "shot.mp4", [frame.numpy() for frame in frames])
    for i, frame in enumerate(frames[1:]):
        Image.fromarray(frame.numpy()).save(folder / f"tail_{i}.png")
    picture = MemoryFrame(noise_image(9), shot=2, frame=4, score=0.5, reason="first")
    store.keep_pictures([picture])
    names = ("shot.mp4", *(f"tail_{i}.png" for i in range(5)))
    entry = {
        "sha256": picture.digest, "story": "", "shot": 2, "frame": 4, "score": 0.5, "scorer": "",
        "similarity": None, "pinned": False, "reason": "first", "name": "",
    }  # fmt: skip
    body = {
        "format": 1, "key": KEY, "frames": 6, "facts": {"label": "03_07"},
        "files": {name: checksum(folder / name) for name in names},
        "bank": {"max_frames": 4, "sink": 2, "frames": [entry], "dropped": []},
    }  # fmt: skip
    write_body(folder, body)
    record = store.find(KEY)
    assert (record.key, record.frames, record.facts) == (KEY, 6, {"label": "03_07"})
    assert (record.folder, record.video, record.tail) == (folder, folder / "shot.mp4", ())
    result = store.load(record)
    assert torch.equal(result.tail, torch.stack(frames[1:]))
    assert [f.digest for f in result.bank.frames] == [picture.digest]
    assert vars(result.bank.frames[0]) == {
        **vars(picture),
        "picture": result.bank.frames[0].picture,
    }
    assert (result.bank.max_frames, result.bank.sink, result.bank.policy) == (4, 2, "window")


def test_what_is_written_of_a_shot_says_its_format_and_covers_every_file(store):
    record, _ = commit(store)
    body = body_of(record.folder)
    assert (body["format"], body["key"], body["frames"]) == (1, KEY, 6)
    beside = {path.name for path in record.folder.iterdir()} - {"record.json"}
    assert beside == {"shot.mp4", *(f"tail_{i}.png" for i in range(5))}
    assert body["files"] == {name: checksum(record.folder / name) for name in beside}
    assert list(body["files"]) == sorted(beside)  # the same shot is the same record
    assert len(body["tail"]) == 5
    assert body["tail"] == store.tail_digests(record, 5)


@pytest.mark.parametrize("number", [2, 0, 1.5, "1", None, [1], "missing"])
def test_a_record_of_another_format_is_not_read_and_made_again(store, number, caplog):
    """A newer version's record may mean something else by the same words."""
    record, _ = commit(store)
    body = body_of(record.folder)
    del body["format"]
    write_body(record.folder, body if number == "missing" else {**body, "format": number})
    assert store.find(KEY) is None
    assert "is damaged and counts as missing" in caplog.text
    with pytest.raises((DamagedError, KeyError)):
        read_record(record.folder, KEY)
    commit(store)
    assert body_of(store.find(KEY).folder)["format"] == 1


def test_a_record_that_was_copied_under_another_key_is_not_read(store):
    record, _ = commit(store)
    foreign = store.folder_of("ab" * 32)
    shutil.copytree(record.folder, foreign)
    assert store.find("ab" * 32) is None
    with pytest.raises(DamagedError, match="belongs to another shot or version"):
        read_record(foreign, "ab" * 32)
    assert store.find(KEY) == record


def test_a_record_whose_text_is_not_what_its_checksum_says_is_not_read(store):
    record, _ = commit(store)
    path = record.folder / "record.json"
    document = json.loads(path.read_text())
    document["record"] = document["record"].replace('"frames": 6', '"frames": 7')
    path.write_text(json.dumps(document))
    assert store.find(KEY) is None
    with pytest.raises(DamagedError, match=r"record\.json was altered"):
        read_record(record.folder, KEY)


def test_a_torn_record_is_never_read(store):
    """After a power cut a file may have its name and any part of its bytes."""
    record, _ = commit(store)
    for path in not_empty(record.folder.iterdir()):
        data = path.read_bytes()
        for torn in (b"", data[:1], data[: len(data) // 2], data[:-1], bytes(len(data))):
            path.write_bytes(torn)
            assert store.find(KEY) is None, path.name
        path.write_bytes(data)
    assert store.find(KEY) == record


def test_a_missing_shot_is_silent_and_a_spoilt_one_is_told(store, caplog):
    assert store.find(KEY) is None
    assert caplog.text == ""
    record, _ = commit(store)
    (record.folder / "tail_2.png").unlink()
    assert store.find(KEY) is None
    assert "a finished shot lost its files and counts as missing" in caplog.text


# --- what the disk is told, and when ---------------------------------------------------------


class Disk:
    """Notes what is asked of the disk: files by their number, which a new name does not change."""

    def __init__(self, monkeypatch):
        self.events: list[tuple] = []
        self.watch = lambda: None
        for name in ("rename", "replace", "fsync"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name, call):
        def noted(*args):
            if name == "fsync":
                status = os.fstat(args[0])
                self.events.append((name, status.st_ino, status.st_size))
            else:
                self.watch()
                self.events.append((name, *map(str, args)))
            return call(*args)

        return noted

    def of(self, *names) -> list[tuple]:
        return [event for event in self.events if event[0] in names]

    def synced(self) -> set[int]:
        return {event[1] for event in self.of("fsync")}


def wait_for_sync() -> None:
    for thread in threading.enumerate():
        if thread.name == "storymem-sync":
            thread.join(30)


@pytest.fixture
def disk(monkeypatch):
    wait_for_sync()  # of the test before
    return Disk(monkeypatch)


def test_a_shot_appears_by_one_rename_when_all_of_it_is_written(store, disk):
    target, seen = store.folder_of(KEY), []

    def look():
        written = [p for p in (store.root / "writing").iterdir() if (p / "record.json").exists()]
        if written:
            seen.append((target.exists(), read_record(written[0], KEY).frames))
            held = body_of(written[0])["bank"]["frames"]
            assert store.has_pictures(entry["sha256"] for entry in held)

    disk.watch = look
    record, _ = commit(store)
    assert seen == [(False, 6)]
    (rename,) = disk.of("rename")
    assert rename[2] == str(target)
    assert rename[1].startswith(str(store.root / "writing"))
    assert record.folder == target
    assert list((store.root / "writing").iterdir()) == []


def test_a_finished_shot_is_put_to_the_disk_with_its_folder_and_its_pictures(store, disk):
    record, _ = commit(store)
    wait_for_sync()
    pictures = list((store.root / "pictures").rglob("*.png"))
    assert len(pictures) == 2
    wanted = [*record.folder.iterdir(), record.folder, record.folder.parent]
    wanted += [*pictures, *(path.parent for path in pictures)]
    assert {path.stat().st_ino for path in wanted} <= disk.synced()
    renamed = disk.events.index(disk.of("rename")[0])
    after = {event[1] for event in disk.events[renamed:] if event[0] == "fsync"}
    assert {record.folder.stat().st_ino, record.folder.parent.stat().st_ino} <= after


def test_a_picture_is_never_seen_half_written(store, disk):
    frame = MemoryFrame(noise_image(4))
    path, seen = store.root / "pictures" / frame.digest[:2] / f"{frame.digest}.png", []

    def look():
        (unfinished,) = path.parent.iterdir()
        with Image.open(unfinished) as picture:
            seen.append((path.exists(), picture.size, picture.mode))

    disk.watch = look
    store.keep_pictures([frame])
    assert seen == [(False, (64, 48), "RGB")]
    assert [event[2] for event in disk.of("replace")] == [str(path)]
    assert list(path.parent.iterdir()) == [path]


def test_a_small_file_is_on_the_disk_before_it_takes_its_place(tmp_path, disk):
    path = tmp_path / "bank.json"
    path.write_bytes(b"the old one")
    disk.watch = lambda: disk.events.append(("still", path.read_bytes()))
    write_whole(path, b"the new one, longer", is_synced=True)
    number, folder = path.stat().st_ino, tmp_path.stat().st_ino
    names = [event[0] for event in disk.events]
    assert names == (["fsync", "still", "replace"] + ["fsync"] * (os.name != "nt"))
    assert disk.events[0] == ("fsync", number, len(b"the new one, longer"))
    assert disk.events[1] == ("still", b"the old one")
    assert disk.events[-1][1] == folder or os.name == "nt"
    assert path.read_bytes() == b"the new one, longer"
    assert [p.name for p in tmp_path.iterdir()] == ["bank.json"]


def test_a_file_that_may_be_made_again_waits_for_no_disk(tmp_path, disk):
    path = tmp_path / "body.json"
    write_whole(path, b"x")
    assert [event[0] for event in disk.events] == ["replace"]
    assert path.read_bytes() == b"x"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "bank.json"
    path.write_bytes(b"the old one")

    def refuse(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="the disk is full"):
        write_whole(path, b"the new one", is_synced=True)
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["bank.json"]


def test_a_disk_that_cannot_sync_costs_no_shot(store, monkeypatch, caplog):
    """Network shares refuse it; what a power cut tears is found by its checksum."""

    def refuse(*_):
        raise OSError("not here")

    monkeypatch.setattr(os, "fsync", refuse)
    with caplog.at_level(logging.DEBUG):
        commit(store)
        wait_for_sync()
    assert store.find(KEY) is not None
    assert "could not be synced: not here" in caplog.text


# --- two writers of one shot -----------------------------------------------------------------


def test_who_comes_second_finds_the_shot_of_the_first(store, disk):
    first, _ = commit(store)
    made = (first.folder / "record.json").stat().st_ino
    record, _ = commit(store)
    assert record == first
    assert (record.folder / "record.json").stat().st_ino == made
    assert list((store.root / "writing").iterdir()) == []


def test_a_spoilt_shot_is_moved_out_of_the_way_and_nothing_of_it_stays(store):
    first, _ = commit(store)
    (first.folder / "shot.mp4").write_bytes(b"spoilt")
    (first.folder / "left behind").write_text("")
    record, _ = commit(store)
    assert record == first
    assert read_record(record.folder, KEY).frames == 6
    assert not (record.folder / "left behind").exists()
    assert list((store.root / "writing").iterdir()) == []


# --- what the store knows -------------------------------------------------------------------------


def named(store, number: int, **facts):
    return store.commit(digest_of(number), FRAMES[:2], MemoryBank(), facts)[0]


def test_results_of_a_story_are_those_of_its_name_that_are_whole(store):
    records = sorted((named(store, n, story="Tale") for n in range(4)), key=lambda r: r.key)
    named(store, 7, story="Tales")
    named(store, 8)
    (records[0].folder / "record.json").write_text("{")  # what is damaged comes first
    (records[1].folder / "shot.mp4").unlink()
    assert list(store.records_of("Tale")) == records[2:]
    assert list(store.records_of("tale")) == []


def test_the_last_frames_are_known_without_reading_them(store):
    record, result = commit(store)
    expected = [MemoryFrame(frame).digest for frame in result.tail]
    assert list(record.tail) == expected
    earlier = replace(record, tail=())  # earlier versions wrote none
    for count in (1, 2, 5, 9):
        assert store.tail_digests(record, count) == expected[-count:]
        assert store.tail_digests(earlier, count) == expected[-count:]
    assert store.tail_digests(record, 0) == store.tail_digests(record, -1) == []
    (record.folder / "tail_0.png").unlink()
    assert store.tail_digests(record, 5) == expected


@pytest.mark.parametrize("damage", ["another size", "no picture", "all gone"])
def test_last_frames_that_do_not_fit_together_are_damage(store, damage):
    record, _ = commit(store)
    if damage == "another size":
        Image.new("RGB", (8, 8)).save(record.folder / "tail_3.png")
    elif damage == "no picture":
        (record.folder / "tail_3.png").write_bytes(b"x")
    else:
        for path in not_empty(record.folder.glob("tail_*.png")):
            path.unlink()
    with pytest.raises(DamagedError):
        store.load_tail(record)
    with pytest.raises(DamagedError):
        store.load(record)


def test_what_made_a_shot_is_kept_once_and_believed_when_it_is_as_it_was(store):
    body = '{"a": "\ud800ä"}'
    store.keep_body(body)
    (path,) = (store.root / "bodies").rglob("*.json")
    assert path == store.root / "bodies" / digest_of(body)[:2] / f"{digest_of(body)}.json"
    written = path.stat().st_mtime_ns
    os.utime(path, ns=(1, written - 5_000_000_000))
    store.keep_body(body)
    assert path.stat().st_mtime_ns == written - 5_000_000_000
    assert store.find_body(digest_of(body)) == body
    assert store.find_body(digest_of("other")) is None
    assert store.find_body("../" * 3) is None
    path.write_text("other")
    assert store.find_body(digest_of(body)) is None


def test_a_place_where_nothing_can_be_kept_is_named(store):
    store.root.mkdir()
    for name in ("bodies", "pictures"):
        (store.root / name).write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=f"what made the shot could not be .* to {store.root}:"):
        store.keep_body("x")
    with pytest.raises(StoreError, match=f"pictures of the memory bank could .* to {store.root}:"):
        store.keep_pictures(bank().frames)


def test_a_picture_that_a_run_has_seen_whole_is_read_no_more(store, monkeypatch):
    """A long story holds hundreds of them; each shot would read all once more."""
    frames = tuple(MemoryFrame(noise_image(i), shot=i) for i in range(8))
    whole = MemoryBank(frames, max_frames=2, sink=1)
    store.commit(KEY, FRAMES, whole, {})
    fresh = ShotStore(store.root)
    known = fresh.load(fresh.find(KEY)).bank
    read = []
    read_png = shot_store._read_png
    monkeypatch.setattr(shot_store, "_read_png", lambda path: read.append(path) or read_png(path))
    more = known.remember([MemoryFrame(noise_image(9), shot=9)])
    fresh.commit(digest_of(1), FRAMES, more, {})
    held = {frame.digest for frame in more.used()}
    assert {path.stem for path in read} <= held


def test_a_body_of_a_million_characters_is_the_longest_that_is_kept(store):
    store.keep_body("x" * 2**20)
    assert store.find_body(digest_of("x" * 2**20)) == "x" * 2**20
    store.keep_body("y" * (2**20 + 1))
    assert store.find_body(digest_of("y" * (2**20 + 1))) is None


def test_facts_are_read_without_a_look_at_the_files(store):
    record, _ = commit(store)
    (record.folder / "shot.mp4").unlink()
    assert store.find_facts(KEY) == {"label": "01_01", "story": "Tale"}
    assert [store.find_facts(key) for key in (None, 5, "x", digest_of("other"))] == [None] * 4
    write_body(record.folder, {**body_of(record.folder), "facts": [1]})
    assert store.find_facts(KEY) is None
    (record.folder / "record.json").write_text("{}")
    assert store.find_facts(KEY) is None


def test_pictures_are_there_when_all_of_them_are_whole(store):
    frames = [MemoryFrame(noise_image(i)) for i in (1, 2)]
    digests = [frame.digest for frame in frames]
    assert store.has_pictures([]) is True
    store.keep_pictures(frames[:1])
    assert store.has_pictures(digests[:1])
    assert store.has_pictures(digests) is False
    assert torch.equal(store.read_picture(digests[0]), noise_image(1))
    store.keep_pictures(frames)
    assert store.has_pictures(digests)
    one, two = ((store.root / "pictures" / d[:2] / f"{d}.png") for d in digests)
    one.write_bytes(two.read_bytes())
    assert not store.has_pictures(digests)
    with pytest.raises(DamagedError, match="was altered"):
        store.read_picture(digests[0])
    store.keep_pictures(frames)  # repaired
    assert torch.equal(store.read_picture(digests[0]), noise_image(1))


def test_what_a_killed_process_left_is_removed_from_pictures_and_bodies(store):
    left = []
    for part, name in (("pictures", "a.png"), ("bodies", "b.json"), ("shots", "c")):
        path = store.root / part / "ab" / f".{name}.{'0' * 8}-1-{'0' * 12}.part"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
        os.utime(path, (1, 1))
        left.append(path)
    (store.root / "writing").mkdir()
    old = store.root / "writing" / "of an earlier version"
    old.mkdir()
    os.utime(old, (1, 1))
    store.remove_unfinished()
    assert [path.exists() for path in (*left, old)] == [False, False, True, False]


def test_the_free_space_is_that_of_the_disk_of_a_folder_to_come(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=7)
    )
    assert ShotStore(tmp_path / "not" / "yet").free_bytes() == 7
    assert asked == [tmp_path]


def test_a_film_says_of_itself_what_it_is_given(store):
    record, _ = store.commit(KEY, FRAMES, bank(), {}, crf=30, metadata={"prompt": "{}"})
    other, _ = store.commit(digest_of(2), FRAMES, bank(), {}, crf=5)
    with av.open(str(record.video)) as container:
        assert container.metadata["prompt"] == "{}"
        assert container.streams.video[0].average_rate == 16
    assert other.video.stat().st_size > record.video.stat().st_size


def test_values_outside_of_a_picture_are_clamped_and_rounded(store):
    levels = torch.tensor([-0.01, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.01])
    frames = levels.view(1, 1, 6, 1).expand(1, 2, 6, 3)
    _, result = store.commit(KEY, frames, MemoryBank(), {})
    assert result.tail[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_a_bank_with_more_pins_than_places_is_kept_all_the_same(store):
    pinned = tuple(MemoryFrame(noise_image(i), shot=i, pinned=True) for i in range(3))
    _, result = store.commit(KEY, FRAMES, MemoryBank(pinned, max_frames=2), {})
    assert [frame.picture.is_in_memory for frame in result.bank.frames] == [False] * 3
    assert len(store.load(store.find(KEY)).bank.frames) == 3


def test_a_publication_that_the_disk_refuses_is_told(store, monkeypatch):
    asked = []

    def refuse(*names):
        asked.append(names)
        raise OSError("no such thing here")

    monkeypatch.setattr(os, "rename", refuse)
    words = rf"the finished shot could not be written to {store.root}: no such thing"
    with pytest.raises(StoreError, match=words):
        commit(store)
    assert len(asked) == 1
    assert store.find(KEY) is None
    monkeypatch.undo()
    monkeypatch.setattr(ShotStore, "find", lambda self, key: None)
    with pytest.raises(StoreError, match="does not hold what was just written to it"):
        commit(store)


# --- the memory of a record -----------------------------------------------------------------------


def test_a_bank_is_written_as_plain_values(store):
    seen = MemoryFrame(
        noise_image(1), "Tale", 2, 4, 0.5, "laion", 0.9, "first", True, "Mara", "Mara sits", "pin"
    )
    plain = MemoryFrame(noise_image(2))
    whole = MemoryBank((seen,), 7, 2, (plain,), policy="entities", seen={"d": "why"})
    described = describe_bank(whole)
    assert described == {
        "max_frames": 7, "sink": 2,
        "frames": [{
            "sha256": seen.digest, "story": "Tale", "shot": 2, "frame": 4, "score": 0.5,
            "scorer": "laion", "similarity": 0.9, "reason": "first", "pinned": True,
            "name": "Mara", "prompt": "Mara sits", "edited": "pin",
        }],
        "dropped": [{
            "sha256": plain.digest, "story": "", "shot": -1, "frame": 0, "score": None,
            "scorer": "", "similarity": None, "reason": "", "pinned": False, "name": "",
        }],
    }  # fmt: skip
    record, _ = store.commit(KEY, FRAMES, whole, {})
    view = {"policy": "entities", "seen": {"d": "why"}}
    assert body_of(record.folder)["bank"] == {**described, **view}
    back = store.load(record).bank
    assert describe_bank(back) == described
    assert (back.policy, back.seen, back.edits.pin) == ("entities", {"d": "why"}, (seen.digest,))
    windowed, _ = store.commit(digest_of(1), FRAMES, replace(whole, seen={}), {})
    assert body_of(windowed.folder)["bank"] == described
    back = store.outline(windowed)
    assert (back.policy, back.seen) == ("window", {})


@pytest.mark.parametrize(
    "change",
    [
        {"max_frames": -1},
        {"max_frames": 1.5},
        {"max_frames": True},
        {"sink": -1},
        {"sink": None},
        {"seen": {"d": 5}},
        {"seen": {"d": "\ud800"}},
        {"seen": {"\ud800": "why"}},
        {"seen": ["d"]},
        {"policy": "none"},
        {"frames": [{"sha256": "x"}]},
        {"dropped": [5]},
        {"dropped": None},
    ],
)
def test_a_memory_that_cannot_be_is_damage(store, change):
    record, _ = commit(store)
    body = body_of(record.folder)
    write_body(record.folder, {**body, "bank": {**body["bank"], **change}})
    record = store.find(KEY)
    for read in (store.load, store.outline):
        with pytest.raises(DamagedError):
            read(record)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": "6"},
        {"frames": None},
        {"facts": 5},
        {"facts": {"story": 5}},
        {"facts": {"label": None}},
        {"facts": {"prompt": 1}},
        {"facts": {"shot_prompt": []}},
        {"facts": {"own": {}}},
        {"tail": ["x"]},
        {"tail": [5]},
        {"tail": 5},
        {"files": {"../x": "0"}},
        {"files": {"gone.png": "0"}},
    ],
)
def test_a_record_that_holds_what_it_cannot_is_damage(store, change):
    record, _ = commit(store)
    write_body(record.folder, {**body_of(record.folder), **change})
    assert store.find(KEY) is None


def test_what_is_wrong_with_a_memory_is_named(store):
    record, _ = commit(store)
    body = body_of(record.folder)
    body["bank"]["frames"][0]["shot"] = "1"
    write_body(record.folder, body)
    with pytest.raises(
        DamagedError, match=r"holds no memory bank: a frame: \"shot\" has the wrong"
    ):
        store.load(store.find(KEY))


def test_a_record_may_say_what_this_version_does_not_know(store):
    record, _ = commit(store)
    body = body_of(record.folder)
    write_body(record.folder, {**body, "later": 1, "facts": {**body["facts"], "later": [1]}})
    assert store.find(KEY).facts["later"] == [1]
