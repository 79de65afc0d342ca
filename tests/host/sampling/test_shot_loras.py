"""Apply Shot LoRAs on tiny Wan models: what it applies, and what it keeps."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
import torch

from helpers.lora_graphs import write_style
from helpers.m2v_helpers import M2V


@pytest.fixture(scope="module")
def m2v(host):
    folder = host.base / "models" / "loras"
    paths = [
        write_style(folder / "ink.safetensors", 1),
        write_style(folder / "rain_high_noise.safetensors", 2),
        write_style(folder / "rain_low_noise.safetensors", 3),
    ]
    yield M2V(host)
    for path in paths:
        path.unlink()


@pytest.fixture
def apply(m2v):
    """Apply Shot LoRAs to both experts, by what the script says."""
    read = m2v.host.pack("storymem.script.loras").read_loras

    def run(loras, model_high=None, model_low=None):
        shot = m2v.shot(loras=read(loras))
        high = m2v.high if model_high is None else model_high
        low = m2v.low if model_low is None else model_low
        return m2v.node("sampling.shot_loras", "ApplyShotLoRAs").execute(high, shot, low).result

    return run


class Prompt:
    """Stands for the host's prompt."""


def test_a_shot_without_loras_gets_the_models_as_they_are(m2v, apply):
    assert apply("") == (m2v.high, m2v.low)
    assert apply("ink:0") == (m2v.high, m2v.low)


def test_each_expert_gets_its_file_at_its_strength_by_the_hosts_loader(m2v, apply):
    import nodes

    load = nodes.LoraLoaderModelOnly().load_lora_model_only
    high = load(load(m2v.high, "ink.safetensors", 0.3)[0], "rain_high_noise.safetensors", 1.0)[0]
    low = load(m2v.low, "rain_low_noise.safetensors", 0.5)[0]
    found = apply([{"name": "ink", "strength": 0.3, "expert": "high"}, "rain:1:0.5"])
    settings = {"bank": m2v.bank(1), "steps": 2}
    wanted = m2v.sample(model_high=high, model_low=low, **settings)
    made = m2v.sample(model_high=found[0], model_low=found[1], **settings)
    assert torch.equal(made, wanted)
    assert not torch.equal(made, m2v.sample(**settings))


def test_inputs_are_left_alone(m2v, apply):
    before = dict(m2v.high.patches), m2v.high.patches_uuid
    apply("ink")
    assert (m2v.high.patches, m2v.high.patches_uuid) == before


def test_equal_lists_share_the_weights_and_few_are_kept(m2v):
    module = m2v.host.pack("nodes.sampling.shot_loras")
    prompts = [Prompt()]

    def applied(model, strength=0.5, prompt=prompts[0]):
        files = [module.Applied("ink.safetensors", strength)]
        return module.apply_files(model, files, prompt, "model_high")

    first = applied(m2v.high)
    assert applied(m2v.high) is first
    patched = [applied(m2v.patch(m2v.high, frames)) for frames in (1, 2)]
    assert {model.patches_uuid for model in patched} == {first.patches_uuid}
    assert all(first.clone_has_same_weights(applied(m2v.high.clone())) for _ in range(2))
    names = {tuple(model.object_patches) for model in patched}
    assert names != {tuple(first.object_patches)}  # memory positions stay
    for strength in (0.1, 0.2, 0.3, 0.4):
        applied(m2v.high, strength)
    kept = module._PATCHED._kept[prompts[0]]
    assert len(kept) == 4
    assert applied(m2v.high) is not first
    assert applied(m2v.high, prompt=None) is not first
    del applied, kept
    prompts.clear()
    gc.collect()
    assert not [p for p in module._PATCHED._kept if isinstance(p, Prompt)]  # ends with its prompt


def test_one_expert_alone_gets_its_part(m2v):
    read = m2v.host.pack("storymem.script.loras").read_loras
    node = m2v.node("sampling.shot_loras", "ApplyShotLoRAs")
    high, low = node.execute(m2v.high, m2v.shot(loras=read("rain"))).result
    assert low is None
    assert high is not m2v.high


def test_what_is_no_wan_model_is_refused(apply):
    class NotWan:
        model = object()

        def get_model_object(self, name):
            return torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match="model_high must be a Wan"):
        apply("ink", model_high=NotWan())


def test_a_file_whose_weights_have_no_place_is_refused(m2v, apply):
    path = m2v.host.base / "models" / "loras" / "far.safetensors"
    write_style(path, key="diffusion_model.blocks.7.self_attn.q")
    try:
        with pytest.raises(ValueError, match="changes nothing in model_high"):
            apply("far")
    finally:
        path.unlink()


def test_the_page_is_told_which_names_there_are(m2v):
    answer = asyncio.run(m2v.host.pack("nodes.sampling.lora_route").list_names(None))
    names = json.loads(answer.text)["names"]
    assert {"ink", "rain"} <= set(names)
    assert "rain_high_noise" not in names
