"""What a power cut, a copied folder or another version may leave of a finished shot: the shot is
whole or not there, and what the disk is told comes in the right order."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from storymem.files.disk import write_whole
from storymem.files.hashing import checksum, digest_of
from storymem.files.video import write_video
from storymem.loop.shot_record import DamagedError, read_record
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


def write_body(folder, body: dict) -> None:
    """``record.json`` with a checksum that holds, as anybody can write it."""
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "record.json").write_text(json.dumps({"sha256": digest, "record": text}))


def body_of(folder) -> dict:
    return json.loads(json.loads((folder / "record.json").read_text())["record"])


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
    for path in record.folder.iterdir():
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
