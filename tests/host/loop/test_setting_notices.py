"""Settings, and wires in each other's place, that would cost a night."""

from __future__ import annotations

import json

import pytest

from helpers.told_notices import (
    CLOSE,
    LORA,
    OPEN,
    REMEMBER,
    SAMPLER,
    SELECT,
    added,
    inputs,
    of,
    shipped_prompts,
    told,
)

MATCH = "StoryMemMatchColor"


@pytest.fixture(scope="module")
def shipped(host) -> str:
    return shipped_prompts()["storymem_story"]


@pytest.fixture
def prompt(shipped) -> dict:
    return json.loads(shipped)


@pytest.fixture
def look(host, tmp_path):
    def all_of(prompt: dict, *args, **settings) -> list[tuple[str, str]]:
        found, _ = told(host, tmp_path, prompt, *args, **settings)
        return [(prompt[n.node_id]["class_type"], n.text) for n in found]

    return all_of


@pytest.fixture
def refused(host, tmp_path):
    return lambda prompt, *args, **more: told(host, tmp_path, prompt, *args, **more)[1]


def is_told(found: list[tuple[str, str]], kind: str, words: str) -> bool:
    """Whether that is told, and nothing else."""
    return len(found) == 1 and found[0][0] == kind and words in found[0][1]


def test_a_prompt_that_every_shot_avoids(prompt, look):
    values = inputs(prompt, SAMPLER)
    encoder, negative = (prompt[values[name][0]]["inputs"] for name in ("positive", "negative"))
    negative["text"] = encoder["text"]
    assert is_told(look(prompt), SAMPLER, "every shot avoids what it should show")


def test_prompt_and_negative_in_each_others_place(prompt, look):
    values = inputs(prompt, SAMPLER)
    values["positive"], values["negative"] = values["negative"], values["positive"]
    assert is_told(look(prompt), SAMPLER, "made from the loop's negative prompt")


def test_the_prompt_at_both_inputs(prompt, look):
    values = inputs(prompt, SAMPLER)
    values["negative"] = values["positive"]
    assert is_told(look(prompt), SAMPLER, "positive and negative are the same")
    values["cfg"] = 1.0
    assert look(prompt) == [], "cfg 1 does not look at the negative"


def test_many_steps_with_loras_for_few(prompt, look):
    values = inputs(prompt, SAMPLER)
    for noise in ("high", "low"):
        name = f"wan2.2_i2v_lightx2v_4steps_lora_v1_{noise}_noise.safetensors"
        lora = added(
            prompt, "LoraLoaderModelOnly", model=values[f"model_{noise}"], lora_name=name,
            strength_model=1.0,
        )  # fmt: skip
        if noise == "low":
            values["steps"] = 40
            assert look(prompt) == [], "one expert alone may need them"
        values[f"model_{noise}"] = [lora, 0]
    assert is_told(look(prompt), SAMPLER, "made for 4")
    assert "10 times as long" in look(prompt)[0][1]
    values["steps"] = 8
    assert look(prompt) == []


def test_a_denoise_that_leaves_a_shot_grey(prompt, look):
    inputs(prompt, SAMPLER)["denoise"] = 0.5
    assert is_told(look(prompt), SAMPLER, "set denoise to 1")


@pytest.mark.parametrize("name", ["hunyuan_video_vae_bf16.safetensors", "wan2.2_vae.safetensors"])
def test_another_models_vae_after_the_sampler(prompt, look, name):
    decoder = prompt[inputs(prompt, CLOSE)["frames"][0]]["inputs"]
    decoder["vae"] = [added(prompt, "VAELoader", vae_name=name), 0]
    assert is_told(look(prompt), "VAEDecode", "not the VAE of Wan 2.1")
    prompt[decoder["vae"][0]]["inputs"]["vae_name"] = "lighttaew2_1.safetensors"
    assert look(prompt) == [], "a small VAE of Wan for quick decoding"


def test_a_node_of_the_loop_that_leads_nowhere(prompt, look):
    keyframes = [of(prompt, SELECT), 0]
    kept = added(prompt, "StoryMemAestheticFilter", keyframes=keyframes, threshold=4.0)
    assert is_told(look(prompt), "StoryMemAestheticFilter", "what it keeps is not used")
    added(prompt, "PreviewImage", images=[kept, 1])
    assert look(prompt) == []


def test_an_end_that_was_left_on(prompt, look):
    assert is_told(look(prompt, end_shot=2), OPEN, "stops after shot 2 of 3 shots")
    assert look(prompt, end_shot=3) == []


def test_a_lora_of_no_strength(prompt, look):
    inputs(prompt, LORA)["strength"] = 0.0
    assert is_told(look(prompt), LORA, "strength is 0")
    inputs(prompt, LORA)["shot"] = [of(prompt, OPEN), 1]
    assert look(prompt) == [], "the script may say another one"


def test_a_high_noise_expert_alone(prompt, look):
    del inputs(prompt, SAMPLER)["model_low"]
    assert is_told(look(prompt), SAMPLER, "connect the low-noise expert to model_low")


def test_a_low_noise_file_at_both_inputs_of_two_names(prompt, look):
    loader = prompt[inputs(prompt, LORA)["model_high"][0]]["inputs"]
    loader["unet_name"] = "wan2.2_i2v_low_noise_14B_Q4.gguf"
    assert is_told(look(prompt), SAMPLER, "choose the high-noise file")


def test_a_remember_that_remembers_the_same_for_every_shot(prompt, look):
    picture = added(prompt, "LoadImage", image="example.png")
    chosen = added(prompt, SELECT, frames=[picture, 0])
    inputs(prompt, REMEMBER)["keyframes"] = [chosen, 0]
    told_on = dict(look(prompt))
    assert "every shot remembers the same" in told_on[REMEMBER]
    assert "the keyframes are not used" in told_on[SELECT]


def test_a_released_lora_in_a_list_of_loras(prompt, look):
    values = inputs(prompt, SAMPLER)
    one = {"on": True, "lora": "wan/backbone_high_noise.safetensors", "strength": 1.0}
    stack = added(prompt, "Power Lora Loader (rgthree)", model=values["model_high"], lora_1=one)
    values["model_high"] = [stack, 0]
    assert is_told(look(prompt), "Power Lora Loader (rgthree)", "eleven times too weak")
    one["on"] = False
    assert look(prompt) == []


def test_a_sampler_set_to_another_way_than_the_script_is_refused(prompt, refused):
    inputs(prompt, SAMPLER)["continuity"] = "cut"
    node, text = refused(prompt)
    assert node == of(prompt, SAMPLER)
    assert "set continuity to auto" in text
    assert refused(prompt, "A cat.\n---\nA dog.") is None
    inputs(prompt, SAMPLER)["continuity"] = "last_five_frames"
    assert refused(prompt) is not None
    assert "shot 1" in refused(prompt)[1], "the first one cannot continue anything"


def test_colours_to_match_without_the_frames_to_match_are_refused(prompt, refused):
    frames = inputs(prompt, CLOSE)["frames"]
    values = {"frames": frames, "shot": [of(prompt, OPEN), 1], "strength": 1.0}
    matched = added(prompt, MATCH, **values, repeated_frames=0)
    inputs(prompt, CLOSE)["frames"] = [matched, 0]
    assert refused(prompt)[0] == matched
    prompt[matched]["inputs"]["previous_frames"] = [of(prompt, OPEN), 3]
    assert refused(prompt) is None


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("storymem_unipc", "simple"), "scheduler simple is not its schedule"),
        (("euler", "storymem"), "sampler_name euler is not its sampler"),
    ],
)
def test_half_of_the_released_sampler_and_schedule(prompt, look, pair, words):
    inputs(prompt, SAMPLER).update(sampler_name=pair[0], scheduler=pair[1])
    assert is_told(look(prompt), SAMPLER, words)


@pytest.mark.parametrize("pair", [("storymem_unipc", "storymem"), ("euler", "simple")])
def test_a_whole_pair_is_not_told(prompt, look, pair):
    inputs(prompt, SAMPLER).update(sampler_name=pair[0], scheduler=pair[1])
    assert look(prompt) == []


def test_a_pair_that_comes_over_a_wire_is_not_known_yet(prompt, look):
    inputs(prompt, SAMPLER).update(sampler_name="euler", scheduler=["1", 0])
    assert not [text for _, text in look(prompt) if "released" in text]
