"""Which earlier result is whose: single cases that random edits of scripts seldom meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from storymem.loop.plan import Step
from storymem.loop.reuse import latest_results, locks_of, moved_results, texts_that_fit
from storymem.loop.shot_record import Record
from storymem.sampling.continuity import ShotPlan
from storymem.script.story import Shot, Story


def story_of(*prompts: str, **fields) -> Story:
    """Shots of one scene: 01_01, 01_02 ..."""
    shots = (Shot(i, 1, i + 1, text, True, **fields) for i, text in enumerate(prompts))
    return Story("Tale", tuple(shots))


def made(**prompts: str) -> dict:
    """Results by label, whose keys are their labels; ``s01_02`` is the label 01_02."""
    return {name[1:]: {"key": name[1:], "shot_prompt": text} for name, text in prompts.items()}


def keys_of(results) -> list[str | None]:
    return [result.get("key") for result in results]


# --- in the order of the story --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "latest", "expected"),
    [
        ("xy", made(s01_02="y", s02_01="x", s02_02="y"), ["02_01", "02_02"]),  # two before one
        ("xy", made(s01_02="y", s02_01="x"), ["02_01", "01_02"]),
        ("xx", made(s01_02="x", s02_01="x"), ["01_02", "02_01"]),
        ("xxx", made(s01_02="x"), [None, "01_02", None]),
        ("xxx", made(s02_01="x"), ["02_01", None, None]),
        ("abc", made(s01_01="c", s01_02="a", s01_03="b"), ["01_02", "01_03", "01_01"]),
        ("abc", made(s01_01="b", s01_02="c", s01_03="a"), ["01_03", "01_01", "01_02"]),
        ("aba", made(s01_01="a", s01_02="a", s01_03="b"), ["01_01", "01_03", "01_02"]),
        ("a", {}, [None]),
        ("a", made(s01_01="b"), [None]),
    ],
)
def test_as_many_as_possible_in_order_then_at_home_then_by_prompt(prompts, latest, expected):
    assert keys_of(latest_results(latest, story_of(*prompts))) == expected


def test_labels_are_in_order_of_their_numbers_not_of_their_letters():
    latest = made(s02_100="x", s02_99="x", s10_01="x", s9_01="x")
    found = keys_of(latest_results(latest, story_of(*"xxxx")))
    assert found == ["02_99", "02_100", "9_01", "10_01"]


def test_of_hundreds_of_shots_with_one_prompt_those_under_their_old_label_stay():
    """Comparing each with each would take too long."""
    shots = tuple(Shot(i, 1, i + 1, "He waits.", True) for i in range(330))
    latest = {shot.label: {"key": shot.label, "shot_prompt": shot.prompt} for shot in shots}
    latest["01_07"]["shot_prompt"] = "He left."
    del latest["01_02"], latest["01_200"]
    results = latest_results(latest, Story("Tale", shots))
    missing = {"01_02", "01_07", "01_200"}
    assert results == [{} if s.label in missing else latest[s.label] for s in shots]
    elsewhere = {"02_01": {"key": "02_01", "shot_prompt": "He waits."}}  # no label of the story
    results = latest_results(latest | elsewhere, Story("Tale", shots))
    assert results[0] == latest["01_01"]
    assert keys_of(results).count("02_01") == 1
    assert keys_of(results).count(None) == 2


# --- of which prompt ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ({"shot_prompt": "a"}, {"a"}),
        ({"shot_prompt": "@a"}, {"a"}),
        ({"shot_prompt": "Tall.\na"}, set()),  # the whole of it was the shot's
        ({"shot_prompt": "a", "prompt": "bc\nde"}, {"a"}),
        ({"shot_prompt": None, "prompt": "a"}, set()),
        ({"prompt": "a"}, {"a"}),
        ({"prompt": "Tall.\na"}, {"a"}),
        ({"prompt": "Tall.\n@a"}, {"a"}),
        ({"prompt": "a\nbc\nde"}, {"bc\nde", "de"}),
        ({"prompt": "\na"}, {"a"}),
        ({"prompt": "Tall. a"}, set()),
        ({"prompt": "a\nTall."}, set()),
        ({"prompt": "b\nfg"}, set()),  # as long as one of them
        ({"prompt": "z"}, set()),
        ({"prompt": ""}, set()),
        ({"prompt": "z", "held_for": "a"}, {"a"}),
        ({"shot_prompt": "de", "held_for": "a"}, {"de", "a"}),
        ({"shot_prompt": "de", "held_for": 5}, {"de"}),
        ({"held_for": "a"}, {"a"}),
        ({"prompt": 5}, set()),
        ({}, set()),
        (None, set()),
        ([], set()),
        ("a", set()),
    ],
)
def test_a_result_fits_the_prompts_that_it_was_made_or_is_held_for(entry, fits):
    assert texts_that_fit({"01_01": entry}, ["a", "de", "bc\nde", "a"]) == {"01_01": fits}


# --- locks ----------------------------------------------------------------------------------------


def test_a_lock_under_no_name_is_nobodys():
    """Shots without an id of their row have none in common."""
    latest = {"01_02": {"key": "k", "shot_prompt": "other"}}
    for locks in ({"": "k"}, {}):
        story = story_of("x", lock=True)
        assert latest_results(latest, story, locks) == [{}]
        assert locks_of(story, [], latest_results(latest, story, locks), locks).get("01_01") is None


def test_what_a_run_has_not_made_yet_is_locked_with_what_is_known_of_it():
    story = story_of("x", "y", lock=True)
    plans = [ShotPlan(shot, "Tale", shot.prompt) for shot in story.shots]
    listed = [
        Step(plans[0], "one", record=Record("new", Path("new"), 9, {})),
        Step(plans[1], "two"),
    ]
    results = [{"key": "old"}, {"key": "known"}]
    assert locks_of(story, listed, results, {}) == {"01_01": "new", "01_02": "known"}
    assert locks_of(story, [], [{}, {"key": ""}], {"01_01": "k", "02_01": "stays"}) == {
        "02_01": "stays"
    }


# --- what moves -----------------------------------------------------------------------------------


def test_what_a_run_does_not_come_to_moves_with_all_that_tells_of_it():
    story = story_of("x", "y")
    whole = {"key": "k", "own": "o", "prompt": "Tall.\ny", "shot_prompt": "y", "held_for": "y"}
    latest = {"01_01": {**whole, "seconds": 5}, "01_02": {"key": "j", "shot_prompt": "x"}}
    moved = moved_results(latest, story, [])
    assert moved == {"01_01": {"key": "j", "shot_prompt": "x"}, "01_02": whole}
    stays = {"01_01": latest["01_02"], "01_02": latest["01_01"]}
    assert moved_results(stays, story, []) == {}
