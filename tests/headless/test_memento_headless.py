"""The headless runner gives what Memento's released ``generate()`` gives, to 1e-4.

The recorded runs: tests/helpers/memento_run.py, made by tests/tools/make_memento_run.py. Nearer is
impossible: the release's first step overwrites memory's noise (tests/sampling/test_memento_run.py).
The equations themselves are held to 1e-5 in test_identity_frame.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from helpers import memento_run, released_run, tiny_diffusers
from helpers.m2v_helpers import rel_l2
from storymem.headless.positions import install_memory_positions
from storymem.headless.sampling import ShotInputs, denoise
from storymem.sampling.memory_layout import memento_layout
from storymem.sampling.recipe import Recipe

# The release on one card splits attention without an identity frame, too; on several it does not.
CASES = [case for case in memento_run.CASES if case.has_identity or not case.is_split]
BOUND = 1e-4


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    paths = released_run.write_models(tmp_path_factory.mktemp("memento"))
    found = [tiny_diffusers.twin_of_host_dit(paths[f"i2v_{noise}"]) for noise in ("high", "low")]
    for expert in found:
        install_memory_positions(expert)
    return found


def inputs_of(case) -> ShotInputs:
    moments = {
        level: [case.moments(level)[i] for i in case.order(level)] for level in ("high", "low")
    }
    layouts = tuple(
        memento_layout(moments[level], case.begin, has_identity=case.has_identity)
        for level in ("high", "low")
    )
    has_own = bool(case.pool_high)
    return ShotInputs(
        noise=memento_run.noise(case),
        positive=memento_run.text("positive"),
        negative=memento_run.text("negative"),
        condition=memento_run.condition(case, "high"),
        memory_frames=case.before,
        layouts=layouts,
        condition_low=memento_run.condition(case, "low") if has_own else None,
        identity=memento_run.text("identity") if case.has_identity else None,
        identity_negative=memento_run.text("empty") if case.has_identity else None,
    )


def recipe_of(case) -> Recipe:
    return Recipe(steps=case.steps, cfg=case.cfg, shift=memento_run.SHIFT)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_runner_gives_what_the_release_gives(experts, case, record_property):
    portraits: list[torch.Tensor] = []
    shot = denoise(experts, inputs_of(case), recipe_of(case), on_identity=portraits.append)
    apart = rel_l2(shot, memento_run.latents(case))
    record_property("rel_l2", apart)
    assert apart < BOUND
    assert len(portraits) == case.has_identity
    for portrait in portraits:
        assert rel_l2(portrait, memento_run.identity_latents(case)) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["one pool", "begin", "storymem", "other text"])
def test_a_run_that_is_a_little_off_is_seen(experts, wrong):
    case = next(case for case in CASES if case.pool_high)
    right = inputs_of(case)
    later = tuple(
        replace(one, positions=tuple(at - 1 for at in one.positions)) for one in right.layouts
    )
    inputs = {
        "one pool": replace(right, condition_low=None),
        "begin": replace(right, layouts=later),
        "storymem": replace(
            right, layouts=tuple(replace(one, method="storymem") for one in right.layouts)
        ),
        "other text": replace(right, identity=right.positive),
    }[wrong]
    portraits: list[torch.Tensor] = []
    shot = denoise(experts, inputs, recipe_of(case), on_identity=portraits.append)
    apart = rel_l2(shot, memento_run.latents(case))
    apart = max(apart, rel_l2(portraits[0], memento_run.identity_latents(case)))
    assert apart > 10 * BOUND
