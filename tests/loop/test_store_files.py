"""Which files a store keeps, where and of which kind, and what it does with those of others."""

from __future__ import annotations

import os
import re
import shutil
from itertools import islice

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from storymem.files.disk import StoreError
from storymem.files.hashing import digest_of
from storymem.loop import shot_store
from storymem.loop.shot_record import DamagedError
from storymem.loop.shot_store import ShotStore, picture_path
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture

KEY = digest_of("a shot")
FRAMES = torch.rand(6, 16, 16, 3, generator=torch.Generator().manual_seed(3))
BANK = MemoryBank((MemoryFrame(noise_image(1), shot=0), MemoryFrame(noise_image(2), shot=1)))


@pytest.fixture
def store(tmp_path):
    return ShotStore(tmp_path / "store")


def files_of(store: ShotStore) -> set[str]:
    found = (path for path in store.root.rglob("*") if path.is_file())
    return {path.relative_to(store.root).as_posix() for path in found}


def of_one_folder(count: int) -> list[str]:
    """Texts whose digests begin with the same two digits: they share a folder."""
    first = digest_of("0")[:2]
    texts = (str(number) for number in range(100_000))
    return list(islice((text for text in texts if digest_of(text)[:2] == first), count))


def zlib_level(path) -> int:
    """How hard the writer of a PNG tried to make it small, 0 ... 3 (RFC 1950, FLEVEL)."""
    data = path.read_bytes()
    return data[data.index(b"IDAT") + 5] >> 6


# --- where ----------------------------------------------------------------------------------------


def test_every_file_has_its_place(store):
    """Stores of earlier versions lie on disks: another place would lose them."""
    store.commit(KEY, FRAMES, BANK, {})
    store.keep_body("nodes")
    shot = f"shots/{KEY[:2]}/{KEY}"
    body = digest_of("nodes")
    pictures = [frame.digest for frame in BANK.frames]
    assert files_of(store) == {
        f"{shot}/record.json",
        f"{shot}/shot.mp4",
        *(f"{shot}/tail_{i}.png" for i in range(5)),
        *(f"pictures/{digest[:2]}/{digest}.png" for digest in pictures),
        f"bodies/{body[:2]}/{body}.json",
    }
    for digest in pictures:
        assert picture_path(store.root, digest).is_file()


@pytest.mark.parametrize("name", ["", "x", "../" * 21 + "x", "AB" * 32, "ab" * 31, "ab" * 33])
def test_what_is_no_digest_names_no_picture(store, name):
    with pytest.raises(DamagedError, match="named by 64 hexadecimal digits, not "):
        picture_path(store.root, name)
    with pytest.raises(DamagedError, match="named by 64 hexadecimal digits, not "):
        store.read_picture(name)
    assert store.has_pictures([name]) is False


def test_files_of_one_folder_stand_beside_each_other(store):
    texts = of_one_folder(3)
    for text in texts:
        store.keep_body(text)
        store.commit(digest_of(text), FRAMES[:1], MemoryBank(), {"text": text})
    assert [store.find_body(digest_of(text)) for text in texts] == texts
    assert [store.find(digest_of(text)).facts["text"] for text in texts] == texts
    assert len({store.folder_of(digest_of(text)).parent for text in texts}) == 1


def test_pictures_of_one_folder_stand_beside_each_other(store):
    frames = [MemoryFrame(noise_image(seed, 2, 2)) for seed in range(100)]
    store.keep_pictures(frames)
    assert len({frame.digest[:2] for frame in frames}) < 100, "some share a folder"
    assert store.has_pictures(frame.digest for frame in frames)


# --- of which kind --------------------------------------------------------------------------------


def test_pictures_are_written_in_little_time(store):
    """They are many, and noise does not get smaller: the fastest level of zlib."""
    record, _ = store.commit(KEY, FRAMES, BANK, {})
    paths = [*record.folder.glob("tail_*.png"), *store.root.glob("pictures/*/*.png")]
    assert [zlib_level(path) for path in paths] == [0] * 7


def test_a_picture_that_is_there_whole_is_not_written_again(store):
    store.keep_pictures(BANK.frames)
    one, two = (picture_path(store.root, frame.digest) for frame in BANK.frames)
    two.write_bytes(b"cut off")
    number = one.stat().st_ino
    store.keep_pictures(BANK.frames)
    assert one.stat().st_ino == number
    assert store.has_pictures(frame.digest for frame in BANK.frames)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF"])
def test_a_store_reads_pictures_of_its_own_kind_alone(store, kind):
    """Whoever puts a file there chooses no other reader."""
    record, _ = store.commit(KEY, FRAMES, BANK, {})
    digest = BANK.frames[0].digest
    for path in (picture_path(store.root, digest), record.folder / "tail_0.png"):
        with Image.open(path) as picture:
            picture.load()
        picture.save(path, kind)
    with pytest.raises(DamagedError, match="cannot be read as a picture"):
        store.read_picture(digest)
    with pytest.raises(DamagedError, match="cannot be read as a picture"):
        store.load_tail(record)


def test_pictures_that_a_program_made_smaller_are_the_same(store):
    """Optimizers write grey pictures and those of few colours in other forms."""
    grey = torch.arange(48, dtype=torch.uint8).view(6, 8, 1).expand(6, 8, 3)
    frame = MemoryFrame(grey)
    store.keep_pictures([frame])
    path = picture_path(store.root, frame.digest)
    with Image.open(path) as picture:
        picture.load()
    for smaller in (picture.convert("L"), picture.convert("L").convert("P")):
        smaller.save(path)
        assert torch.equal(store.read_picture(frame.digest), grey), smaller.mode


def test_a_picture_is_written_as_it_is_seen_whatever_its_layout(store):
    """A part of a larger picture, or one that was turned, has gaps between its rows."""
    whole = noise_image(5)
    for pixels in (whole[3:20, 5:40], whole.transpose(0, 1), whole[::2, ::3], whole.flip(1)):
        frame = MemoryFrame(pixels)
        store.keep_pictures([frame])
        assert torch.equal(store.read_picture(frame.digest), pixels)


def test_a_shot_of_one_frame_is_kept(store):
    record, result = store.commit(KEY, FRAMES[:1], MemoryBank(), {})
    assert store.load_tail(record).shape == result.tail.shape == (1, 16, 16, 3)
    assert store.tail_digests(record, 5) == [Picture(result.tail[0]).digest]
    assert record.frames == 1


def test_an_outline_says_all_of_a_memory_and_reads_pictures_when_asked(store, monkeypatch):
    told = MemoryFrame(
        noise_image(1), "Tale", 2, 4, 0.5, "laion", 0.9, "first", True, "Mara", "Mara sits", "pin"
    )
    dropped = MemoryFrame(noise_image(3), shot=1, reason="as before", edited="drop")
    bank = MemoryBank((told, *BANK.frames), 7, 2, (dropped,), policy="entities", seen={"d": "why"})
    record, _ = store.commit(KEY, FRAMES, bank, {})
    read = []
    read_png = shot_store._read_png
    monkeypatch.setattr(shot_store, "_read_png", lambda path: read.append(path) or read_png(path))
    outline = ShotStore(store.root).outline(record)
    for name in ("max_frames", "sink", "policy", "seen"):
        assert getattr(outline, name) == getattr(bank, name)
    pairs = [*zip(outline.frames, bank.frames, strict=True), (outline.dropped[0], dropped)]
    for mine, theirs in pairs:
        assert {**vars(mine), "picture": 0} == {**vars(theirs), "picture": 0}
        assert (mine.digest, mine.picture.is_in_memory) == (theirs.digest, False)
    assert read == []
    for mine, theirs in pairs:
        assert torch.equal(mine.image, theirs.image)
    picture_path(store.root, told.digest).write_bytes(b"cut off")
    with pytest.raises(DamagedError, match="cannot be read as a picture"):
        _ = outline.frames[0].image


# --- a disk that gives trouble --------------------------------------------------------------------


def test_a_film_that_lacks_frames_is_no_finished_shot(store, monkeypatch):
    read_info = shot_store.read_info
    for missing in (1, -1):
        monkeypatch.setattr(
            shot_store,
            "read_info",
            lambda path, missing=missing: (info := read_info(path))._replace(
                frames=info.frames - missing
            ),
        )
        words = f"only {6 - missing} of 6 frames arrived in the video file"
        with pytest.raises(StoreError, match=words):
            store.commit(KEY, FRAMES, BANK, {})
        assert store.find(KEY) is None
        assert files_of(store) == set()


def test_what_cannot_be_removed_hinders_no_shot(store, monkeypatch):
    """Programs that look for viruses hold files open on some systems."""
    first, _ = store.commit(KEY, FRAMES, BANK, {})
    (first.folder / "shot.mp4").write_bytes(b"spoilt")

    def refuse(path, ignore_errors=False, **_):
        if not ignore_errors:
            raise PermissionError("somebody looks at it")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    record, _ = store.commit(KEY, FRAMES, BANK, {})
    assert store.find(KEY) == record == first


def test_a_place_that_is_taken_again_and_again_is_given_up(store, monkeypatch):
    rename, tries = os.rename, []

    def taken(source, target):
        if target == store.folder_of(KEY):
            tries.append(target)
            target.mkdir(parents=True, exist_ok=True)
            raise FileExistsError("somebody was first")
        rename(source, target)

    monkeypatch.setattr(os, "rename", taken)
    with pytest.raises(StoreError, match=re.escape(f"could not be written to {store.root}: ")):
        store.commit(KEY, FRAMES, BANK, {})
    assert len(tries) == 3
    assert store.find(KEY) is None
