"""When shots begin and remembered frames happened, in the story as it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.loop.begin import bank_after, begin_shot, load_result
from storymem.loop.cache_keys import own_key
from storymem.loop.moments import begin_of
from storymem.loop.opening_clip import OpeningClip
from storymem.loop.opening_memory import Chosen, remember_clip
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_record import describe_bank
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.loop.state import LoopState
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.frame import MemoryFrame
from storymem.sampling.draft import Draft
from storymem.sampling.memory_layout import moments_of
from storymem.script.reader import load_story

FRAMES = {0: 13, 1: 9, 2: 5, 3: 9}  # as made, by shot


def story(cuts=(True, False, True, False), **more):
    prompts = [f"shot {i}" for i in range(len(cuts))]
    scene = {"scene_num": 1, "video_prompts": prompts, "cut": list(cuts), **more}
    return load_story({"story_name": "Tale", "scenes": [scene]}, quiet=True)


def loop_of(tmp_path, told=None, bank=None, **more) -> Loop:
    settings = LoopSettings(**more.pop("settings", {}))
    bank = MemoryBank() if bank is None else bank
    return Loop(told or story(), settings, bank, "body", ShotStore(tmp_path), **more)


def pixels(seed: int, count: int) -> torch.Tensor:
    return torch.stack([noise_image(seed + i).float() / 255 for i in range(count)])


def make(loop, step, before, *, kept=(0, 2), tell=None):
    """One shot of a body: its frames ``kept`` (after the repeated ones) are remembered."""
    index = step.plan.shot.index
    begun = begin_shot(loop, step, before)
    step.begin(begun)
    if tell is not None:
        tell(step, begun)
    if step.record is None:
        frames = pixels(100 * index, FRAMES[index])
        own = frames[step.plan.overlap_frames :]
        found = [
            MemoryFrame.from_pixels(own[i], story=loop.story.name, shot=index, frame=i)
            for i in kept
        ]
        bank = begun.bank.remember(found)
        step.record, step.result = finish_shot(loop, step, frames, bank, crf=30)
    return step.result


def run(loop, **how):
    steps, before = list_steps(loop, {}), None
    for step in steps:
        before = make(loop, step, before if step.before else None, **how)
    return steps


def told(bank: MemoryBank) -> list[tuple[int, int, int | None]]:
    return [(frame.shot, frame.frame, frame.moment) for frame in bank.frames]


def test_a_shot_begins_where_the_frames_made_before_it_end_repeated_ones_included(tmp_path):
    seen = {}
    steps = run(loop_of(tmp_path), tell=lambda s, b: seen.update({s.plan.begin: told(b.bank)}))
    assert [step.plan.begin for step in steps] == [0, 13, 22, 27]
    assert [step.record.frames for step in steps] == [13, 8, 5, 8]  # one of 9 is repeated
    assert seen[13] == [(0, 0, 0), (0, 2, 2)]
    assert seen[27] == [(0, 0, 0), (0, 2, 2), (1, 0, 14), (1, 2, 16), (2, 0, 22), (2, 2, 24)]


def test_records_bank_folders_and_later_runs_keep_the_moments(tmp_path):
    loop = loop_of(tmp_path / "store")
    last = run(loop)[-1]
    bank = bank_after(loop, last)
    assert told(bank)[-2:] == [(3, 0, 28), (3, 2, 30)]
    assert describe_bank(loop.store.load(last.record).bank)["frames"][-1]["moment"] == 30
    again = list_steps(loop, {})
    assert [begin_of(step) for step in again] == [0, 13, 22, 27]
    assert told(bank_after(loop, again[-1])) == told(bank)
    pooled = replace(bank, frames=(replace(bank.frames[0], pool="low"), *bank.frames[1:]))
    save_bank(tmp_path / "bank", pooled)
    back = load_bank(tmp_path / "bank")
    assert told(back) == told(bank)
    assert [frame.pool for frame in back.frames][:2] == ["low", ""]


def test_one_wire_counts_the_same(tmp_path):
    loop = loop_of(tmp_path)
    state, found = LoopState(loop, loop.bank), []
    for index in range(4):
        plan, bank, _ = state.begin()
        found.append(plan.begin)
        own = pixels(100 * index, FRAMES[index])
        frame = MemoryFrame.from_pixels(own[-1], story="Tale", shot=index, frame=1)
        state = state.finish("body", own, bank.remember([frame]), crf=30)
    assert found == [0, 13, 22, 27]
    assert told(state.bank) == [(0, 1, 1), (1, 1, 15), (2, 1, 23), (3, 1, 29)]


def test_no_moment_is_part_of_a_key(tmp_path):
    loop = loop_of(tmp_path)
    for step in run(loop):
        assert own_key(loop, step.plan) == own_key(loop, replace(step.plan, begin=0)) == step.own
    keys = [step.key for step in list_steps(loop, {})]
    bare = MemoryFrame(noise_image(9001), story="Other", shot=2, frame=3)
    with_moment = replace(bare, moment=400, pool="high")
    first = [
        list_steps(loop_of(tmp_path, bank=MemoryBank((f,))), {})[0].key for f in (bare, with_moment)
    ]
    assert first[0] == first[1] != keys[0]


def test_banks_that_were_written_before_there_were_moments_get_them(tmp_path, monkeypatch):
    loop = loop_of(tmp_path)
    with monkeypatch.context() as patched:  # as an earlier version finished them
        patched.setattr("storymem.loop.shots.with_moments", lambda bank, *_, **__: bank)
        patched.setattr("storymem.loop.begin.with_moments", lambda bank, *_, **__: bank)
        steps = run(replace(loop, story=story((True, False, True))))
        old = loop.store.load(steps[-1].record).bank
        assert {moment for _, _, moment in told(old)} == {None}
    steps = list_steps(loop, {})
    assert [step.record is None for step in steps] == [False, False, False, True]
    begun = begin_shot(loop, steps[-1], steps[-2].result)
    assert begun.begin == 27
    assert [m for _, _, m in told(begun.bank)] == [0, 2, 14, 16, 22, 24]


def test_frames_of_other_stories_and_references_are_before_the_begin(tmp_path):
    earlier = MemoryFrame(noise_image(9001), story="Other", shot=2, frame=3, moment=400)
    namesake = MemoryFrame(noise_image(9002), story="Tale", shot=0, frame=7, moment=7)
    face = MemoryFrame(noise_image(9003), name="Mara")
    loop = loop_of(tmp_path, bank=MemoryBank((face, namesake, earlier)))
    for step in run(loop):
        bank = step.result.bank
        given = [f.moment for f in bank.frames if f.digest in {x.digest for x in loop.bank.frames}]
        assert given == [None, None, None]
    bank = bank_after(loop, step)
    moments = moments_of(bank.frames, "Tale")
    by_digest = dict(zip([f.digest for f in bank.frames], moments, strict=True))
    assert sorted(by_digest[f.digest] for f in loop.bank.frames) == [-12, -8, -4]
    assert min(m for d, m in by_digest.items() if m >= 0) == 0


def test_the_opening_clip_ends_where_the_story_begins(tmp_path):
    frames = torch.stack([noise_image(40 + i) for i in range(9)])
    clip = OpeningClip(frames, is_remembered=True)
    bank = remember_clip(MemoryBank((MemoryFrame(noise_image(3)),)), clip, [Chosen(0), Chosen(6)])
    assert [frame.moment for frame in bank.frames] == [None, -9, -3]
    assert moments_of(bank.frames, "Tale") == (-16, -9, -3)
    loop = loop_of(tmp_path, story((False, True, True, True)), bank, opening=clip)
    steps = run(loop)
    assert [step.plan.begin for step in steps] == [0, 13, 22, 27]
    assert told(steps[-1].result.bank)[:4] == [(-1, 0, None), (-1, 1, -9), (-1, 2, -3), (0, 0, 1)]


def test_shots_that_are_taken_out_or_made_longer_count_as_they_are_now(tmp_path, monkeypatch):
    loop = loop_of(tmp_path)
    run(loop)
    monkeypatch.setitem(FRAMES, 1, 17)  # the second shot is made again, and longer
    longer = replace(loop, story=story(length=[None, 17, None, None]))
    steps = list_steps(longer, {})
    assert [step.record is None for step in steps] == [False, True, True, True]
    before = steps[0].result
    for step in steps[1:]:
        before = make(longer, step, before)
    assert [step.plan.begin for step in steps[1:]] == [13, 30, 35]
    # The last one's record says 28: it was found, for it sees the same pictures.
    assert told(before.bank)[-2:] == [(3, 0, 28), (3, 2, 30)]
    assert told(bank_after(longer, steps[-1]))[-2:] == [(3, 0, 36), (3, 2, 38)]


def test_a_locked_shot_that_moved_hands_on_its_frames_where_it_stands(tmp_path):
    loop = loop_of(tmp_path, story((True, True, True)))
    steps = run(loop)
    manifest = {
        "shots": {s.label: {"key": s.key, **s.record.facts} for s in steps},
        "locks": {},
    }
    data = {
        "story_name": "Tale",
        "shots": [
            {"prompt": "shot 0", "cut": True},
            {"prompt": "new", "cut": True},
            {"prompt": "shot 1", "cut": True, "lock": True},
            {"prompt": "end", "cut": True},
        ],
    }
    moved = replace(loop, story=load_story(data, quiet=True))
    steps = list_steps(moved, manifest)
    assert steps[2].record is not None
    make(moved, steps[1], steps[0].result)
    begun = begin_shot(moved, steps[3], load_result(moved, steps[2].record))
    assert begun.begin == 13 + 9 + 9
    # It was shot 2 when it was made: its frames follow the new one now.
    assert [(f.prompt, f.moment) for f in begun.bank.frames][-2:] == [
        ("shot 1", 22), ("shot 1", 24),
    ]  # fmt: skip


def test_of_stills_each_stands_for_as_long_as_in_the_film(tmp_path, monkeypatch):
    monkeypatch.setattr("storymem.loop.shots.USUAL_LENGTH", 21)
    for index in FRAMES:
        monkeypatch.setitem(FRAMES, index, 1)
    draft = Draft("stills")
    loop = loop_of(tmp_path, settings={"draft": draft})
    steps = run(loop, kept=(0,))
    assert [step.plan.begin for step in steps] == [0, 21, 42, 63]
    assert [m for _, _, m in told(steps[-1].result.bank)] == [0, 21, 42, 63]


@pytest.mark.parametrize("facts", [{}, {"mode": 5}, {"mode": "other"}])
def test_a_record_that_does_not_say_how_it_began_is_counted_by_its_plan(tmp_path, facts):
    loop = loop_of(tmp_path)
    steps = run(loop)
    for step in steps:
        rest = {key: value for key, value in step.record.facts.items() if key != "mode"}
        step.record = replace(step.record, facts={**rest, **facts})
    assert [begin_of(step) for step in steps] == [0, 13, 22, 27]
