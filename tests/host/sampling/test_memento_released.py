"""Memento's recorded runs through the host's nodes, and M2V Sampler against its own parts.

The recorded runs: tests/helpers/memento_run.py, made by tests/tools/make_memento_run.py. The
release mixes a thousandth of the clean memory into the noise of every step but the first
(tests/sampling/test_memento_run.py says by how much), which is not built.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers import memento_run as run
from helpers import released_run
from helpers.loop_graphs import story
from helpers.m2v_helpers import DEFAULTS, M2V, rel_l2
from helpers.memento_shot import TEXTS, bank_of, patched, shot_of
from helpers.pass_graphs import sampled as looped

NEARLY = 1e-4  # what the noise is mixed with
CASES = [case for case in run.CASES if case.has_identity or not case.is_split]


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture(scope="module")
def experts(host, tmp_path_factory):
    import comfy.sd

    paths = released_run.write_models(tmp_path_factory.mktemp("memento"))
    return {
        level: comfy.sd.load_diffusion_model(str(paths[f"i2v_{level}"]))
        for level in ("high", "low")
    }


def recipe_of(m2v, case):
    recipe = m2v.host.pack("storymem.sampling.recipe").Recipe
    return recipe(steps=case.steps, cfg=case.cfg, shift=run.SHIFT, boundary=run.BOUNDARY)


def seen_of(m2v, case, level: str):
    """The recorded condition as M2V Conditioning would give it, and the layout of its memory."""
    import comfy.latent_formats

    condition = run.condition(case, level)
    values = {
        "concat_latent_image": comfy.latent_formats.Wan21().process_out(condition[:, 4:]),
        "concat_mask": 1 - condition[:, :4],
    }
    texts = {"positive": "identity", "negative": "empty"}
    prompts = [[[run.text(name), values]] for name in texts]
    if case.has_identity:
        add = m2v.node("sampling.identity_frame", "with_identity_text")
        prompts = [
            add(prompt, run.text(name))
            for prompt, name in zip(prompts, texts.values(), strict=True)
        ]
    moments = [case.moments(level)[i] for i in case.order(level)]
    layout = m2v.host.pack("storymem.sampling.memory_layout").memento_layout(
        moments, case.begin, has_identity=case.has_identity
    )
    return m2v.node("sampling.shot_run", "Seen")(*prompts, layout)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_shot_is_what_the_release_makes_of_it(m2v, experts, monkeypatch, case, record_property):
    module = m2v.host.pack("nodes.sampling.shot_run")
    noise = SimpleNamespace(generate_noise=lambda _: run.noise(case))
    monkeypatch.setattr(module, "MemoryNoise", lambda *_: noise)
    recipe = recipe_of(m2v, case)
    shape = [1, 16, run.FRAMES, run.ROWS, run.COLUMNS]
    sigmas = m2v.node("sampling.sampler", "shot_sigmas")(experts["high"], recipe)
    seen = tuple(seen_of(m2v, case, level) for level in ("high", "low"))
    with torch.inference_mode():
        shot, portrait = module.sample_shot(
            (experts["high"], experts["low"]), seen,
            SimpleNamespace(latent_shape=shape, seed=0), sigmas, recipe,
        )  # fmt: skip
    record_property("rel_l2", rel_l2(normalised(shot), run.latents(case)))
    assert rel_l2(normalised(shot), run.latents(case)) < NEARLY
    if case.has_identity:
        assert rel_l2(normalised(portrait), run.identity_latents(case)) < NEARLY


def normalised(samples: torch.Tensor) -> torch.Tensor:
    import comfy.latent_formats

    return comfy.latent_formats.Wan21().process_in(samples.cpu().clone())


def sampled(m2v, **inputs) -> tuple:
    """M2V Sampler's outputs: the shot's latent, and what stands for the identity frame's."""
    given = {
        "model_high": m2v.high, "model_low": m2v.low, "vae": m2v.vae, **DEFAULTS, **TEXTS,
        "shot": shot_of(m2v), "method": "memento", "shift": 0.0, **inputs,
    }  # fmt: skip
    with torch.inference_mode():
        samples, portrait = m2v.node("sampling.sampler", "M2VSampler").execute(**given).result
    return samples["samples"], portrait


def test_the_sampler_is_its_parts(m2v):
    """M2V Conditioning, M2V Model Patch on each expert, M2V Guider, the host's own sampler."""
    import comfy.samplers

    bank = bank_of(m2v, 3)
    shot, portrait = sampled(m2v, bank=bank)
    assert shot.shape == (1, 16, 3, 4, 6)
    assert portrait["samples"].shape == (1, 16, 1, 4, 6)
    positive, negative, latent, noise, frames, layout = m2v.condition_in_time(
        bank=bank, shot=shot_of(m2v), method="memento", **TEXTS
    )
    models = (patched(m2v, layout, model) for model in (m2v.high, m2v.low))
    with torch.inference_mode():
        guider = m2v.node("sampling.parts", "M2VGuider")
        high, low = models
        guider = guider.execute(high, positive, negative, DEFAULTS["cfg"], low).result[0]
        sigmas = comfy.samplers.calculate_sigmas(
            high.get_model_object("model_sampling"), DEFAULTS["scheduler"], DEFAULTS["steps"]
        )
        found = guider.sample(
            noise.generate_noise(latent), latent["samples"],
            comfy.samplers.sampler_object(DEFAULTS["sampler_name"]), sigmas, disable_pbar=True,
            seed=noise.seed,
        )  # fmt: skip
    assert rel_l2(found[:, :, frames:], shot) < 1e-6
    assert rel_l2(found[:, :, :1], portrait["samples"]) < 1e-6
    with torch.inference_mode():
        image = m2v.vae.decode(portrait["samples"])
    assert image.shape == (1, 1, 32, 48, 3)


def test_the_identity_text_reaches_the_shot_through_memory_alone(m2v):
    bank = bank_of(m2v, 2)
    shot, portrait = sampled(m2v, bank=bank)
    other = {
        "identity_positive": TEXTS["identity_negative"],
        "identity_negative": TEXTS["negative"],
    }
    changed, changed_portrait = sampled(m2v, bank=bank, **other)
    assert rel_l2(changed_portrait["samples"], portrait["samples"]) > 1e-3
    assert rel_l2(changed, shot) > 1e-6
    alone, _ = sampled(m2v)
    alone_changed, _ = sampled(m2v, **other)
    assert torch.equal(alone, alone_changed)  # without memory nothing of it reaches the shot


def test_without_an_identity_frame_there_is_no_portrait(m2v):
    from comfy_execution.graph_utils import ExecutionBlocker

    none = {"identity_positive": None, "identity_negative": None}
    shot, portrait = sampled(m2v, bank=bank_of(m2v, 1), **none)
    assert shot.shape == (1, 16, 3, 4, 6)
    assert isinstance(portrait, ExecutionBlocker)
    assert portrait.message is None
    pair = {"t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low}
    _, of_text = sampled(m2v, **pair)  # the first shot, from text alone
    assert isinstance(of_text, ExecutionBlocker)


def test_a_loop_shows_the_portrait_of_each_shot_that_has_one(m2v, tmp_path, monkeypatch):
    """Preview Image in the loop's body; the first shot, of the T2V pair, has no portrait."""
    import folder_paths

    host = m2v.host
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    graph = looped(story(2, cuts=[True, True]), steps=2, cfg=1.0, method="memento")
    graph["cast"] = {
        "class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "a red hat"},
    }  # fmt: skip
    graph["sampler"]["inputs"] |= {
        "identity_positive": ["cast", 0], "identity_negative": ["neg", 0],
    }  # fmt: skip
    for expert in ("high", "low"):
        graph[f"t2v_{expert}"] = {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": f"tiny_t2v_{expert}.safetensors", "weight_dtype": "default"},
        }
        graph["sampler"]["inputs"][f"t2v_{expert}"] = [f"t2v_{expert}", 0]
    graph["portrait"] = {
        "class_type": "VAEDecode", "inputs": {"samples": ["sampler", 1], "vae": ["vae", 0]},
    }  # fmt: skip
    graph["preview"] = {"class_type": "PreviewImage", "inputs": {"images": ["portrait", 0]}}
    host.run(graph, extra_data={"client_id": "test"})
    shown = [
        data["output"]["images"]
        for event, data in host.messages
        if event == "executed" and data["display_node"] == "preview"
    ]
    assert [len(images) for images in shown] == [1]
