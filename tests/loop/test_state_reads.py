"""What a state on one wire reads of finished shots: none of their files again for each shot."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.loop import shot_store
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.state import LoopState
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

SHOTS = 14  # more than a shot sees
SCRIPT = {
    "story_name": "Tale",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": [f"shot {n}" for n in range(SHOTS)],
            "cut": [True] + [False] * (SHOTS - 1),
        }
    ],
}


@pytest.fixture
def loop(tmp_path) -> Loop:
    settings = LoopSettings("last_five_frames", "tale")
    return Loop(load_story(SCRIPT), settings, MemoryBank(), "", ShotStore(tmp_path))


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """How often each PNG is read."""
    found: Counter = Counter()
    read = shot_store._read_png

    def counted(path):
        found[path] += 1
        return read(path)

    monkeypatch.setattr(shot_store, "_read_png", counted)
    return found


def made(state: LoopState) -> LoopState:
    for number in range(SHOTS):
        _, bank, _ = state.begin()
        frames = torch.stack([noise_image(100 * number + i, 8, 8) / 255 for i in range(13)])
        kept = MemoryFrame.from_pixels(frames[6], story="Tale", shot=number, frame=0, score=0.5)
        state = state.finish("b", frames, bank.remember([kept]), crf=30)
    return state


def found_again(state: LoopState) -> LoopState:
    """As Next Shot and Finish Shot do."""
    for _ in range(SHOTS):
        state.begin()
        record = state.find("b")
        assert state.find("b") == record
        state = state.reuse("b", record)
    return state


def test_no_file_of_a_finished_shot_is_read_again_for_later_shots(loop, reads, tmp_path):
    before = made(LoopState(loop, loop.bank))
    reads.clear()
    after = found_again(
        LoopState(Loop(loop.story, loop.settings, loop.bank, "", ShotStore(tmp_path)), loop.bank)
    )
    tails = [count for path, count in reads.items() if path.name.startswith("tail_")]
    assert set(tails) == {1}
    assert max(reads.values()) == 2  # of a picture: whether it is whole, and into the memory
    assert len(reads) == SHOTS * (1 + shot_store.TAIL_FRAMES)
    assert [f.digest for f in after.bank.frames] == [f.digest for f in before.bank.frames]
    assert [step.record.key for step in after.steps] == [step.record.key for step in before.steps]
    assert all(
        (a.image == b.image).all()
        for a, b in zip(after.bank.frames, before.bank.frames, strict=True)
    )


def test_a_shot_that_lost_a_picture_is_made_again(loop, tmp_path, caplog):
    made(LoopState(loop, loop.bank))
    (tail,) = list(tmp_path.rglob("tail_0.png"))[:1]
    for path in not_empty(tail.parent.glob("tail_*.png")):
        path.unlink()
    state = LoopState(loop, loop.bank)
    for _ in range(SHOTS):
        record = state.find("b")
        if record is None:
            break
        state = state.reuse("b", record)
    assert len(state.steps) < SHOTS
    assert "lost its" in caplog.text
