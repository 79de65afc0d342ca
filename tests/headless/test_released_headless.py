"""The headless runner gives what the released ``generate()`` gives, to 1e-5.

The recorded runs: tests/helpers/released_run.py, made by tests/tools/make_released_run.py.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from helpers import released_run, tiny_diffusers
from helpers.m2v_helpers import rel_l2
from storymem.headless import engine
from storymem.headless.models import Placement, WanVae
from storymem.headless.positions import install_memory_positions
from storymem.headless.sampling import ShotInputs, denoise, lay_out_condition, make_scheduler
from storymem.memory.frame import MemoryFrame
from storymem.sampling.conditioning import LatentCache, ShotEncoder
from storymem.sampling.recipe import Recipe

CASES = [case for case in released_run.CASES if not case.overwritten]  # a bug that is not built
FEW = [case for case in CASES if case.steps <= 8]
MANY = [case for case in CASES if case.steps > 8]
OWN_SHIFT = 12.0  # of the T2V pair, where the recipe's shift is 4


class Released:
    """The recorded runs' models as diffusers has them."""

    def __init__(self, folder):
        paths = released_run.write_models(folder)
        self.vae = WanVae(
            tiny_diffusers.twin_of_host_vae(paths.pop("vae")),
            Placement(torch.device("cpu"), torch.float32, "none"),
        )
        self.models = {name: tiny_diffusers.twin_of_host_dit(path) for name, path in paths.items()}

    def sample(self, case, condition, **changes) -> torch.Tensor:
        recipe = recipe_of(case, **changes)
        experts = [self.models[f"{case.kind}_{noise}"] for noise in ("high", "low")]
        if case.kind == "i2v":
            for expert in experts:
                install_memory_positions(expert, rope_shift=recipe.rope_shift)
        inputs = ShotInputs(
            noise=released_run.noise(case),
            positive=released_run.text("positive"),
            negative=released_run.text("negative"),
            condition=condition,
            memory_frames=case.memory,
        )
        return denoise(experts, inputs, recipe)

    def condition(self, case) -> torch.Tensor | None:
        """Memory and given pictures, through the VAE."""
        if case.kind == "t2v":
            return None
        given = released_run.given_pictures(case.mode)
        shot = ShotEncoder(self.vae.encode, LatentCache(), self.vae.module).condition(
            list(map(MemoryFrame, released_run.memory_pictures(case.memory))),
            None if given is None else given.float() / 255,
            width=released_run.WIDTH,
            height=released_run.HEIGHT,
            length=released_run.LENGTH,
        )
        return lay_out_condition(shot, self.vae.normalise)


def recipe_of(case, **changes) -> Recipe:
    """The runner's recipe; a T2V case at its own shift comes from the defaults."""
    is_own = case.kind == "t2v" and case.shift == OWN_SHIFT
    settings = {
        "steps": case.steps,
        "cfg": case.cfg,
        "cfg_low": case.cfg_low,
        "rope_shift": case.rope_shift,
        **({} if is_own else {"shift": case.shift}),
    }
    recipe = Recipe(**settings | changes)
    return recipe.for_text() if case.kind == "t2v" else recipe


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return Released(tmp_path_factory.mktemp("released"))


@pytest.mark.slow
@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_runner_gives_what_the_release_gives(released, case, record_property):
    found = released.sample(case, released.condition(case))
    apart = rel_l2(found, released_run.latents(case))
    record_property("rel_l2", apart)
    assert apart < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case", MANY, ids=str)
def test_the_runner_gives_what_the_release_gives_in_many_steps(released, case, record_property):
    found = released.sample(case, released.condition(case))
    apart = rel_l2(found, released_run.latents(case))
    record_property("rel_l2", apart)
    assert apart < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_timesteps_and_experts_are_the_released_ones(case):
    recipe = recipe_of(case)
    timesteps = make_scheduler(recipe).timesteps
    assert timesteps.dtype == torch.int64
    assert timesteps.tolist() == released_run.timesteps(case)
    experts = ["l" if t < recipe.boundary * 1000 else "h" for t in timesteps.tolist()]
    assert "".join(experts) == released_run.expert_of_each_step(case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"sampler": "uni_pc", "scheduler": "simple"},
        {"sampler": "euler", "scheduler": "simple"},
        {"shift": 4.05},
        {"boundary": 0.85},
        {"cfg": 3.45},
        {"rope_shift": 4},
    ],
    ids=str,
)
def test_every_other_recipe_differs(released, change):
    case = next(case for case in CASES if str(case) == "m2v-8-4")
    found = released.sample(case, released_run.condition(case), **change)
    assert rel_l2(found, released_run.latents(case)) > 1e-4


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, (12.0, 0.875)),
        ({"shift": 5.0}, (5.0, 0.875)),
        ({"boundary": 0.8}, (12.0, 0.8)),
        ({"shift": 3.0, "boundary": 0.95}, (3.0, 0.95)),
    ],
    ids=str,
)
def test_a_shot_from_text_has_the_t2v_pairs_own_shift_and_boundary(
    monkeypatch, caplog, given, used
):
    """An artist's other value holds for both pairs."""
    asked: list[Recipe] = []
    monkeypatch.setattr(
        engine, "denoise", lambda experts, inputs, recipe, **_: asked.append(recipe)
    )
    recipe = Recipe(**given)

    class Quiet(engine.Engine):
        def _load(self, kind):
            self._pipeline = type("Pipeline", (), {"maybe_free_model_hooks": lambda _: None})()
            return ()

    files = engine.ModelFiles("i2v", "t2v")
    monkeypatch.setattr(engine.ModelFiles, "t2v_boundary", lambda _: 0.875)
    one = Quiet(files, Placement(torch.device("cpu"), torch.float32, "none"), recipe)
    with caplog.at_level("INFO"):
        one.sample("t2v", None)
        one.sample("i2v", None)
    assert (asked[0].shift, asked[0].boundary) == used
    assert asked[1] == recipe
    assert f"by the T2V pair with shift {used[0]:g} and boundary {used[1]:g}" in caplog.text
