"""Pictures on disk that are edited in place, with their size and time as before: the next run sees
what they show now."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from helpers.keyframe_graphs import node, record, start
from helpers.loop_graphs import loop_graph, ran, story

OLD, NEW = (200, 40, 40), (40, 200, 40)


def paint(path, colour, *, puts_time_back=False) -> None:
    """A BMP is of one size whatever it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if puts_time_back else None
    Image.fromarray(np.full((32, 48, 3), colour, np.uint8)).save(path)
    if before:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        now = path.stat()
        assert (now.st_mtime_ns, now.st_size) == (before.st_mtime_ns, before.st_size)


@pytest.fixture(params=["at once", "long after"])
def picture(request, host, fresh):
    """Makes a picture below the host's input folder, new or settled."""
    host.restart()

    def make(name):
        path = host.base / "input" / name
        paint(path, OLD)
        if request.param == "long after":
            os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    return make


def shown(value):
    value = value.frames[0].image if hasattr(value, "frames") else (value[0] * 255).round()
    return tuple(int(level) for level in value[3, 3])


GRAPHS = {
    "a bank's folder": ("in_place/a.bmp", node(
        "StoryMemLoadMemoryBank", folder="in_place", skip_damaged=False)),
    "a picture of the gallery": ("in_place_1.bmp", start(
        edits=json.dumps({"images": ["in_place_1.bmp"]}))),
    "start images": ("in_place_start/shot_01_01.bmp", node(
        "StoryMemLoadStartImages", story=["story", 0], folder="in_place_start")),
}  # fmt: skip


@pytest.mark.parametrize("where", GRAPHS)
def test_the_next_run_sees_what_a_picture_shows_now(host, picture, where):
    name, loader = GRAPHS[where]
    path = picture(name)
    graph = {
        "story": node("StoryMemLoadStory", script="one shot", file="none"),
        "load": loader,
        "r": record(["load", 0], "made"),
    }
    assert shown(host.run(graph)["made"]) == OLD
    host.run(graph)
    assert "load" not in host.executed_nodes(), "nothing changed"
    paint(path, NEW, puts_time_back=True)
    assert shown(host.run(graph)["made"]) == NEW
    host.run(graph)
    assert "load" not in host.executed_nodes()


def test_a_reference_image_of_a_script_is_looked_at_again(host, picture, log):
    path = picture("in_place_2.bmp")
    graph = loop_graph(story(2, reference_images=[["in_place_2.bmp"], None]), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    host.run(graph)
    assert ran(log) == []
    paint(path, NEW, puts_time_back=True)
    host.run(graph)
    assert ran(log) == [1, 2], "both see it"
    paint(path, OLD, puts_time_back=True)
    host.run(graph)
    assert ran(log) == [], "found on disk"


def test_a_mark_is_what_earlier_versions_wrote_until_that_would_hide_a_change(host, tmp_path):
    """The description of a loop holds it, and finished shots are found by that."""
    mark_of = host.pack("nodes.host.file_marks").mark_of
    path = tmp_path / "a.bmp"
    paint(path, OLD)
    status = path.stat()
    plain = f"a.bmp:{status.st_mtime_ns}:{status.st_size}"
    assert [mark_of("a.bmp", path) for _ in range(2)] == [plain, plain]
    paint(path, NEW, puts_time_back=True)
    changed = mark_of("a.bmp", path)
    assert changed.startswith(plain + ":")
    paint(path, OLD, puts_time_back=True)
    assert mark_of("a.bmp", path) == plain
