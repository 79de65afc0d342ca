"""Films of stories whose shots earlier versions made: BT.601 without tags."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from helpers.film_files import write_untagged
from storymem.files import video
from storymem.files.video import read_frames, read_info, write_video
from storymem.film.folder import claim_folder
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.shot_files import find_edits
from storymem.loop import shot_store
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

SIZE = (48, 64)
COLOURS = {"a": (220, 30, 40), "b": (10, 200, 90), "c": (30, 60, 230), "d": (230, 195, 175)}


@pytest.fixture
def tell_apart(tmp_path, monkeypatch):
    return Runs(tmp_path, monkeypatch)


class Runs:
    """One story, run after run; a prompt is the colour of its shot."""

    def __init__(self, output, monkeypatch):
        self.output, self.store, self.patch = output, ShotStore(output / ".storymem"), monkeypatch
        self.notes: dict[str, str] = {}

    def run_as_before(self, prompts: str) -> list[str]:
        def written(path, frames, **_):
            frames = list(frames)
            write_untagged(path, frames)
            return len(frames)

        with self.patch.context() as patch:
            patch.setattr(shot_store, "write_video", written)
            patch.setattr(video, "BT709", 2)  # so that they are joined as they are
            return self.run(prompts)

    def run(self, prompts: str, **options) -> list[str]:
        scene = {"video_prompts": list(prompts), "cut": [True] + [False] * (len(prompts) - 1)}
        story = load_story({"story_name": "Tale", "scenes": [scene]})
        self.folder = claim_folder(self.output, "p", story)
        loop = Loop(story, LoopSettings("last_frame"), MemoryBank(), "", self.store)
        loop = replace(loop, edits=find_edits(self.folder, story, self.store))
        steps, made = list_steps(loop, read_manifest(self.folder)), []
        self.notes, self.given = {}, {}
        shown = StoryExport(
            self.folder, story, loop.settings, VideoOptions(**options), notes=self.notes
        )
        for step in steps:
            if step.record is None:
                before = load_result(loop, step.before.record) if step.before else None
                begun = begin_shot(loop, step, before)
                self.given[step.label] = begun.given
                step.begin(begun)
            if step.record is None:
                colour = torch.tensor(COLOURS[step.plan.prompt]) / 255
                frames = colour.expand(9 + step.plan.overlap_frames, *SIZE, 3)
                step.record, _ = finish_shot(loop, step, frames, MemoryBank(), crf=17)
                made.append(step.label)
            shown.show_shot(step)
        self.film = shown.finish(steps, {}, None)
        return made

    def shots(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.glob("shot_*")}

    def shows(self, prompts: str, count: int = 9) -> bool:
        read = np.stack(list(read_frames(self.film))).astype(int)
        wanted = np.repeat([COLOURS[name] for name in prompts], count, axis=0)
        return len(read) == len(wanted) and np.abs(read - wanted[:, None, None]).max() <= 3


def test_a_finished_old_story_gets_a_film_in_right_colours_once(tell_apart):
    runs = tell_apart
    assert runs.run_as_before("abc") == ["01_01", "01_02", "01_03"]
    old, shots = runs.film, runs.shots()
    assert read_info(old).matrix == 2
    content = old.read_bytes()
    assert runs.run("abc") == []
    new = runs.film
    assert new != old
    assert runs.shots() == shots, "an artist's hours"
    assert old.read_bytes() == content
    assert read_info(new).matrix == 1
    assert runs.shows("abc")
    assert runs.notes["colours"].startswith("shot_01_01.mp4, shot_01_02.mp4, shot_01_03.mp4: in ")
    assert runs.run("abc") == []
    assert runs.film == new
    assert "colours" not in runs.notes


def test_old_and_new_shots_and_a_tagged_edit_are_one_film(tell_apart):
    runs = tell_apart
    runs.run_as_before("abc")
    assert runs.run("abd") == ["01_03"]
    assert runs.notes["colours"].startswith("shot_01_01.mp4, shot_01_02.mp4: in BT.601")
    assert runs.shows("abd")
    assert [read_info(p).matrix for p in sorted(runs.folder.glob("shot_*"))] == [2, 2, 1]
    write_video(runs.folder / "shot_01_01.mp4", [np.full((*SIZE, 3), COLOURS["c"], np.uint8)] * 9)
    assert runs.run("abd") == ["01_02"], "it continues from the edit"
    assert "colours" not in runs.notes, "nothing old is left"
    assert runs.shows("cbd")


def test_what_continues_from_an_old_shot_is_not_regenerated(tell_apart):
    """Its last frames are pictures, whatever its film says of its colours."""
    runs = tell_apart
    runs.run_as_before("abc")
    for _ in range(2):
        assert runs.run("abc") == []


def test_an_old_shot_at_another_frame_rate_is_still_the_one_that_was_made(tell_apart):
    runs = tell_apart
    runs.run_as_before("ab")
    assert runs.run("ab", fps=24) == []
    for name in ("shot_01_01.mp4", "shot_01_02.mp4"):
        assert read_info(runs.folder / name).matrix == 2, "copied, not encoded again"
    assert runs.shows("ab")
    assert list(runs.notes) == ["colours"]
    assert runs.run("ab", fps=24) == []
    assert runs.notes == {}


@pytest.mark.parametrize(
    ("tags", "space"),
    [
        ((1, 1, 1, 1), "ITU709"),
        ((6, 6, 6, 1), "ITU601"),
        ((6, 6, 6, 2), "ITU601"),
        ((1, 1, 1, 2), "ITU709"),
        ((2, 2, 2, 0), "ITU601"),  # an old shot that was cut without tags
    ],
)
def test_an_edit_of_other_colours_is_in_the_film_and_continued_as_it_plays(tell_apart, tags, space):
    runs = tell_apart
    runs.run("ab")
    path, colour = runs.folder / "shot_01_01.mp4", COLOURS["d"]
    write_edit(path, colour, tags, space)
    assert runs.run("ab") == ["01_02"]
    assert np.abs(runs.given["01_02"].numpy() * 255 - colour).max() <= 2.5
    assert runs.shows("db")
    assert read_info(runs.film).matrix == 1
    assert "shot_01_01.mp4 was edited" in runs.notes["shot_01_01.mp4"]


@pytest.mark.skipif(not hasattr(av.VideoFrame, "color_primaries"), reason="PyAV does not tell")
def test_an_edit_in_wide_colours_is_converted_and_that_is_said(tell_apart):
    runs = tell_apart
    runs.run("ab")
    path = runs.folder / "shot_01_01.mp4"
    write_edit(path, COLOURS["d"], (1, 12, 13, 1), "ITU709")
    playing = next(iter(read_frames(path))).astype(int)
    assert np.abs(playing - COLOURS["d"]).max() > 4
    assert runs.run("ab") == ["01_02"]
    read = next(iter(read_frames(runs.film))).astype(int)
    assert np.abs(read - playing).max() <= 2
    note = "re-encoded in the encoding of the others, its Display P3 colours converted to BT.709"
    assert runs.notes["shot_01_01.mp4"].endswith(note)


def write_edit(path, colour, tags, space) -> None:
    """What another program exports; ``tags``: matrix, primaries, curve, range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "8"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags[:3]
        context.color_range = tags[3]
        for number in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), colour, np.uint8))
            how = {"dst_color_range": "JPEG"} if tags[3] == 2 else {}
            frame = frame.reformat(format="yuv420p", dst_colorspace=space, **how)
            frame.color_range, frame.pts = tags[3], number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
