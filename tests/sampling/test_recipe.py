"""The released recipe stands in one place: nodes, headless runner and training agree on it."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from storymem.cli import run_options
from storymem.sampling.recipe import I2V_BOUNDARY, T2V_BOUNDARY, Recipe, odd_pair
from storymem.training.objective import NoiseLevels

NODE_NAMES = {"sampler": "sampler_name"}  # of M2V Sampler's inputs, where they are called otherwise


def test_the_released_recipe():
    recipe = Recipe()
    assert (recipe.steps, recipe.cfg, recipe.shift) == (40, 3.5, 4.0)
    assert (recipe.sampler, recipe.scheduler) == ("storymem_unipc", "storymem")
    assert (I2V_BOUNDARY, T2V_BOUNDARY, recipe.boundary, recipe.rope_shift) == (0.9, 0.875, 0.9, 5)


def test_the_nodes_inputs_begin_with_it(golden):
    inputs = {one["name"]: one for one in golden("schemas.json")["StoryMemM2VSampler"]["inputs"]}
    shown = {name: inputs[NODE_NAMES.get(name, name)]["default"] for name in asdict(Recipe())}
    assert shown == asdict(Recipe())


def test_the_headless_options_begin_with_it():
    parser = argparse.ArgumentParser()
    run_options.add_options(parser)
    options = parser.parse_args(["script.json", "--out", "o"])
    run_options.settle(options)
    for name, value in asdict(replace(Recipe())).items():
        if name not in ("scheduler", "denoise"):  # one choice only
            assert getattr(options, name) == value


def test_training_begins_with_it():
    levels, recipe = NoiseLevels(), Recipe()
    assert (levels.boundary, levels.shift) == (recipe.boundary, recipe.shift)


def test_each_expert_has_its_guidance():
    assert [Recipe(cfg=3.0).guidance(high=high) for high in (True, False)] == [3.0, 3.0]
    for low in (0.5, 1, 1.5):  # 1 is a guidance of its own, which costs half
        assert [Recipe(cfg=3, cfg_low=low).guidance(high=h) for h in (True, False)] == [3, low]


LIMITS = {  # what each setting may be at the most and the least, and what is just beyond
    "steps": ([1, 2], [0, -1]),
    "shift": ([0, 0.5, 1e9], [-0.1, math.inf, math.nan]),
    "boundary": ([0, 0.5, 1], [-0.1, 1.1, math.nan]),
    "cfg": ([0, 0.5, 1e9], [-0.1, math.inf, math.nan]),
    "cfg_low": ([0, 0.5, 1e9], [-0.1, math.inf, math.nan]),
    "cfg_cut": ([0, 0.5, 1e9], [-0.1, math.inf, math.nan]),
    "rope_shift": ([0, 1, 100], [-1, 0.5]),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_recipe_that_no_sampler_can_work_with_is_refused(name):
    allowed, wrong = LIMITS[name]
    for value in allowed:
        assert getattr(Recipe(**{name: value}), name) == value
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name} must be .*{value}"):
            Recipe(**{name: value})


def test_a_recipe_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        Recipe().steps = 4
    assert len({Recipe(), Recipe(), Recipe(steps=4)}) == 2


@pytest.mark.parametrize(
    ("set_by_artist", "shift", "boundary"),
    [
        ({}, 12.0, 0.875),
        ({"shift": 4.0, "boundary": 0.9}, 12.0, 0.875),
        ({"shift": 5.0}, 5.0, 0.875),
        ({"shift": 0.0}, 0.0, 0.875),  # what the models bring
        ({"boundary": 0.8}, 12.0, 0.8),
        ({"shift": 3.0, "boundary": 1.0}, 3.0, 1.0),
    ],
)
def test_a_shot_from_text_has_the_t2v_experts_own_settings_unless_changed(
    set_by_artist, shift, boundary
):
    recipe = Recipe(steps=8, cfg=2.0, cfg_low=1.0, denoise=0.5, **set_by_artist)
    expected = replace(recipe, shift=shift, boundary=boundary)
    assert recipe.for_text() == expected
    own = 0.7 if boundary == 0.875 else boundary  # as the files of other T2V experts say
    assert recipe.for_text(0.7) == replace(expected, boundary=own)


@pytest.mark.parametrize(
    ("shift", "words"), [(12.0, "shift 12"), (0.0, "the models' own shift"), (4.5, "shift 4.5")]
)
def test_a_shot_from_text_is_told_with_what_it_is_sampled(shift, words):
    told = Recipe(shift=shift, boundary=0.875).describe_text_shot()
    assert told == (f"this shot is made from text by the T2V pair with {words} and boundary 0.875")


@pytest.mark.parametrize(
    ("sampler", "scheduler", "words"),
    [
        ("storymem_unipc", "storymem", None),
        ("euler", "simple", None),
        ("storymem_unipc", "simple", "scheduler simple is not its schedule, .* to storymem$"),
        ("euler", "storymem", "sampler_name euler is not its sampler, .* or scheduler to simple$"),
    ],
)
def test_half_of_the_released_pair_is_told(sampler, scheduler, words):
    told = odd_pair(sampler, scheduler)
    if words is None:
        assert told is None
    else:
        assert re.search(words, told)


def test_a_cut_may_have_a_cfg_of_its_own():
    recipe = Recipe(cfg=3.5, cfg_low=2.0, cfg_cut=5.0)
    assert recipe.for_beginning(is_cut=False) is recipe
    cut = recipe.for_beginning(is_cut=True)
    assert (cut.guidance(high=True), cut.guidance(high=False)) == (5.0, 5.0)
    plain = Recipe(cfg=1.0)
    assert plain.for_beginning(is_cut=True) is plain
    with pytest.raises(ValueError, match="cfg_cut must be 0 or more"):
        Recipe(cfg_cut=-1)
