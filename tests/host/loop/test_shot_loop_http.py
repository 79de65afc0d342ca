"""The shot loop in real servers: four caches, restarts, kill -9, cancel, bounded memory."""

from __future__ import annotations

import json
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.loop_graphs import (
    OTHER_GRAPH,
    begun,
    decoded,
    edited,
    finished_shots,
    hold,
    lines_of,
    loop_graph,
    ran,
    release,
    story,
)
from helpers.not_empty import not_empty
from helpers.server_base import link_base

pytestmark = [pytest.mark.http, pytest.mark.slow]

CACHES = {
    "default": (),
    "classic": ("--cache-classic",),
    "lru": ("--cache-lru", "50"),
    "none": ("--cache-none",),
}
QUICK_START = ("--disable-api-nodes",)
KILLS = 12  # tests/tools/kill_campaign.py kills seventy times, also at chosen moments
STORE = Path("output", ".storymem")  # below the base folder


@pytest.fixture
def base(tmp_path, base_folder):
    """A base folder that outlives a server."""
    return link_base(tmp_path / "kept", base_folder)


def result_of(base: Path, name="Tale") -> dict:
    """Everything that an artist gets, as decoded pictures."""
    from PIL import Image

    folder = base / "output" / "loop" / name
    found = {p.name: decoded(p) for p in sorted(folder.glob("*.mp4"))}
    for path in not_empty((folder / "bank").glob("*.png")):
        with Image.open(path) as picture:
            found[path.name] = picture.tobytes()
    return found


@pytest.mark.parametrize("cache", CACHES)
def test_only_what_changed_runs_again_and_memory_stays_flat(start_server, base, tmp_path, cache):
    log = tmp_path / "log"
    server = start_server(*QUICK_START, *CACHES[cache], output=base)
    server.run(loop_graph(story(4), log))
    assert ran(log) == [1, 2, 3, 4]
    server.run(OTHER_GRAPH)
    server.run(loop_graph(story(4), log))
    assert ran(log) == []
    server.run(loop_graph(edited(4, 3), log))
    assert ran(log) == [3, 4]
    expected = result_of(base)

    rss = shots_rss(server, tmp_path / "big", shots=12)
    # The first shots warm the host up, and at one moment a batch may still be held.
    growth = (min(rss[-3:]) - min(rss[2:5])) / (len(rss) - 5) / 2**20
    assert growth < 20, f"{growth:.1f} MB a shot: {[round(r / 2**20) for r in rss]}"

    server.stop()
    server.start()
    server.run(loop_graph(edited(4, 3), log))
    assert ran(log) == []
    assert result_of(base) == expected
    server.run(loop_graph(edited(4, 4), log))
    assert ran(log) == [4] or ran(log) == []


def shots_rss(server, log: Path, shots: int) -> list[int]:
    """The server's resident memory at the beginning of each shot of 49 MB of frames."""
    size = {"width": 208, "height": 240, "length": 81}
    graph = loop_graph(story(shots, name="Big"), log, body=size)
    graph["invert"] = {"class_type": "ImageInvert", "inputs": {"image": ["body", 0]}}
    graph["close"]["inputs"]["frames"] = ["invert", 0]
    server.run(graph, timeout=600)
    return [int(line) for line in Path(f"{log}.rss").read_text().split()]


def test_a_story_killed_at_twelve_random_moments_ends_as_an_undisturbed_one(
    start_server, base, tmp_path
):
    log = tmp_path / "log"
    chance = random.Random(20)
    graph = loop_graph(story(5), log, body={"seconds": 0.25})
    server = start_server(*QUICK_START, output=base)
    begin = time.monotonic()
    server.run(graph)
    per_shot = (time.monotonic() - begin) / 5
    expected = result_of(base)
    assert len(expected) == 6 + 5
    lines_of(log)

    def start_over():
        shutil.rmtree(base / "output")
        (base / "output").mkdir()
        lines_of(log)

    start_over()
    kills, finished_before = 0, set()
    while True:
        prompt_id = server.queue(graph)
        if kills == KILLS:
            break
        time.sleep(chance.uniform(0, 1.6 * per_shot))
        server.kill()
        kills += 1
        assert not finished_before & set(begun(log)), "a finished shot was computed again"
        finished_before = finished_shots(base / STORE)
        server.start()
        if len(finished_before) == 5 and kills < KILLS:  # it got through: once more from nothing
            assert server.wait(server.queue(graph))["status"]["status_str"] == "success"
            assert result_of(base) == expected
            start_over()
            finished_before = set()
    assert server.wait(prompt_id)["status"]["status_str"] == "success"
    assert not finished_before & set(begun(log)), "a finished shot was computed again"
    assert result_of(base) == expected
    assert len(list((base / STORE / "writing").iterdir())) <= 1


def test_cancel_keeps_finished_shots_and_the_next_run_goes_on(start_server, base, tmp_path):
    log = tmp_path / "log"
    server = start_server(*QUICK_START, output=base)
    graph = loop_graph(story(4), log)
    hold(log, 2)
    prompt_id = server.queue(graph)
    server.wait_until(lambda: log.exists() and "begin 2" in log.read_text())
    server.post("/interrupt", {})
    entry = server.wait(prompt_id)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert len(finished_shots(base / STORE)) == 1
    manifest = json.loads((base / "output" / "loop" / "Tale" / "story.json").read_text())
    assert "cancelled" in manifest["stopped"]
    assert ran(log) == [1]
    release(log)
    server.run(graph)
    assert ran(log) == [2, 3, 4]

    # A failing shot over HTTP: the history names it, its prompt and the cause.
    switch = tmp_path / "switch"
    switch.write_text("number 2")
    broken = loop_graph(story(3, name="Broken"), log, body={"fail_on": f"@{switch}"})
    with pytest.raises(RuntimeError) as failure:
        server.run(broken)
    for words in ("stopped in shot 2", "shot number 2", "the body broke on purpose", "1 of 3"):
        assert words in str(failure.value)

    # Two prompts of one story in the queue at once.
    lines_of(log)
    twice = loop_graph(story(3, name="Twice"), log)
    ids = [server.queue(twice), server.queue(twice)]
    assert [server.wait(i)["status"]["status_str"] for i in ids] == ["success", "success"]
    assert ran(log) == [1, 2, 3]

    # A second server on the same folder, at the same time.
    other = start_server(*QUICK_START, output=base)
    slow = loop_graph(story(3, name="Shared"), log, body={"seconds": 0.2})
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(lambda one: one.run(slow), (server, other)))) == 2
    shown = result_of(base, "Shared")
    assert [len(shown[f"shot_01_0{i}.mp4"]) for i in (1, 2, 3)] == [13, 8, 8]
    assert len(finished_shots(base / STORE)) >= 3

    # One that makes the story otherwise is told before its first shot, but not by a dead one.
    lines_of(log)
    hold(log, 2)
    begun = server.queue(loop_graph(story(3, name="Apart"), log))
    server.wait_until(lambda: log.exists() and "begin 2" in log.read_text())
    otherwise = loop_graph(story(3, name="Apart"), tmp_path / "other", body={"seed": 8})
    with pytest.raises(RuntimeError, match="is making the story in output/loop/Apart in another w"):
        other.run(otherwise)
    assert not (tmp_path / "other").exists()
    assert begun not in server.get("/history")
    server.kill()
    other.run(otherwise)
    assert ran(tmp_path / "other") == [1, 2, 3]
    folder = base / "output" / "loop" / "Apart"
    assert [path.name for path in folder.glob(".*")] == [".storymem.lock"]
