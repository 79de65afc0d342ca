"""Which sampler a story goes on with whose shots earlier versions made."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from types import SimpleNamespace

import pytest

pytest.importorskip("diffusers")

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.headless.earlier_sampler import EARLIER, KEPT, keep_sampler
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import list_steps
from storymem.memory.bank import MemoryBank
from storymem.sampling.recipe import Recipe
from storymem.script.story import Shot, Story

STORY = Story("Sea", (Shot(0, 1, 1, "rain", True), Shot(1, 1, 2, "sun", True)))
TODAY = Recipe()
BEFORE = Recipe(sampler=EARLIER, scheduler="simple")


def body_of(recipe: Recipe) -> str:
    return json.dumps({"recipe": asdict(recipe), "weights": {}})


@pytest.fixture
def loop(tmp_path) -> Loop:
    return Loop(STORY, LoopSettings(), MemoryBank(), body_of(TODAY), ShotStore(tmp_path))


def made(loop: Loop, when: float, body: str, key: str = "", *, keeps_body: bool = True) -> dict:
    """An entry of the manifest, of a shot whose record says that ``body`` made it."""
    key = key or digest_of([when, body])
    record, _ = loop.store.commit(
        key, noise_image(1)[None].float() / 255, MemoryBank(), {"body": digest_of(body)}
    )
    os.utime(record.folder / "record.json", (when, when))
    if keeps_body:
        loop.store.keep_body(body)
    return {"key": key, "prompt": "of another text"}


def go_on(loop: Loop, *entries: dict) -> tuple[str, Loop, list[str]]:
    """The recipe's sampler that a run goes on with, its loop, and what is told."""
    known = {"shots": {f"01_0{i}": entry for i, entry in enumerate(entries, 1)}, "locks": {}}
    engine = SimpleNamespace(recipe=TODAY)
    found, told = keep_sampler(loop, engine, body_of, known)
    assert found.body == body_of(engine.recipe)
    return engine.recipe.sampler, found, told


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_shot_that_was_made_last_decides(loop, order):
    """Also when it fits no more: edited, rolled again, or under another cfg."""
    before, today = order
    entries = [made(loop, before, body_of(BEFORE)), made(loop, today, body_of(TODAY))]
    sampler, _, told = go_on(loop, *entries)
    assert sampler == (EARLIER if before > today else TODAY.sampler)
    assert told == ([KEPT] if before > today else [])


def test_another_setting_of_that_shot_changes_nothing(loop):
    entry = made(loop, 1, body_of(Recipe(sampler=EARLIER, scheduler="simple", cfg_low=3.0)))
    sampler, found, told = go_on(loop, entry)
    assert sampler == EARLIER
    assert told == [KEPT]
    assert json.loads(found.body)["recipe"]["scheduler"] == "simple"


def test_a_story_without_results_has_todays(loop):
    assert go_on(loop)[0] == TODAY.sampler
    assert go_on(loop, {"key": "ab" * 32}, {"key": 5}, {})[0] == TODAY.sampler


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "5", '{"recipe": 5}', '{"recipe": {}}', '{"recipe": {"sampler": []}}']
)
def test_what_others_wrote_as_a_body_says_nothing(loop, body):
    assert go_on(loop, made(loop, 2, body), made(loop, 1, body_of(BEFORE)))[0] == EARLIER
    assert go_on(loop, made(loop, 3, body))[0] == TODAY.sampler


def test_where_no_record_says_it_more_finished_shots_decide(loop):
    """Records of the earliest versions do not keep what made them."""
    earlier = Loop(STORY, loop.settings, loop.bank, body_of(BEFORE), loop.store)
    for one, wanted in ((earlier, EARLIER), (loop, TODAY.sampler)):
        step = list_steps(one, {"shots": {}, "locks": {}})[0]
        entry = made(loop, 1, one.body, step.key, keeps_body=False)
        assert go_on(loop, entry)[0] == wanted, "one each: today's"
