"""A story that an earlier version began, whose shots are BT.601 without tags, goes on over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.host_server import Server
from helpers.loop_graphs import edited, loop_graph, ran, story
from helpers.server_base import link_base
from storymem.files.video import read_frames, read_info

pytestmark = [pytest.mark.http, pytest.mark.slow]
LABELS = ["01_01", "01_02", "01_03"]


def film_of(folder: Path) -> Path:
    return folder / json.loads((folder / "story.json").read_text())["video"]


def last_frames(output: Path, folder: Path) -> list[np.ndarray]:
    """The last frame of each shot as it left the model."""
    shots = json.loads((folder / "story.json").read_text())["shots"]
    records = [output / ".storymem/shots" / e["key"][:2] / e["key"] for e in map(shots.get, LABELS)]
    return [np.array(Image.open(max(r.glob("tail_*.png"))), dtype=int) for r in records]


def test_old_and_new_shots_are_one_film_in_right_colours(base_folder, host, tmp_path):
    base, log = link_base(tmp_path / "base", base_folder), tmp_path / "log"
    folder = base / "output" / "loop" / "Tale"
    notes = ""

    def queue(server, script) -> list[int]:
        nonlocal notes
        outputs = server.run(loop_graph(script, log))["outputs"].values()
        notes = "\n".join(text for output in outputs for text in output.get("text", ()))
        return ran(log)

    def check_colours():
        frames = [pixels.astype(int) for pixels in read_frames(film_of(folder))]
        assert len(frames) == 13 + 8 + 8  # later shots repeat five frames of the one before
        for number, made in zip((12, 20, 28), last_frames(base / "output", folder), strict=True):
            assert np.abs(frames[number] - made).mean() < 5, (
                "encoded twice, small and strong colours"
            )
            assert np.abs(frames[number].mean((0, 1)) - made.mean((0, 1))).max() < 1.5

    Path(f"{log}.old").touch()
    server = Server(base, "--disable-api-nodes").start()
    try:
        assert queue(server, story(3)) == [1, 2, 3]
    finally:
        server.stop()
    Path(f"{log}.old").unlink()
    old_film = film_of(folder)
    shots = [folder / f"shot_{label}.mp4" for label in LABELS]
    assert {read_info(path).matrix for path in (*shots, old_film)} == {2}
    before = {path: path.read_bytes() for path in (*shots, old_film)}

    server = Server(base, "--disable-api-nodes").start()
    try:
        assert queue(server, story(3)) == []
        assert {path: path.read_bytes() for path in before} == before, "nothing is touched"
        assert film_of(folder) != old_film
        assert read_info(film_of(folder)).matrix == 1
        assert "shot_01_01.mp4, shot_01_02.mp4, shot_01_03.mp4: in BT.601" in notes
        check_colours()
        again = film_of(folder)
        assert queue(server, story(3)) == []
        assert film_of(folder) == again, "once is enough"

        assert queue(server, edited(3, 3)) == [3]
        assert {path: path.read_bytes() for path in shots[:2]} == {p: before[p] for p in shots[:2]}
        assert [read_info(path).matrix for path in (*shots, film_of(folder))] == [2, 2, 1, 1]
        assert "shot_01_01.mp4, shot_01_02.mp4: in BT.601" in notes
        check_colours()
    finally:
        server.stop()
