"""Every IMAGE input of the pack, given what is no picture from 0 to 1: scaled, composed, or refused
with a sentence that names the input; never a white or black picture without a word."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import torch

from helpers.keyframe_graphs import clip_of, node, record, scorer, start
from helpers.m2v_helpers import DEFAULTS, M2V
from storymem.memory.policies import MAX_MEMORY_FRAMES

CONDITION = {k: DEFAULTS[k] for k in ("width", "height", "length", "size_rule", "seed")}
MEMORY = {"max_frames": MAX_MEMORY_FRAMES, "sink": 3, "pin_references": True}
BAD = {
    "0 ... 255": (lambda good: good * 255, r"holds values up to 255, but 1\.0 is white"),
    "dark of 0 ... 255": (lambda good: (good * 9).round(), "holds values up to 9, but 1"),
    "0 ... 65535": (lambda good: good * 65535, "holds values up to 65535, but 1"),
    "-1 ... 1": (lambda good: good * 2 - 1, "holds values down to -1, but 0"),
    "NaN": (lambda good: good * float("nan"), "holds NaN or infinite"),
    "whole numbers": (lambda good: (good * 255).to(torch.int32), "must hold floating point"),
    "a mask": (lambda good: good[..., 0], "must be an IMAGE"),
    "one channel": (lambda good: good[..., :1], "must be an IMAGE"),
    "none": (lambda good: good[:0], "holds no frames"),
}
INPUTS = [
    ("StoryMemMemoryBank", name) for name in ("images", "images_2", "images_3", "images_4")
] + [
    ("StoryMemKeyframeSelect", "frames"),
    ("StoryMemAestheticFilter", "images"),
    ("StoryMemMatchColor", "frames"),
    ("StoryMemMatchColor", "previous_frames"),
    ("StoryMemM2VConditioning", "previous_frames"),
    ("StoryMemM2VConditioning", "start_image"),
    ("StoryMemShotLoopOpen", "start_images"),
]


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def good(count=1) -> torch.Tensor:
    picture = torch.zeros(count, 32, 48, 3)
    picture[:, :16, :, 0] = 1.0
    picture[:, 16:, :, 2] = 0.6
    return picture


def give(host, clips, m2v, kind: str, name: str, images) -> dict:
    """Run a node with an IMAGE at one of its inputs; its first two outputs."""
    clips.update(given=images, good=good())
    link = {name: ["given", 0]}
    if kind == "StoryMemM2VConditioning":
        inputs = {name: images, "continuity": "cut" if name == "start_image" else "last_frame"}
        made = m2v.condition(**CONDITION, **inputs)
        return {"first": made[0][0][1]["concat_latent_image"]}
    if kind == "StoryMemShotLoopOpen":
        story = host.pack("storymem.script.reader").load_story("a")
        kind = m2v.node("loop.open_close", "ShotLoopOpen")
        settings = {"continuity": "auto", "filename_prefix": "x", "start_images": images}
        opened = kind.execute(story, **settings)
        opened = asyncio.run(opened) if inspect.isawaitable(opened) else opened
        return {"first": opened.result[0].start_images[0].float() / 255}
    graph = {"given": clip_of("given"), "good": clip_of("good"), "scorer": scorer()}
    if kind == "StoryMemMemoryBank":
        graph["node"] = start(**link)
    elif kind == "StoryMemKeyframeSelect":
        graph["node"] = node(kind, threshold=0.9, max_keyframes=3, **link)
    elif kind == "StoryMemAestheticFilter":
        graph["node"] = node(kind, scorer=["scorer", 0], own_threshold=False, threshold=0.0, **link)
    else:
        other = "frames" if name == "previous_frames" else "previous_frames"
        inputs = {**link, other: ["good", 0], "strength": 1.0, "repeated_frames": 1}
        graph["node"] = node(kind, **inputs)
    graph["r"] = record(["node", 0], "first")
    return host.run(graph)


@pytest.mark.parametrize(("kind", "name"), INPUTS)
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused_by_name(host, clips, m2v, kind, name, case):
    make, message = BAD[case]
    with pytest.raises((RuntimeError, ValueError), match=rf"{name}\b.*{message}"):
        give(host, clips, m2v, kind, name, make(good()))


@pytest.mark.parametrize(("kind", "name"), INPUTS)
def test_highlights_are_said_to_show_white(host, clips, m2v, caplog, kind, name):
    give(host, clips, m2v, kind, name, good() * 1.3)
    assert "all that is brighter shows white" not in caplog.text
    give(host, clips, m2v, kind, name, good() * 5.5)
    assert f"{name} goes up to 5.5, where 1.0 is white: all that is brighter" in caplog.text


def pixels(made) -> torch.Tensor:
    first = made["first"]
    first = getattr(first, "frames", first)
    return first if isinstance(first, torch.Tensor) else first[0].image.float() / 255


@pytest.mark.parametrize(("kind", "name"), INPUTS)
def test_eight_bits_are_scaled_and_transparency_shows_white(host, clips, m2v, kind, name):
    plain = pixels(give(host, clips, m2v, kind, name, good()))
    scaled = pixels(give(host, clips, m2v, kind, name, (good() * 255).to(torch.uint8)))
    assert (plain - scaled).abs().max() < 1e-5
    opaque = torch.cat([good(), torch.ones(1, 32, 48, 1)], dim=-1)
    assert torch.equal(pixels(give(host, clips, m2v, kind, name, opaque)), plain)
    cutout = opaque.clone()
    cutout[:, 16:, :, :3] = 0  # whatever lies below
    cutout[:, 16:, :, 3] = 0
    white = good()
    white[:, 16:] = 1
    seen = [pixels(give(host, clips, m2v, kind, name, images)) for images in (cutout, white)]
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], plain) or kind == "StoryMemMatchColor"


def test_an_output_that_is_empty_is_said_to_be(host):
    """``previous_frames`` in a first shot, and what other packs give for nothing."""
    with pytest.raises(ValueError, match="frames got nothing: the output that it is connected to"):
        host.pack("nodes.host.tensors").require_images(None, "frames")
