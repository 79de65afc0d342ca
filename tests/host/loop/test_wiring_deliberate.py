"""Workflows that mean what they do: nothing is told of them, and nothing is refused."""

from __future__ import annotations

import json
import time

import pytest

from helpers.told_notices import (
    BANK,
    CLOSE,
    CONDITIONING,
    LORA,
    OPEN,
    REMEMBER,
    SAMPLER,
    added,
    inputs,
    of,
    shipped_prompts,
    told,
)

CUTS = "A cat.\n---\nA dog."


@pytest.fixture(scope="module")
def shipped(host) -> dict:
    return shipped_prompts()


@pytest.fixture
def prompt(shipped) -> dict:
    return json.loads(shipped["storymem_story"])


@pytest.fixture
def look(host, tmp_path):
    """Everything that is told of a prompt, with the node's kind."""

    def all_of(prompt: dict, *args, **settings) -> list[tuple[str, str]]:
        found, refused = told(host, tmp_path, prompt, *args, **settings)
        found = [(n.node_id, n.text) for n in found] + ([refused] if refused else [])
        return [(prompt[node_id]["class_type"], text) for node_id, text in found]

    return all_of


def frames_through(prompt: dict, kind: str, name: str, **values) -> str:
    """A new node between the decoded shot and Close."""
    node_id = added(prompt, kind, **{name: inputs(prompt, CLOSE)["frames"]}, **values)
    inputs(prompt, CLOSE)["frames"] = [node_id, 0]
    return node_id


def second_pass(prompt: dict, **values) -> str:
    """M2V Conditioning, a stock sampler and what they need, after the first sampler."""
    first = inputs(prompt, SAMPLER)
    encoder = prompt[first["positive"][0]]["inputs"]
    text = added(prompt, "CLIPTextEncode", clip=encoder["clip"], text="sharp, detailed")
    given = dict(positive=[text, 0], negative=[text, 0], vae=first["vae"], width=64, height=64)
    more = added(prompt, CONDITIONING, **given, length=81, size_rule="exact", seed=1, **values)
    pixels = inputs(prompt, CLOSE)["frames"]
    latent = added(prompt, "VAEEncode", pixels=pixels, vae=first["vae"])
    given = dict(model=first["model_low"], positive=[more, 0], negative=[more, 1])
    again = added(prompt, "KSampler", **given, latent_image=[latent, 0], denoise=0.4, steps=4)
    trimmed = added(prompt, "TrimVideoLatent", samples=[again, 0], trim_amount=[more, 4])
    inputs(prompt, CLOSE)["frames"] = [
        added(prompt, "VAEDecode", samples=[trimmed, 0], vae=first["vae"]), 0
    ]  # fmt: skip
    return more


def test_a_second_pass_with_its_own_prompt_and_seed(prompt, look):
    second_pass(prompt)
    assert look(prompt) == []


def test_a_first_frame_that_a_sampler_outside_of_the_loop_made(prompt, look):
    first = dict(inputs(prompt, SAMPLER))
    encoder = prompt[first["positive"][0]]["inputs"]
    text = added(prompt, "CLIPTextEncode", clip=encoder["clip"], text="a cat, key image")
    for name in ("bank", "shot", "previous_frames"):
        del first[name]
    sampled = added(prompt, SAMPLER, **{**first, "positive": [text, 0], "length": 1})
    picture = added(prompt, "VAEDecode", samples=[sampled, 0], vae=first["vae"])
    inputs(prompt, SAMPLER)["start_image"] = [picture, 0]
    assert look(prompt) == []


def two_loops(prompt: dict) -> str:
    """A second loop beside the first one; the id of its Close."""
    ids = {i: str(2000 + int(i)) for i in prompt}
    for old, new in ids.items():
        node = json.loads(json.dumps(prompt[old]))
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [ids[value[0]], value[1]]
        prompt[new] = node
    return ids[of(prompt, CLOSE)]


def test_a_second_loop_that_uses_the_first_ones_film_and_memory(prompt, look):
    """What is odd about the first one is told of the first one, and refuses only that."""
    close = two_loops(prompt)
    del inputs(prompt, SAMPLER)["previous_frames"]
    del inputs(prompt, REMEMBER)["bank"]
    first = of(prompt, CLOSE)
    parts = added(prompt, "GetVideoComponents", video=[first, 0])
    prompt[close]["inputs"]["frames"] = [
        added(prompt, "ImageBatch", image1=prompt[close]["inputs"]["frames"], image2=[parts, 0]), 0
    ]  # fmt: skip
    assert look(prompt, close=close) == []


def test_a_memory_of_another_loop_is_outside_of_this_one(prompt, look):
    close = two_loops(prompt)
    for kind in (SAMPLER, REMEMBER):
        inputs(prompt, kind, 1)["bank"] = [of(prompt, CLOSE), 1]
    kinds = dict(look(prompt, close=close))
    assert "sees the same memory" in kinds[SAMPLER]
    assert "each shot forgets" in kinds[REMEMBER]


def test_a_loop_that_knows_nothing_of_memory(prompt, look):
    """Stock Wan nodes alone: no sampler could see what is remembered."""
    first = inputs(prompt, SAMPLER)
    sampler = prompt[of(prompt, SAMPLER)]
    image = added(
        prompt, "WanImageToVideo", positive=first["positive"], negative=first["negative"],
        vae=first["vae"], width=64, height=64, length=81, batch_size=1,
    )  # fmt: skip
    sampler["class_type"] = "KSampler"
    sampler["inputs"] = {
        "model": first["model_high"], "positive": [image, 0], "negative": [image, 1],
        "latent_image": [image, 2], "steps": 4, "denoise": 1.0,
    }  # fmt: skip
    inputs(prompt, CLOSE)["bank"] = [of(prompt, OPEN), 2]
    assert look(prompt, CUTS) == []


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("wan_i2v_highlights_H.safetensors", "wan_i2v_highlights_L.safetensors"),
        ("slow_motion_low_vram_a.safetensors", "slow_motion_low_vram_b.safetensors"),
        ("low_vram\\Wan2.2-I2V-A14B-HighNoise-Q4_K_M.gguf", "low_vram\\I2V-LowNoise-Q4_K_M.gguf"),
        ("wan/low/high_noise.safetensors", "wan\\high\\low_noise.safetensors"),
        ("wan22_low_steps_one.safetensors", "wan22_high_quality_two.safetensors"),
        ("one_slow_noise.safetensors", "other_slow_noise.safetensors"),
        ("Wan2_2-I2V-A14B-HIGH_fp8_KJ.safetensors", "Wan2_2-I2V-A14B-LOW_fp8_KJ.safetensors"),
        ("wan2.1_i2v_480p_14B_fp8.safetensors", "wan2.1_i2v_480p_14B_fp8.safetensors"),
        ("wan22_rapid_allinone.safetensors", ""),
    ],
)
def test_names_that_say_nothing_against_their_place(prompt, look, high, low):
    for noise, name in (("high", high), ("low", low)):
        kind = "UnetLoaderGGUF" if name.endswith(".gguf") else "UNETLoader"
        loader = added(prompt, kind, unet_name=name)
        inputs(prompt, LORA)[f"model_{noise}"] = [loader, 0]
        inputs(prompt, LORA)[f"lora_{noise}"] = f"storymem_{name}"
    if not low:
        del inputs(prompt, LORA)["model_low"]
        del inputs(prompt, SAMPLER)["model_low"]
    assert look(prompt) == []


@pytest.mark.parametrize("noise", ["high", "low"])
def test_a_lora_in_a_loader_or_a_stack_of_somebody_else(prompt, look, noise):
    loader = inputs(prompt, LORA)[f"model_{noise}"]
    efficient = added(
        prompt, "Efficient Loader", ckpt_name="wan_i2v.safetensors", lora_name="our_memory"
    )
    merged = added(prompt, "ModelMergeSimple", model1=loader, model2=[efficient, 0], ratio=1.0)
    inputs(prompt, SAMPLER)[f"model_{noise}"] = [merged, 0]
    assert look(prompt) == []


def test_patches_between_loader_and_sampler(prompt, look):
    values = inputs(prompt, SAMPLER)
    for name in ("model_high", "model_low"):
        shifted = added(prompt, "ModelSamplingSD3", model=values[name], shift=5.0)
        fast = added(prompt, "PathchSageAttentionKJ", model=[shifted, 0], sage_attention="auto")
        compiled = added(prompt, "TorchCompileModel", model=[fast, 0], backend="inductor")
        values[name] = [compiled, 0]
    assert look(prompt) == []


def test_a_released_lora_at_eleven_times_the_strength_in_a_stock_loader(prompt, look):
    values = inputs(prompt, SAMPLER)
    for noise in ("high", "low"):
        values[f"model_{noise}"] = [
            added(
                prompt, "LoraLoaderModelOnly", model=inputs(prompt, LORA)[f"model_{noise}"],
                lora_name=f"backbone_{noise}_noise.safetensors", strength_model=11.3,
            ), 0,
        ]  # fmt: skip
    assert look(prompt) == []


def test_a_lora_trained_for_both_ways_to_continue(prompt, look):
    inputs(prompt, LORA).update(
        lora_high="storymem_mi2v_mm2v_high_noise.safetensors",
        lora_low="storymem_mi2v_mm2v_low_noise.safetensors",
    )
    assert look(prompt) == []
    assert look(prompt, continuity="last_five_frames") == []


def test_frames_that_are_taken_beside_the_shot(prompt, look):
    """A reference picture, and parts of a shot that are joined again."""
    whole = inputs(prompt, CLOSE)["frames"]
    head = added(prompt, "ImageFromBatch", image=whole, batch_index=0, length=40)
    tail = added(prompt, "ImageFromBatch", image=whole, batch_index=40, length=41)
    joined = added(prompt, "ImageBatch", image1=[head, 0], image2=[tail, 0])
    inputs(prompt, CLOSE)["frames"] = [joined, 0]
    assert look(prompt) == []
    first = added(prompt, "ImageFromBatch", image=whole, batch_index=0, length=1)
    matched = added(prompt, "ColorMatch", image_ref=[first, 0], image_target=whole)
    inputs(prompt, CLOSE)["frames"] = [matched, 0]
    assert look(prompt) == []


def test_an_image_from_batch_that_lets_every_frame_through(prompt, look):
    frames_through(prompt, "ImageFromBatch", "image", batch_index=0, length=4096)
    assert look(prompt) == []


def test_latents_that_are_cut_in_space_or_by_an_amount_that_a_node_says(prompt, look):
    decoder = inputs(prompt, CLOSE)["frames"][0]
    samples = prompt[decoder]["inputs"]["samples"]
    for kind, values in (
        ("LatentCut", {"dim": "x", "index": 0, "amount": 4}),
        ("LatentCut", {"dim": "t", "index": 0, "amount": 21}),
        ("TrimVideoLatent", {"trim_amount": 0}),
        ("TrimVideoLatent", {"trim_amount": [of(prompt, OPEN), 6]}),
    ):
        cut = added(prompt, kind, samples=samples, **values)
        prompt[decoder]["inputs"]["samples"] = [cut, 0]
        assert look(prompt) == []


@pytest.mark.parametrize("edits", ["", "{}", '{"pin": ["0123456789ab"], "images": []}'])
def test_a_bank_whose_edits_hold_no_picture_is_empty(prompt, look, edits):
    bank = added(prompt, BANK, max_frames=10, edits=edits)
    inputs(prompt, SAMPLER)["bank"] = [bank, 0]
    inputs(prompt, CLOSE)["bank"] = [bank, 0]
    assert look(prompt) == []


def test_a_bank_of_pictures_chosen_in_the_gallery_is_not_empty(prompt, look):
    bank = added(prompt, BANK, max_frames=10, edits='{"images": ["cat.png"]}')
    inputs(prompt, SAMPLER)["bank"] = [bank, 0]
    assert "sees the same memory" in dict(look(prompt))[SAMPLER]


def test_pictures_remembered_outside_of_the_loop(prompt, look):
    """Keyframes of a film that was there before, as the memory that the story begins with."""
    picture = added(prompt, "LoadImage", image="example.png")
    chosen = added(prompt, "StoryMemKeyframeSelect", frames=[picture, 0])
    memory = added(prompt, REMEMBER, keyframes=[chosen, 0])
    inputs(prompt, OPEN)["bank"] = [memory, 0]
    inputs(prompt, SAMPLER)["start_image"] = [
        added(prompt, "StoryMemPreviewMemoryBank", bank=[memory, 0]), 0
    ]  # fmt: skip
    assert look(prompt) == []


def test_a_sampler_behind_a_switch_is_not_refused(prompt, look):
    """One for the first shot and one for those that continue: only one of them runs."""
    first = {k: v for k, v in inputs(prompt, SAMPLER).items() if k != "previous_frames"}
    other = added(prompt, SAMPLER, **first)
    decoder = prompt[inputs(prompt, CLOSE)["frames"][0]]["inputs"]
    continued = decoder["samples"]
    decoder["samples"] = [other, 0]
    assert [kind for kind, _ in look(prompt)] == [SAMPLER]
    switch = added(prompt, "ComfySwitchNode", switch=True, on_true=[other, 0], on_false=continued)
    decoder["samples"] = [switch, 0]
    assert look(prompt) == []


def test_a_lora_named_by_the_step_it_was_saved_at(prompt, look):
    values = inputs(prompt, SAMPLER)
    for noise in ("high", "low"):
        values[f"model_{noise}"] = [
            added(
                prompt, "LoraLoaderModelOnly", model=values[f"model_{noise}"],
                lora_name="style_epoch_4_step_1000.safetensors", strength_model=1.0,
            ), 0,
        ]  # fmt: skip
    values["steps"] = 40
    assert look(prompt) == []


def test_one_prompt_at_both_inputs_with_a_cfg_that_is_not_known(prompt, look):
    values = inputs(prompt, SAMPLER)
    values["negative"] = values["positive"]
    values["cfg"] = [added(prompt, "PrimitiveFloat", value=1.0), 0]
    assert look(prompt) == []


def test_numbers_in_subgraphs(prompt, look):
    moved = {i: f"12:{i}" if n["class_type"] == SAMPLER else i for i, n in prompt.items()}
    text = json.dumps({moved[i]: node for i, node in prompt.items()})
    for old, new in moved.items():
        text = text.replace(f'["{old}", ', f'["{new}", ')
    moved_prompt = json.loads(text)
    assert look(moved_prompt) == []
    del inputs(moved_prompt, SAMPLER)["bank"]
    assert [kind for kind, _ in look(moved_prompt)] == [SAMPLER]


def test_a_graph_of_thousands_of_nodes_is_looked_at_in_seconds(prompt, look):
    decoder = prompt[inputs(prompt, CLOSE)["frames"][0]]["inputs"]
    for i in range(700):
        cut = added(prompt, "LatentCut", samples=decoder["samples"], dim="x", index=0, amount=4)
        both = added(prompt, "LatentAdd", samples1=[cut, 0], samples2=decoder["samples"])
        decoder["samples"] = [both, 0]
        frames_through(prompt, "ImageFromBatch", "image", batch_index=0, length=81 + i)
    begun = time.perf_counter()
    assert look(prompt) == []
    assert time.perf_counter() - begun < 5
