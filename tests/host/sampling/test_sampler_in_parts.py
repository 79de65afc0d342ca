"""StoryMem Sampler, StoryMem Sigmas and M2V Guider: what each makes of its inputs."""

from __future__ import annotations

import pytest
import torch

from helpers.bare_wan import I2V, T2V, bare_wan, prompt
from storymem.sampling.unipc import released_sigmas


@pytest.fixture(scope="module")
def parts(host):
    return host.pack("nodes.sampling.parts")


@pytest.fixture(scope="module")
def models(host):
    return {channels: bare_wan(channels) for channels in (I2V, T2V)}


def test_the_sampler_is_the_released_one(host, parts):
    (sampler,) = parts.StoryMemSampler.execute().result
    assert sampler.sampler_function is host.pack("nodes.sampling.unipc_sampler").sample_unipc


@pytest.mark.parametrize(
    ("channels", "shift", "effective"),
    [
        (I2V, 4.0, 4.0), (I2V, 5.0, 5.0), (I2V, 0.0, 8.0),
        (T2V, 4.0, 12.0), (T2V, 5.0, 5.0), (T2V, 0.0, 8.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("steps", "denoise"), [(1, 1.0), (8, 1.0), (4, 0.5)])
def test_sigmas_are_the_releases_with_the_models_own_shift_at_0(
    parts, models, channels, shift, effective, steps, denoise
):
    (sigmas,) = parts.StoryMemSigmas.execute(models[channels], steps, shift, denoise).result
    assert torch.equal(sigmas, released_sigmas(steps, effective, denoise))


@pytest.mark.parametrize(
    ("settings", "words"),
    [((0, 4.0, 1.0), "steps"), ((4, -1.0, 1.0), "shift"), ((4, 4.0, 0.0), "denoise")],
)
def test_numbers_that_make_no_schedule_are_refused(parts, models, settings, words):
    with pytest.raises(ValueError, match=f"^{words} must be"):
        parts.StoryMemSigmas.execute(models[I2V], *settings)


def test_sigmas_and_guider_take_no_other_model(parts, models):
    other = bare_wan(48)
    text = {"positive": prompt(), "negative": prompt(), "cfg": 1.0}
    with pytest.raises(ValueError, match=r"^model must be a Wan 2.2 I2V or T2V A14B model"):
        parts.StoryMemSigmas.execute(other, 4, 4.0, 1.0)
    with pytest.raises(ValueError, match=r"^model_high must be a Wan 2.2 I2V or T2V A14B model"):
        parts.M2VGuider.execute(other, **text)
    with pytest.raises(ValueError, match=r"^model_low must be a Wan 2.2 I2V or T2V A14B model"):
        parts.M2VGuider.execute(models[I2V], **text, model_low=other)
    with pytest.raises(ValueError, match=r"^model_high and model_low must be the two experts"):
        parts.M2VGuider.execute(models[I2V], **text, model_low=models[T2V])


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_a_prompt_of_another_text_encoder_is_told_by_its_name(parts, models, name):
    text = {"positive": prompt(), "negative": prompt()} | {name: prompt(768)}
    with pytest.raises(ValueError, match=f"^{name} was encoded by .* 768 numbers"):
        parts.M2VGuider.execute(models[I2V], **text, cfg=1.0)


@pytest.mark.parametrize(("channels", "boundary"), [(I2V, 0.9), (T2V, 0.875)])
def test_the_guider_has_both_experts_their_prompts_scales_and_boundary(
    parts, models, channels, boundary
):
    import comfy.samplers

    high, low = models[channels], bare_wan(channels)
    text = {"positive": prompt(), "negative": prompt()}
    (two,) = parts.M2VGuider.execute(high, **text, cfg=3.0, model_low=low).result
    assert (two.model_patcher, two.low.model_patcher) == (high, low)
    assert (two.cfg, two.low.cfg, two.boundary) == (3.0, 3.0, boundary)
    own = {"cfg_low": 1.5, "boundary": 0.8}
    (set_,) = parts.M2VGuider.execute(high, **text, cfg=3.0, model_low=low, **own).result
    assert (set_.cfg, set_.low.cfg, set_.boundary) == (3.0, 1.5, 0.8)
    (one,) = parts.M2VGuider.execute(high, **text, cfg=2.0).result
    assert type(one) is comfy.samplers.CFGGuider
    assert (one.model_patcher, one.cfg) == (high, 2.0)
    for guider in (one, two, two.low):
        for name, given in text.items():
            assert guider.original_conds[name][0]["cross_attn"] is given[0][0]
