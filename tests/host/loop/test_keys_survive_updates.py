"""What an update of the pack leaves of a finished story: every shot whose pixels do not change."""

from __future__ import annotations

import asyncio
import inspect
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from helpers.loop_graphs import loop_graph, ran, story
from helpers.node_schemas import pack_nodes
from storymem.loop.neutral_inputs import NEUTRAL

# Begin Story is in no loop's body, and is looked at in every run.
NODES = [k for k in NEUTRAL if k.startswith("StoryMem") and k != "StoryMemBeginStory"]
pytestmark = pytest.mark.usefixtures("fresh")


def raise_version(host, monkeypatch, part: str) -> None:
    module = host.pack("storymem.loop.render_version")
    monkeypatch.setitem(module.PARTS, part, module.Part(module.PARTS[part].version + 1, ()))


@pytest.mark.parametrize("part", ["memory", "hand-over"])
def test_a_raised_version_of_a_used_part_regenerates_the_shots(host, log, monkeypatch, part):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == [1, 2]


@pytest.mark.parametrize("part", ["selection", "sampling", "colour", "headless"])
def test_a_raised_version_of_a_part_that_the_loop_does_not_use_keeps_them(
    host, log, monkeypatch, part
):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == []


# --- inputs that an update adds ----------------------------------------------------------------


def body_text(host, graph: dict, close: str = "close") -> str:
    from comfy_execution.graph import DynamicPrompt

    loop = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(graph), close)
    return asyncio.run(loop.describe())


def with_node(kind: str, inputs: dict) -> dict:
    """A loop whose frames also depend on one node of that kind."""
    graph = loop_graph(story(1), body={"other": ["added", 0]})
    required = {"folder": "gone"} if kind == "StoryMemLoadMemoryBank" else {}
    graph["added"] = {"class_type": kind, "inputs": {**required, **inputs}}
    return graph


def test_a_graph_that_was_saved_before_an_input_existed_keeps_its_shots(host, log, monkeypatch):
    module = host.pack("storymem.loop.neutral_inputs")
    saved_before = loop_graph(story(2), log)
    host.run(saved_before)
    assert ran(log) == [1, 2]
    monkeypatch.setitem(module.NEUTRAL, "StoryMemTestBody", {"late": 0.5})
    host.restart()
    host.run(saved_before)
    assert ran(log) == []
    host.run(loop_graph(story(2), log, body={"late": 0.5}))
    assert ran(log) == []
    host.run(loop_graph(story(2), log, body={"late": 0.75}))
    assert ran(log) == [1, 2]


def test_an_input_that_never_counts_regenerates_nothing(host, log, monkeypatch):
    module = host.pack("storymem.loop.neutral_inputs")
    monkeypatch.setitem(module.NEVER_COUNT, "StoryMemTestBody", frozenset({"colour_of_the_node"}))
    host.run(loop_graph(story(2), log))
    assert ran(log) == [1, 2]
    host.run(loop_graph(story(2), log, body={"colour_of_the_node": "red"}))
    assert ran(log) == []


# Open ends the body: its settings are part of each shot as values.
@pytest.mark.parametrize("kind", [k for k in NODES if k != "StoryMemShotLoopOpen"])
def test_a_node_that_was_saved_without_its_optional_inputs_is_the_same_body(host, kind):
    before = body_text(host, with_node(kind, {}))
    for name, value in NEUTRAL[kind].items():
        assert body_text(host, with_node(kind, {name: value})) == before
        assert body_text(host, with_node(kind, {name: "other"})) != before
    assert body_text(host, with_node(kind, dict(NEUTRAL[kind]))) == before


@pytest.mark.parametrize("kind", NODES)
def test_a_node_computes_the_same_without_an_input_as_at_its_neutral_value(host, kind):
    node = pack_nodes(sys.modules[host._pack])[kind]
    parameters = inspect.signature(node.execute).parameters
    named = NEUTRAL[kind].keys() & parameters.keys()
    without = {name: parameters[name].default for name in named}
    assert without == {name: NEUTRAL[kind][name] for name in named}
    assert NEUTRAL[kind].keys() - named <= {"pass", "remember_opening", "opening_in_film"}


def test_a_loop_without_the_input_pass_makes_the_film(host):
    chosen_pass = host.pack("nodes.loop.draft_settings").chosen_pass
    draft = host.pack("storymem.loop.passes").DRAFT
    assert chosen_pass({}, draft) is None
    assert chosen_pass({"pass": NEUTRAL["StoryMemShotLoopOpen"]["pass"]}, draft) is None


@pytest.mark.parametrize("kind", ["StoryMemShotLoopOpen", "StoryMemBeginStory"])
def test_a_loop_without_the_inputs_of_a_clip_has_none_to_remember_or_show(host, kind):
    chosen_clip = host.pack("nodes.loop.opening_inputs").chosen_clip
    clip = chosen_clip({"opening_frames": torch.zeros(2, 8, 8, 3)})
    assert (clip.is_remembered, clip.is_in_film) == (
        NEUTRAL[kind]["remember_opening"], NEUTRAL[kind]["opening_in_film"],
    )  # fmt: skip
    assert chosen_clip({name: True for name in ("remember_opening", "opening_in_film")}) is None


# --- LoRAs whose scale earlier versions did not know ----------------------------------------------


@pytest.fixture
def loras(host):
    """A file of that name in the host's folder, of which only rank and header are looked at."""
    folder = host.base / "models" / "loras" / "scales"
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, rank: int, halves=("lora_A", "lora_B")) -> str:
        state = {
            f"blocks.0.ffn.0.{halves[0]}.weight": torch.ones(rank, 6),
            f"blocks.0.ffn.0.{halves[1]}.weight": torch.ones(8, rank),
        }
        save_file(state, folder / name)
        return f"scales/{name}"

    yield write
    shutil.rmtree(folder)


def lora_line(host, **inputs) -> list:
    """What the key of a loop with that Load Story LoRA holds of it."""
    text = body_text(host, with_node("StoryMemLoadLoRA", inputs))
    (line,) = [line for line in json.loads(text)[1] if line[0] == "StoryMemLoadLoRA"]
    return line


def test_a_released_lora_is_in_the_key_as_it_always_was(host, loras):
    """Beside whatever config of others: no film of these files may be made anew."""
    files = {
        "lora_high": loras("released.safetensors", 128),
        "lora_low": loras("repacked.safetensors", 64, ("lora_down", "lora_up")),
    }
    config = host.base / "models" / "loras" / "scales" / "adapter_config.json"
    for text in (None, '{"r": 128, "lora_alpha": 7}'):
        if text:
            config.write_text(text)
        assert lora_line(host, **files) == ["StoryMemLoadLoRA", "False", files]
    gone = {"lora_high": "none", "lora_low": "gone.safetensors"}
    assert lora_line(host, **gone) == ["StoryMemLoadLoRA", "False", gone]
    broken = {"lora_high": loras("broken.safetensors", 64)}
    (config.parent / "broken.safetensors").write_bytes(b"broken")
    assert lora_line(host, **broken) == ["StoryMemLoadLoRA", "False", broken]


def test_a_lora_of_another_scale_than_before_has_it_in_the_key(host, loras):
    """As it is now, so that neither an update nor a config passes for the other."""
    high, low = loras("high.safetensors", 64), loras("low.safetensors", 16)
    scales = {"scale of lora_high": "8 instead of 16", "scale of lora_low": "4 instead of 32"}
    for choice in ({}, {"scale": "rslora"}, {"scale": ["open", 0]}):
        inputs = lora_line(host, lora_high=high, lora_low=low, **choice)[2]
        assert {k: v for k, v in inputs.items() if k in scales} == scales
    plain = {"lora_high": high, "lora_low": "none", "scale": "standard"}
    assert lora_line(host, **plain)[2] == plain
    config = host.base / "models" / "loras" / "scales" / "adapter_config.json"
    for alpha, scale in ((32, {"scale of lora_high": "4 instead of 16"}), (128, {})):
        config.write_text(json.dumps({"r": 64, "lora_alpha": alpha, "use_rslora": True}))
        assert lora_line(host, lora_high=high)[2] == {"lora_high": high, **scale}


def test_the_host_loads_a_lora_anew_when_its_config_changed(host, loras):
    node = host.pack("nodes.sampling.lora").LoadLoRA
    files = {"lora_high": loras("high.safetensors", 64), "lora_low": "none", "strength": 1.0}
    before = node.fingerprint_inputs(**files)
    assert node.fingerprint_inputs(**files) == before
    config = host.base / "models" / "loras" / "scales" / "adapter_config.json"
    config.write_text('{"r": 64, "lora_alpha": 32}')
    after = node.fingerprint_inputs(**files)
    assert after != before
    config.write_text('{"r": 64, "lora_alpha": 128}')
    assert node.fingerprint_inputs(**files) not in (before, after)
    assert node.fingerprint_inputs(lora_high=None, lora_low="gone.safetensors") == "[]"
