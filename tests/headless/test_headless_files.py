"""Files of ``python -m storymem run``: what is in the way, damaged, or of an older story."""

from __future__ import annotations

import json
import os
import shutil

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")

import numpy as np
from PIL import Image

from storymem import __main__ as program
from storymem.files.video import read_frames, read_info, write_video
from storymem.headless import engine as engine_module
from storymem.memory.bank_folder import load_bank

pytestmark = pytest.mark.slow  # whole stories on tiny weights

STORY = "a red dog walks\n---\n[continue]\nthe dog sits\n---\nthe woman runs at night\n"
FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 1 --cfg 1 --device cpu"


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "tale.txt"
    path.write_text(STORY)
    return path


@pytest.fixture
def run(script, i2v):
    def start(out, *more) -> int:
        arguments = ["run", script, "--out", out, "--model", i2v, "--quiet", *FAST.split(), *more]
        return program.main([str(argument) for argument in arguments])

    return start


def keys_of(out) -> list[str]:
    shots = json.loads((out / "story.json").read_text())["shots"]
    return [shots[label]["key"] for label in sorted(shots)]


def height_of(path) -> int:
    with Image.open(path) as picture:
        return picture.height


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr(engine_module, "load_experts", None)
    monkeypatch.setattr(engine_module, "encode_texts", None)


def test_a_damaged_visible_shot_is_put_there_again(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(out) == 0
    monkeypatch.setattr(engine_module, "load_experts", None)  # no shot is regenerated
    whole = (out / "shot_01_02.mp4").read_bytes()
    for damage in (0, len(whole) // 2):
        os.truncate(out / "shot_01_02.mp4", damage)
        assert run(out, "--resume") == 0
        assert (out / "shot_01_02.mp4").read_bytes() == whole


def test_a_shot_that_the_artist_edited_is_kept_and_continued_from(
    run, tmp_path, caplog, monkeypatch
):
    out = tmp_path / "out"
    assert run(out) == 0
    before = keys_of(out)
    green = [np.full((32, 48, 3), (20, 200, 40), np.uint8)] * 9
    write_video(out / "shot_01_01.mp4", green, crf=10)
    edited = (out / "shot_01_01.mp4").read_bytes()
    assert run(out, "--resume") == 0
    after = keys_of(out)
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, False]
    write_video(out / "shot_01_03.mp4", green, crf=10)
    monkeypatch.setattr(engine_module, "load_experts", None)  # nothing continues from that one
    assert run(out, "--resume") == 0
    assert keys_of(out) == after
    assert (out / "shot_01_01.mp4").read_bytes() == edited
    greens = [
        abs(f.mean((0, 1)) - (20, 200, 40)).max() < 12
        for f in read_frames(out / "story_00003_.mp4")
    ]
    assert greens == [True] * 9 + [False] * 8 + [True] * 9
    assert "shot_01_03.mp4 was edited: it is kept and used in the story video" in caplog.text


def test_a_part_of_the_story_leaves_the_whole_film_alone(run, tmp_path):
    out = tmp_path / "out"
    assert run(out) == 0
    film = (out / "story_00001_.mp4").read_bytes()
    assert run(out, "--resume", "--end-shot", "1") == 0
    assert (out / "story_00001_.mp4").read_bytes() == film
    assert read_info(out / "story_shots_01-01_00001_.mp4").frames == 9


def test_shots_that_the_script_no_longer_has_go(run, script, tmp_path):
    out = tmp_path / "out"
    assert run(out) == 0
    before = height_of(out / "contact_sheet.png")
    (out / "shot_test.mp4").write_bytes(b"")  # the artist's own is nobody's business
    script.write_text(STORY.split("\n---")[0])
    assert run(out, "--resume") == 0
    assert sorted(path.name for path in out.glob("*.mp4")) == [
        "shot_01_01.mp4",
        "shot_test.mp4",
        "story_00001_.mp4",
        "story_00002_.mp4",
    ]
    assert read_info(out / "story_00002_.mp4").frames == 9
    assert height_of(out / "contact_sheet.png") < before


def test_what_is_in_the_way_is_named_and_nothing_is_lost(run, tmp_path, caplog):
    out = tmp_path / "out"
    (out / "script.txt").mkdir(parents=True)
    assert run(out) == 2
    assert "the story could not be written" in caplog.text
    (out / "script.txt").rmdir()
    (out / "story_00001_.mp4").mkdir()  # what has that number already is left alone
    (out / "versions").write_text("a file")
    assert run(out) == 3
    assert "the story video could not be written" in caplog.text
    (out / "versions").unlink()
    shutil.rmtree(out / "bank")
    (out / "bank").write_text("a file")
    assert run(out, "--resume") == 3
    assert "the memory bank could not be saved" in caplog.text
    (out / "bank").unlink()
    assert run(out, "--resume") == 0
    assert read_info(out / "story_00002_.mp4").frames == 26
    assert not (out / "story_00003_.mp4").exists()
    manifest = json.loads((out / "story.json").read_text())
    (out / "story.json").write_text(json.dumps({**manifest, "prompts": [5, "x", None]}))
    assert run(out, "--resume") == 0
    assert run(tmp_path / ("n" * 300)) == 2
    assert "--out cannot be a folder" in caplog.text


def test_shots_that_cannot_work_are_told_before_anything_is_loaded(
    run, script, tmp_path, nothing_loads, caplog
):
    out = tmp_path / "out"
    assert run(out, "--length", "1") == 2
    assert "of which 1 repeat the shot before it: nothing is left" in caplog.text
    assert run(out, "--length", "5", "--continuity", "last_five_frames") == 2
    assert "of which 5 repeat" in caplog.text
    script.write_text("[length: 1]\na dog walks\n---\n[continue]\nthe dog sits\n")
    assert run(out, "--continuity", "last_five_frames") == 2
    assert "that one has only 1; make it longer, or choose last_frame" in caplog.text
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no weights")
    script.write_text(STORY)
    assert run(out, "--embedder", "clip", "--clip", junk) == 2
    assert "junk.safetensors" in caplog.text
    assert not out.exists()


def test_a_saved_bank_takes_the_places_that_are_asked_for(run, tmp_path):
    assert run(tmp_path / "first", "--max-frames", "6", "--end-shot", "1") == 0
    saved = ("--bank", tmp_path / "first" / "bank", "--end-shot", "1")
    assert run(tmp_path / "same", *saved) == 0
    assert load_bank(tmp_path / "same" / "bank").max_frames == 6
    assert run(tmp_path / "small", *saved, "--max-frames", "2", "--sink", "0") == 0
    bank = load_bank(tmp_path / "small" / "bank")
    assert (bank.max_frames, bank.sink) == (2, 0)


def test_a_sheet_that_cannot_be_written_is_told(run, tmp_path, caplog):
    out = tmp_path / "out"
    assert run(out, "--end-shot", "1") == 0
    assert program.main(["sheet", str(out), "--to", str(tmp_path / "gone" / "sheet.png")]) == 2
    assert "gone" in caplog.text
    os.truncate(out / "shot_01_01.mp4", 50)
    assert program.main(["sheet", str(out)]) == 2
    assert "cannot be read as a video" in caplog.text


def test_a_lock_holds_when_every_prompt_is_edited_and_the_other_film_is_told(
    run, script, tmp_path, caplog
):
    out = tmp_path / "out"
    assert run(out) == 0
    first = json.loads((out / "story.json").read_text())
    film = (out / "shot_01_03.mp4").read_bytes()
    script.write_text("a cat\n---\na bird\n---\n[lock]\na fish\n")
    assert run(out) == 2  # without --resume nothing is touched
    assert json.loads((out / "story.json").read_text()) == first
    caplog.clear()
    assert run(out, "--resume") == 0
    assert f"{out} holds another film (3 shots, none with a prompt of this script)" in caplog.text
    assert "locked and kept from that film: 01_03" in caplog.text
    manifest = json.loads((out / "story.json").read_text())
    key = first["shots"]["01_03"]["key"]
    assert manifest["locks"] == {"01_03": key}
    assert manifest["shots"]["01_03"]["key"] == key
    assert (out / "shot_01_03.mp4").read_bytes() == film
    assert [sorted(film["shots"]) for film in manifest["earlier"]] == [sorted(first["shots"])]
    caplog.clear()
    script.write_text(STORY)
    assert run(out, "--resume") == 0
    assert "its finished shots and locks are used again" in caplog.text
    shots = json.loads((out / "story.json").read_text())["shots"]
    assert {label: entry["key"] for label, entry in shots.items()} == {
        label: entry["key"] for label, entry in first["shots"].items()
    }
