"""Sound and subtitles of a story that is made without a host: clicks at known frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from helpers.sounds import click_track, clicks_in
from storymem import __main__ as program
from storymem.files.video import read_info
from storymem.headless.engine import Engine
from storymem.sound.files import has_sound, read_sound, write_sound
from storymem.sound.mux import copy_packets

pytestmark = pytest.mark.slow  # a whole story on tiny weights

FRAME = 3000  # samples of 1/16 s at 48 kHz
STORY = """[audio: voices/one.wav]
[dialogue: Mara: Hello & welcome.]
a red dog walks
---
[continue]
the dog sits
---
[length: audio]
[audio: voices/two.wav]
[dialogue: Mara: Who --> is there?]
[dialogue: Pip: Me.]
the woman runs at night
"""
FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / "voices").mkdir()
    write_sound(tmp_path / "voices" / "one.wav", click_track([1000], 30 * FRAME))
    # At another rate, and 11.2 frames long.
    two = click_track([22_050 // 2], 44_100 * 7 // 10, rate=44_100)
    write_sound(tmp_path / "voices" / "two.wav", two)
    write_sound(tmp_path / "music.wav", click_track([12 * FRAME], 200 * FRAME))
    path = tmp_path / "tale.txt"
    path.write_text(STORY)
    return path


def run(script: Path, out: Path, model: Path, *more: object) -> int:
    arguments = ["run", script, "--out", out, "--model", model, "--quiet", *FAST.split(), *more]
    return program.main([str(argument) for argument in arguments])


def test_a_film_without_a_host_is_heard_and_read(script, tmp_path, i2v, monkeypatch):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    film = out / "story_00001_.mp4"
    frames = [read_info(out / f"shot_01_0{i}.mp4").frames for i in (1, 2, 3)]
    assert frames == [9, 8, 13]  # the last one lasts 12, in the next length
    found = clicks_in(read_sound(film), above=0.2)
    assert found == pytest.approx([1000, 17 * FRAME + 12_000], abs=1)
    assert film.with_suffix(".srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:00,562\nHello & welcome.\n\n"
        "2\n00:00:01,062 --> 00:00:01,875\nMara: Who -> is there?\nPip: Me.\n"
    )
    assert "<v Mara>Hello &amp; welcome." in film.with_suffix(".vtt").read_text()

    # Another sound makes no shot again, and encodes no picture.
    monkeypatch.setattr(Engine, "sample", None)
    music = ["--audio", tmp_path / "music.wav", "--audio-gain", -6, "--shot-audio-gain", -6]
    script.write_text(STORY.replace("Hello", "Bye").replace("12 * ", ""))
    assert run(script, out, i2v, *music, "--resume") == 0
    second = out / "story_00002_.mp4"
    assert copy_packets(second) == copy_packets(film)
    found = clicks_in(read_sound(second), above=0.1)
    assert found == pytest.approx([1000, 12 * FRAME, 17 * FRAME + 12_000], abs=1)
    assert "Bye & welcome." in second.with_suffix(".srt").read_text()

    # The same again is the same, and so is a film without sound.
    written = second.read_bytes()
    assert run(script, out, i2v, *music, "--resume") == 0
    assert second.read_bytes() == written
    silent = "\n".join(line for line in STORY.splitlines() if not line.startswith(("[a", "[d")))
    script.write_text(silent.replace("length: audio", "length: 13"))
    assert run(script, out, i2v, "--resume", "--subtitles", "prompts") == 0
    third = out / json.loads((out / "story.json").read_text())["video"]
    assert not has_sound(third)
    assert copy_packets(third) == copy_packets(film)
    assert "a red dog walks" in third.with_suffix(".srt").read_text()


@pytest.mark.parametrize(
    ("changes", "more", "told"),
    [
        ({"one.wav": "away.wav"}, (), "names the sound 'voices/away.wav', but there is no file"),
        ({"voices/one.wav": "tale.txt"}, (), "names the sound 'tale.txt', which cannot be used"),
        ({}, ("--audio", "away.wav"), "there is no sound away.wav; check --audio"),
        ({}, ("--audio", "tale.txt"), "tale.txt"),
        ({}, ("--audio-gain", "nan"), "--audio-gain must be a number"),
        ({}, ("--audio-fade-in", "-1"), "--audio-fade-in must be 0 seconds or more"),
        ({"two.wav": "long.wav"}, (), "length: audio makes shots of at most 321 frames"),
    ],
)
def test_what_cannot_be_heard_is_told_before_anything_is_made(
    script, tmp_path, i2v, monkeypatch, caplog, changes, more, told
):
    write_sound(tmp_path / "voices" / "long.wav", click_track([0], 400 * FRAME, channels=1))
    text = STORY
    for old, new in changes.items():
        text = text.replace(old, new)
    script.write_text(text)
    monkeypatch.setattr(Engine, "sample", None)
    monkeypatch.chdir(tmp_path)
    assert run(script, tmp_path / "out", i2v, *more) == 2
    assert told in caplog.text
    assert not (tmp_path / "out").exists()
