"""Rehearse, then film, with the tiny model through the host's executor: one graph, no portraits."""

from __future__ import annotations

import json

import pytest

from storymem.tiny import demo, files

pytestmark = pytest.mark.usefixtures("fresh")
SCRIPT = (
    "[title: Rehearsed]\n[cast: Bomo, Fipi]\nBomo jumps, beach, still\n---\nFipi sways, snow, zoom"
)


def graph(of_pass: str, **open_inputs) -> dict:
    """The shipped tiny workflow in API form, with Rehearsal Memory in place of portraits."""
    recipe = demo.RECIPE
    nodes = {
        "unet": ("UNETLoader", {
            "unet_name": files.FILES["diffusion_models"], "weight_dtype": "default",
        }),
        "vae": ("VAELoader", {"vae_name": files.FILES["vae"]}),
        "story": ("StoryMemLoadStory", {"script": SCRIPT, "file": "none"}),
        "rehearsal": ("StoryMemRehearsal", {"story": ["story", 0], "filename_prefix": "tiny"}),
        "open": ("StoryMemShotLoopOpen", {
            "story": ["story", 0], "bank": ["rehearsal", 0], "continuity": "last_frame",
            "filename_prefix": "tiny", "pass": of_pass, **open_inputs,
        }),
        "text": ("StoryMemTinyTextEncoder", {
            "prompt": ["open", 4], "negative_prompt": ["open", 5],
        }),
        "sampler": ("StoryMemM2VSampler", {
            "model_high": ["unet", 0], "positive": ["text", 0], "negative": ["text", 1],
            "vae": ["vae", 0], "bank": ["open", 2], "shot": ["open", 1],
            "previous_frames": ["open", 3], "start_image": ["open", 7], "width": demo.SIZE,
            "height": demo.SIZE, "length": demo.LENGTH, "seed": demo.SEED, "steps": 3,
            "cfg": recipe["cfg"], "sampler_name": recipe["sampler"], "scheduler": "simple",
            "shift": recipe["shift"], "rope_shift": recipe["rope_shift"], "size_rule": "exact",
            "continuity": "auto", "lora_strength": 1.0, "cfg_low": 0.0, "boundary": 0.9,
            "denoise": 1.0,
        }),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["vae", 0]}),
        "embedder": ("StoryMemLoadEmbedder", {"embedder": "no_weights", "clip_name": "auto"}),
        "select": ("StoryMemKeyframeSelect", {
            "embedder": ["embedder", 0], "frames": ["decode", 0], "bank": ["open", 2],
            "shot": ["open", 1], "threshold": demo.KEYFRAME_THRESHOLD, "max_keyframes": 3,
        }),
        "remember": ("StoryMemRemember", {"bank": ["open", 2], "keyframes": ["select", 0]}),
        "close": ("StoryMemShotLoopClose", {
            "flow": ["open", 0], "frames": ["decode", 0], "bank": ["remember", 0],
        }),
        "bank": ("StoryMemTestRecord", {"value": ["close", 1], "key": "bank"}),
    }  # fmt: skip
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def facts(host, folder: str) -> list[dict]:
    store = host.pack("storymem.loop.shot_store").ShotStore(host.base / "output" / ".storymem")
    shots = json.loads((host.base / "output/tiny" / folder / "story.json").read_text())["shots"]
    return [store.find(shots[label]["key"]).facts for label in sorted(shots)]


def test_a_draft_is_made_then_the_film_from_its_frames(host):
    host.run(graph("draft"))
    drafted = facts(host, "Rehearsed.draft")
    assert drafted[0]["saw"] == []
    opening = host.run(graph("film"))["bank"].frames[:2]
    assert [(frame.name, frame.pinned) for frame in opening] == [("Bomo", True), ("Fipi", True)]
    filmed = facts(host, "Rehearsed")
    assert all({f.digest for f in opening} <= set(shot["saw"]) for shot in filmed)
    host.run(graph("draft"))
    host.run(graph("film"))
    assert facts(host, "Rehearsed.draft") == drafted
    assert facts(host, "Rehearsed") == filmed
