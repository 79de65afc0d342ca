"""The released recipe stands in one place: nodes, headless runner and training agree on it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

import pytest

from storymem.cli import run_options
from storymem.sampling.recipe import I2V_BOUNDARY, T2V_BOUNDARY, Recipe
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
    assert [Recipe(cfg=3, cfg_low=1.5).guidance(high=high) for high in (True, False)] == [3, 1.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"shift": -1}, {"shift": float("nan")}, {"boundary": 2}, {"cfg": -1},
        {"cfg": float("inf")}, {"rope_shift": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_recipe_that_no_sampler_can_work_with_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)
