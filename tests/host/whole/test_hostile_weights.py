"""Weights files that try to run, given to every loader node of a real host; and damaged ones."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from helpers.film_files import write_story
from helpers.hostile_weights import RUNS_CODE, damaged
from helpers.keyframe_graphs import node, record

pytest.importorskip("open_clip")


def loader(kind: str, name: str) -> dict:
    """A graph in which one node reads the file of that name."""
    none = {"viclip_name": "auto", "clip_name": "auto", "aesthetic_file": "auto"}
    scorer = {
        "score_file": "auto", "clip_name": "auto", "hpsv3_threshold": 3.0, "laion_threshold": 5.0,
        "sharpness_threshold": 1.0,
    }  # fmt: skip
    nodes = {
        "clip": node("StoryMemLoadEmbedder", embedder="clip", clip_name=name),
        "laion": node("StoryMemLoadScorer", **scorer | {"scorer": "laion", "score_file": name}),
        "laion's clip": node(
            "StoryMemLoadScorer",
            **scorer | {"scorer": "laion", "score_file": "head.pth", "clip_name": name},
        ),
        "hpsv3": node("StoryMemLoadScorer", **scorer | {"scorer": "hpsv3", "score_file": name}),
        "viclip": node(
            "StoryMemEvaluateStory", folder="storymem/tale", features="viclip", aesthetic="none",
            **none | {"viclip_name": name},
        ),
    }  # fmt: skip
    return {"one": nodes[kind], "r": record(["one", 0], "value")}


FOLDERS = {
    "clip": "clip_vision",
    "laion": "aesthetics",
    "laion's clip": "clip_vision",
    "hpsv3": "aesthetics",
    "viclip": "viclip",
}


@pytest.fixture
def place(placing):
    with placing() as put:
        yield put


def write_head(path) -> None:
    torch.save({"weight": torch.zeros(1, 4), "bias": torch.zeros(1)}, path)


@pytest.mark.parametrize("kind", RUNS_CODE)
@pytest.mark.parametrize("loads", FOLDERS)
def test_no_loader_runs_what_a_file_contains(host, place, tmp_path, loads, kind):
    target = tmp_path / "target.npy"
    write_story(host.base / "output" / "storymem" / "tale", [(5, 40, 40)])
    place("aesthetics", "head.pth", write_head)
    place(FOLDERS[loads], "evil.pt", lambda path: RUNS_CODE[kind](path, target))
    with pytest.raises(RuntimeError, match=r"evil\.pt") as refused:
        host.run(loader(loads, "evil.pt"))
    assert not target.exists()
    assert str(host.base) not in str(refused.value)
    assert "weights_only" not in str(refused.value)


def lora_graph(name: str) -> dict:
    return {
        "model": node("UNETLoader", unet_name="tiny_i2v_high.safetensors", weight_dtype="default"),
        "one": node(
            "StoryMemLoadLoRA", model_high=["model", 0], lora_high=name, lora_low="none",
            strength=1.0,
        ),
        "r": record(["one", 2], "value"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", RUNS_CODE)
def test_load_lora_runs_nothing(host, place, tmp_path, kind):
    target = tmp_path / "target.npy"
    place("loras", "evil.pt", lambda path: RUNS_CODE[kind](path, target))
    with pytest.raises(RuntimeError, match=r"^evil\.pt cannot be read") as refused:
        host.run(lora_graph("evil.pt"))
    assert not target.exists()
    assert str(host.base) not in str(refused.value)


WHOLE = {"blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 8)}


@pytest.mark.parametrize("kind", damaged(b"\x10" + bytes(7) + b"{" + b" " * 15 + bytes(64)))
def test_a_damaged_lora_is_told_in_the_words_of_every_reader(host, place, tmp_path, kind):
    save_file(WHOLE, tmp_path / "whole.safetensors")
    content, word = damaged((tmp_path / "whole.safetensors").read_bytes())[kind]
    place("loras", "bad.safetensors", lambda path: path.write_bytes(content))
    with pytest.raises(RuntimeError, match=rf"^bad\.safetensors cannot be read.*{word}"):
        host.run(lora_graph("bad.safetensors"))
