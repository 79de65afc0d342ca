"""Frames that a loop took are its own, and frames on another scale never become a white film."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from storymem.files.video import read_frames
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, join_parts, list_steps
from storymem.memory.bank import MemoryBank, start_bank
from storymem.script.reader import load_story

STORY = load_story("a red cat\n---\n[continue]\nit runs")
SHOT = STORY.shots[0]


@pytest.fixture
def loop(tmp_path):
    return Loop(STORY, LoopSettings("last_frame"), MemoryBank(), "", ShotStore(tmp_path))


def clip(dtype=torch.float32, count=6) -> torch.Tensor:
    levels = torch.randint(0, 256, (count, 32, 48, 3), generator=torch.Generator().manual_seed(1))
    return levels.to(torch.uint8) if dtype == torch.uint8 else (levels / 255).to(dtype)


def finish(loop, frames, bank=None):
    step = list_steps(loop, {"shots": {}})[0]
    step.begin(begin_shot(loop, step, None))
    step.record, result = finish_shot(loop, step, frames, bank or MemoryBank(), crf=17)
    return step, result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_what_is_kept_of_a_shot_outlives_its_frames(loop, dtype):
    frames = clip(dtype)
    bank = start_bank(list(frames[:2]))
    _, result = finish(loop, frames, bank)
    tail, kept = result.tail.clone(), [frame.image.clone() for frame in bank.frames]
    digests = [frame.digest for frame in bank.frames]
    frames.fill_(1)
    assert torch.equal(result.tail, tail)
    assert all(map(torch.equal, (frame.image for frame in bank.frames), kept))
    fresh = [start_bank([image.float() / 255]).frames[0].digest for image in kept]
    assert digests == fresh, "pictures are what they are called"
    following = list_steps(loop, {"shots": {}})[1]
    given = begin_shot(loop, following, result).given
    before = given.clone()
    given.fill_(0.5)  # as a node of the body may do with previous_frames
    assert torch.equal(begin_shot(loop, following, result).given, before)
    assert torch.equal(result.tail, tail)


def test_what_is_transparent_in_a_shot_shows_white(loop):
    frames = torch.cat([torch.zeros(3, 32, 48, 3), torch.ones(3, 32, 48, 1)], dim=-1)
    frames[:, :, 24:, 3] = 0
    for parts in ([frames], [frames[:1], frames[1:]]):
        joined = join_parts(parts, SHOT)
        assert joined.shape == (3, 32, 48, 3)
        assert joined[:, :, :24].max() == 0
        assert joined[:, :, 24:].min() == 1
    step, _ = finish(loop, join_parts([frames], SHOT))
    read = next(iter(read_frames(step.record.video)))
    assert read[:, :20].max() <= 2
    assert read[:, 28:].min() >= 253


@pytest.mark.parametrize("shape", [(3, 32, 48, 1), (32, 48, 3), (3, 32, 48), (3, 3, 32, 48, 3)])
def test_frames_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match=r"shot 1.* came as \[.*needs frames as an IMAGE"):
        join_parts([torch.zeros(shape)], SHOT)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (clip() * 255, "holds values up to 2.*, but 1.0 is white"),
        ((clip() * 7).round(), "holds values up to 7, but 1.0 is white"),  # dark, of 0 ... 255
        ((clip(torch.uint8).to(torch.int64)), "holds values up to"),
        (clip() * 2 - 1, "holds values down to -1, but 0.0 is black"),
        (clip() * float("nan"), "holds NaN or infinite"),
    ],
)
def test_frames_on_another_scale_are_refused_and_leave_nothing(loop, frames, message):
    with pytest.raises(ValueError, match=f"frame 0 of the shot {message}"):
        finish(loop, frames)
    assert not list(loop.store.root.rglob("shot.mp4"))


def test_overshoot_and_highlights_are_clipped(loop):
    frames = clip() * 1.3 - 0.1
    _, result = finish(loop, frames)
    wanted = (frames[-1].clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    assert (result.tail[-1].numpy() == wanted).all()
