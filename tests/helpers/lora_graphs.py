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


def applied(graph: dict, before: str = "sampler") -> dict:
    """``graph`` with Apply Shot LoRAs before the models of its node ``before``."""
    graph = json.loads(json.dumps(graph))
    models = graph[before]["inputs"]
    names = [name for name in ("model_high", "model_low") if name in models]
    graph["loras"] = {
        "class_type": "StoryMemApplyShotLoRAs",
        "inputs": {"shot": models["shot"], **{name: models[name] for name in names}},
    }
    for slot, name in enumerate(names):
        models[name] = ["loras", slot]
    return graph


def shots_with_loras(*loras, log: Path | str = "", **story) -> dict:
    """A loop of M2V Sampler whose shots have LoRAs."""
    return applied(plain(script(*loras, **story), log))


def plain(text: str, log: Path | str = "") -> dict:
    """The same loop without the node."""
    graph = sampled(text, log)
    graph["open"]["inputs"]["continuity"] = "last_frame"
    return graph
