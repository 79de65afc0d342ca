"""Shots that last as long as their sound file: ``length: audio``."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from storymem.film.shot_status import script_mark
from storymem.loop.audio_length import frames_of_sounds, hold_frames, next_length
from storymem.loop.cache_keys import own_key
from storymem.loop.plan import Loop, LoopSettings, plan_in
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [
        (Fraction(5), 16, 80),
        (Fraction(5 * 48000 + 1, 48000), 16, 81),
        (Fraction(81, 16), 16, 81),
        (Fraction(0), 16, 1),
        (Fraction(1), 23.976, 24),
        (Fraction(1), 24, 24),
    ],
)
def test_a_frame_that_is_begun_counts(seconds, fps, frames):
    assert hold_frames(seconds, fps) == frames


def test_the_next_length_is_a_multiple_of_four_and_one():
    assert [next_length(n) for n in range(1, 11)] == [1, 5, 5, 5, 5, 9, 9, 9, 9, 13]


def story(**changes):
    shot = {"prompt": "a", "audio": "a.wav", "length": "audio", **changes}
    scene = {"video_prompts": [shot, {**shot, "cut": False}, {**shot, "cut": False}]}
    scene |= {"cut": [True, False, False], "continuity": [None, "last_frame", "last_five_frames"]}
    return load_story({"scenes": [scene]})


def loop_of(tale, tmp_path, **changes) -> Loop:
    store = ShotStore(tmp_path / "store")
    frames = dict.fromkeys(range(3), 80)
    loop = Loop(tale, LoopSettings(), MemoryBank(), "body", store, sound_frames=frames)
    return replace(loop, **changes)


def test_a_sound_is_heard_while_the_shots_own_frames_are_seen(tmp_path):
    tale = story()
    loop = loop_of(tale, tmp_path)
    plans = [plan_in(loop, shot, has_previous=shot.index > 0) for shot in tale.shots]
    assert [plan.mode for plan in plans] == ["m2v", "mi2v", "mm2v"]
    assert [plan.shot.length for plan in plans] == [81, 81, 85]
    assert [plan.shot.length - plan.overlap_frames >= 80 for plan in plans] == [True] * 3


def test_a_length_counts_by_its_frames_alone(tmp_path):
    loops = [loop_of(tale, tmp_path) for tale in (
        story(),
        story(length=81, audio=None),
        story(dialogue="Mara: Hello.", subtitle="Hello.", audio="b.wav"),
    )]  # fmt: skip
    keys = {own_key(loop, plan_in(loop, loop.story.shots[0], has_previous=False)) for loop in loops}
    assert len(keys) == 1
    longer = replace(loops[0], sound_frames={0: 82})
    assert own_key(longer, plan_in(longer, loops[0].story.shots[0], has_previous=False)) not in keys


def test_what_is_said_leaves_a_shot_as_it_is_on_the_page():
    """The page knows the script alone: only another file may be another length."""
    plain = story(length=81, audio=None)
    said = {"dialogue": "Mara: Hello.", "subtitle": "Hello."}
    assert script_mark(story(length=81, audio="b.wav", **said)) == script_mark(plain)
    assert script_mark(story(**said)) == script_mark(story())
    assert script_mark(story(audio="b.wav")) != script_mark(story())


def test_a_sound_that_is_far_too_long_for_a_shot_is_told():
    seconds = dict.fromkeys(range(3), Fraction(652, 10))
    with pytest.raises(ValueError, match=r"lasts 65\.2 s, 1044 frames at 16 a second; length: aud"):
        frames_of_sounds(story(), seconds, 16)
    assert frames_of_sounds(story(), dict.fromkeys(range(3), Fraction(20)), 16) == {
        0: 320, 1: 320, 2: 320,
    }  # fmt: skip
    assert frames_of_sounds(story(length=81), {}, 16) == {}
