"""A headless story that begins from a video file, and shots that end with pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from storymem.files.video import read_frames, read_info, write_video
from storymem.film.output import BANK_FOLDER
from storymem.headless import opening
from storymem.headless.opening import read_clip
from storymem.memory.bank_folder import load_bank

GREYS = [20 * i + 10 for i in range(12)]


def write_greys(path: Path, fps: float, greys=GREYS) -> Path:
    write_video(path, (np.full((32, 48, 3), grey, np.uint8) for grey in greys), fps=fps, crf=10)
    return path


def greys_of(path: Path, **settings) -> list[int]:
    frames = read_clip(path, **settings).frames
    return [round(frame.float().mean().item() / 10) * 10 for frame in frames]


def test_only_the_end_of_a_clip_is_kept_unless_more_is_needed(tmp_path):
    path = write_greys(tmp_path / "clip.mp4", 16)
    assert greys_of(path) == GREYS[-5:]
    for whole in ({"is_remembered": True}, {"is_in_film": True}):
        assert greys_of(path, **whole) == GREYS
        assert all(getattr(read_clip(path, **whole), name) for name in whole)
    short = write_greys(tmp_path / "short.mp4", 16, GREYS[:3])
    assert greys_of(short) == GREYS[:3]


@pytest.mark.parametrize(
    ("fps", "tail", "whole"),
    [
        (32, [3, 5, 7, 9, 11], [1, 3, 5, 7, 9, 11]),
        (24, [5, 6, 8, 9, 11], [0, 2, 3, 5, 6, 8, 9, 11]),
        (8, [9, 9, 10, 11, 11], None),
    ],
)
def test_a_clip_of_another_rate_is_read_at_that_of_shots_up_to_its_very_last_frame(
    tmp_path, fps, tail, whole
):
    path = write_greys(tmp_path / "clip.mp4", fps)
    assert greys_of(path)[-1] == GREYS[-1]
    if fps == 8:
        assert len(read_clip(path, is_in_film=True).frames) == 23
        assert set(greys_of(path)) <= set(GREYS[-3:])
        return
    assert greys_of(path) == [GREYS[i] for i in tail]
    assert greys_of(path, is_in_film=True) == [GREYS[i] for i in whole]


def test_files_that_are_no_clip_are_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="there is no video"):
        read_clip(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        read_clip(tmp_path / "text.mp4")
    path = write_greys(tmp_path / "clip.mp4", 16)
    monkeypatch.setattr(opening, "LARGEST", 10 * 32 * 48 * 3)
    with pytest.raises(ValueError, match="too long to be remembered"):
        read_clip(path, is_remembered=True)
    assert len(read_clip(path).frames) == 5, "of a long one its end can be used"


# --- whole runs on tiny weights -------------------------------------------------------------------

FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"
CONTINUED = "[continue]\na red dog walks\n---\n[continue]\nthe dog sits\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    from helpers import tiny_diffusers

    return tiny_diffusers.write_i2v(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model, tmp_path, caplog):
    """Run a script; the exit code, and the log's lines."""
    from storymem import __main__ as program

    def run_it(text: str, out: str, *more: str) -> tuple[int, str]:
        (tmp_path / "tale.txt").write_text(text)
        given = ["run", tmp_path / "tale.txt", "--out", tmp_path / out, "--model", model, "--quiet"]
        caplog.clear()
        code = program.main([str(one) for one in (*given, *FAST.split(), *more)])
        return code, "\n".join(record.getMessage() for record in caplog.records)

    return run_it


def shots_of(folder: Path) -> dict[str, dict]:
    return json.loads((folder / "story.json").read_text())["shots"]


def facts_of(folder: Path, label: str) -> dict:
    key = shots_of(folder)[label]["key"]
    record = json.loads((folder / ".shots/shots" / key[:2] / key / "record.json").read_text())
    return json.loads(record["record"])["facts"]


@pytest.mark.slow
def test_a_story_begins_from_a_clip(run, tmp_path):
    clip = str(write_greys(tmp_path / "clip.mp4", 16))
    code, told = run(CONTINUED, "a")
    assert (code, "first shot of the story (scene 1) continues" in told) == (2, True)
    assert "to --opening" in told, "in words of the command line"
    for wrong in ("--opening-remember", "--opening-in-film"):
        assert run(CONTINUED, "a", wrong)[0] == 2
    assert run(CONTINUED, "a", "--opening", clip, "--start-image", "x.png")[0] == 2
    assert not (tmp_path / "a").exists(), "told before anything is made"
    code, told = run(CONTINUED, "a", "--opening", clip)
    assert (code, "no effect" in told) == (0, False)
    first = facts_of(tmp_path / "a", "01_01")
    assert (first["mode"], len(first["opening"])) == ("mi2v", 1)
    assert read_info(tmp_path / "a/shot_01_01.mp4").frames == 8, "the clip's frame came off"
    keys = {label: shot["key"] for label, shot in shots_of(tmp_path / "a").items()}
    # Resumed with the clip in the film: nothing is made again.
    code, told = run(CONTINUED, "a", "--opening", clip, "--opening-in-film", "--resume")
    assert code == 0
    assert {label: shot["key"] for label, shot in shots_of(tmp_path / "a").items()} == keys
    films = sorted((tmp_path / "a").glob("story_*.mp4"))
    assert [read_info(film).frames for film in films] == [16, 28]
    head = [frame.mean() for frame in read_frames(films[1])][:12]
    assert np.abs(np.array(head) - GREYS).max() < 3
    # A cut: the clip is told to do nothing, and the shot is what it was without one.
    cut = CONTINUED.removeprefix("[continue]\n")
    assert run(cut, "b")[0] == 0
    code, told = run(cut, "b", "--opening", clip, "--resume")
    assert (code, "begins from has no effect" in told) == (0, True)


@pytest.mark.slow
def test_a_clips_keyframes_begin_the_memory_and_shots_end_with_pictures(run, tmp_path):
    clip = str(write_greys(tmp_path / "clip.mp4", 16))
    Image.fromarray(noise_image(3).numpy()).save(tmp_path / "end.png")
    text = CONTINUED.replace("the dog sits", "[end_image: end.png]\nthe dog sits")
    assert run(text, "a", "--opening", clip, "--opening-remember")[0] == 0
    assert list((tmp_path / "a/.shots/openings").glob("*.json"))
    first, second = (facts_of(tmp_path / "a", label) for label in ("01_01", "01_02"))
    assert len(first["saw"]) >= 1
    assert first["saw"] == first["start"]
    assert second["pictures"][0].startswith("end ")
    bank = load_bank(tmp_path / "a" / BANK_FOLDER)
    begins = {-1: None, 0: 0, 1: 9}  # two shots of nine frames, of which each has one repeated
    for frame in bank.frames:
        if frame.shot >= 0:
            assert frame.moment == begins[frame.shot] + 1 + frame.frame
        else:
            assert frame.moment == int(frame.reason.split()[1]) - len(GREYS)
    assert {frame.shot for frame in bank.frames} >= {-1, 0}
    keys = {label: shot["key"] for label, shot in shots_of(tmp_path / "a").items()}
    assert run(text, "a", "--opening", clip, "--opening-remember", "--resume")[0] == 0
    assert {label: shot["key"] for label, shot in shots_of(tmp_path / "a").items()} == keys
    assert run(text, "b", "--opening", clip, "--opening-remember", "--memory", "off")[0] == 2
    code, told = run(text.replace("[end_image", "[length: 1]\n[end_image"), "b", "--opening", clip)
    assert code == 2
    assert "1 frame" in told
    cut = text.replace("[continue]\n[end_image", "[length: 1]\n[end_image")
    code, told = run(cut, "b", "--opening", clip)
    assert (code, "needs at least 5 frames" in told) == (2, True)
    Path(tmp_path / "end.png").unlink()
    assert run(text, "b", "--opening", clip)[0] == 2


@pytest.mark.slow
def test_what_the_experts_get_of_an_end(model, run, tmp_path, monkeypatch):
    from storymem.headless.engine import Engine

    seen = []

    def sample(self, kind, inputs, **_):
        seen.append(inputs)
        return torch.zeros_like(inputs.noise[:, :, inputs.memory_frames :])

    monkeypatch.setattr(Engine, "sample", sample)
    Image.fromarray(noise_image(3).numpy()).save(tmp_path / "end.png")
    assert run("[end_image: end.png]\na dog\n---\n[continue]\na cat\n", "a")[0] == 0
    ended, plain = seen
    mask = ended.condition[0, :4]
    assert ended.memory_frames == 0
    assert mask[:, -1].mean(dim=(1, 2)).tolist() == [0, 0, 0, 1]
    assert not mask[:, :-1].any()
    mask = plain.condition[0, :4]
    known = [1] * (plain.memory_frames + 1) + [0] * 2
    assert mask.mean(dim=(2, 3)).tolist() == [known] * 4
