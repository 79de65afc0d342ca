"""The passes of a film: what a draft sets, and what it leaves as the film has it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storymem.loop.passes import (
    DRAFT,
    PASSES,
    STILLS,
    Draft,
    check_draft,
    find_pass,
    pass_name,
    rehearsal_draft,
)
from storymem.sampling.recipe import Recipe

FILM = {
    "width": 832,
    "height": 480,
    "length": 81,
    "steps": 40,
    "cfg": 3.5,
    "cfg_low": 3.0,
    "sampler_name": "storymem_unipc",
    "scheduler": "storymem",
    "shift": 4.0,
}


def test_the_film_has_no_settings_of_its_own():
    assert find_pass("film") is None
    assert find_pass("film", Draft(steps=6)) is None
    assert pass_name(None) == "film"


def test_a_draft_has_few_steps_half_the_pixels_and_the_films_length():
    assert DRAFT.overrides(FILM) == {
        "width": 576, "height": 336, "steps": 4, "cfg": 1.0, "cfg_low": 0.0
    }  # fmt: skip


def test_a_draft_has_one_cfg_for_cuts_and_for_what_continues():
    assert DRAFT.overrides(FILM | {"cfg_cut": 5.0})["cfg_cut"] == 0.0
    assert "cfg_cut" not in DRAFT.overrides(FILM | {"cfg_cut": 0.0})
    made = DRAFT.recipe_of(Recipe(cfg_cut=5.0)).for_beginning(is_cut=True)
    assert (made.cfg, made.guidance(high=False)) == (1.0, 1.0)


def test_a_still_is_one_frame_of_the_films_own_steps():
    assert STILLS.overrides(FILM) == {"length": 1}


@pytest.mark.parametrize("name", PASSES[1:])
def test_settings_given_take_the_pass_that_is_chosen(name):
    found = find_pass(name, Draft(steps=7, size=1.0))
    assert (found.name, found.steps, found.size) == (name, 7, 1.0)


def test_a_lora_of_few_steps_comes_with_the_sampler_it_was_distilled_for():
    draft = replace(DRAFT, lora_high="high.safetensors", lora_low="low.safetensors")
    found = draft.overrides(FILM)
    assert (found["sampler_name"], found["scheduler"], found["shift"]) == ("euler", "simple", 5.0)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_film_of_as_few_steps_keeps_its_steps_cfg_and_sampler(steps):
    draft = replace(DRAFT, lora_high="high.safetensors")
    assert draft.overrides(FILM | {"steps": steps}) == {"width": 576, "height": 336}


@pytest.mark.parametrize(
    ("film", "draft"),
    [
        ((832, 480), (576, 336)),
        ((1280, 720), (576, 336)),
        ((1024, 576), (576, 336)),
        ((480, 832), (336, 576)),
        ((720, 1280), (336, 576)),
        ((416, 240), (288, 160)),
        ((1280, 544), (672, 288)),
        ((1088, 832), (496, 384)),
        ((32, 32), (16, 16)),
        ((16, 16), (16, 16)),
    ],
)
def test_a_drafts_size_outlives_a_larger_size_of_the_film(film, draft):
    assert DRAFT.size_of(*film) == draft


def test_a_draft_of_full_size_has_the_films_own():
    assert replace(DRAFT, size=1.0).size_of(1280, 720) == (1280, 720)


def test_what_comes_over_a_wire_is_not_overridden_unseen():
    wired = FILM | {"steps": ["7", 0], "width": ["8", 0]}
    assert DRAFT.overrides(wired) == {}


def test_the_first_rehearsal_is_the_draft_itself():
    assert rehearsal_draft(1) == DRAFT
    assert [rehearsal_draft(n).name for n in (2, 3)] == ["draft2", "draft3"]
    assert rehearsal_draft(3, Draft(steps=6)).steps == 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "film"}, "pass"),
        ({"steps": -1}, "steps"),
        ({"cfg": float("nan")}, "cfg"),
        ({"cfg": -1.0}, "cfg"),
        ({"size": 0.0}, "size"),
        ({"size": 1.5}, "size"),
        ({"max_frames": -1}, "max_frames"),
    ],
)
def test_settings_that_no_draft_can_have_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        check_draft(Draft(**wrong))


def test_a_pass_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="film, draft, stills"):
        find_pass("sketch")
