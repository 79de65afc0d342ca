"""Which shots an artist's clicks on the memory regenerate, judged without a host."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_record import describe_bank
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.edits import NO_EDITS, BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

COUNT = 6
# A change of these regenerates every finished story: hours of every user's card.
KEYS = {  # of a story of four shots
    "empty": ["3b8fd9b8de908294", "8697526aaff78f9b", "1b4fe5ac1b147924", "6d609cd52d4dc308"],
    "started": ["dfec30b9b7d056f2", "ec6f7f8855ef5c25", "a16fae72946d35f4", "e896c38f53d12dee"],
}


def story(count=COUNT, **fields):
    scene = {
        "video_prompts": [chr(ord("a") + i) for i in range(count)],
        "cut": [True] + [False] * (count - 1),
        **fields,
    }
    return load_story({"story_name": "Tale", "scenes": [scene]})


@pytest.fixture
def loop(tmp_path):
    """Room for four memory frames, of which the first stays; every shot adds one keyframe."""
    settings = LoopSettings(continuity="last_frame")
    return Loop(story(), settings, MemoryBank(max_frames=4, sink=1), "b", ShotStore(tmp_path))


def clicked(loop, **kinds) -> Loop:
    return replace(loop, bank=loop.bank.with_edits(BankEdits(**kinds)))


def body(step, bank) -> tuple[torch.Tensor, MemoryFrame, MemoryFrame]:
    """Frames, a keyframe and a turned-down candidate, which depend on all that a body may see."""
    seen = [step.plan.prompt, *(f.digest for f in bank.used()), *(f.digest for f in bank.frames)]
    seed = int.from_bytes(hashlib.sha256("|".join(seen).encode()).digest()[:6], "little")
    frames = torch.rand(4, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
    index = step.plan.shot.index
    return (
        frames,
        MemoryFrame(noise_image(seed % 2**31, 8, 8), shot=index),
        MemoryFrame(noise_image(seed % 2**31 + 1, 8, 8), shot=index, frame=2, reason="too dark"),
    )


def run(loop, manifest=None, until=None) -> list[int]:
    """Make what is to be made, as the nodes do; numbers of the shots whose body ran. ``until``
    stops before that shot, as a crash would."""
    manifest = {"shots": {}} if manifest is None else manifest
    steps, made, before = list_steps(loop, manifest), [], None
    for step in steps:
        number = step.plan.shot.index + 1
        if number == until:
            return made
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
            if step.record is None:
                frames, kept, dropped = body(step, begun.bank)
                bank = begun.bank.remember([kept], dropped=[dropped])
                step.record, _ = finish_shot(loop, step, frames, bank, crf=30)
                made.append(number)
        before = load_result(loop, step.record)
        entry = {"key": step.record.key, "own": step.own, "prompt": step.plan.prompt}
        manifest["shots"][step.label] = entry
    return made


def final(loop, manifest=None) -> MemoryBank:
    last = list_steps(loop, manifest or {})[-1]
    return loop.store.load(last.record).bank.with_edits(loop.bank.edits)


def keyframe(loop, shot, manifest=None) -> str:
    bank = final(loop, manifest)
    return next(f.digest for f in (*bank.frames, *bank.dropped) if f.order == (shot - 1, 0))


def candidate(loop, shot) -> str:
    return next(f.digest for f in final(loop).dropped if f.order == (shot - 1, 2))


ALL = list(range(1, COUNT + 1))


@pytest.mark.parametrize("kind", KEYS)
def test_keys_are_what_they_always_were(tmp_path, kind):
    reference = MemoryFrame(noise_image(0, 4, 4), reason="reference picture", pinned=True)
    dropped = MemoryFrame(noise_image(1, 4, 4), shot=2, score=0.5)
    start = MemoryBank((reference,), max_frames=4, dropped=(dropped,))
    bank = {"empty": MemoryBank(), "started": start}[kind]
    settings = LoopSettings(continuity="last_frame")
    loop = Loop(story(4), settings, bank, "body", ShotStore(tmp_path))
    run(loop)
    assert [step.key[:16] for step in list_steps(loop, {})] == KEYS[kind]


def test_a_pin_makes_anew_only_from_where_the_frame_would_have_left_the_window(loop):
    assert run(loop) == ALL
    # Seen by shots 1 to 5 anyway: the window of four holds the first and the last three.
    second = keyframe(loop, 2)
    pinned = clicked(loop, pin=(second[:12],))
    assert run(pinned) == [6]
    assert run(pinned) == []
    assert [f.pinned for f in final(pinned).frames][:2] == [False, True]
    assert run(loop) == []
    assert not any(f.pinned or f.edited for f in final(loop).frames)


def test_a_pin_of_what_is_always_seen_makes_nothing(loop):
    run(loop)
    assert run(clicked(loop, pin=(keyframe(loop, 1),))) == []


def test_a_dropped_frame_makes_the_shots_after_its_own(loop):
    run(loop)
    third = keyframe(loop, 3)
    dropped = clicked(loop, drop=(third,))
    assert run(dropped) == [4, 5, 6]
    assert third not in [f.digest for f in final(dropped).frames]
    assert run(dropped) == []
    assert run(loop) == []


def test_a_candidate_that_is_kept_makes_the_shots_after_its_own(loop):
    run(loop)
    kept = clicked(loop, keep=(candidate(loop, 4)[:20],))
    assert run(kept) == [5, 6]
    assert run(loop) == []


def test_clicks_on_nobody_make_nothing(loop):
    run(loop)
    assert run(clicked(loop, pin=("0" * 12,), drop=("1" * 64,), keep=("2" * 12,))) == []


def test_clicks_before_the_story_is_made_are_the_same_as_after(loop, tmp_path):
    run(loop)
    clicks = {"pin": (keyframe(loop, 2),), "drop": (keyframe(loop, 3),)}
    after = clicked(loop, **clicks)
    assert run(after) == [4, 5, 6]
    fresh = replace(after, store=ShotStore(tmp_path / "fresh"))
    assert run(fresh) == ALL
    assert describe_bank(final(fresh)) == describe_bank(final(after))
    keys = [step.key for step in list_steps(after, {})]
    assert [step.key for step in list_steps(fresh, {})] == keys


def test_clicks_one_after_the_other_are_the_same_as_together(loop):
    run(loop)
    second, third = keyframe(loop, 2), keyframe(loop, 3)
    assert run(clicked(loop, drop=(third,))) == [4, 5, 6]
    assert run(clicked(loop, drop=(third,), pin=(second,))) == []  # there is room for it now
    assert run(clicked(loop, pin=(second,))) == [6]
    assert run(clicked(loop, pin=(second,), drop=(third,))) == []


def test_a_reference_that_is_dropped_makes_every_shot(loop):
    loop = replace(loop, bank=start_bank(torch.rand(2, 8, 8, 3), max_frames=6))
    run(loop)
    first = loop.bank.frames[0].digest
    assert run(clicked(loop, drop=(first,))) == ALL
    assert run(clicked(loop, unpin=(first,))) == []  # it is among the first ones, seen anyway
    assert run(loop) == []


def test_a_shots_own_reference_counts_when_its_window_is_judged(tmp_path, loop):
    """The reference pushes a frame out of the shot's view, which the pin holds there."""
    pictures = {"hero.png": noise_image(77, 8, 8)}
    names = [None, None, None, None, ["hero.png"], None]
    loop = replace(loop, story=story(reference_images=names), references=pictures)
    run(loop)
    assert run(clicked(loop, pin=(keyframe(loop, 2),))) == [5, 6]


def test_more_pins_than_places_is_said_before_anything_is_made(loop):
    run(loop)
    frames = final(loop).frames
    pinned = clicked(loop, pin=tuple(f.digest for f in frames[:5]))
    with pytest.raises(ValueError, match="5 frames are pinned but only max_frames = 4"):
        list_steps(pinned, {})


@pytest.mark.parametrize("until", ALL)
def test_a_run_that_was_killed_goes_on_where_it_was(loop, until):
    run(loop)
    edited = clicked(loop, drop=(keyframe(loop, 2),))
    expected = [3, 4, 5, 6]
    first = run(edited, until=until)
    assert first + run(edited) == expected
    assert run(edited) == []


@pytest.mark.parametrize("lost", ALL)
def test_a_lost_record_is_made_again_and_later_ones_are_found(loop, lost):
    run(loop)
    edited = clicked(loop, drop=(keyframe(loop, 2),))
    run(edited)
    expected = describe_bank(final(edited))
    shutil.rmtree(list_steps(edited, {})[lost - 1].record.folder)
    assert run(edited) == [lost]
    assert describe_bank(final(edited)) == expected


@pytest.mark.parametrize("shot", [1, 3, 5])
def test_a_lost_picture_of_the_memory_is_made_again(loop, shot):
    run(loop)
    edited = clicked(loop, drop=(keyframe(loop, 2),))
    run(edited)
    bank = final(edited)
    digest = next(f.digest for f in bank.frames if f.order == (shot - 1, 0))
    next(loop.store.root.glob(f"pictures/*/{digest}.png")).unlink()
    for _ in range(2 * COUNT):  # each run repairs what it comes across
        fresh = replace(edited, store=ShotStore(loop.store.root))
        if not run(fresh):
            break
    assert describe_bank(final(fresh)) == describe_bank(bank)


def test_a_locked_shot_stays_and_the_ones_around_it_follow_the_click(loop):
    manifest = {"shots": {}}
    locked = replace(loop, story=story(lock=[None] * 3 + [True] + [None] * 2))
    run(locked, manifest)
    kept = manifest["shots"]["01_04"]["key"]
    edited = clicked(locked, drop=(keyframe(locked, 2, manifest),))
    assert run(edited, manifest) == [3, 5, 6]
    assert manifest["shots"]["01_04"]["key"] == kept
    assert run(edited, manifest) == []
    assert [s.reason for s in list_steps(edited, manifest)] == ["", "", "", "locked", "", ""]


def test_keep_later_leaves_shots_as_they_are_whatever_was_clicked(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    edited = clicked(loop, drop=(keyframe(loop, 2),))
    settings = replace(loop.settings, keep_later=True)
    assert run(replace(edited, settings=settings), manifest) == []


def test_a_part_of_the_story_follows_the_clicks_too(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    edited = clicked(loop, drop=(keyframe(loop, 2),))
    part = replace(edited, settings=replace(loop.settings, start_shot=5))
    assert run(part, manifest) == [5, 6]


def test_the_bank_that_is_left_tells_of_the_clicks(loop):
    run(loop)
    second = keyframe(loop, 2)
    edited = clicked(loop, drop=(second,))
    run(edited)
    bank = final(edited)
    assert [(f.digest, f.why) for f in bank.dropped if f.edited] == [(second, "dropped by hand")]
    undone = bank.with_edits(NO_EDITS)
    assert second in [f.digest for f in undone.frames]


def test_a_dropped_frame_that_no_sampler_sees_still_counts_for_new_keyframes(loop):
    start = start_bank(torch.rand(3, 8, 8, 3), max_frames=2, sink=1, pinned=False)
    loop = replace(loop, bank=start)
    run(loop)
    unseen = start.frames[1].digest
    assert unseen not in [f.digest for f in start.used()]
    assert run(clicked(loop, drop=(unseen,))) == ALL


def test_clicks_hold_when_the_loops_body_makes_a_bank_of_its_own(loop):
    first = MemoryFrame(noise_image(5, 8, 8))
    edited = clicked(loop, drop=(first.digest,))
    step = list_steps(edited, {})[0]
    step.begin(begin_shot(edited, step, None))
    _, result = finish_shot(edited, step, torch.rand(4, 16, 16, 3), MemoryBank((first,)), crf=30)
    assert result.bank.frames == ()
    assert [f.why for f in result.bank.dropped] == ["dropped by hand"]
