"""The shot loop where files vanished, are damaged, or were never finished."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from helpers.loop_graphs import decoded, loop_graph, ran, story
from helpers.not_empty import not_empty

CACHES = ("ram", "classic", "lru", "none")
pytestmark = pytest.mark.usefixtures("fresh")


def records(host, label: str | None = None) -> list[Path]:
    found = []
    for path in not_empty((host.base / "output" / ".storymem" / "shots").glob("*/*/record.json")):
        facts = json.loads(json.loads(path.read_text())["record"])["facts"]
        if label is None or facts["label"] == label:
            found.append(path.parent)
    return found


def _vanish(folder: Path):
    shutil.rmtree(folder)


def _truncate_video(folder: Path):
    os.truncate(folder / "shot.mp4", 100)


def _truncate_record(folder: Path):
    os.truncate(folder / "record.json", 50)


def _flip_tail(folder: Path):
    path = folder / "tail_4.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("cache", ["ram", "classic"])
@pytest.mark.parametrize("spoil", [_vanish, _truncate_video, _truncate_record, _flip_tail])
def test_a_damaged_shot_is_made_again_and_only_that_one(host, log, spoil, cache):
    host.restart(cache)
    graph = loop_graph(story(3), log)
    before = host.run(graph)
    expected = decoded(Path(before["folder"]) / "Tale_00001_.mp4")
    for _ in range(2):  # the second time must not be taken from what the host remembers
        ran(log)
        (folder,) = records(host, "01_02")
        spoil(folder)
        host.run(graph)
        assert ran(log) == [2]
        assert decoded(Path(before["folder"]) / "Tale_00001_.mp4") == expected


def test_a_lost_picture_of_the_memory_is_made_again(host, log):
    graph = loop_graph(story(3), log)
    before = host.run(graph)["bank"]
    ran(log)
    digest = before.frames[1].digest
    next((host.base / "output" / ".storymem" / "pictures").glob(f"*/{digest}.png")).unlink()
    host.restart()
    after = host.run(graph)["bank"]
    assert ran(log) == [2]  # it comes out as it was, so the third sees the same
    assert [f.digest for f in after.frames] == [f.digest for f in before.frames]


@pytest.mark.parametrize("cache", CACHES)
def test_deleted_visible_files_come_back_without_any_work(host, log, cache):
    host.restart(cache)
    graph = loop_graph(story(2), log)
    folder = Path(host.run(graph)["folder"])
    ran(log)
    shutil.rmtree(folder)
    host.run(graph)
    assert ran(log) == []
    assert (folder / "Tale_00001_.mp4").is_file()
    assert (folder / "shot_01_02.mp4").is_file()


def test_a_resumed_story_equals_an_undisturbed_one(host, log):
    switch = log.with_name("switch")
    graph = loop_graph(story(4), log, body={"fail_on": f"@{switch}"})
    whole = host.run(graph)
    expected = decoded(Path(whole["folder"]) / "Tale_00001_.mp4")
    shutil.rmtree(host.base / "output")
    (host.base / "output").mkdir()
    ran(log)
    for broken in ("number 2", "number 4"):
        host.restart()
        switch.write_text(broken)
        with pytest.raises(RuntimeError, match="on purpose"):
            host.run(graph)
    switch.unlink()
    host.restart()
    again = host.run(graph)
    assert ran(log) == [1, 2, 3, 4]
    assert decoded(Path(again["folder"]) / "Tale_00001_.mp4") == expected
    assert [f.digest for f in again["bank"].frames] == [f.digest for f in whole["bank"].frames]
    assert [f.score for f in again["bank"].frames] == [0.1 + 0.2] * 4
