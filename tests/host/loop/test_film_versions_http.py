"""Films of a real server: which runs make a new one, and how an earlier one comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.loop_graphs import edited, loop_graph, ran, story
from helpers.not_empty import not_empty
from storymem.files.hashing import checksum

pytestmark = [pytest.mark.http, pytest.mark.slow]
PACK = Path(__file__).resolve().parents[3]


@pytest.fixture
def server(start_server):
    return start_server("--disable-api-nodes")


def command(folder: Path, *arguments: str) -> str:
    words = [sys.executable, "-m", "storymem", "films", str(folder), *arguments]
    return subprocess.run(words, cwd=PACK, check=True, capture_output=True, text=True).stdout


def state(folder: Path) -> dict[str, str]:
    """What a film's state consists of: shots, script and the keys of the shots."""
    found = {path.name: checksum(path) for path in folder.glob("shot_*.mp4")}
    shots = json.loads((folder / "story.json").read_text())["shots"]
    keys = {label: entry["key"] for label, entry in shots.items()}
    return {**found, **keys, "script": (folder / "script.json").read_text()}


def test_runs_of_one_story_make_films_that_stay(server, tmp_path):
    log = tmp_path / "log"
    folder = server.base / "output" / "loop" / "Tale"

    def films() -> dict[str, str]:
        return {path.name: checksum(path) for path in not_empty(folder.glob("Tale_*.mp4"))}

    def run(script: str, **options) -> dict[str, str]:
        server.run(loop_graph(script, log, **options))
        return films()

    # The same run again, also in a server that knows nothing of the first, keeps the film.
    first = run(story(3))
    assert list(first) == ["Tale_00001_.mp4"]
    assert ran(log) == [1, 2, 3]
    assert run(story(3)) == first
    server.stop()
    server.start()
    assert run(story(3)) == first
    before = state(folder)

    # Another option, another rate, another shot: the next number each, and nothing is written over.
    faded = run(story(3, cuts=[True, True, True]), closed={"transition": "cross_fade"})
    assert list(faded) == ["Tale_00001_.mp4", "Tale_00002_.mp4"]
    fast = run(story(3), closed={"fps": 24.0})
    assert list(fast)[2:] == ["Tale_00003_.mp4"]
    changed = run(edited(3, 3))
    assert list(changed)[3:] == ["Tale_00004_.mp4"]
    assert changed.items() > fast.items() > faded.items() > first.items()
    part = run(edited(3, 3), opened={"end_shot": 2})
    assert part.keys() - changed.keys() == {"Tale_shots_01-02_00001_.mp4"}
    latest = state(folder)

    # The first one's state comes back; queueing its graph again makes nothing.
    ran(log)
    assert "Tale_00001_ is back" in command(folder, "--restore", "1")
    assert state(folder) == before
    server.run(loop_graph(story(3), log))
    assert ran(log) == []
    assert films() == part
    command(folder, "--restore", "4")
    assert state(folder) == latest

    # Old films go when that is said twice.
    assert "would free" in command(folder, "--clean", "--keep", "1")
    assert films() == part
    command(folder, "--clean", "--keep", "1", "--yes")
    assert list(films()) == ["Tale_00004_.mp4", "Tale_shots_01-02_00001_.mp4"]
    assert "Tale_00003_" in command(folder)

    # A film that was deleted comes back under its number.
    (folder / "Tale_00004_.mp4").unlink()
    server.run(loop_graph(edited(3, 3), log))
    assert list(films()) == ["Tale_00004_.mp4", "Tale_shots_01-02_00001_.mp4"]


def test_two_servers_that_join_one_story_at_once_share_its_number(server, start_server, tmp_path):
    other = start_server("--disable-api-nodes", output=server.base)
    graph = loop_graph(story(3), tmp_path / "log")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one.run(graph), (server, other)))
    folder = server.base / "output" / "loop" / "Tale"
    names = [path.name for path in folder.glob("Tale_*.mp4")]
    assert names == ["Tale_00001_.mp4"]
    assert [path.name for path in folder.glob(".*")] == [".storymem.lock"]
