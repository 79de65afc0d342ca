"""Graphs of a story's passes: drafts, stills and the film."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.loop_graphs import loop_graph
from helpers.stock_graphs import loaders


def passed(graph: dict, name: str, **settings) -> dict:
    """``graph`` as one of its passes, with Draft Settings where some are given."""
    graph = json.loads(json.dumps(graph))
    opened = graph["begin" if "begin" in graph else "open"]["inputs"]
    opened["pass"] = name
    if settings:
        values = {
            "steps": 4, "cfg": 1.0, "size": 0.5, "max_frames": 0, "lora_high": "none",
            "lora_low": "none", **settings,
        }  # fmt: skip
        graph["draft"] = {"class_type": "StoryMemDraftSettings", "inputs": values}
        opened["draft"] = ["draft", 0]
    return graph


def sampled(script: str, log: Path | str = "", **sampler) -> dict:
    """A loop whose shots M2V Sampler makes, of 64x48 and 9 frames in 3 steps."""
    graph = {**loop_graph(script, log), **loaders()}
    del graph["body"]
    nodes = {
        "sampler": ("StoryMemM2VSampler", {
            "model_high": ["high", 0], "model_low": ["low", 0], "positive": ["pos", 0],
            "negative": ["neg", 0], "vae": ["vae", 0], "bank": ["open", 2], "shot": ["open", 1],
            "previous_frames": ["open", 3], "width": 64, "height": 48, "length": 9,
            "size_rule": "exact", "seed": 7, "steps": 3, "cfg": 3.5, "sampler_name": "euler",
            "scheduler": "simple", "continuity": "auto", **sampler,
        }),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["vae", 0]}),
        "select": ("StoryMemKeyframeSelect", {
            "frames": ["decode", 0], "bank": ["open", 2], "shot": ["open", 1], "threshold": 0.9,
            "max_keyframes": 1,
        }),
        "remember": ("StoryMemRemember", {
            "keyframes": ["select", 0], "bank": ["open", 2], "pin": False,
        }),
    }  # fmt: skip
    for name, (kind, inputs) in nodes.items():
        graph[name] = {"class_type": kind, "inputs": inputs}
    graph["close"]["inputs"] |= {"frames": ["decode", 0], "bank": ["remember", 0]}
    return graph
