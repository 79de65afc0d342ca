"""Records of finished shots: whole or not there, whatever happens to the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.disk import (
    OWN_MARK,
    StoreError,
    host_mark,
    unfinished_beside,
    unfinished_folder,
)
from storymem.files.hashing import digest_of
from storymem.files.video import read_frames
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame

KEY = digest_of("a shot")


def frames(count=9, seed=0, height=16, width=32):
    """Float frames that drift."""
    generator = torch.Generator().manual_seed(seed)
    first, last = torch.rand(2, 1, 3, 1, 1, generator=generator)
    weight = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    flat = (first * (1 - weight) + last * weight).expand(count, 3, height, width)
    return flat.permute(0, 2, 3, 1).contiguous()  # TCHW -> THWC


def bank(*seeds):
    kept = [
        MemoryFrame(noise_image(s), story="s", shot=s, score=0.1 + 0.2, name="ü") for s in seeds
    ]
    lost = MemoryFrame(noise_image(99), shot=0, frame=4, similarity=0.97, reason="looks like 1")
    return MemoryBank(tuple(kept), max_frames=7, sink=2, dropped=(lost,))


def commit(store, key=KEY, count=9, kept=(1, 2), **options):
    return store.commit(key, frames(count), bank(*kept), {"label": "01_01"}, **options)


def same(a: MemoryFrame, b: MemoryFrame) -> bool:
    return a.digest == b.digest and {**vars(a), "picture": 0} == {**vars(b), "picture": 0}


def test_a_record_gives_back_what_went_in(tmp_path):
    store = ShotStore(tmp_path)
    commit(store)
    record = ShotStore(tmp_path).find(KEY)
    result = ShotStore(tmp_path).load(record)
    assert (record.frames, record.facts["label"]) == (9, "01_01")
    assert len(list(read_frames(record.video))) == 9
    expected = bank(1, 2)
    assert (result.bank.max_frames, result.bank.sink) == (7, 2)
    for mine, theirs in zip(
        (*result.bank.frames, *result.bank.dropped),
        (*expected.frames, *expected.dropped),
        strict=True,
    ):
        assert same(mine, theirs)


def test_the_last_five_frames_are_kept_without_loss(tmp_path):
    store = ShotStore(tmp_path)
    record, at_once = commit(store)
    expected = frames()[-5:].mul(255).round().to(torch.uint8)
    assert torch.equal(at_once.tail, expected)
    assert torch.equal(store.load(record).tail, expected)  # from disk as from memory


def test_a_shot_shorter_than_five_frames_keeps_what_it_has(tmp_path):
    store = ShotStore(tmp_path)
    record, _ = commit(store, count=2)
    assert store.load(record).tail.shape == (2, 16, 32, 3)


def test_pictures_are_stored_once_however_many_shots_hold_them(tmp_path):
    store = ShotStore(tmp_path)
    for i in range(4):
        commit(store, key=digest_of(i), kept=range(i + 1))
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 4 + 1


def test_an_unknown_key_is_not_found(tmp_path):
    assert ShotStore(tmp_path).find(KEY) is None


@pytest.mark.parametrize("name", ["record.json", "shot.mp4", "tail_0.png", "tail_4.png"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "one bit", "other"])
def test_a_damaged_record_counts_as_not_finished_and_can_be_made_again(tmp_path, name, damage):
    store = ShotStore(tmp_path)
    record, _ = commit(store)
    path = record.folder / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "one bit":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    else:
        path.write_bytes({"empty": b"", "short": data[: len(data) // 2], "other": b"{}"}[damage])
    assert store.find(KEY) is None
    commit(store)
    assert store.find(KEY) is not None


def test_every_single_cut_of_the_record_file_is_noticed(tmp_path):
    store = ShotStore(tmp_path)
    record, _ = commit(store)
    path = record.folder / "record.json"
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        assert store.find(KEY) is None


def test_a_record_under_the_key_of_another_is_refused(tmp_path):
    store = ShotStore(tmp_path)
    record, _ = commit(store)
    other = store.folder_of(digest_of("another"))
    other.parent.mkdir(parents=True)
    shutil.copytree(record.folder, other)
    assert store.find(digest_of("another")) is None


@pytest.mark.parametrize("damage", ["missing", "swapped", "short"])
def test_a_damaged_picture_is_never_loaded(tmp_path, damage):
    store = ShotStore(tmp_path)
    record, _ = commit(store)
    one, two = sorted((tmp_path / "pictures").rglob("*.png"))[:2]
    if damage == "missing":
        one.unlink()
    elif damage == "swapped":
        one.write_bytes(two.read_bytes())
    else:
        os.truncate(one, 40)
    with pytest.raises(ValueError, match=r"altered|cannot be read"):
        store.load(record)
    store.keep_pictures((*bank(1, 2).frames, *bank(1, 2).dropped))
    assert len(store.load(record).bank) == 2


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    writing = tmp_path / "writing"
    mine = unfinished_beside(writing / KEY).name
    left = writing / mine.replace(f"-{OWN_MARK}", "-" + "0" * 6)  # by one of this number
    elsewhere, long_ago = (
        left.with_name(left.name.replace(host_mark(), mark)) for mark in ("0" * 8, "1" * 8)
    )
    earlier, as_earlier = writing / "a-machine-7-abc", writing / "a-machine-8-abc-damaged"
    for folder in (left, elsewhere, long_ago, earlier, as_earlier):
        folder.mkdir(parents=True)
        (folder / "shot.mp4").write_bytes(b"half")
    for folder in (long_ago, as_earlier):
        os.utime(folder, (1, 1))
    with unfinished_folder(writing / KEY) as alive:
        commit(ShotStore(tmp_path))
        assert sorted(writing.iterdir()) == sorted([alive, elsewhere, earlier])
    assert sorted(writing.iterdir()) == sorted([elsewhere, earlier])


def with_library(code: str) -> list[str]:
    """The command of a new process that runs ``code`` with this library."""
    library = Path(sys.modules["storymem"].__file__).parent
    load = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location(
            "storymem",
            {str(library / "__init__.py")!r},
            submodule_search_locations=[{str(library)!r}],
        )
        sys.modules["storymem"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["storymem"])
    """
    return [sys.executable, "-c", textwrap.dedent(load) + textwrap.dedent(code)]


def test_processes_that_write_the_same_shot_at_once_do_not_harm_each_other(tmp_path):
    # New processes, not forked ones: in those a video library has lost its threads, and waits.
    code = f"""
        import sys
        import av, torch
        from storymem.loop.shot_store import ShotStore
        from storymem.memory.bank import MemoryBank
        from storymem.memory.frame import MemoryFrame
        torch.set_num_threads(1)
        picture = MemoryFrame(torch.zeros(48, 64, 3, dtype=torch.uint8))
        frames = torch.linspace(0, 1, 9).view(-1, 1, 1, 1).expand(9, 16, 32, 3).contiguous()
        store = ShotStore({str(tmp_path / "store")!r})
        print("ready", flush=True)
        sys.stdin.readline()
        store.commit({KEY!r}, frames, MemoryBank((picture,)), {{"label": "01_01"}})
        assert store.find({KEY!r}) is not None
    """
    command = with_library(code)
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
        for worker in workers:
            worker.stdin.write("now\n")
            worker.stdin.flush()
        assert [worker.wait(150) for worker in workers] == [0] * 4
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    store = ShotStore(tmp_path / "store")
    assert store.find(KEY) is not None
    assert list((tmp_path / "store" / "writing").iterdir()) == []


# --- a disk that refuses ---------------------------------------------------------------------


@pytest.mark.parametrize("blocked", ["shots", "writing", "pictures"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, blocked):
    (tmp_path / blocked).write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"could not be written to .* start the story again"):
        commit(ShotStore(tmp_path))
    assert ShotStore(tmp_path).find(KEY) is None


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no limit on file sizes there")
def test_a_disk_that_gets_full_gives_an_error_or_a_whole_record(tmp_path):
    """A limit on the size of files stands in for a full disk: the same system calls fail."""
    code = f"""
        import resource, signal, sys
        import torch
        from storymem.files.disk import StoreError
        from storymem.memory.bank import MemoryBank
        from storymem.memory.frame import MemoryFrame
        from storymem.loop.shot_store import ShotStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        picture = MemoryFrame(torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8))
        frames, nobody = torch.rand(9, 48, 64, 3), resource.RLIM_INFINITY
        for limit in (0, 500, 2_000, 9_000, 12_000, 100_000):
            key = f"{{limit:064d}}"
            store = ShotStore({str(tmp_path)!r} + f"/{{limit}}")
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, nobody))
            told = False
            try:
                store.commit(key, frames, MemoryBank((picture,)), {{}})
            except StoreError:
                told = True
            resource.setrlimit(resource.RLIMIT_FSIZE, (nobody, nobody))
            found = store.find(key)
            assert told == (found is None), limit
            store.commit(key, frames, MemoryBank((picture,)), {{}})
            assert len(store.load(store.find(key)).bank) == 1
            print(limit, "told" if told else "whole")
    """
    run = subprocess.run(with_library(code), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    words = [line.split()[1] for line in run.stdout.splitlines()]
    assert words[0] == "told"
    assert words[-1] == "whole"


def test_frames_with_nan_are_refused_and_nothing_is_left(tmp_path):
    broken = frames()
    broken[3, 0, 0, 0] = float("nan")
    store = ShotStore(tmp_path)
    with pytest.raises(ValueError, match="frame 3 of the shot holds NaN"):
        store.commit(KEY, broken, bank(1), {})
    assert store.find(KEY) is None
    assert list((tmp_path / "writing").iterdir()) == []


def test_scores_that_are_not_numbers_survive(tmp_path):
    store = ShotStore(tmp_path)
    odd = MemoryFrame(noise_image(1), score=float("nan"), similarity=float("-inf"))
    record, _ = store.commit(KEY, frames(), MemoryBank((odd,)), {})
    back = store.load(store.find(KEY)).bank.frames[0]
    assert back.score != back.score
    assert back.similarity == float("-inf")
    assert (
        json.loads(json.loads((record.folder / "record.json").read_text())["record"])["key"] == KEY
    )


# --- pictures that no shot sees stay on disk ------------------------------------------------------


def test_what_the_next_shot_does_not_see_is_not_kept_in_memory(tmp_path):
    store = ShotStore(tmp_path)
    record, at_once = commit(store, kept=range(20))
    for result in (at_once, store.load(record), ShotStore(tmp_path).load(record)):
        held = [frame.picture.is_in_memory for frame in result.bank.frames]
        assert held == [True] * 2 + [False] * 13 + [True] * 5  # the sink and the latest
        assert [frame.picture.is_in_memory for frame in result.bank.dropped] == [False]
        for mine, theirs in zip(result.bank.frames, bank(*range(20)).frames, strict=True):
            assert same(mine, theirs)
            assert torch.equal(mine.image, theirs.image)


def test_a_frame_that_is_seen_again_is_held_again(tmp_path):
    store = ShotStore(tmp_path)
    _, result = commit(store, kept=range(20))
    pinned = result.bank.with_pins(pin=[9])
    assert not pinned.frames[9].picture.is_in_memory
    _, after = store.commit("cd" * 32, frames(), pinned, {})
    assert after.bank.frames[9].picture.is_in_memory
    assert torch.equal(after.bank.frames[9].image, noise_image(9))


def test_a_frame_changes_without_its_picture_being_read(tmp_path):
    store = ShotStore(tmp_path)
    _, result = commit(store, kept=range(20))
    shutil.rmtree(tmp_path / "pictures")
    later = result.bank.remember([MemoryFrame(noise_image(50), shot=50)]).with_pins(unpin=[0])
    assert len(later.forget([5]).frames) == 20
    assert later.used()[0].image.shape == (48, 64, 3)
    with pytest.raises(ValueError, match="cannot be read as a picture: there is no such file"):
        _ = later.frames[5].image


def test_what_a_record_weighs_in_memory_does_not_grow_with_its_bank(tmp_path):
    store = ShotStore(tmp_path)
    small, _ = commit(store, kept=[1])
    large, _ = commit(store, key="cd" * 32, kept=range(60))
    assert {field.name for field in fields(large)} == {"key", "folder", "frames", "facts", "tail"}
    assert len(repr(large)) < len(repr(small)) + 10
