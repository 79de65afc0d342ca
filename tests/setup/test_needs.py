"""What a workflow needs is found in both of its forms, and files of the wrong kind are told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from helpers.sparse_weights import lora_shapes, memento_shapes, write_safetensors
from storymem.setup.fit import asked_of
from storymem.setup.model_files import find_files
from storymem.setup.needs import look_at_needs, wanted_files
from storymem.setup.own_nodes import OWN_NODES
from storymem.setup.workflow import MOST_NODES, WorkflowError, read_nodes

PACK = Path(__file__).resolve().parents[2]
SHIPPED = PACK / "workflows" / "storymem_story.json"
HIGH, LOW = (f"wan2.2_i2v_{n}_noise_14B_fp8_scaled.safetensors" for n in ("high", "low"))
LORA_HIGH, LORA_LOW = (f"storymem_mi2v_{n}_noise.safetensors" for n in ("high", "low"))
UMT5, VAE = "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"


def wan(channels=36, **more) -> dict:
    return {
        "head.modulation": (1, 2, 5120), "head.head.weight": (64, 5120),
        "patch_embedding.weight": (5120, channels, 1, 2, 2), **more,
    } | {f"blocks.{n}.norm3.weight": (5120,) for n in range(40)}  # fmt: skip


UMT5_SHAPES = {
    "shared.weight": (256384, 4096), "spiece_model": (9,),
    "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096),
}  # fmt: skip
VAE_SHAPES = {
    "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1), "conv2.weight": (16, 16, 1, 1, 1),
    "decoder.head.2.weight": (3, 96, 3, 3, 3),
}  # fmt: skip
VACE = {"vace_patch_embedding.weight": (5120, 96)}
FILES = {
    f"diffusion_models/{HIGH}": wan(), f"diffusion_models/{LOW}": wan(),
    f"loras/{LORA_HIGH}": lora_shapes(), f"loras/{LORA_LOW}": lora_shapes(),
    f"text_encoders/{UMT5}": UMT5_SHAPES, f"vae/{VAE}": VAE_SHAPES,
}  # fmt: skip
I2V_21 = wan(**{"img_emb.proj.0.bias": (1280,)})


@pytest.fixture
def models(tmp_path):
    for name, shapes in FILES.items():
        write_safetensors(tmp_path / name, shapes)
    return tmp_path


def needs(models: Path, workflow=None, types=None):
    workflow = workflow or json.loads(SHIPPED.read_text("utf-8"))
    folders = {name.name: [name] for name in models.iterdir()}
    return look_at_needs(workflow, types, find_files(folders)).findings


def told(findings, *levels) -> list[str]:
    return [f.sentence() for f in findings if f.level in levels]


def test_a_shipped_workflow_with_its_files_lacks_nothing(models):
    findings = needs(models)
    assert told(findings, "error", "warning") == []
    assert len(told(findings, "ok")) == 6


def test_files_that_are_missing_are_told_with_the_place_they_are_for(tmp_path):
    findings = [f for f in needs(tmp_path) if f.level == "error"]
    assert len(findings) == 6
    assert "for model_high of StoryMemM2VSampler" in findings[0].sentence()
    assert findings[0].private["file"] == HIGH
    assert findings[0].private["url"].startswith("https://huggingface.co/")
    assert not any(name in f.sentence() for f in findings for name in (HIGH, LOW, UMT5, VAE))


def test_a_renamed_file_is_found_by_what_it_is(models):
    (models / "diffusion_models" / HIGH).rename(models / "diffusion_models" / "mine.safetensors")
    (finding,) = [f for f in needs(models) if f.level == "error"]
    assert "is of that kind" in finding.sentence()
    assert finding.private["other"] == "mine.safetensors"
    (models / "vae" / VAE).rename(models / "vae" / "renamed.safetensors")
    others = [f.private.get("other") for f in needs(models) if f.level == "error"]
    assert others == ["mine.safetensors", "renamed.safetensors"]


@pytest.mark.parametrize(
    ("file", "shapes", "said"),
    [
        (f"diffusion_models/{HIGH}", I2V_21, "Wan 2.1 I2V"),
        (f"diffusion_models/{LOW}", wan(16), "Wan T2V 14B"),
        (f"diffusion_models/{HIGH}", VAE_SHAPES, "Wan 2.1 VAE"),
        (f"diffusion_models/{HIGH}", wan(**VACE), "Wan VACE"),
        (f"vae/{VAE}", {**VAE_SHAPES, "conv2.weight": (48, 48, 1, 1, 1)}, "48 channels"),
        (f"loras/{LORA_HIGH}", wan(), "Wan 2.2 I2V"),
        (f"loras/{LORA_HIGH}",
         {"lora_unet_down_blocks_0_attn2_to_k.lora_down.weight": (4, 2048)}, "SDXL"),
        (f"text_encoders/{UMT5}", {**UMT5_SHAPES, "shared.weight": (32128, 4096)}, "T5"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_an_error(models, file, shapes, said):
    write_safetensors(models / file, shapes)
    errors = told(needs(models), "error")
    assert len(errors) == 1
    assert "is the wrong one" in errors[0]
    assert said in errors[0]


def test_a_text_encoder_without_its_words_cannot_be_read(models):
    write_safetensors(models / "text_encoders" / UMT5,
                      {k: v for k, v in UMT5_SHAPES.items() if k != "spiece_model"})  # fmt: skip
    (error,) = told(needs(models), "error")
    assert "tokenizer" in error


def test_a_damaged_file_is_an_error_where_it_is_needed(models):
    (models / "vae" / VAE).write_text("<html>")
    (error,) = told(needs(models), "error")
    assert "web page" in error


def test_files_in_each_others_place_are_told(models):
    text = SHIPPED.read_text("utf-8")
    workflow = json.loads(text)
    for node in workflow["nodes"]:
        if node["type"] == "UNETLoader" and node["mode"] == 0:
            node["widgets_values"][0] = LOW if node["widgets_values"][0] == HIGH else HIGH
    (warning,) = told(needs(models, workflow), "warning")
    assert "each other's place" in warning


def test_a_lora_of_each_memory_model_is_an_error(models):
    write_safetensors(models / "loras" / LORA_LOW, memento_shapes())
    (error,) = told(needs(models), "error")
    assert "one of Memento" in error


def api() -> dict:
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": HIGH}},
        "2": {"class_type": "UNETLoader", "inputs": {"unet_name": LOW}},
        "3": {"class_type": "StoryMemLoadLoRA", "inputs": {
            "model_high": ["1", 0], "model_low": ["2", 0], "lora_high": LORA_HIGH,
            "lora_low": LORA_LOW}},
        "5": {"class_type": "VAELoader", "inputs": {"vae_name": VAE}},
        "7": {"class_type": "StoryMemMemoryBank", "inputs": {"max_frames": 10}},
        "9": {"class_type": "StoryMemM2VSampler", "inputs": {
            "model_high": ["3", 0], "model_low": ["3", 1], "vae": ["5", 0], "bank": ["7", 0],
            "width": 832, "height": 480, "length": 81, "steps": 40}},
    }  # fmt: skip


def test_the_apis_form_is_read_alike(models):
    assert told(needs(models, api()), "error", "warning") == []
    assert told(needs(models, {"prompt": api()}), "error", "warning") == []
    write_safetensors(models / "diffusion_models" / LOW, I2V_21)
    (error,) = told(needs(models, api()), "error")
    assert "model_low of StoryMemM2VSampler" in error


def test_a_stock_loader_with_a_memory_lora_is_told(models):
    workflow = api()
    workflow["3"] = {"class_type": "LoraLoaderModelOnly",
                     "inputs": {"model": ["1", 0], "lora_name": LORA_HIGH}}  # fmt: skip
    workflow["9"]["inputs"].pop("model_low")
    (warning,) = told(needs(models, workflow), "warning")
    assert "eleven times too weak" in warning


def test_nodes_that_are_missing_are_told_and_those_of_others_without_their_name(models):
    gguf = {"class_type": "UnetLoaderGGUF", "inputs": {"unet_name": "a.gguf"}}
    workflow = {**api(), "20": {"class_type": "SecretNode", "inputs": {}}, "21": gguf}
    known = {node["class_type"] for node in api().values()}
    findings = [f for f in needs(models, workflow, known) if "missing" in f.text]
    assert [f.sentence() for f in findings] == [
        "a node of another pack is missing: install its pack, or take it out",
        "UnetLoaderGGUF is missing: install the pack ComfyUI-GGUF",
    ]
    assert findings[0].private["node"] == "SecretNode"
    assert "SecretNode" in findings[0].sentence(names=True)


@pytest.mark.parametrize("path", sorted(PACK.glob("workflows/*.json")), ids=lambda p: p.stem)
def test_shipped_workflows_name_the_files_that_their_makers_noted(path):
    workflow = json.loads(path.read_text("utf-8"))
    nodes = read_nodes(workflow)
    named = {one.name for one in wanted_files(nodes)}
    noted = {name for node in nodes.values() for name in node.sources}
    assert noted <= named
    active = [n for n in workflow["nodes"] if n.get("mode") in (0, None)]
    runs = {n["type"] for n in active} - {"MarkdownNote", "Note", "Reroute"}
    assert {node.kind for node in nodes.values()} == runs


def test_a_subgraphs_settings_are_those_of_its_outside(models):
    workflow = json.loads((PACK / "subgraphs" / "StoryMem Story.json").read_text("utf-8"))
    assert told(needs(models, workflow), "error", "warning") == []
    assert asked_of(read_nodes(workflow)).width == 832
    (node,) = workflow["nodes"]
    values = node["widgets_values"]
    values[values.index(832)] = 512
    values[values.index(HIGH)] = "gone.safetensors"
    assert asked_of(read_nodes(workflow)).width == 512
    (error,) = [f for f in needs(models, workflow) if f.level == "error"]
    assert error.private["file"] == "gone.safetensors"
    node["mode"] = 2
    with pytest.raises(WorkflowError, match="no nodes"):
        read_nodes(workflow)


@pytest.mark.parametrize(
    "odd",
    [None, [], "text", 3, {}, {"nodes": 3}, {"nodes": []}, {"a": 1}, {"a": {"class_type": 3}},
     {"nodes": [3, None, {"type": None}], "links": [None, 3, [1], {}]},
     {"nodes": [{"id": 1, "type": "g"}], "definitions": {"subgraphs": [{"id": "g"}]}},
     {"nodes": [{"id": 1, "type": "g"}],
      "definitions": {"subgraphs": [{"id": "g", "nodes": [{"id": 1, "type": "g"}]}]}}],
)  # fmt: skip
def test_what_is_no_workflow_is_told_and_nothing_else_happens(odd):
    section = look_at_needs(odd, None, [])
    assert section.findings
    assert all(f.level in ("error", "note", "ok") for f in section.findings)


def embedder(models, clip: str, shapes: dict | None):
    if shapes:
        write_safetensors(models / "clip_vision" / clip, shapes)
    workflow = {"1": {"class_type": "StoryMemLoadEmbedder",
                      "inputs": {"embedder": "clip", "clip_name": "auto"}}}  # fmt: skip
    return [f.sentence() for f in needs(models, workflow) if f.level != "note"]


def clip_shapes(width=768, layers=12, patch=32, grid=7) -> dict:
    blocks = {f"visual.transformer.resblocks.{n}.ln_1.weight": (width,) for n in range(layers)}
    return blocks | {
        "visual.class_embedding": (width,), "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (grid * grid + 1, width), "visual.proj": (width, 512),
    }  # fmt: skip


def test_the_embedders_clip_is_looked_for_as_the_node_does(models):
    assert "finds no CLIP ViT-B/32" in embedder(models, "ViT-B-32.safetensors", None)[0]
    assert embedder(models, "ViT-B-32.safetensors", clip_shapes()) == []
    (line,) = embedder(models, "ViT-B-32.safetensors", clip_shapes(1024, 24, 14, 16))
    assert "has CLIP ViT-L/14 instead of ViT-B/32" in line
    (line,) = embedder(models, "ViT-B-32.safetensors", VAE_SHAPES)
    assert "is no CLIP" in line


def test_loras_that_a_script_names_for_single_shots_are_looked_for(models):
    workflow = api()
    script = "[title: T]\n[loras: verysecret:0.8]\nA dog.\n---\n[loras: storymem_mi2v:1]\nA cat.\n"
    workflow["30"] = {"class_type": "StoryMemLoadStory", "inputs": {"script": script}}
    (error,) = [f for f in needs(models, workflow) if f.level == "error"]
    assert "single shots" in error.sentence()
    assert error.private == {"file": "verysecret"}


def test_only_names_that_are_this_packs_own_are_in_what_is_pasted():
    secret = "StoryMem SECRET /home/anna/film\nERROR pasted line"
    kinds = {secret: False, "StoryMemSecretFilm": False, "StoryMemRehearsal": True}
    for kind, is_told in kinds.items():
        workflow = {"1": {"class_type": kind}}
        (finding,) = look_at_needs(workflow, {"UNETLoader"}, []).findings
        assert finding.level == "error"
        assert (kind in finding.sentence()) == is_told
        assert finding.private["node"] == kind


def test_names_of_this_packs_nodes_are_all_of_them():
    path = PACK / "locales" / "en" / "nodeDefs.json"
    assert set(json.loads(path.read_text("utf-8"))) == OWN_NODES


def nested(width: int, depth: int) -> dict:
    graphs = [
        {"id": f"g{n}", "links": [],
         "nodes": [{"id": i, "type": f"g{n + 1}"} for i in range(width if n < depth - 1 else 0)]}
        for n in range(depth)
    ]  # fmt: skip
    return {"nodes": [{"id": 1, "type": "g0"}], "links": [], "definitions": {"subgraphs": graphs}}


def test_subgraphs_that_multiply_are_given_up_in_little_time():
    began = time.perf_counter()
    with pytest.raises(WorkflowError, match="too many nodes"):
        read_nodes(nested(10, 20))
    assert time.perf_counter() - began < 10
    with pytest.raises(WorkflowError, match="too many nodes"):
        read_nodes({str(n): {"class_type": "x"} for n in range(MOST_NODES + 1)})


def test_many_loaders_and_samplers_are_looked_at_in_little_time():
    began = time.perf_counter()
    workflow = {}
    for n in range(1000):
        workflow[f"l{n}"] = {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}}
        workflow[f"s{n}"] = {"class_type": "StoryMemM2VSampler",
                             "inputs": {"model_high": [f"l{n}", 0]}}  # fmt: skip
    assert len(look_at_needs(workflow, None, []).findings) > 1000
    assert time.perf_counter() - began < 10
