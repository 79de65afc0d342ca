"""Mistakes in a loop whose shots SamplerCustomAdvanced samples, told before the first shot."""

from __future__ import annotations

import json

import pytest

from helpers.told_notices import CONDITIONING, SAMPLER, added, inputs, of, shipped_prompts, told

GUIDER, PATCH, TRIM = "StoryMemM2VGuider", "StoryMemM2VModelPatch", "TrimVideoLatent"
CUSTOM, SIGMAS, DECODE = "SamplerCustomAdvanced", "StoryMemSigmas", "VAEDecode"
OF_THE_SHOT = (
    "positive", "negative", "vae", "bank", "shot", "previous_frames", "width", "height", "length",
    "size_rule", "seed", "continuity",
)  # fmt: skip


@pytest.fixture(scope="module")
def shipped(host) -> str:
    """The shipped story with the parts in M2V Sampler's place."""
    prompt = json.loads(shipped_prompts()["storymem_story"])
    sampler = of(prompt, SAMPLER)
    values = prompt.pop(sampler)["inputs"]
    shot = added(prompt, CONDITIONING, **{n: values[n] for n in OF_THE_SHOT if n in values})
    high, low = (
        added(prompt, PATCH, model=values[f"model_{noise}"], memory_frames=[shot, 4], rope_shift=5)
        for noise in ("high", "low")
    )
    guider = added(
        prompt, GUIDER, model_high=[high, 0], model_low=[low, 0], positive=[shot, 0],
        negative=[shot, 1], cfg=3.5, cfg_low=0.0, boundary=0.9,
    )  # fmt: skip
    sigmas = added(prompt, SIGMAS, model=[high, 0], steps=40, shift=4.0, denoise=1.0)
    kind = added(prompt, "StoryMemSampler")
    custom = added(
        prompt, CUSTOM, noise=[shot, 3], guider=[guider, 0], sampler=[kind, 0], sigmas=[sigmas, 0],
        latent_image=[shot, 2],
    )  # fmt: skip
    trim = added(prompt, TRIM, samples=[custom, 0], trim_amount=[shot, 4])
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == sampler:
                node["inputs"][name] = [trim, 0]
    return json.dumps(prompt)


@pytest.fixture
def prompt(shipped) -> dict:
    return json.loads(shipped)


@pytest.fixture
def look(host, tmp_path):
    def all_of(prompt: dict, **settings) -> list[tuple[str, str]]:
        found, _ = told(host, tmp_path, prompt, **settings)
        return [(prompt[n.node_id]["class_type"], n.text) for n in found]

    return all_of


def link(prompt: dict, kind: str, nth: int = 0) -> list:
    return [of(prompt, kind, nth), 0]


def files_swapped(p):
    loaders = [n["inputs"] for n in p.values() if "unet_name" in n["inputs"]][:2]
    names = [values["unet_name"] for values in loaders]
    for values, name in zip(loaders, reversed(names), strict=True):
        values["unet_name"] = name


def inputs_swapped(p):
    values = inputs(p, GUIDER)
    values["model_high"], values["model_low"] = values["model_low"], values["model_high"]


def prompts_swapped(p):
    values = inputs(p, GUIDER)
    values["positive"], values["negative"] = values["negative"], values["positive"]


def stock_schedule(p):
    scheduler = added(
        p, "BasicScheduler", model=link(p, PATCH), scheduler="simple", steps=40, denoise=1.0
    )
    inputs(p, CUSTOM)["sigmas"] = [scheduler, 0]


def stock_schedule_in_two(p):
    stock_schedule(p)
    values = inputs(p, CUSTOM)
    values["sigmas"] = [added(p, "SplitSigmas", sigmas=values["sigmas"], step=20), 0]


def half_of_a_stock_schedule(p):
    stock_schedule(p)
    inputs(p, "BasicScheduler")["denoise"] = 0.5
    inputs(p, CUSTOM)["sampler"] = [added(p, "KSamplerSelect", sampler_name="euler"), 0]


def stock_sampler(p):
    inputs(p, CUSTOM)["sampler"] = [added(p, "KSamplerSelect", sampler_name="uni_pc"), 0]


def noise_of_its_own(p):
    inputs(p, CUSTOM)["noise"] = [added(p, "RandomNoise", noise_seed=1), 0]


def many_steps(p):
    for noise in ("high", "low"):
        patch = inputs(p, PATCH, noise == "low")
        lora = added(
            p, "LoraLoaderModelOnly", model=patch["model"], strength_model=1.0,
            lora_name=f"wan2.2_i2v_lightx2v_4steps_lora_v1_{noise}_noise.safetensors",
        )  # fmt: skip
        patch["model"] = [lora, 0]


def unpatched(name):
    def change(p):
        inputs(p, GUIDER)[name] = inputs(p, PATCH, name == "model_low")["model"]

    return change


MISTAKES = {
    "files swapped": (files_swapped, GUIDER, "swap the two models"),
    "inputs swapped": (inputs_swapped, GUIDER, "swap the two models"),
    "one expert": (lambda p: inputs(p, GUIDER).pop("model_low"), GUIDER, "does every step"),
    "prompts swapped": (prompts_swapped, GUIDER, "is the other one's output"),
    "high not patched": (unpatched("model_high"), GUIDER, "on the way to model_high"),
    "low not patched": (unpatched("model_low"), GUIDER, "on the way to model_low"),
    "unlike rope_shift": (
        lambda p: inputs(p, PATCH, 1).update(rope_shift=1), GUIDER, "rope_shift is 5 and 1",
    ),
    "stock schedule": (stock_schedule, CUSTOM, "connect StoryMem Sigmas"),
    "stock schedule in two": (stock_schedule_in_two, CUSTOM, "connect StoryMem Sigmas"),
    "stock sampler": (stock_sampler, CUSTOM, "connect StoryMem Sampler"),
    "denoise": (lambda p: inputs(p, SIGMAS).update(denoise=0.5), SIGMAS, "denoise is 0.5"),
    "denoise of a stock node": (half_of_a_stock_schedule, "BasicScheduler", "denoise is 0.5"),
    "noise": (noise_of_its_own, CUSTOM, "noise is not M2V Conditioning's"),
    "many steps": (many_steps, SIGMAS, "10 times as long"),
    "no trim": (
        lambda p: inputs(p, DECODE).update(samples=link(p, CUSTOM)), DECODE, "put TrimVideoLatent",
    ),
    "typed trim": (lambda p: inputs(p, TRIM).update(trim_amount=0), TRIM, "trim_amount is typed"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_parts_is_told(prompt, look, change, kind, words):
    change(prompt)
    found = look(prompt)
    assert {one for one, _ in found} == {kind}, "on that node, and on no other"
    assert any(words in text for _, text in found)
    assert len(found) <= 2, "of a pair that is swapped, both"


def test_the_parts_as_they_should_be_tell_nothing(prompt, look):
    assert look(prompt) == []


def test_stock_parts_together_are_the_artists_choice(prompt, look):
    stock_schedule(prompt)
    stock_sampler(prompt)
    assert look(prompt) == []


def test_without_memory_neither_patch_nor_trim_is_missed(prompt, look):
    unpatched("model_high")(prompt)
    unpatched("model_low")(prompt)
    inputs(prompt, DECODE)["samples"] = link(prompt, CUSTOM)
    assert look(prompt, max_frames=0) == []


def test_a_second_pass_is_left_alone(prompt, look):
    """It has another latent: denoise below 1 and noise of its own are meant."""
    first = dict(inputs(prompt, CUSTOM))
    sigmas = added(prompt, SIGMAS, model=link(prompt, PATCH), steps=4, shift=4.0, denoise=0.4)
    noise = added(prompt, "RandomNoise", noise_seed=1)
    second = added(
        prompt, CUSTOM, **{**first, "latent_image": link(prompt, CUSTOM), "sigmas": [sigmas, 0],
        "noise": [noise, 0]},
    )  # fmt: skip
    inputs(prompt, TRIM)["samples"] = [second, 0]
    assert look(prompt) == []
