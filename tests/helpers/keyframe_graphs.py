"""Graphs of the memory nodes for the host suite, and shots to give them."""

from __future__ import annotations

import torch

from helpers.fakes import noise_image

WATCHED = {"client_id": "test"}  # the host tells a client what it runs and shows


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def record(link, key) -> dict:
    return node("StoryMemTestRecord", value=link, key=key)


def clip_of(name: str) -> dict:
    return node("StoryMemTestClip", name=name)


def detailed(seed: int, frames: int, height=96, width=160) -> torch.Tensor:
    """A still with detail, with a little noise from frame to frame."""
    base = noise_image(seed, height // 8, width // 8).float() / 255
    still = base.repeat_interleave(8, 0).repeat_interleave(8, 1)
    generator = torch.Generator().manual_seed(seed + 1000)
    return (still + 0.01 * torch.randn(frames, height, width, 3, generator=generator)).clamp(0, 1)


def select(frames, **inputs) -> dict:
    return node("StoryMemKeyframeSelect", frames=frames, threshold=0.9, max_keyframes=3, **inputs)


def scorer(kind="sharpness", **inputs) -> dict:
    defaults = {
        "score_file": "auto",
        "clip_name": "auto",
        "hpsv3_threshold": 3.0,
        "laion_threshold": 5.0,
        "sharpness_threshold": 1.0,
    }
    return node("StoryMemLoadScorer", scorer=kind, **(defaults | inputs))


def filter_by(scorer_link, *, own=True, threshold=3.0, **inputs) -> dict:
    return node(
        "StoryMemAestheticFilter",
        scorer=scorer_link,
        own_threshold=own,
        threshold=threshold,
        **inputs,
    )


def start(**inputs) -> dict:
    return node(
        "StoryMemMemoryBank", **({"max_frames": 10, "sink": 3, "pin_references": True} | inputs)
    )
