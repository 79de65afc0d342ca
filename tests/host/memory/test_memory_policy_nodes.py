"""Memory that listens to the prompt, from the Memory Bank node through the shot loop."""

from __future__ import annotations

import gc

import pytest
import torch

from helpers.clip_files import tiny_clip
from helpers.keyframe_graphs import clip_of
from helpers.loop_graphs import loop_graph, ran, story

PROMPTS = ["@Mara walks", "@Pip barks", *["Mara rows"] * 5, "Pip returns"]


pytestmark = pytest.mark.usefixtures("fresh")


def graph(log, **inputs) -> dict:
    made = loop_graph(story(prompts=PROMPTS), log, opened={"bank": ["memory", 0]})
    values = {"max_frames": 4, "sink": 1, "pin_references": True, **inputs}
    made["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": values}
    return made


def test_another_policy_makes_only_the_shots_that_see_something_else(host, log):
    plain = host.run(graph(log))["bank"]
    assert ran(log) == [1, 2, 3, 4, 5, 6, 7, 8]
    host.run(graph(log, policy="entities"))
    assert ran(log) == [8]  # the only one that speaks of Pip, whom the window has lost
    host.restart()
    host.run(graph(log, policy="entities"))
    assert ran(log) == []
    again = host.run(graph(log))["bank"]
    assert ran(log) == []
    assert [f.digest for f in again.frames] == [f.digest for f in plain.frames]


def test_the_shots_of_one_character_see_no_frame_of_another(host, log):
    host.run(graph(log))
    assert ran(log) == [1, 2, 3, 4, 5, 6, 7, 8]
    bank = host.run(graph(log, policy="entities_only"))["bank"]
    assert ran(log)[0] == 2  # Pip's, and the first with somebody else in the memory
    others = {why for why in bank.seen.values() if why.startswith("waits")}
    assert others == {"waits: shows nobody in the shot, only Mara"}
    host.restart()
    host.run(graph(log, policy="entities_only"))
    assert ran(log) == []


def test_relevance_comes_from_clip(host, log):
    folder = host.base / "models" / "clip_vision"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_clip(vocabulary=49408, context=77).state_dict(), folder / "whole_clip.pt")
    host.restart()
    loader = {"embedder": "clip", "clip_name": "whole_clip.pt"}
    made = graph(log, policy="relevant", embedder=["load", 0])
    made["load"] = {"class_type": "StoryMemLoadEmbedder", "inputs": loader}
    bank = host.run(made)["bank"]
    assert ran(log) == [1, 2, 3, 4, 5, 6, 7, 8]
    host.run(made)
    assert ran(log) == []
    # The bank names its embedder, which is loaded again when the host has let go of it.
    known = host.pack("nodes.memory.known_embedders").KnownEmbedders()
    load = host.pack("nodes.memory.embedders").load_embedder
    first = load("clip", "whole_clip.pt", "auto", False)
    assert known.add(first, lambda: load("clip", "whole_clip.pt", "auto", False)) == bank.embedder
    assert known.of(bank) is first
    del first
    gc.collect()
    assert known.of(bank).full_name == bank.embedder
    with pytest.raises(ValueError, match="is no longer loaded; queue the workflow again"):
        host.pack("nodes.memory.known_embedders").KnownEmbedders().of(bank)
    host.run(graph(log))
    assert ran(log) == [6, 7, 8]  # the first five saw all that there was


@pytest.mark.parametrize("loader", [None, "no_weights"])
def test_relevance_without_clip_is_told_before_anything_is_made(host, log, loader):
    made = graph(log, policy="relevant")
    if loader:
        inputs = {"embedder": loader, "clip_name": "auto"}
        made["load"] = {"class_type": "StoryMemLoadEmbedder", "inputs": inputs}
        made["memory"]["inputs"]["embedder"] = ["load", 0]
    with pytest.raises(Exception, match=r"connect Load Embedder|cannot compare pictures"):
        host.run(made)
    assert ran(log) == []


def test_reference_pictures_have_names(host, clips):
    clips["cast"] = torch.rand(2, 8, 8, 3)
    values = {"max_frames": 4, "sink": 1, "pin_references": True, "reference_names": "Mara, Pip"}
    bank = {"class_type": "StoryMemMemoryBank", "inputs": {**values, "images": ["cast", 0]}}
    record = {"class_type": "StoryMemTestRecord", "inputs": {"value": ["bank", 0], "key": "bank"}}
    made = {"cast": clip_of("cast"), "bank": bank, "record": record}
    assert [f.name for f in host.run(made)["bank"].frames] == ["Mara", "Pip"]
