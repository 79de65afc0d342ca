"""Bodies of the shot loop that give their frames in parts, with alpha, or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from helpers.loop_graphs import decoded, filtered, loop_graph, ran, story

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.mark.parametrize("cache", ["ram", "none"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_body_that_gives_nothing_is_told_and_does_not_hang(host, log, count, cache):
    host.restart(cache)
    begun = time.monotonic()
    import nodes

    stop = threading.Timer(120, nodes.interrupt_processing)  # a hang fails
    stop.start()
    try:
        with pytest.raises(RuntimeError, match=r"shot 1 .*output nothing"):
            host.run(filtered(loop_graph(story(count), log)))
    finally:
        stop.cancel()
    assert time.monotonic() - begun < 110, "it was the timer that ended it"
    assert ran(log) == [1]


def test_frames_in_parts_are_joined_in_order(host, log):
    whole = host.run(loop_graph(story(2), log))
    before = [decoded(Path(whole["folder"]) / f"shot_01_0{i}.mp4") for i in (1, 2)]
    graph = loop_graph(story(2), log, prefix="parts")
    rebatch = {"images": ["body", 0], "batch_size": 6}
    graph["parts"] = {"class_type": "RebatchImages", "inputs": rebatch}
    graph["close"]["inputs"]["frames"] = ["parts", 0]
    folder = Path(host.run(graph)["folder"])
    after = [decoded(folder / f"shot_01_0{i}.mp4") for i in (1, 2)]
    assert [len(frames) for frames in after] == [13, 8]
    assert after == before


def test_an_alpha_channel_is_left_out(host, log):
    graph = loop_graph(story(2), log)
    # A mask for every frame: older hosts cut the frames down to the number of masks.
    mask = {"image": ["body", 0], "channel": "red"}
    graph["mask"] = {"class_type": "ImageToMask", "inputs": mask}
    alpha = {"image": ["body", 0], "alpha": ["mask", 0]}
    graph["alpha"] = {"class_type": "JoinImageWithAlpha", "inputs": alpha}
    graph["close"]["inputs"]["frames"] = ["alpha", 0]
    folder = Path(host.run(graph)["folder"])
    assert len(decoded(folder / "shot_01_01.mp4")) == 13
