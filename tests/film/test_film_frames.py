"""Every frame of every shot is in the film, once, in its order: counted back with PyAV."""

from __future__ import annotations

import re
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.disk import StoreError
from storymem.files.video import write_video
from storymem.film.folder import claim_folder
from storymem.film.output import StoryExport, VideoOptions
from storymem.loop import shot_store
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.dialogue import Line
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

LENGTHS = (3, 9, 6, 2)  # of the shots as they are shown
CUTS = (True, True, False, True)
SHADES = (40, 90, 140, 190)


def decoded(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def shades(path) -> list[int]:
    """Of which shot each frame is."""
    means = [frame.mean() for frame in decoded(path)]
    return [int(np.abs(np.array(SHADES) - mean).argmin()) for mean in means]


@pytest.fixture
def made(tmp_path):
    """A finished story of grey shots, and where it is shown."""
    scene = {"video_prompts": list("abcd"), "cut": list(CUTS)}
    story = load_story({"story_name": "Tale", "scenes": [scene]})
    loop = Loop(story, LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path / "store"))
    steps, before = list_steps(loop, {}), None
    for step in steps:
        step.begin(begin_shot(loop, step, before))
        number = step.plan.shot.index
        count = LENGTHS[number] + step.plan.overlap_frames
        frames = torch.full((count, 16, 16, 3), SHADES[number] / 255)
        step.record, before = finish_shot(loop, step, frames, MemoryBank(), crf=17)
    export = StoryExport(claim_folder(tmp_path, "p", story), story, loop.settings, VideoOptions())
    return export, steps


def finish(made, **options):
    export, steps = made
    export = replace(export, options=VideoOptions(prompt_subtitles=True, **options))
    return export.finish(steps, {}, None), export.folder


@pytest.mark.parametrize("fps", [16.0, 24.0, 30.0])
def test_a_film_holds_every_frame_of_its_shots_in_order(made, fps):
    film, folder = finish(made, fps=fps)
    shots = [folder / f"shot_01_0{i}.mp4" for i in (1, 2, 3, 4)]
    assert [len(decoded(shot)) for shot in shots] == list(LENGTHS)
    parts = [frame for shot in shots for frame in decoded(shot)]
    joined = decoded(film)
    assert len(joined) == sum(LENGTHS)
    assert all(np.array_equal(a, b) for a, b in zip(joined, parts, strict=True))
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (fps, sum(LENGTHS))
        times = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    assert times == pytest.approx([i / fps for i in range(sum(LENGTHS))], abs=1e-4)


def test_a_fade_takes_its_frames_once(made):
    """Each cut is as many frames shorter as fade there; shots that continue do not fade."""
    film, folder = finish(made, fade_frames=2)
    fades = [2, 0, 1]  # the last shot has two frames, of which one is its own
    assert len(decoded(film)) == sum(LENGTHS) - sum(fades)
    assert shades(film)[:1] + shades(film)[-1:] == [0, 3]
    assert shades(film)[3:] == [1] * 7 + [2] * 5 + [shades(film)[-2], 3]
    assert [len(decoded(folder / f"shot_01_0{i}.mp4")) for i in (1, 2, 3, 4)] == list(LENGTHS)


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


@pytest.mark.parametrize("options", [{}, {"fps": 24.0}, {"fade_frames": 2}])
def test_subtitles_begin_with_their_shots_and_end_with_the_film(made, options):
    film, _ = finish(made, **options)
    text = film.with_suffix(".srt").read_text(encoding="utf-8")
    times = [tuple(map(seconds, line)) for line in re.findall(r"(\S+) --> (\S+)", text)]
    fps, fades = options.get("fps", 16.0), [0, 2, 0, 1, 0] if "fade_frames" in options else [0] * 5
    first, expected = 0, []
    for i, length in enumerate(LENGTHS):
        expected.append((first, first + length - fades[i + 1]))
        first = expected[-1][1]
    assert first == len(decoded(film))
    found = [(round(begin * fps, 1), round(end * fps, 1)) for begin, end in times]
    assert found == expected
    web = film.with_suffix(".vtt").read_text(encoding="utf-8")
    assert [tuple(map(seconds, line)) for line in re.findall(r"(\S+) --> (\S+)", web)] == times


def test_what_is_no_longer_said_goes_from_beside_the_film(made):
    export, steps = made
    silent = [step.plan for step in steps]
    shot = replace(silent[1].shot, dialogue=(Line("Mara", "Hello."),))
    steps[1].plan = replace(silent[1], shot=shot)
    film = export.finish(steps, {}, None)
    beside = [film.with_suffix(ending) for ending in (".srt", ".vtt")]
    assert ["Hello." in path.read_text(encoding="utf-8") for path in beside] == [True, True]
    assert all(" --> " in path.read_text(encoding="utf-8") for path in beside)
    steps[1].plan = silent[1]
    assert replace(export, options=VideoOptions(subtitles=False)).finish(steps, {}, None) == film
    assert [path.exists() for path in beside] == [True, True]  # nobody asked
    assert export.finish(steps, {}, None) == film
    assert [path.exists() for path in beside] == [False, False]


def test_a_part_of_the_story_has_the_frames_of_that_part(made):
    export, steps = made
    part = replace(export, settings=LoopSettings(start_shot=2, end_shot=3))
    film = part.finish(steps[:3], {}, None)
    assert film.name.startswith("Tale_shots_02-03")
    assert shades(film) == [1] * 9 + [2] * 6


def test_an_edit_counts_with_the_frames_that_it_has(made):
    film, folder = finish(made)
    edit = folder / "shot_01_02.mp4"
    frame = np.full((16, 16, 3), SHADES[1], np.uint8)
    frame[:2] = 0
    write_video(edit, [frame] * 5, fps=16)
    longer, _ = finish(made)
    assert longer != film
    assert len(decoded(longer)) == sum(LENGTHS) - LENGTHS[1] + 5
    assert shades(longer) == [0] * 3 + [1] * 5 + [2] * 6 + [3] * 2


@pytest.mark.parametrize("lost", [1, 3])
def test_a_shot_whose_frames_did_not_all_arrive_is_not_finished(tmp_path, monkeypatch, lost):
    """A full disk may cut a film off without an error; a record of it would be believed."""

    def write_fewer(path, frames, **options):
        kept = list(frames)
        return write_video(path, kept[: len(kept) - lost], **options)

    monkeypatch.setattr(shot_store, "write_video", write_fewer)
    store = ShotStore(tmp_path)
    frames = torch.stack([noise_image(i, 16, 16) for i in range(6)]) / 255
    with pytest.raises(StoreError, match=rf"only {6 - lost} of 6 frames arrived"):
        store.commit("ab" * 32, frames, MemoryBank(), {})
    assert store.find("ab" * 32) is None
    assert list((tmp_path / "writing").iterdir()) == []
    monkeypatch.undo()
    record, _ = store.commit("ab" * 32, frames, MemoryBank(), {})
    assert record.frames == len(decoded(record.video)) == 6


def test_a_shot_keeps_its_own_frames_and_not_those_that_it_repeats(made):
    _, steps = made
    for step, length, shade in zip(steps, LENGTHS, SHADES, strict=True):
        found = decoded(step.record.video)
        assert step.record.frames == len(found) == length
        assert all(abs(frame.mean() - shade) < 2 for frame in found)
