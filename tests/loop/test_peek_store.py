"""A store that is only looked at gives what the real one gives, and writes nothing."""

from __future__ import annotations

import os

import pytest
import torch

from storymem.loop import peek_store
from storymem.loop.peek_store import PeekStore
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame

KEYS = ["a" * 64, "b" * 64]


@pytest.fixture
def store(tmp_path):
    store = ShotStore(tmp_path / "store")
    bank = MemoryBank()
    for i, key in enumerate(KEYS):
        frame = MemoryFrame(torch.full((8, 8, 3), i, dtype=torch.uint8), story="Tale", shot=i)
        bank = bank.remember([frame])
        store.commit(key, torch.rand(3, 16, 16, 3), bank, {"story": "Tale"})
    return store


def test_it_finds_what_is_there_and_notices_what_is_not_any_more(store, monkeypatch):
    peek = PeekStore(store.root)
    for _ in range(2):
        assert [peek.find(key) for key in KEYS] == [store.find(key) for key in KEYS]
        assert peek.find("c" * 64) is None
        assert peek.find("") is None
        assert peek.find(None) is None
    reads = []
    monkeypatch.setattr("storymem.loop.shot_store.read_record", lambda *a: reads.append(a) or 1 / 0)
    assert PeekStore(store.root).find(KEYS[0]).key == KEYS[0]
    assert reads == []
    monkeypatch.undo()
    video = store.folder_of(KEYS[0]) / "shot.mp4"
    before, content = video.stat(), video.read_bytes()
    video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))  # and time
    assert peek.find(KEYS[0]) is None
    video.write_bytes(content)
    assert peek.find(KEYS[0]) is not None
    video.unlink()
    assert peek.find(KEYS[0]) is None


def test_banks_are_read_once_and_share_their_frames(store, monkeypatch):
    peek = PeekStore(store.root)
    banks = [peek.outline(peek.find(key)) for key in KEYS]
    wanted = [store.outline(store.find(key)) for key in KEYS]
    told = [[(f.digest, f.order, f.reason) for f in bank.frames] for bank in banks]
    assert told == [[(f.digest, f.order, f.reason) for f in bank.frames] for bank in wanted]
    assert banks[1].frames[0] is banks[0].frames[0]
    assert PeekStore(store.root).outline(store.find(KEYS[0])) is banks[0]
    assert torch.equal(banks[1].frames[1].image, wanted[1].frames[1].image)
    monkeypatch.setattr(peek_store, "MOST_FRAMES", 1)
    monkeypatch.setattr(peek_store, "_MEMORY", peek_store._Memory())
    again = [PeekStore(store.root).outline(store.find(key)) for key in KEYS]
    assert [[f.digest for f in bank.frames] for bank in again] == [
        [f.digest for f in bank.frames] for bank in banks
    ]


def test_it_writes_nothing(store, tmp_path):
    peek = PeekStore(tmp_path / "empty")
    frame = MemoryFrame(torch.zeros(8, 8, 3, dtype=torch.uint8))
    peek.keep_pictures([frame])
    peek.keep_body("body")
    peek.remove_unfinished()
    with pytest.raises(RuntimeError):
        peek.commit("a" * 64, torch.rand(3, 16, 16, 3), MemoryBank(), {})
    assert not (tmp_path / "empty").exists()
