"""What a draft's settings do to M2V Sampler and M2V Conditioning, on tiny Wan models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from helpers.m2v_helpers import DEFAULTS, M2V, rel_l2


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture
def shot(m2v):
    """A shot of a pass with these settings."""

    def make(name="draft", **settings):
        draft = m2v.host.pack("storymem.sampling.draft").Draft(name, **settings)
        return replace(m2v.shot(), draft=draft)

    return make


@pytest.fixture
def lora(host):
    """A LoRA of the host's folder that changes one layer."""
    folder = host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    paths = []

    def write(name: str, seed: int) -> str:
        generator = torch.Generator().manual_seed(seed)
        width = 256
        state = {
            f"diffusion_model.blocks.0.self_attn.q.lora_{half}.weight": torch.randn(
                *shape, generator=generator
            )
            for half, shape in (("A", (4, width)), ("B", (width, 4)))
        }
        paths.append(folder / name)
        save_file(state, paths[-1])
        return name

    yield write
    for path in paths:
        path.unlink()


def test_a_draft_is_the_shot_of_its_steps_cfg_and_size(m2v, shot):
    settings = {"width": 96, "height": 64, "bank": m2v.bank(2)}
    made = m2v.sample(shot=shot(steps=2, cfg=1.0, size=0.5), cfg_low=2.0, **settings)
    plain = m2v.sample(shot=m2v.shot(), steps=2, cfg=1.0, width=48, height=32, bank=m2v.bank(2))
    assert list(made.shape) == [1, 16, 3, 4, 6]
    assert torch.equal(made, plain)


def test_a_draft_of_zeros_is_the_film(m2v, shot):
    bank = m2v.bank(1)
    film = m2v.sample(shot=m2v.shot(), bank=bank)
    assert torch.equal(m2v.sample(shot=shot(steps=0, cfg=0.0, size=1.0), bank=bank), film)


def test_a_film_of_as_few_steps_keeps_its_recipe(m2v, shot, lora):
    name = lora("draft_few.safetensors", 1)
    film = m2v.sample(shot=m2v.shot(), bank=m2v.bank(1))
    of_draft = shot(steps=DEFAULTS["steps"], cfg=1.0, size=1.0, lora_high=name, lora_low=name)
    assert torch.equal(m2v.sample(shot=of_draft, bank=m2v.bank(1)), film)


def test_a_still_is_one_latent_frame_whatever_length_the_script_says(m2v, shot):
    still = shot("stills", steps=0, cfg=0.0, size=1.0)
    long = replace(still, shot=replace(still.shot, length=17))
    for one in (still, long):
        assert list(m2v.sample(shot=one, bank=m2v.bank(2)).shape) == [1, 16, 1, 4, 6]


def test_a_drafts_loras_go_on_the_models_as_the_hosts_loader_puts_them(m2v, shot, lora):
    import nodes

    files = {"high": lora("draft_high.safetensors", 2), "low": lora("draft_low.safetensors", 3)}
    loader = nodes.LoraLoaderModelOnly()
    by_hand = {
        "model_high": loader.load_lora_model_only(m2v.high, files["high"], 1.0)[0],
        "model_low": loader.load_lora_model_only(m2v.low, files["low"], 1.0)[0],
    }
    bank = m2v.bank(1)
    plain = m2v.sample(shot=m2v.shot(), bank=bank, steps=3, cfg=1.0, shift=5.0)
    wanted = m2v.sample(shot=m2v.shot(), bank=bank, steps=3, cfg=1.0, shift=5.0, **by_hand)
    of_draft = shot(steps=3, size=1.0, lora_high=files["high"], lora_low=files["low"])
    unreleased = {"sampler_name": "storymem_unipc", "scheduler": "storymem"}
    made = m2v.sample(shot=of_draft, bank=bank, **unreleased)
    assert torch.equal(made, wanted)
    assert rel_l2(made, plain) > 1e-4
    assert torch.equal(m2v.sample(shot=m2v.shot(), bank=bank, steps=3, cfg=1.0, shift=5.0), plain)


def test_the_next_shot_is_sampled_with_the_same_clone(m2v, lora):
    of_pass = m2v.node("sampling.draft_pass", "of_pass")
    draft = m2v.host.pack("storymem.sampling.draft").Draft(
        lora_high=lora("draft_once.safetensors", 4)
    )
    recipe = m2v.host.pack("storymem.sampling.recipe").Recipe()

    class Prompt:
        pass

    prompt, other = Prompt(), Prompt()
    _, first = of_pass(draft, recipe, (m2v.high, m2v.low), prompt)
    _, second = of_pass(draft, recipe, (m2v.high, m2v.low), prompt)
    _, third = of_pass(draft, recipe, (m2v.high, m2v.low), other)
    assert first[0] is second[0] is not m2v.high
    assert first[1] is m2v.low
    assert third[0] is not first[0]


def test_a_drafts_lora_that_is_gone_is_named(m2v, shot):
    with pytest.raises(ValueError, match=r"gone\.safetensors"):
        m2v.sample(shot=shot(steps=2, lora_high="gone.safetensors"), bank=m2v.bank(1))


def test_conditioning_obeys_size_and_length(m2v, shot):
    draft = m2v.condition(
        shot=shot(steps=2, size=0.5), bank=m2v.bank(1), width=96, height=64, length=9
    )
    assert list(draft[2]["samples"].shape) == [1, 16, 1 + 3, 4, 6]
    still = m2v.condition(shot=shot("stills", size=1.0), bank=m2v.bank(1), length=9)
    assert list(still[2]["samples"].shape) == [1, 16, 1 + 1, 4, 6]
