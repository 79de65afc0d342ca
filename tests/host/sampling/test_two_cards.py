"""Both experts on two cards at once (MultiGPU CFG Split): the latents of one card."""

from __future__ import annotations

import pytest
import torch

from helpers.m2v_helpers import M2V, rel_l2
from helpers.two_cards import SECOND, Evaluations, split

CPU = torch.device("cpu")
COND, UNCOND = (0,), (1,)


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture
def apart(monkeypatch):
    """One card evaluates the two prompts apart, as two cards do: so sums are the same to the bit."""
    import comfy.samplers

    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)


def pair(m2v, monkeypatch, experts=("high", "low")):
    models = {"model_high": m2v.high, "model_low": m2v.low}
    return models | {
        f"model_{one}": split(monkeypatch, models[f"model_{one}"]) for one in experts
    }


@pytest.mark.parametrize("experts", [("high", "low"), ("high",), ("low",)])
@pytest.mark.parametrize("refresh", ["exact", "cached"])
def test_a_shot_is_the_same_on_two_cards(m2v, monkeypatch, apart, experts, refresh):
    changes = {"bank": m2v.bank(3), "steps": 8, "memory_refresh": refresh}
    if refresh == "cached":
        changes["refresh_steps"] = "0 2"
    one = m2v.sample(**changes)
    models = pair(m2v, monkeypatch, experts)
    ran = Evaluations(monkeypatch)
    two = m2v.sample(**changes, **models)
    assert torch.equal(one, two)
    print(ran.cards)
