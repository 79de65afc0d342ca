"""Loops with Apply Shot LoRAs, and LoRA files for the tiny Wan models."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from helpers.pass_graphs import sampled


def write_style(path: Path, seed: int = 0, *, width: int = 256, key: str = "") -> Path:
    """A LoRA of one layer whose effect shows."""
    generator = torch.Generator().manual_seed(seed)
    name = key or "diffusion_model.blocks.0.self_attn.q"
    state = {
        f"{name}.lora_A.weight": torch.randn(4, width, generator=generator),
        f"{name}.lora_B.weight": torch.randn(width, 4, generator=generator),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    return path


def script(*loras, name: str = "Tale", cuts=None, **scene) -> str:
    """A one-scene script with these values of ``loras``, one for each shot (``None`` for none)."""
    prompts = [
        {"prompt": f"shot number {i + 1}", **({"loras": value} if value is not None else {})}
        for i, value in enumerate(loras)
    ]
    cuts = cuts or [True] + [False] * (len(prompts) - 1)
    scene = {"scene_num": 1, "video_prompts": prompts, "cut": cuts, **scene}
    return json.dumps({"story_name": name, "scenes": [scene]})


def applied(graph: dict, before: str = "sampler", opened: str = "open", name="loras") -> dict:
    """``graph`` with Apply Shot LoRAs before the models of its node ``before``."""
    graph = json.loads(json.dumps(graph))
    models = graph[before]["inputs"]
    names = [one for one in ("model_high", "model_low") if one in models]
    graph[name] = {
        "class_type": "StoryMemApplyShotLoRAs",
        "inputs": {"shot": [opened, 1], **{one: models[one] for one in names}},
    }
    for slot, one in enumerate(names):
        models[one] = [name, slot]
    return graph


def shots_with_loras(*loras, log: Path | str = "", **story) -> dict:
    """A loop of M2V Sampler whose shots have LoRAs."""
    return applied(plain(script(*loras, **story), log))


def plain(text: str, log: Path | str = "") -> dict:
    """The same loop without the node."""
    graph = sampled(text, log)
    graph["open"]["inputs"]["continuity"] = "last_frame"
    return graph


def by_parts(text: str, **patch) -> dict:
    """The loop with M2V Conditioning, M2V Model Patch and stock sampling in M2V Sampler's place."""
    graph = plain(text)
    whole = graph.pop("sampler")["inputs"]
    of_shot = ("positive", "negative", "vae", "bank", "shot", "previous_frames", "width", "height",
               "length", "size_rule", "seed", "continuity")  # fmt: skip
    nodes = {
        "condition": ("StoryMemM2VConditioning", {name: whole[name] for name in of_shot}),
        **{
            f"patch_{expert}": ("StoryMemM2VModelPatch", {
                "model": [expert, 0], "memory_frames": ["condition", 4], "rope_shift": 5, **patch,
            })
            for expert in ("high", "low")
        },
        "guider": ("StoryMemM2VGuider", {
            "model_high": ["patch_high", 0], "model_low": ["patch_low", 0],
            "positive": ["condition", 0], "negative": ["condition", 1], "cfg": 3.5,
        }),
        "sigmas": ("StoryMemSigmas", {
            "model": ["high", 0], "steps": 3, "shift": 4.0, "denoise": 1.0,
        }),
        "kind": ("StoryMemSampler", {}),
        "custom": ("SamplerCustomAdvanced", {
            "noise": ["condition", 3], "guider": ["guider", 0], "sampler": ["kind", 0],
            "sigmas": ["sigmas", 0], "latent_image": ["condition", 2],
        }),
        "trim": ("TrimVideoLatent", {"samples": ["custom", 0], "trim_amount": ["condition", 4]}),
    }  # fmt: skip
    for name, (kind, inputs) in nodes.items():
        graph[name] = {"class_type": kind, "inputs": inputs}
    graph["decode"]["inputs"]["samples"] = ["trim", 0]
    return graph


def on_one_wire(text: str, *, has_loras: bool = False, count: int = 2) -> dict:
    """Begin Story, Next Shot, M2V Sampler, Finish Shot and Join Story, for two shots."""
    looped = plain(text)
    body = ("sampler", "decode", "select", "remember")
    graph = {name: node for name, node in looped.items() if name not in (*body, "open", "close")}
    graph["begin"] = {"class_type": "StoryMemBeginStory", "inputs": {
        "story": ["story", 0], "continuity": "last_frame", "filename_prefix": "wire",
    }}  # fmt: skip
    state = ["begin", 0]
    for i in range(count):
        names = {**{name: f"{name}{i}" for name in body}, "open": f"next{i}"}
        graph[f"next{i}"] = {"class_type": "StoryMemNextShot", "inputs": {"state": state}}
        for name in body:
            inputs = {
                key: [names.get(value[0], value[0]), value[1]] if isinstance(value, list) else value
                for key, value in looped[name]["inputs"].items()
            }
            graph[names[name]] = {"class_type": looped[name]["class_type"], "inputs": inputs}
        graph[f"finish{i}"] = {"class_type": "StoryMemFinishShot", "inputs": {
            "state": [f"next{i}", 0], "frames": [names["decode"], 0],
            "bank": [names["remember"], 0],
        }}  # fmt: skip
        state = [f"finish{i}", 0]
        if has_loras:
            graph = applied(graph, names["sampler"], f"next{i}", f"loras{i}")
    graph["join"] = {"class_type": "StoryMemJoinStory", "inputs": {"state": state}}
    for name, slot in (("folder", 2), ("bank", 1)):
        graph[name]["inputs"]["value"] = ["join", slot]
    return graph
