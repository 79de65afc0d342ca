"""What a loop's wires and files cost, told on the node at fault before the first shot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from helpers.not_empty import not_empty
from helpers.told_notices import (
    BANK,
    CLOSE,
    LORA,
    OPEN,
    REMEMBER,
    SAMPLER,
    SCRIPT,
    inputs,
    of,
    schemas_of_host,
    told,
)
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[3]
LOOPS = not_empty(
    path for path in (PACK / "workflows").rglob("*.json") if "ShotLoopOpen" in path.read_text()
)


@pytest.fixture(scope="module")
def object_info(host) -> dict:
    return schemas_of_host()


@pytest.fixture
def prompt(object_info) -> dict:
    """The shipped story workflow."""
    path = PACK / "workflows" / "storymem_story.json"
    return to_api(json.loads(path.read_text(encoding="utf-8")), object_info)


@pytest.fixture
def notices(host, tmp_path):
    """``{node kind: text}`` of what is told of a prompt."""

    def by_kind(prompt: dict, script: str = SCRIPT, **settings) -> dict[str, str]:
        found = told(host, tmp_path, prompt, script, **settings)[0]
        return {prompt[n.node_id]["class_type"]: n.text for n in found}

    return by_kind


@pytest.mark.parametrize("path", LOOPS, ids=lambda p: p.stem)
def test_nothing_is_told_of_a_shipped_workflow(host, tmp_path, object_info, path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_api(workflow, object_info)
    scripts = [n["inputs"] for n in prompt.values() if n["class_type"] == "StoryMemLoadStory"]
    script = (scripts[0]["script"] if scripts else "") or SCRIPT  # one that is finished has its own
    continuity = inputs(prompt, OPEN)["continuity"]
    found, refused = told(host, tmp_path, prompt, script, continuity=continuity)
    assert [(prompt[n.node_id]["class_type"], n.text) for n in found] == []
    assert refused is None


def test_a_sampler_that_is_given_no_memory(prompt, notices):
    del inputs(prompt, SAMPLER)["bank"]
    assert "no shot sees the memory" in notices(prompt)[SAMPLER]


def test_a_sampler_that_is_given_the_first_memory_every_time(prompt, notices):
    inputs(prompt, BANK)["images"] = ["900", 0]
    prompt["900"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    inputs(prompt, SAMPLER)["bank"] = [of(prompt, BANK), 0]
    assert "sees the same memory" in notices(prompt)[SAMPLER]


def test_an_empty_memory_bank_says_that_no_memory_is_meant(prompt, notices):
    prompt["900"] = {"class_type": BANK, "inputs": {"max_frames": 10, "edits": ""}}
    inputs(prompt, SAMPLER)["bank"] = ["900", 0]
    inputs(prompt, CLOSE)["bank"] = ["900", 0]
    assert notices(prompt) == {}


def test_a_sampler_that_is_given_no_shot(prompt, notices):
    del inputs(prompt, SAMPLER)["shot"]
    assert "every shot gets the same seed" in notices(prompt)[SAMPLER]


@pytest.mark.parametrize("through", [(), ("StoryMemEditMemoryBank",)])
def test_a_memory_that_goes_past_remember(prompt, notices, through):
    source = [of(prompt, OPEN), 2]
    for i, kind in enumerate(through):
        prompt[f"80{i}"] = {"class_type": kind, "inputs": {"bank": source, "edits": ""}}
        source = [f"80{i}", 0]
    inputs(prompt, CLOSE)["bank"] = source
    assert "nothing of a shot is remembered" in notices(prompt)[CLOSE]


@pytest.mark.parametrize("source", [None, "bank"])
def test_a_remember_that_forgets(prompt, notices, source):
    inputs(prompt, REMEMBER).pop("bank")
    if source:
        inputs(prompt, REMEMBER)["bank"] = [of(prompt, BANK), 0]
    assert "each shot forgets" in notices(prompt)[REMEMBER]


def test_a_prompt_that_is_typed_where_the_loops_belongs(prompt, notices):
    encode = inputs(prompt, SAMPLER)["positive"][0]
    prompt[encode]["inputs"]["text"] = "A cat sits on a chair."
    text = notices(prompt)["CLIPTextEncode"]
    assert "every shot is generated from this prompt" in text
    assert "to its text input" in text


def test_a_prompt_that_goes_through_other_nodes_is_the_loops(prompt, notices):
    encode = inputs(prompt, SAMPLER)["positive"][0]
    prompt["900"] = {
        "class_type": "StringConcatenate",
        "inputs": {"string_a": prompt[encode]["inputs"]["text"], "string_b": ", film grain"},
    }
    prompt[encode]["inputs"]["text"] = ["900", 0]
    assert notices(prompt) == {}


@pytest.mark.parametrize(
    ("high", "low", "told"),
    [
        ("none", "none", "no LoRA is chosen"),
        ("none", "backbone_low_noise.safetensors", "lora_high is none"),
        ("mi2v/backbone_high_noise.safetensors", "none", "lora_low is none"),
        ("backbone_low_noise.safetensors", "backbone_high_noise.safetensors", "swap the two"),
        ("MM2V/backbone_high_noise.safetensors", "MM2V/backbone_low_noise.safetensors", "MM2V"),
    ],
)
def test_loras_that_cannot_be_meant(prompt, notices, high, low, told):
    inputs(prompt, LORA).update(lora_high=high, lora_low=low)
    assert told in notices(prompt)[LORA]


@pytest.mark.parametrize(("rank", "is_told"), [(64, True), (128, False)])
def test_an_alpha_that_a_lora_does_not_say(host, prompt, notices, rank, is_told):
    folder = host.base / "models" / "loras" / "own"
    folder.mkdir(parents=True, exist_ok=True)
    for noise in ("high", "low"):
        halves = {"A": torch.ones(rank, 6), "B": torch.ones(8, rank)}
        state = {f"blocks.0.ffn.0.lora_{half}.weight": value for half, value in halves.items()}
        save_file(state, folder / f"storymem_{noise}_noise.safetensors")
    files = {f"lora_{n}": f"own/storymem_{n}_noise.safetensors" for n in ("high", "low")}
    inputs(prompt, LORA).update(files)
    text = notices(prompt).get(LORA, "")
    shutil.rmtree(folder)
    told = "lora_low: storymem_low_noise.safetensors does not say its alpha, which is taken"
    assert (told in text) == ("its rank, 64" in text) == is_told


def test_experts_in_each_others_place(prompt, notices):
    values = inputs(prompt, LORA)
    values["model_high"], values["model_low"] = values["model_low"], values["model_high"]
    assert "swap the two models" in notices(prompt)[SAMPLER]


def test_one_expert_twice(prompt, notices):
    values = inputs(prompt, LORA)
    values["model_low"] = values["model_high"]
    assert "same file" in notices(prompt)[SAMPLER] or "swap" in notices(prompt)[SAMPLER]


def test_models_without_a_lora(prompt, notices):
    lora = prompt[of(prompt, LORA)]["inputs"]
    for name in ("model_high", "model_low"):
        inputs(prompt, SAMPLER)[name] = lora[name]
    assert "put Load Story LoRA between" in notices(prompt)[SAMPLER]
    assert notices(prompt, max_frames=0) == {}, "without memory none is needed"
    for name in ("model_high", "model_low"):
        noise = name.removeprefix("model_")
        prompt[lora[name][0]]["inputs"]["unet_name"] = f"wan_storymem_{noise}_merged.safetensors"
    assert notices(prompt) == {}, "the LoRA is in the file"


@pytest.mark.parametrize(
    "file", ["backbone_{}_noise", "storymem_mi2v_{}_noise", "wan/storymem_mm2v_{}_noise"]
)
def test_a_released_lora_in_a_stock_loader(prompt, notices, file):
    lora = prompt[of(prompt, LORA)]["inputs"]
    for i, noise in enumerate(("high", "low")):
        name = f"{file.format(noise)}.safetensors"
        prompt[f"90{i}"] = {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": lora[f"model_{noise}"], "lora_name": name, "strength_model": 1.0},
        }
        inputs(prompt, SAMPLER)[f"model_{noise}"] = [f"90{i}", 0]
    assert "eleven times too weak" in notices(prompt)["LoraLoaderModelOnly"]


def test_frames_that_are_cut_before_close(prompt, notices):
    prompt["900"] = {
        "class_type": "ImageFromBatch",
        "inputs": {"image": inputs(prompt, CLOSE)["frames"], "batch_index": 1, "length": 80},
    }
    inputs(prompt, CLOSE)["frames"] = ["900", 0]
    assert "takes frames off" in notices(prompt)["ImageFromBatch"]


def test_start_images_that_nobody_uses(prompt, notices):
    prompt["900"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    inputs(prompt, OPEN)["start_images"] = ["900", 0]
    assert "its pictures are not used" in notices(prompt)[OPEN]
    inputs(prompt, SAMPLER)["start_image"] = [of(prompt, OPEN), 7]
    assert notices(prompt) == {}
    named = "[start_image: example.png]\nOne shot."
    assert notices(prompt, script=named) == {}
    del inputs(prompt, OPEN)["start_images"]
    assert notices(prompt, script=named) == {}
    del inputs(prompt, SAMPLER)["start_image"]
    assert "the script names start images" in notices(prompt, script=named)[OPEN]


@pytest.mark.parametrize("name", ["shot", "bank"])
def test_keyframes_that_do_not_know_the_shot_or_the_memory(prompt, notices, name):
    del inputs(prompt, "StoryMemKeyframeSelect")[name]
    assert f"{name} is not connected" in notices(prompt)["StoryMemKeyframeSelect"]


def test_a_start_after_shots_that_were_never_made(prompt, notices):
    assert "shots 1, 2 have never been made" in notices(prompt, start_shot=3)[OPEN]
    assert "shot 1 has never been made" in notices(prompt, start_shot=2)[OPEN]


def test_a_preview_that_was_left_on(prompt, notices):
    assert "stops after the first of 3 shots" in notices(prompt, preview=True)[OPEN]
    assert notices(prompt, script="One shot.", preview=True) == {}


def test_a_shot_that_continues_without_frames_to_continue_is_refused(host, tmp_path, prompt):
    sampler = of(prompt, SAMPLER)
    del prompt[sampler]["inputs"]["previous_frames"]
    found, (node, text) = told(host, tmp_path, prompt)
    assert node == sampler
    assert "connect the previous_frames of" in text
    assert found == []
    assert told(host, tmp_path, prompt, "A cat.\n---\nA dog.")[1] is None
    assert told(host, tmp_path, prompt, continuity="cut")[1] is None


def test_prompts_that_the_tiny_model_does_not_know(host, tmp_path, object_info):
    path = PACK / "workflows" / "storymem_tiny_cpu.json"
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), object_info)
    script = (
        "Bomo sways, meadow, still\n---\nA woman jumps and jumps over the fence of a small garden"
    )
    ((notice,), _) = told(host, tmp_path, prompt, script)
    assert notice.node_id == of(prompt, "StoryMemTinyTextEncoder")
    assert "shot 2" in notice.text
    assert "only jumps;" in notice.text


def test_the_loop_of_one_wire_is_looked_at_too(host, object_info, caplog, tmp_path):
    path = PACK / "workflows" / "storymem_core_loop.json"
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), object_info)
    from comfy_execution.graph import DynamicPrompt

    nodes, state = host.pack("nodes.loop.state_nodes"), host.pack("storymem.loop.state")
    plan = host.pack("storymem.loop.plan")
    loop = plan.Loop(
        host.pack("storymem.script.reader").load_story(SCRIPT),
        plan.LoopSettings("last_frame", "tale"),
        host.pack("storymem.memory.bank").MemoryBank(),
        "",
        host.pack("storymem.loop.shot_store").ShotStore(tmp_path),
    )
    begun = state.LoopState(loop, loop.bank)

    def look() -> str:
        caplog.clear()
        hidden = SimpleNamespace(
            dynprompt=DynamicPrompt(prompt),
            unique_id=of(prompt, "StoryMemFinishShot"),
            prompt=prompt,
            extra_pnginfo=None,
        )
        for _ in range(2):
            nodes._look_before_the_first_shot(hidden, begun)
        return caplog.text

    assert "StoryMem" not in look()
    del inputs(prompt, SAMPLER)["bank"]
    assert look().count("no shot sees the memory") == 1, "told once"
    del inputs(prompt, SAMPLER)["previous_frames"]
    with pytest.raises(ValueError, match="connect the previous_frames of"):
        look()


def test_a_shot_that_comes_short_is_told_once(host, prompt, caplog):
    """Of a node that nothing is known of: known only when the first shot is there."""
    from comfy_execution.graph import DynamicPrompt

    loop_run = host.pack("nodes.loop.run")
    close = of(prompt, CLOSE)
    run = object.__new__(loop_run.LoopRun)
    run.graph = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(prompt), close)
    run.notices, run.tells_of_length, run.metadata = [], False, {}
    shot, longer = (
        host.pack("storymem.script.reader").load_story("A cat.").shots[0],
        host.pack("storymem.script.reader").load_story("[length: 97]\nA cat.").shots[0],
    )
    run._check_length(81, shot)
    run._check_length(161, shot)  # more frames, as an interpolation gives
    assert "asked for" not in caplog.text
    run._check_length(81, longer)
    run._check_length(80, shot)
    assert caplog.text.count("81 frames of shot 1") == 1
    assert [(n.node_id, "97 were asked for" in n.text) for n in run.notices] == [(close, True)]


def test_even_keyframes_are_eight_and_ask_no_scorer(prompt, notices):
    select = inputs(prompt, "StoryMemKeyframeSelect")
    select |= {"selection": "even", "max_keyframes": 8}
    for name in ("bank", "scorer"):
        select.pop(name, None)
    assert "StoryMemKeyframeSelect" not in notices(prompt)
    select["max_keyframes"] = 3
    assert "Memento chooses from 8 frames" in notices(prompt)["StoryMemKeyframeSelect"]
    select["max_keyframes"] = 8
    select["scorer"] = [of(prompt, SAMPLER), 0]
    assert "the scorer is not asked" in notices(prompt)["StoryMemKeyframeSelect"]
