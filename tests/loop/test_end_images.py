"""A shot that ends with a picture: what its key says of that, and why it is made again."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from helpers.fakes import noise_image
from storymem.loop.cache_keys import own_key, shot_pictures
from storymem.loop.plan import Loop, LoopSettings, plan_in
from storymem.loop.regeneration import _picture_changes
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.picture import Picture
from storymem.sampling.draft import Draft
from storymem.script.reader import load_story

SCRIPT = "a\n---\n[continue]\nb\n---\nc"
END = Picture(noise_image(5))


@pytest.fixture
def loop(tmp_path):
    return Loop(load_story(SCRIPT), LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path))


def own_keys(loop: Loop) -> list[str]:
    plans = [plan_in(loop, shot, has_previous=shot.index > 0) for shot in loop.story.shots]
    return [own_key(loop, plan) for plan in plans]


def changed(loop: Loop, **changes) -> list[int]:
    """Numbers of the shots whose own key is another one after ``changes``."""
    pairs = zip(own_keys(loop), own_keys(replace(loop, **changes)), strict=True)
    return [number for number, (old, new) in enumerate(pairs, 1) if old != new]


def test_a_picture_counts_in_the_key_of_its_shot_alone(loop):
    assert changed(loop, end_images={1: END}) == [2]
    ended = replace(loop, end_images={1: END})
    assert changed(ended, end_images={1: Picture(END.pixels.clone())}) == []
    assert changed(ended, end_images={1: Picture(noise_image(6))}) == [2]
    assert changed(ended, end_images={2: END}) == [2, 3]


def test_the_name_of_the_file_does_not_count(loop):
    named = load_story("a\n---\n[continue]\n[end_image: x.png]\nb\n---\nc")
    assert named.shots[1].end_image == "x.png"
    assert changed(loop, story=named) == []


def test_a_start_and_an_end_of_one_picture_are_two_things(loop):
    started = replace(loop, start_images={1: END.pixels})
    plan = plan_in(started, started.story.shots[1], has_previous=True)
    assert plan.end is None
    assert shot_pictures(started, plan) == [f"start {END.digest}"]
    both = replace(started, end_images={1: END})
    plan = plan_in(both, both.story.shots[1], has_previous=True)
    assert shot_pictures(both, plan) == [f"start {END.digest}", f"end {END.digest}"]
    assert changed(started, end_images={1: END}) == [2]


def test_an_end_does_not_say_how_a_shot_begins(loop):
    ended = replace(loop, end_images=dict.fromkeys(range(3), END))
    modes = [plan_in(ended, s, has_previous=s.index > 0).mode for s in ended.story.shots]
    assert modes == ["m2v", "mi2v", "m2v"]


def test_a_still_has_no_end_and_a_draft_has(loop):
    for name, is_changed in (("stills", False), ("draft", True)):
        drafted = replace(loop, settings=replace(loop.settings, draft=Draft(name)))
        assert changed(drafted, end_images={1: END}) == [2] * is_changed


def test_a_plan_is_known_without_its_picture(loop):
    ended = plan_in(replace(loop, end_images={0: END}), loop.story.shots[0], has_previous=False)
    plain = plan_in(loop, loop.story.shots[0], has_previous=False)
    assert ended == plain, "pictures are compared by the key"
    assert END.digest[:12] not in repr(ended)
    assert asdict(replace(ended, end=None)) == asdict(plain)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([], ["end a"], ["its end image changed"]),
        (["end a"], ["end b"], ["its end image changed"]),
        (["start a", "end a"], ["start a", "end a"], []),
        (["start a", "end a"], ["start b", "end a"], ["its reference images or its start image "
                                                      "changed"]),
        (["x"], ["end x"], ["its reference images or its start image changed",
                            "its end image changed"]),
        ([3, "end a"], ["end a"], ["its reference images or its start image changed"]),
    ],
)  # fmt: skip
def test_which_picture_changed_is_told(old, new, told):
    assert _picture_changes(old, new) == told
