"""The recorded runs of the released code: its loop written anew and our conditioning equal them.

So what the golden case is made of is all there, and anything that is to equal the release can be
held against it. How much rounding allows: float64 here against its float32 is 5e-7 to 1.2e-6.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers import released_run as run
from helpers import tiny_diffusers, unipc_reference
from helpers.m2v_helpers import rel_l2
from helpers.unipc_reference import released_loop, released_schedule
from helpers.wan_reference import WanReference
from storymem.headless.models import Placement, WanVae
from storymem.headless.sampling import lay_out_condition
from storymem.memory.frame import MemoryFrame
from storymem.sampling.conditioning import LatentCache, ShotEncoder

pytestmark = pytest.mark.slow

BOUND = 1e-5
QUICK = 8  # steps; more take some tenths of a second each


@pytest.fixture(scope="module")
def references():
    """The experts in float64, by kind and noise level."""
    return {
        f"{kind} {level}": WanReference(state)
        for kind in run.EXPERTS
        for level, state in zip(("high", "low"), run.experts(kind), strict=True)
    }


def written_anew(references, case, *, noise=None, condition=None, positions=None, boundary=None):
    """Shot's latents, timesteps and experts of a case; what is given replaces the case's own."""
    condition = run.condition(case) if condition is None else condition
    positions = run.positions(case) if positions is None else positions

    def predict(x, t, name):
        expert, text = name.split()
        x = x if condition is None else torch.cat([x, condition.double()], dim=1)
        return references[f"{case.kind} {expert}"](x, float(t), run.text(text), positions)

    latents, timesteps, experts = released_loop(
        predict,
        run.noise(case) if noise is None else noise,
        steps=case.steps,
        shift=case.shift,
        boundary=boundary or case.boundary,
        cfg=case.cfg,
        cfg_low=case.cfg_low,
    )
    return latents[:, :, case.memory :], timesteps, experts


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=[pytest.mark.slow] if case.steps > QUICK else [])
        for case in run.CASES
    ],
)
def test_the_loop_written_anew_is_the_recorded_run(references, case, record_property):
    latents, timesteps, experts = written_anew(references, case)
    assert timesteps == run.timesteps(case)
    assert experts == run.expert_of_each_step(case)
    record_property("rel_l2", rel_l2(run.latents(case), latents))
    assert rel_l2(run.latents(case), latents) < BOUND


def test_timesteps_and_experts_of_every_case_are_the_recorded_ones():
    for case in run.CASES:
        timesteps, _ = released_schedule(case.steps, case.shift)
        assert timesteps == run.timesteps(case)
        experts = "".join("h" if t >= 1000 * case.boundary else "l" for t in timesteps)
        assert experts == run.expert_of_each_step(case)


def wrong_schedule(change):
    def schedule(steps, shift):
        return change(*released_schedule(steps, shift))

    return schedule


SCHEDULES = {
    "timesteps that are not whole": lambda t, s: ([1000 * value for value in s[:-1]], s),
    "rounded timesteps": lambda t, s: ([round(1000 * value) for value in s[:-1]], s),
    "sigmas of the whole timesteps": lambda t, s: (t, [value / 1000 for value in t] + [0.0]),
    "1 as the first sigma": lambda t, s: (t, [0.999999, *s[1:]]),
}


@pytest.mark.parametrize("change", SCHEDULES.values(), ids=SCHEDULES)
def test_another_schedule_is_seen(references, change, monkeypatch):
    case = run.Case("m2v", 8, 3.0)
    monkeypatch.setattr(unipc_reference, "released_schedule", wrong_schedule(change))
    assert rel_l2(run.latents(case), written_anew(references, case)[0]) > 10 * BOUND


def test_other_inputs_are_seen(references):
    case = run.Case("m2v", 8, 3.0)
    assert run.timesteps(case)[2] == 899  # a tie for whoever rounds: the sigma is .8996
    unknown_memory = run.condition(case)
    unknown_memory[:, :4] = 0
    first_sigma = released_schedule(case.steps, case.shift)[1][0]
    wrong = {
        "one step more by the high-noise expert": {"boundary": 0.899},
        "plain positions": {"positions": run.positions(replace(case, rope_shift=1))},
        "noise times the first sigma": {"noise": run.noise(case) * first_sigma},
        "memory that is not known": {"condition": unknown_memory},
    }
    for name, inputs in wrong.items():
        latents, _, _ = written_anew(references, case, **inputs)
        assert rel_l2(run.latents(case), latents) > 10 * BOUND, name


def test_the_overwritten_first_frame_is_another_shot():
    case = run.Case("mi2v", 8, 4.0)
    assert rel_l2(run.latents(replace(case, overwritten=True)), run.latents(case)) > 0.01


def test_the_file_names_all_cases_and_nothing_else():
    record = json.loads((run.GOLDEN / "released_run.json").read_text(encoding="utf-8"))
    assert list(record["cases"]) == [str(case) for case in run.CASES]
    assert "e027735" in record["about"]


@pytest.mark.parametrize(
    "case",
    [
        run.Case("m2v", 8, 4.0),
        run.Case("m2v", 8, 4.0, memory=1),
        run.Case("mi2v", 8, 4.0),
        run.Case("mm2v", 8, 4.0),
    ],
    ids=str,
)
def test_shots_are_conditioned_as_in_the_release(case, tmp_path):
    """From pictures of other sizes through diffusers' VAE: what the release handed to its model."""
    pytest.importorskip("diffusers")
    vae = WanVae(
        tiny_diffusers.twin_of_host_vae(run.write_vae(tmp_path)),
        Placement(torch.device("cpu"), torch.float32),
    )
    given = run.given_pictures(case.mode)
    conditioning = ShotEncoder(vae.encode, LatentCache(), None).condition(
        [MemoryFrame(picture) for picture in run.memory_pictures(case.memory)],
        None if given is None else given / 255,
        width=run.WIDTH,
        height=run.HEIGHT,
        length=run.LENGTH,
    )
    condition = lay_out_condition(conditioning, vae.normalise)
    assert rel_l2(condition, run.condition(case)) < BOUND / 10
