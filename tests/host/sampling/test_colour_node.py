"""Match Color in a real host."""

from __future__ import annotations

import pytest
import torch

from helpers.keyframe_graphs import clip_of, node, record


def matched(host, repeated: int) -> torch.Tensor:
    graph = {
        "shot": clip_of("shot"),
        "before": clip_of("before"),
        "match": node(
            "StoryMemMatchColor",
            frames=["shot", 0],
            previous_frames=["before", 0],
            strength=1.0,
            repeated_frames=repeated,
        ),
        "r": record(["match", 0], "matched"),
    }
    return host.run(graph)["matched"]


def test_a_continued_shot_takes_the_colours_of_the_one_before(host, clips):
    generator = torch.Generator().manual_seed(0)
    clips["before"] = torch.rand(5, 16, 16, 3, generator=generator) * 0.5 + 0.25
    clips["shot"] = clips["before"][-1:].repeat(4, 1, 1, 1) * 0.8
    frames = matched(host, 1)
    assert (frames[0] - clips["before"][-1]).abs().mean() < 0.01
    assert torch.equal(matched(host, 0), clips["shot"])


def test_a_shot_of_a_story_says_how_many_frames_repeat(host, clips):
    plan = host.pack("storymem.sampling.continuity").ShotPlan
    shot = host.pack("storymem.script.reader").load_story("a\n---\n[continue]\nb").shots[1]
    node_class = host.pack("nodes.sampling.match_color").MatchColor
    frames = torch.rand(6, 8, 8, 3)
    with pytest.raises(ValueError, match="previous_frames is not connected"):
        node_class.execute(frames, 1.0, 1, None, plan(shot, "s", "b", "mi2v"))
    after_a_cut = node_class.execute(frames, 1.0, 5, None, plan(shot, "s", "b", "m2v"))
    assert torch.equal(after_a_cut.args[0], frames)
