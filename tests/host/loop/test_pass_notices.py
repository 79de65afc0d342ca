"""What of a draft is ignored, and what it will look like: told before the first shot."""

from __future__ import annotations

import json

import pytest

from helpers.told_notices import CONDITIONING, OPEN, SAMPLER, inputs, of, shipped_prompts, told


@pytest.fixture(scope="module")
def shipped(host) -> dict[str, str]:
    return shipped_prompts()


@pytest.fixture
def look(host, tmp_path, shipped):
    """Notices of a shipped workflow as a draft, after a change to its prompt."""

    def all_of(name="storymem_story", change=lambda prompt: None, pass_="draft", **settings):
        prompt = json.loads(shipped[name])
        change(prompt)
        passes = host.pack("storymem.loop.passes")
        draft = passes.find_pass(pass_, passes.Draft(**settings) if settings else None)
        found, _ = told(host, tmp_path, prompt, draft=draft)
        return [(prompt[n.node_id]["class_type"], n.text) for n in found]

    return all_of


LORAS = {"lora_high": "a_4steps_high.safetensors", "lora_low": "a_4steps_low.safetensors"}


def test_a_draft_with_loras_for_few_steps_tells_nothing(look):
    assert look(**LORAS) == []


def test_a_draft_without_them_is_told_to_come_out_unfinished(look):
    ((kind, text),) = look()
    assert kind == OPEN
    assert "4 steps at cfg 1" in text
    assert "Draft Settings" in text
    assert look(steps=12, cfg=3.5) == []


def test_the_tiny_model_draws_in_six_steps_and_not_in_four(look):
    def unfinished(**settings):
        found = look("storymem_tiny_cpu", **settings)
        return [kind for kind, text in found if "come out unfinished" in text]

    assert unfinished(steps=6, size=1.0) == []
    assert unfinished(steps=5) == [OPEN]


def test_a_film_and_stills_tell_nothing(look):
    assert look(pass_="film") == look(pass_="stills") == []


def test_the_films_many_steps_are_no_drafts(look):
    """The notice that steps are many for a LoRA is one of the film alone."""

    def distilled(prompt):
        source = inputs(prompt, SAMPLER)["model_high"]
        for name in ("model_high", "model_low"):
            prompt[f"fast {name}"] = {
                "class_type": "LoraLoaderModelOnly",
                "inputs": {
                    "model": inputs(prompt, SAMPLER)[name],
                    "lora_name": "fast_4steps.safetensors",
                    "strength_model": 1.0,
                },
            }
            inputs(prompt, SAMPLER)[name] = [f"fast {name}", 0]
        assert source

    assert "is made for 4" in look(change=distilled, pass_="film")[0][1]
    assert look(change=distilled) == []


def test_a_film_of_as_few_steps_says_what_the_draft_saves(look):
    def few(prompt):
        inputs(prompt, SAMPLER)["steps"] = 4

    ((kind, text),) = look(change=few, **LORAS)
    assert kind == SAMPLER
    assert "no more than the draft's 4" in text
    assert "saves time by its size and memory alone" in text


def test_a_body_without_our_nodes_ignores_it(look):
    def loose(prompt):
        del inputs(prompt, SAMPLER)["shot"]

    found = [text for kind, text in look(change=loose, **LORAS) if kind == OPEN]
    assert len(found) == 1
    for words in ("is not connected", "size, steps, cfg, LoRAs", "as long as one of the film"):
        assert words in found[0]


def test_stock_samplers_after_m2v_conditioning_ignore_steps_and_loras(look):
    def in_parts(prompt):
        node = prompt[of(prompt, SAMPLER)]
        node["class_type"] = CONDITIONING
        for name in ("model_high", "model_low", "steps", "cfg", "sampler_name", "scheduler"):
            del node["inputs"][name]

    found = [text for kind, text in look(change=in_parts, **LORAS) if kind == CONDITIONING]
    assert "but not steps, cfg, LoRAs" in found[0]
    assert [kind for kind, _ in look(change=in_parts, pass_="stills")] == []
