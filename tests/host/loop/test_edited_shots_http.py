"""Shot files that an artist edits between two runs of a real server, and between two headless
runs."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from helpers.loop_graphs import decoded, edited, hold, lines_of, loop_graph, ran, release, story
from helpers.server_base import link_base, serving

pytestmark = [pytest.mark.http, pytest.mark.slow]

SIZE = (48, 64)  # height, width of the test body's frames
GREEN = (20, 200, 40)


@pytest.fixture(scope="module")
def server(base_folder, host, tmp_path_factory):
    base = link_base(tmp_path_factory.mktemp("edited"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


class Tale:
    """One story in a folder of its own on the server. Its first shot has 13 frames, the others 8:
    five of their 13 repeat the shot before."""

    def __init__(self, server, log, prefix):
        self.server, self.log, self.prefix = server, log, prefix
        self.folder = server.base / "output" / prefix / "Tale"
        self.notes = ""

    def graph(self, script=None, **changes):
        return loop_graph(script or story(3), self.log, prefix=self.prefix, **changes)

    def run(self, script=None, **changes) -> list[int]:
        """Queue the story; the shots that were made."""
        entry = self.server.run(self.graph(script, **changes))
        texts = [text for output in entry["outputs"].values() for text in output.get("text", ())]
        self.notes = "\n".join(texts)
        return ran(self.log)

    def shot(self, label="01_01"):
        return self.folder / f"shot_{label}.mp4"

    def greens(self) -> list[bool]:
        """For each frame of the film, whether it is the artist's."""
        film = json.loads((self.folder / "story.json").read_text())["video"]
        means = [
            np.frombuffer(frame, np.uint8).reshape(*SIZE, 3).mean((0, 1))
            for frame in decoded(self.folder / film)
        ]
        return [bool(np.abs(mean - GREEN).max() < 12) for mean in means]


@pytest.fixture
def tale(server, log):
    return Tale(server, log, log.parent.name)


def paint(path, frames, size=SIZE, fps=16) -> bytes:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((*size, 3), GREEN, np.uint8), format="rgb24")
        for _ in range(frames):
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("locked", [False, True])
def test_an_edited_shot_stays_and_is_continued_from(tale, locked):
    lock = {"lock": [True, None, None]} if locked else {}
    assert tale.run(story(3, **lock)) == [1, 2, 3]
    assert tale.run(story(3, **lock)) == []
    mine = paint(tale.shot(), 13)
    for made in ([2, 3], []):
        assert tale.run(story(3, **lock)) == made
        assert tale.shot().read_bytes() == mine
        assert "shot_01_01.mp4 was edited: it is kept and used in the story video" in tale.notes
        assert tale.greens()[:18] == [True] * 13 + [False] * 5
    tale.shot().unlink()
    assert tale.run(story(3, **lock)) == []
    assert not any(tale.greens())
    assert tale.notes == ""


def test_a_shot_after_a_cut_is_not_made_again(tale):
    script = story(3, cuts=[True, True, False])
    assert tale.run(script) == [1, 2, 3]
    paint(tale.shot(), 13)
    assert tale.run(script) == []
    paint(tale.shot("01_02"), 13)
    assert tale.run(script) == [3]
    assert tale.greens() == [True] * 26 + [False] * 8


def test_an_edit_of_another_size_and_rate_is_fitted_and_that_is_said(tale):
    tale.run()
    mine = paint(tale.shot("01_03"), 12, size=(96, 128), fps=24)
    assert tale.run() == []
    assert tale.shot("01_03").read_bytes() == mine
    assert tale.notes.endswith("re-encoded from 128x96 at 24 fps to 64x48 at 16 fps")
    assert tale.greens() == [False] * 21 + [True] * 8
    assert "re-encoded from 128x96" in tale.server.log()


def test_a_shot_file_that_was_cut_off_is_restored(tale):
    tale.run()
    whole = tale.shot().read_bytes()
    os.truncate(tale.shot(), len(whole) // 2)
    assert tale.run() == []
    assert tale.shot().read_bytes() == whole
    assert "what was there is kept as 'shot_01_01 cut off 1.mp4'" in tale.notes
    os.truncate(tale.shot(), 0)
    assert tale.run() == []
    assert tale.shot().read_bytes() == whole
    assert "was damaged" in tale.notes


def test_a_new_take_is_shown_and_the_edit_kept_beside(tale):
    tale.run()
    mine = paint(tale.shot("01_03"), 8)
    tale.run()
    assert tale.run(edited(3, 3)) == [3]
    assert not any(tale.greens())
    aside = tale.folder / "shot_01_03 edited 1.mp4"
    assert aside.read_bytes() == mine
    assert f"the edited file is kept as '{aside.name}'" in tale.notes
    assert tale.run() == []
    assert tale.shot("01_03").read_bytes() == mine
    assert tale.greens() == [False] * 21 + [True] * 8


def test_an_edit_moves_with_its_shot(tale):
    def script(*prompts):
        return story(prompts=prompts, cuts=[True] * len(prompts), lock=[True] * len(prompts))

    tale.run(script("A", "B"))
    mine = paint(tale.shot("01_02"), 13)
    assert tale.run(script("A", "X", "B")) == [2]
    assert tale.shot("01_03").read_bytes() == mine
    assert tale.greens() == [False] * 26 + [True] * 13
    assert tale.run(script("A", "X")) == []
    assert (tale.folder / "shot_01_03 edited 1.mp4").read_bytes() == mine


def test_an_edit_made_during_a_run_is_continued_from_in_the_next(tale):
    tale.run()
    hold(tale.log, 3)
    prompt = tale.server.queue(tale.graph(edited(3, 3)))
    tale.server.wait_until(lambda: "begin 3" in (tale.log.read_text() if tale.log.exists() else ""))
    mine = paint(tale.shot(), 13)
    release(tale.log)
    tale.server.wait(prompt)
    assert tale.shot().read_bytes() == mine
    assert tale.greens()[:13] == [True] * 13
    lines_of(tale.log)
    assert tale.run(edited(3, 3)) == [2, 3]
    assert tale.run(edited(3, 3)) == []
