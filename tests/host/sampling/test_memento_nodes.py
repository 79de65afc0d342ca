"""Memento through the nodes: its places in time, a memory for each expert, its cfg after a cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.m2v_helpers import M2V, rel_l2

BEGIN = 162  # of the third shot of 81 frames each
MOMENTS = (0, 40, 80, 92)
POOLS = ("", "high", "low", "")


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def bank_of(m2v, moments=MOMENTS, pools=POOLS):
    bank = m2v.bank(len(moments))
    frames = [
        replace(frame, story="tale", shot=moment // 81, frame=moment % 81, moment=moment, pool=pool)
        for frame, moment, pool in zip(bank.frames, moments, pools, strict=True)
    ]
    return replace(bank, frames=tuple(frames))


def third(m2v, **changes):
    return replace(m2v.shot(index=2, **changes), begin=BEGIN)


def with_memory(latent: dict, drawn, positive, model, sigma: float) -> dict:
    """What a sampler left at ``sigma``, with the memory of another conditioning in its place: on
    the way from the noise that was drawn, as a sampler hands its latents on."""
    frames = drawn.shape[2]
    clean = model.process_latent_in(positive[0][1]["concat_latent_image"][:, :, :frames])
    samples = latent["samples"].clone()
    noisy = (1 - sigma) * clean + sigma * drawn
    samples[:, :, :frames] = model.process_latent_out(noisy / (1 - sigma))
    return {**latent, "samples": samples}


def in_parts(m2v, bank, shot, cfg: float = 3.5) -> torch.Tensor:
    """The shot in two stock stages, each with the memory of its own expert."""
    from comfy_extras.nodes_custom_sampler import (
        CFGGuider,
        DisableNoise,
        KSamplerSelect,
        SamplerCustomAdvanced,
        SplitSigmas,
    )

    shift = m2v.node("sampling.sampler", "patch_shift")
    kind = KSamplerSelect.execute("euler").result[0]
    silent = DisableNoise.execute().result[0]
    latent = sigmas = of_high = drawn = None
    for is_low, (name, model) in enumerate((("high", m2v.high), ("low", m2v.low))):
        positive, negative, empty, noise, frames, places = m2v.condition_in_time(
            bank=bank, shot=shot, method="memento", expert=name
        )
        node = m2v.node("sampling.model_patch", "M2VModelPatch")
        patched = node.execute(model, frames, method="memento", memory_positions=places).result[0]
        patched = shift(patched, 5.0)
        if sigmas is None:
            latent, drawn = empty, noise.generate_noise(empty)[:, :, :frames]
            sigmas = m2v.node("sampling.sampler", "schedule")(patched, "simple", 4, 1.0)
        else:
            split = float(sigmas[of_high])
            latent = with_memory(latent, drawn, positive, patched.model, split)
        of_high = int((sigmas >= 0.9).sum())
        part = SplitSigmas.execute(sigmas, of_high).result[is_low]
        guider = CFGGuider.execute(patched, positive, negative, cfg).result[0]
        source = silent if is_low else noise
        with torch.inference_mode():
            latent = SamplerCustomAdvanced.execute(source, guider, kind, part, latent).result[0]
    return latent["samples"][:, :, frames:]


def test_each_expert_samples_with_its_own_memory_as_in_two_stock_stages(m2v):
    bank, shot = bank_of(m2v), third(m2v)
    ours = m2v.sample(bank=bank, shot=shot, method="memento", shift=5.0)
    assert rel_l2(ours, in_parts(m2v, bank, shot)) < 1e-5
    one = bank_of(m2v, pools=("", "high", "high", ""))  # the low expert's memory is another
    assert rel_l2(m2v.sample(bank=one, shot=shot, method="memento", shift=5.0), ours) > 1e-4


def test_places_are_the_moments_of_each_experts_frames(m2v):
    bank, shot = bank_of(m2v), third(m2v)
    found = {
        expert: m2v.condition_in_time(bank=bank, shot=shot, expert=expert)[-1].positions
        for expert in ("high", "low")
    }
    assert found == {"high": (-40, -30, -17), "low": (-40, -20, -17)}


def test_memory_stands_in_order_of_time_whatever_the_banks_order(m2v):
    """References of the script stand with their shot in the bank, and before all in time."""
    bank = bank_of(m2v, pools=("",) * 4)
    late = replace(bank.frames[3], frame=-1, shot=2, moment=None)
    bank = replace(bank, frames=(*bank.frames[:3], late))
    *_, frames, places = m2v.condition_in_time(bank=bank, shot=third(m2v), method="memento")
    assert (frames, places.positions) == (4, (-41, -40, -30, -20))
    first = replace(bank, frames=(late, *bank.frames[:3]))
    alike = [
        m2v.sample(bank=one, shot=third(m2v), method="memento", steps=2) for one in (bank, first)
    ]
    assert torch.equal(*alike)


def test_the_place_of_the_shot_counts(m2v):
    bank = bank_of(m2v, pools=("",) * 4)
    near, far = (
        m2v.sample(bank=bank, shot=replace(third(m2v), begin=begin), method="memento", steps=2)
        for begin in (BEGIN, 10 * BEGIN)
    )
    assert rel_l2(near, far) > 1e-3


def test_storymem_goes_by_numbers_and_memento_by_moments(m2v):
    bank, shot = bank_of(m2v, pools=("",) * 4), third(m2v)
    plain = m2v.sample(bank=bank, shot=shot, steps=2)
    assert torch.equal(m2v.sample(bank=bank, shot=shot, steps=2, method="storymem"), plain)
    assert rel_l2(m2v.sample(bank=bank, shot=shot, steps=2, method="memento"), plain) > 1e-3


@pytest.mark.parametrize(
    ("mode", "expected"), [("m2v", "cut"), ("mi2v", "continued"), ("mm2v", "continued")]
)
def test_a_cut_has_a_cfg_of_its_own(m2v, mode, expected):
    count = {"m2v": 0, "mi2v": 1, "mm2v": 5}[mode]
    how = {
        "bank": m2v.bank(1),
        "shot": m2v.shot(index=1, mode=mode, cut=count == 0),
        "previous_frames": m2v.images(5) if count else None,
        "steps": 2,
        "length": 9,
    }
    found = m2v.sample(**how, cfg=3.5, cfg_cut=5.0)
    cut, continued = (m2v.sample(**how, cfg=cfg) for cfg in (5.0, 3.5))
    assert torch.equal(found, {"cut": cut, "continued": continued}[expected])
    assert not torch.equal(cut, continued)


def test_a_first_shot_of_the_t2v_pair_keeps_its_cfg(m2v):
    text = {"t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low, "steps": 2}
    assert torch.equal(m2v.sample(**text, cfg_cut=5.0), m2v.sample(**text))


def test_memory_without_its_moments_is_refused(m2v):
    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    with pytest.raises(ValueError, match="memory_positions is not connected"):
        node.execute(m2v.high, 2, method="memento")
    places = m2v.condition_in_time(bank=m2v.bank(3))[-1]
    with pytest.raises(ValueError, match="has 3 frames before the shot, but memory_frames is 2"):
        node.execute(m2v.high, 2, memory_positions=places)


def test_a_longer_memory_gives_up_its_oldest_frames(m2v):
    request = m2v.host.pack("storymem.sampling.request")
    frames = bank_of(m2v).frames
    pinned = replace(frames[0], pinned=True)
    high, low = request.of_one_length((pinned, *frames[1:]), frames[2:])
    assert [f.moment for f in high] == [0, 92]
    assert low == frames[2:]
    assert request.of_one_length(frames, None) == (frames, None)
    assert request.of_one_length(frames, ()) == ((), ())
