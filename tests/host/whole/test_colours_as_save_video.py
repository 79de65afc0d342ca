"""Films of the pack and of the host's own Save Video: the same colours, said in the same tags."""

from __future__ import annotations

import inspect
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from helpers.loop_graphs import loop_graph, story
from storymem.files.video import read_frames, write_video

COLOURS = [(220, 30, 40), (10, 200, 90), (30, 60, 230), (230, 195, 175), (128, 128, 128)]


def tags(path) -> list[int]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        return [int(v) for v in (frame.colorspace, frame.color_range, context.color_primaries)]


@pytest.mark.parametrize("size", [(480, 832), (832, 480), (720, 1280), (1088, 1920)])
def test_flat_colours_are_those_of_save_video(host, tmp_path, size):
    from comfy_api.latest import InputImpl, Types

    if "color_space" not in inspect.signature(InputImpl.VideoFromComponents.save_to).parameters:
        pytest.skip("this host's Save Video says nothing of colours")
    for colour in COLOURS:
        pixels = np.full((*size, 3), colour, np.uint8)
        write_video(tmp_path / "ours.mp4", [pixels] * 2)
        images = torch.from_numpy(pixels).float()[None].repeat(2, 1, 1, 1) / 255
        parts = Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(16))
        InputImpl.VideoFromComponents(parts).save_to(str(tmp_path / "host.mp4"))
        assert tags(tmp_path / "ours.mp4") == tags(tmp_path / "host.mp4") == [1, 1, 1]
        ours, hosts = (
            next(iter(read_frames(tmp_path / name))).astype(int)
            for name in ("ours.mp4", "host.mp4")
        )
        assert np.abs(ours - hosts).max() <= 2
        assert np.abs(ours - colour).max() <= 2


def test_the_host_reads_a_finished_story_in_its_colours(host, fresh, log, tmp_path):
    """What Shot Loop Close hands on as VIDEO, taken apart and saved by the host's own nodes."""
    graph = loop_graph(story(2), log)
    graph["parts"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["close", 0]}}
    for key, link in (("images", ["parts", 0]), ("video", ["close", 0])):
        graph[key] = {"class_type": "StoryMemTestRecord", "inputs": {"value": link, "key": key}}
    made = host.run(graph)
    film = next((host.base / "output" / "loop" / "Tale").glob("Tale_*.mp4"))
    ours = np.stack(list(read_frames(film))).astype(int)
    hosts = (made["images"] * 255).round().numpy()
    assert ours.shape == hosts.shape
    assert np.abs(ours.mean((1, 2)) - hosts.mean((1, 2))).max() <= 2
    made["video"].save_to(str(tmp_path / "saved.mp4"))
    assert tags(tmp_path / "saved.mp4") == [1, 1, 1]
