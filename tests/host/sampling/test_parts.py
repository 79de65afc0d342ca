"""What the nodes for SamplerCustomAdvanced refuse, which would run and give a wrong shot."""

from __future__ import annotations

import pytest

from helpers.m2v_helpers import M2V


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture
def guide(m2v):
    """M2V Guider on a shot with two memory frames, with these experts patched."""

    def execute(*, high: bool, low: bool | None, count: int = 2):
        positive, negative, *_, frames = m2v.condition(bank=m2v.bank(count))
        assert (frames > 0) == (count > 0)
        experts = {"model_high": m2v.high if not high else m2v.patch(m2v.high, frames)}
        if low is not None:
            experts["model_low"] = m2v.low if not low else m2v.patch(m2v.low, frames)
        node = m2v.node("sampling.parts", "M2VGuider")
        return node.execute(positive=positive, negative=negative, cfg=1.0, **experts).result[0]

    return execute


@pytest.mark.parametrize(
    ("high", "low", "name"),
    [(False, True, "model_high"), (True, False, "model_low"), (False, None, "model_high")],
)
def test_an_expert_that_takes_memory_for_the_shot_is_refused(guide, high, low, name):
    with pytest.raises(ValueError, match=f"{name} has no M2V Model Patch, but .* 2 memory frames"):
        guide(high=high, low=low)


def test_patched_experts_pass_and_so_do_all_without_memory(guide):
    assert guide(high=True, low=True).low is not None
    assert guide(high=True, low=None) is not None
    assert guide(high=False, low=False, count=0).low is not None


@pytest.mark.parametrize("name", ["model_high", "model_low"])
def test_a_model_that_cannot_be_is_named(m2v, name):
    positive, negative, *_, frames = m2v.condition(bank=m2v.bank(1))
    experts = {f"model_{n}": m2v.patch(getattr(m2v, n), frames) for n in ("high", "low")}
    experts[name].model_options["context_handler"] = object()
    node = m2v.node("sampling.parts", "M2VGuider")
    with pytest.raises(ValueError, match=f"^{name} has context windows"):
        node.execute(positive=positive, negative=negative, cfg=1.0, **experts)


def test_experts_of_two_models_are_named(m2v):
    positive, negative, *_ = m2v.condition()
    node = m2v.node("sampling.parts", "M2VGuider")
    with pytest.raises(ValueError, match="model_high and model_low must be the two experts"):
        node.execute(
            positive=positive, negative=negative, cfg=1.0, model_high=m2v.high,
            model_low=m2v.t2v_low,
        )  # fmt: skip


@pytest.mark.parametrize("counts", [(3,), (None, 3), (3, None), (1, 3), (3, 0)])
def test_memory_in_any_part_of_a_prompt_needs_the_patch(m2v, counts):
    """Several prompts in one conditioning, of which others' nodes may have made some."""
    require = m2v.node("sampling.model_patch", "require_memory_positions")
    prompt = [[None, {} if n is None else {"storymem_memory_frames": n}] for n in counts]
    with pytest.raises(ValueError, match=r"model_low has no M2V Model Patch, .* with 3 memory"):
        require(m2v.low, "model_low", prompt)
    require(m2v.patch(m2v.low, 3), "model_low", prompt)


@pytest.mark.parametrize("prompt", [[], [[None, {}]], [[None, {"storymem_memory_frames": 0}]]])
def test_without_memory_no_patch_is_asked_for(m2v, prompt):
    require = m2v.node("sampling.model_patch", "require_memory_positions")
    assert require(m2v.low, "model_low", prompt) is None
