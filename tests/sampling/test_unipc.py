"""The released sampler and schedule: the released code's recorded steps, and plain equations."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.sampling.experts import is_high_noise, split_sigmas
from storymem.sampling.unipc import (
    ROUNDING,
    UniPC,
    asked_sigmas,
    released_sigmas,
    whole_timesteps,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "unipc.json"  # of the released code
CASES = json.loads(GOLDEN.read_text())["cases"]
IDS = [f"{case['steps']} steps, shift {case['shift']:g}" for case in CASES]


def field(x, t):
    """The golden cases' velocity at a whole timestep."""
    return torch.sin(3 * x + t / 137) + x / 4


def released_levels(steps, shift):
    """The schedule, in float64, straight from its definition."""
    levels = np.linspace(float(np.float32(0.999)), 0, steps + 1)[:-1]
    return shift * levels / (1 + (shift - 1) * levels)


def solve_plainly(velocity, x, sigmas, asked):
    """UniPC-2 with B2(h) in float64, by the paper's linear systems instead of closed forms."""
    snr = [math.inf if s == 0 else math.log(1 - s) - math.log(s) for s in sigmas]
    steps, outputs, previous, order = len(sigmas) - 1, [], None, 0

    def phis(h):
        first = math.expm1(-h) / -h
        second = (first - 1) / -h
        return first, second, (second - 0.5) / -h

    for i in range(steps):
        x0 = x - sigmas[i] * velocity(x, asked[i])
        if previous is not None:  # UniC
            h = snr[i] - snr[i - 1]
            _, p2, p3 = phis(h)
            scale = math.expm1(-h)
            base = sigmas[i] / sigmas[i - 1] * previous - (1 - sigmas[i]) * scale * outputs[-1]
            if order == 1:
                rhos, slopes = [0.5], [x0 - outputs[-1]]
            else:
                ratio = (snr[i - 2] - snr[i - 1]) / h
                system = np.array([[1.0, 1.0], [ratio, 1.0]])
                wanted = np.array([p2 * -h / scale, 2 * p3 * -h / scale])
                rhos = np.linalg.solve(system, wanted)
                slopes = [(outputs[-2] - outputs[-1]) / ratio, x0 - outputs[-1]]
            change = sum(rho * slope for rho, slope in zip(rhos, slopes, strict=True))
            x = base - (1 - sigmas[i]) * scale * change
        outputs.append(x0)
        order = min(2, steps - i, i + 1)
        h, scale = snr[i + 1] - snr[i], math.expm1(-(snr[i + 1] - snr[i]))
        previous = x
        x = sigmas[i + 1] / sigmas[i] * x - (1 - sigmas[i + 1]) * scale * x0
        if order == 2:
            ratio = (snr[i - 1] - snr[i]) / h
            x = x - (1 - sigmas[i + 1]) * scale * 0.5 * (outputs[-2] - x0) / ratio
    return x


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_step_is_the_released_one(case):
    sigmas = released_sigmas(case["steps"], case["shift"])
    assert sigmas.dtype == torch.float32
    assert torch.allclose(sigmas, torch.tensor(case["sigmas"]), rtol=0, atol=2e-7)
    assert whole_timesteps(sigmas)[:-1].tolist() == case["timesteps"]
    solver, x = UniPC(sigmas), torch.tensor(case["x0"])
    for i, wanted in enumerate(torch.tensor(case["after_each_step"])):
        x = solver.step(x - sigmas[i] * field(x, case["timesteps"][i]), x)
        assert torch.allclose(x, wanted, rtol=1e-6, atol=1e-6), i
    assert solver.index == case["steps"]


@pytest.mark.parametrize(
    ("steps", "shift"),
    [
        (98, 3.0),
        (109, 2.5),
        (116, 11.0),
        (127, 6.0),
        (137, 3.0),
        (153, 4.0),
        (183, 1.5),
        (183, 2.0),
    ],
)
def test_sigmas_right_below_a_whole_timestep_stay_below_it(steps, shift):
    """In float32 the sigma of timestep 733.99998 cannot be told from that of 734."""
    exact = released_levels(steps, shift)
    whole = np.floor(exact * 1000)
    is_near = np.floor((exact.astype(np.float32).astype(np.float64) + 1e-7) * 1000) > whole
    assert is_near.any()
    wanted = np.where(is_near, (whole + 1) / 1000 - 2e-7, exact).astype(np.float32)
    sigmas = released_sigmas(steps, shift)
    assert sigmas[:-1].tolist() == wanted.tolist()
    assert whole_timesteps(sigmas)[:-1].tolist() == whole.tolist()


def test_a_whole_timestep_is_read_from_every_float32_around_it():
    """Rounded down, as far as a float32 can tell: by exact fractions."""
    sigmas = []
    for timestep in (1, 3, 250, 513, 700, 875, 900, 999, 1000):
        sigma = np.float32(timestep / 1000)
        for _ in range(9):
            sigma = np.nextafter(sigma, np.float32(0))
        for _ in range(18):
            sigma = np.nextafter(sigma, np.float32(2))
            sigmas.append(float(sigma))
    wanted = [math.floor((Fraction(sigma) + Fraction(1e-7)) * 1000) for sigma in sigmas]
    assert whole_timesteps(torch.tensor(sigmas)).tolist() == wanted
    assert {900, 899, 1000, 999} <= set(wanted)


@pytest.mark.parametrize("sigmas", [[0.9, 0.6, 0.3, 0.1], [0.9, 0.2], [0.8, 0.7, 0.6, 0.5, 0.4]])
def test_the_last_step_is_of_order_1_wherever_it_ends(sigmas):
    asked = [int(sigma * 1000) for sigma in sigmas]
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    solver, x = UniPC(sigmas), start
    for sigma, timestep in zip(sigmas[:-1], asked, strict=False):
        x = solver.step(x - sigma * field(x, timestep), x)
    wanted = solve_plainly(field, start, sigmas, asked)
    assert torch.allclose(x, wanted, rtol=1e-12, atol=1e-12)


def test_the_golden_cases_cover_steps_and_shifts():
    assert {case["steps"] for case in CASES} >= {4, 8, 20, 40}
    assert {case["shift"] for case in CASES} >= {3.0, 4.0, 12.0}


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 17, 40])
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 12.0])
def test_the_solver_is_the_plain_equations_in_float64(steps, shift):
    sigmas = [*released_levels(steps, shift), 0.0]
    asked = [int(sigma * 1000) for sigma in sigmas]
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    solver, x = UniPC(sigmas), start
    for i in range(steps):
        x = solver.step(x - sigmas[i] * field(x, asked[i]), x)
    assert torch.allclose(x, solve_plainly(field, start, sigmas, asked), rtol=1e-9, atol=1e-9)


@given(steps=st.integers(1, 120), shift=st.floats(0.2, 20))
@settings(max_examples=60, deadline=None)
def test_sigmas_and_whole_timesteps_are_the_definition(steps, shift):
    exact = released_levels(steps, shift)
    sigmas = released_sigmas(steps, shift)
    assert sigmas[-1] == 0
    assert np.abs(sigmas[:-1].double().numpy() - exact).max() < 3e-7
    assert whole_timesteps(sigmas)[:-1].tolist() == (exact * 1000).astype(np.int64).tolist()


def test_a_sigma_that_rounds_across_a_whole_timestep_keeps_its_own():
    """Where float64 gives 899.9999999999 the released timestep is 899, and 900 for 900.0."""
    met = 0
    for steps in (3, 4, 5, 6, 8, 9, 10, 12, 15, 18, 20, 24, 27, 30, 36, 37, 40, 60, 74, 111):
        for shift in np.arange(1, 13, 0.25):
            exact = released_levels(steps, shift) * 1000
            close = np.abs(exact - np.round(exact)) < 1e-4
            met += int(close[1:].sum())
            whole = whole_timesteps(released_sigmas(steps, float(shift)))[:-1].numpy()
            assert (whole == exact.astype(np.int64)).all(), (steps, shift)
    assert met > 50


def test_part_of_a_schedule_is_its_end():
    whole = released_sigmas(20, 4.0)
    assert torch.equal(released_sigmas(10, 4.0, 0.5), whole[-11:])
    assert torch.equal(released_sigmas(20, 4.0, 1.0), whole)


@pytest.mark.parametrize(
    ("steps", "shift", "denoise", "name"),
    [
        (0, 4.0, 1.0, "steps"),
        (4, 0.0, 1.0, "shift"),
        (4, -1.0, 1.0, "shift"),
        (4, math.inf, 1.0, "shift"),
        (4, 4.0, 0.0, "denoise"),
        (4, 4.0, 1.1, "denoise"),
    ],
)
def test_numbers_that_make_no_schedule_are_refused(steps, shift, denoise, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        released_sigmas(steps, shift, denoise)


def test_asked_sigmas_are_whole_timesteps_and_only_the_end_is_zero():
    sigmas = torch.tensor([1.0, 0.99975, 0.9, 0.89999, 0.0015, 0.0004, 0.0])
    asked = asked_sigmas(sigmas)
    assert [round(float(s) * 1000, 3) for s in asked] == [1000, 999, 900, 899, 1, 0.061, 0]
    every = torch.arange(1, 1001) / 1000
    assert torch.equal(whole_timesteps(every), torch.arange(1, 1001))
    assert torch.equal(asked_sigmas(every), every)


@pytest.mark.parametrize(
    "sigmas",
    [
        torch.linspace(1, 0, 21),  # begins at pure noise, as the host's simple
        torch.tensor([0.9, 0.6, 0.6, 0.3, 0.0]),  # stands still
        torch.tensor([0.9, 0.5, 0.2]),  # a part that ends above 0
        torch.tensor([1.0, 0.0]),
    ],
)
def test_any_falling_schedule_is_solved(sigmas):
    """One point mass at 2: the velocity is exact, and so is every step."""
    noise = torch.linspace(-1, 1, 5)
    x = float(sigmas[0]) * noise + (1 - float(sigmas[0])) * 2.0
    solver = UniPC(sigmas)
    for sigma in sigmas[1:]:
        x = solver.step(torch.full_like(x, 2.0), x)
        wanted = float(sigma) * noise + (1 - float(sigma)) * 2.0
        assert torch.allclose(x, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="steps of this run were made"):
        solver.step(x, x)


# --- which expert ------------------------------------------------------------------------------


def released_high_steps(steps, shift, boundary):
    return int(((released_levels(steps, shift) * 1000).astype(np.int64) >= boundary * 1000).sum())


def simple_sigmas(steps, shift):
    """ComfyUI's simple schedule: every (1000 / steps)-th of a float32 table of 1000."""
    levels = torch.arange(1, 1001) / 1000
    table = shift * levels / (1 + (shift - 1) * levels)
    picks = [float(table[-(1 + int(i * 1000 / steps))]) for i in range(steps)]
    return torch.tensor([*picks, 0.0])


@pytest.mark.parametrize("steps", [4, 8, 20, 40])
@pytest.mark.parametrize("shift", [3, 4, 5, 8, 10, 12])
@pytest.mark.parametrize("boundary", [0.85, 0.875, 0.9, 0.925, 0.95])
def test_each_expert_has_the_released_number_of_steps(steps, shift, boundary):
    wanted = released_high_steps(steps, shift, boundary)
    high, low = split_sigmas(released_sigmas(steps, shift), boundary, whole=True)
    assert (max(len(high) - 1, 0), max(len(low) - 1, 0)) == (wanted, steps - wanted)
    high, _ = split_sigmas(simple_sigmas(steps, shift), boundary)
    assert max(len(high) - 1, 0) == wanted


def test_the_released_recipe_gives_13_and_26_of_40_steps_to_high_noise():
    assert len(split_sigmas(released_sigmas(40, 4.0), 0.9, whole=True)[0]) - 1 == 13
    assert len(split_sigmas(released_sigmas(40, 12.0), 0.875, whole=True)[0]) - 1 == 26


def test_at_the_boundary_the_whole_timestep_is_high_and_a_met_sigma_low():
    nine_tenths = float(torch.tensor(0.9))  # 0.8999999762
    assert is_high_noise(nine_tenths, 0.9, whole=True)
    assert is_high_noise(0.9004, 0.9, whole=True)
    assert not is_high_noise(0.8999, 0.9, whole=True)
    assert not is_high_noise(nine_tenths, 0.9)
    assert not is_high_noise(float(torch.tensor(0.6)), 0.6)  # 0.6000000238
    assert not is_high_noise(0.6 + ROUNDING, 0.6)
    assert is_high_noise(0.9001, 0.9)
    assert not is_high_noise(0.8999, 0.9)


@pytest.mark.parametrize(
    "sigmas",
    [
        [14.6, 5.0, 0.0], [1.00001, 0.5, 0.0], [0.9, 0.0, 0.0], [0.9, 0.0, 0.4], [0.0, 0.0],
        [0.9, -0.1], [0.9, -0.1, 0.0], [-0.1, 0.0], [math.nan, 0.0], [0.9, math.nan],
        [math.inf, 0.5, 0.0], [0.9, 1.5],
    ],
)  # fmt: skip
def test_sigmas_that_are_no_flows_are_refused(sigmas):
    """Nothing of them may become a picture of noise, or a division by zero."""
    with pytest.raises(ValueError, match=r"sigmas of a flow, .* these are .*; use the schedule"):
        UniPC(sigmas)


def test_a_long_schedule_is_told_by_its_first_sigmas():
    with pytest.raises(ValueError, match=r"these are 9, 8, 7, 6, 5, 4, 3, 2, \.\.\.; use"):
        UniPC(range(9, -1, -1))
    with pytest.raises(ValueError, match=r"these are 8, 7, 6, 5, 4, 3, 2, 0; use"):
        UniPC([8, 7, 6, 5, 4, 3, 2, 0])


@pytest.mark.parametrize(
    "sigmas",
    [
        [],
        [1.0],
        [0.0],
        [1.0, 0.0],
        [1 + 1e-6, 0.5, 0.1],
        [0.5, 1 + 1e-6],
        [0.5, 0.5, 0.9, 0.2, 0.0],
    ],
)
def test_every_schedule_of_a_flow_is_taken(sigmas):
    assert UniPC(sigmas).steps == len(sigmas) - 1


@pytest.mark.parametrize("whole", [True, False])
def test_which_expert_works_is_a_plain_yes_or_no(whole):
    assert is_high_noise(0.95, 0.9, whole=whole) is True
    assert is_high_noise(0.85, 0.9, whole=whole) is False


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_an_expert_without_a_step_has_an_empty_schedule(whole, steps):
    """Not one of a single sigma: a sampler would take it for a run of no steps."""
    sigmas = released_sigmas(steps, 4.0)
    high, low = split_sigmas(sigmas, 0.0, whole=whole)
    assert (high.tolist(), low.tolist()) == (sigmas.tolist(), [])
    high, low = split_sigmas(sigmas, 1.0, whole=whole)
    assert (high.tolist(), low.tolist()) == ([], sigmas.tolist())


def test_both_experts_schedules_share_the_sigma_where_they_meet():
    sigmas = torch.tensor([1.0, 0.95, 0.8, 0.4, 0.0])
    for whole in (True, False):
        high, low = split_sigmas(sigmas, 0.9, whole=whole)
        assert torch.equal(high, sigmas[:3])
        assert torch.equal(low, sigmas[2:])
        high, low = split_sigmas(sigmas, 0.3, whole=whole)
        assert torch.equal(high, sigmas)
        assert low.tolist() == []
        high, low = split_sigmas(sigmas, 0.5, whole=whole)
        assert torch.equal(high, sigmas[:4])
        assert torch.equal(low, sigmas[3:])


def test_a_sigma_at_the_boundary_is_high_by_the_released_rule_alone():
    sigmas = torch.tensor([1.0, 0.9, 0.5, 0.0])
    for whole, high in ((True, 2), (False, 1)):
        first, second = split_sigmas(sigmas, 0.9, whole=whole)
        assert torch.equal(first, sigmas[: high + 1])
        assert torch.equal(second, sigmas[high:])
    assert torch.equal(split_sigmas(sigmas, 0.9)[0], sigmas[:2]), "unless the model is asked so"
