"""What shots of a draft, and stills, see of the memory; and that the film's keys stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.disk import StoreError
from storymem.film.folder import claim_folder, find_folder, story_folder
from storymem.film.passes import pass_of
from storymem.loop.cache_keys import own_key, telling_facts
from storymem.loop.draft_memory import hold_still, remember_still
from storymem.loop.passes import DRAFT, STILLS, find_pass, pass_of_facts
from storymem.loop.plan import Loop, LoopSettings, plan_in
from storymem.loop.run_memory import begin_memory
from storymem.loop.shot_store import ShotStore
from storymem.loop.time_left import pace_of
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

STORY = load_story(
    "[title: Tale]\na cat sits\n---\n[continue]\nit runs\n---\na dog comes\n", quiet=True
)


def frame(seed: int, shot: int = -1, **more) -> MemoryFrame:
    return MemoryFrame(noise_image(seed, 16, 16), story="Tale", shot=shot, **more)


def loop_of(tmp_path, draft=None, **bank) -> Loop:
    settings = LoopSettings(draft=draft)
    return Loop(STORY, settings, MemoryBank(**bank), "body", ShotStore(tmp_path / "store"))


def seen(loop: Loop, index: int, frames: list[MemoryFrame]) -> list[str]:
    memory = begin_memory(loop, STORY.shots[index], MemoryBank(tuple(frames)))
    assert [f.digest for f in memory.bank.used()] == [f.digest for f in memory.frames]
    return [one.digest for one in memory.frames]


@pytest.mark.parametrize(("limit", "count"), [(0, 5), (1, 1), (3, 3), (9, 5)])
def test_a_drafts_shots_see_no_more_frames_than_it_says(tmp_path, limit, count):
    loop = loop_of(tmp_path, replace(DRAFT, max_frames=limit), max_frames=6)
    assert len(seen(loop, 2, [frame(i, shot=i // 3, frame=i) for i in range(5)])) == count


def test_pinned_frames_are_seen_in_a_draft_too(tmp_path):
    loop = loop_of(tmp_path, replace(DRAFT, max_frames=1), max_frames=6)
    frames = [frame(1, pinned=True), frame(2, frame=1, pinned=True), frame(3, shot=0)]
    assert seen(loop, 1, frames) == [frames[0].digest, frames[1].digest]


def test_how_many_frames_a_draft_may_see_counts_by_those_it_does_see(tmp_path):
    loops = [loop_of(tmp_path, replace(DRAFT, max_frames=n)) for n in (0, 7)]
    keys = {own_key(one, plan_in(one, STORY.shots[0], has_previous=False)) for one in loops}
    assert len(keys) == 1


def test_each_pass_has_keys_of_its_own(tmp_path):
    drafts = (None, DRAFT, STILLS, replace(DRAFT, name="draft2"), replace(DRAFT, steps=6))
    loops = [loop_of(tmp_path, draft) for draft in drafts]
    plans = [plan_in(one, STORY.shots[0], has_previous=False) for one in loops]
    assert len({own_key(one, plan) for one, plan in zip(loops, plans, strict=True)}) == 5
    facts = [telling_facts(one, plan) for one, plan in zip(loops, plans, strict=True)]
    told = [pass_of_facts(fact) for fact in facts]
    assert told == ["film", "draft", "stills", "draft2", "draft"]
    assert "draft" not in facts[0]
    assert [pass_of_facts(x) for x in (None, {"draft": 3}, {"draft": {"name": []}})] == ["film"] * 3


def test_a_still_that_continues_is_a_cut_that_sees_the_one_before(tmp_path):
    loop = loop_of(tmp_path, STILLS, max_frames=2, sink=2)
    plan = plan_in(loop, STORY.shots[1], has_previous=True)
    assert (plan.mode, plan.overlap_frames) == ("m2v", 0)
    frames = [frame(1), frame(2, frame=1), frame(3, shot=0)]
    assert frames[2].digest in seen(loop, 1, frames)
    assert seen(replace(loop, settings=LoopSettings()), 1, frames) == [f.digest for f in frames[:2]]
    after_cut = [*frames, frame(4, shot=1)]
    assert seen(loop, 2, after_cut) == [f.digest for f in frames[:2]]


def test_pins_come_before_the_still_before(tmp_path):
    loop = loop_of(tmp_path, STILLS, max_frames=2, sink=2)
    frames = [frame(1, pinned=True), frame(2, frame=1, pinned=True), frame(3, shot=0)]
    assert seen(loop, 1, frames) == [f.digest for f in frames[:2]]


def test_a_still_is_in_the_memory_it_leaves_once():
    pixels = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(3))
    shot = STORY.shots[0]
    bank = remember_still(MemoryBank(), pixels, "Tale", shot)
    assert [(one.shot, one.prompt) for one in bank.frames] == [(0, "a cat sits")]
    assert remember_still(bank, pixels, "Tale", shot) is bank


def test_a_still_is_held():
    pixels = torch.rand(3, 4, 4, 3)
    held = hold_still(pixels, 13)
    assert held.shape == (13, 4, 4, 3)
    assert torch.equal(held[12], pixels[0])


# --- how long it takes ---------------------------------------------------------------------------


def test_the_times_of_one_pass_tell_nothing_of_another():
    paces = {pace_of("body", find_pass(name)) for name in ("film", "draft", "stills")}
    assert len(paces) == 3
    assert pace_of("body") == pace_of("body", None)


# --- where it goes -------------------------------------------------------------------------------


def test_a_pass_goes_beside_its_film(tmp_path):
    film, draft = (claim_folder(tmp_path, "p", STORY, name) for name in ("film", "draft"))
    assert (film.name, draft.name) == ("Tale", "Tale.draft")
    assert (pass_of(film), pass_of(draft)) == ("film", "draft")
    assert find_folder(tmp_path, "p", STORY, "draft") == draft
    assert find_folder(tmp_path, "p", STORY, "stills") is None


def test_a_title_that_differs_in_case_has_passes_of_its_own(tmp_path):
    claim_folder(tmp_path, "p", STORY, "draft")
    other = replace(STORY, name="TALE")
    assert story_folder(tmp_path, "p", other, "draft").name == "TALE_2.draft"
    claim_folder(tmp_path, "p", STORY)
    assert claim_folder(tmp_path, "p", other).name == "TALE_2"
    assert story_folder(tmp_path, "p", other, "draft").name == "TALE_2.draft"


def test_a_folder_of_another_pass_is_not_taken(tmp_path):
    claim_folder(tmp_path, "p", STORY, "draft")
    with pytest.raises(StoreError, match="holds a draft, and not the film"):
        claim_folder(tmp_path, "p", replace(STORY, name="Tale.draft"))
    claim_folder(tmp_path, "p", replace(STORY, name="Tale.stills"))
    with pytest.raises(StoreError, match="holds a film, and not the stills"):
        claim_folder(tmp_path, "p", STORY, "stills")


def test_an_empty_folder_of_that_name_becomes_the_passes(tmp_path):
    (tmp_path / "p" / "Tale.draft").mkdir(parents=True)
    assert pass_of(claim_folder(tmp_path, "p", STORY, "draft")) == "draft"
