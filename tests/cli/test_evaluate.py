"""``python -m storymem evaluate`` on small random weights, from folders to a report."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from helpers.film_files import write_clip, write_laion, write_story, write_viclip

pytest.importorskip("open_clip")

from storymem import __main__ as program
from storymem.files.video import read_frames
from storymem.models.viclip import as_clip_input, load_viclip, middle_frames, tokenise

pytestmark = pytest.mark.slow

PACK = Path(__file__).resolve().parents[2]
SIZES = [(9, 32, 48), (21, 48, 32), (5, 40, 40)]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "--viclip": write_viclip(folder / "viclip.pth"),
        "--clip": write_clip(folder / "ViT-L-14.pt"),
        "--laion": write_laion(folder / "head.pth"),
    }


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> Path:
    """Two systems with the same two stories."""
    root = tmp_path_factory.mktemp("stories")
    for seed, system in enumerate(("wan", "ours")):
        for story in ("one", "two"):
            write_story(root / system / story, SIZES, name=story, seed=100 * seed)
    return root


def evaluate(*arguments) -> int:
    rest = ["--quiet", "--measure-device", "cpu"]
    return program.main([str(argument) for argument in ("evaluate", *arguments, *rest)])


def options(models, *names) -> list:
    return [part for name in names for part in (name, models[name])]


def test_a_story_is_measured_from_its_folder(stories, models, tmp_path, capsys):
    every = options(models, "--viclip", "--clip", "--laion")
    assert evaluate(stories / "ours" / "one", "--out", tmp_path, *every) == 0
    data = json.loads((tmp_path / "metrics.json").read_text())
    (story,) = data["stories"]
    assert [story[c] is not None for c in ("global", "single_shot", "overall", "top10")] == [
        True
    ] * 4
    assert story["aesthetic_other_head"] is not None  # tiny CLIP is no ViT-L/14
    assert data["measured_with"]["features"] == "ViCLIP 128x3/14"
    assert "single_shot" in capsys.readouterr().out
    # One number by hand, from the model alone.
    model = load_viclip(models["--viclip"])
    frames = list(read_frames(stories / "ours" / "one" / "shot_01_02.mp4"))
    chosen = torch.stack([torch.from_numpy(frames[i]) for i in middle_frames(len(frames))])
    with torch.inference_mode():
        video = F.normalize(model.video(as_clip_input(chosen, 56)[None]), dim=-1)
        text = F.normalize(model.text(tokenise(["shot number 2 of one"], 32)), dim=-1)
    expected = float((video * text).sum())
    assert story["per_shot"][1]["single_shot"] == pytest.approx(expected, abs=1e-6)


def test_systems_stand_side_by_side(stories, models, tmp_path, capsys):
    pair = ("--compare", stories / "wan", f"mine={stories / 'ours'}")
    assert evaluate(*pair, "--out", tmp_path, *options(models, "--viclip")) == 0
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert list(data["systems"]) == ["wan", "mine"]
    means = {name: row["overall"]["mean"] for name, row in data["systems"].items()}
    gap = data["differences_from_first"]["mine"]["overall"]
    assert gap["stories"] == 2
    assert gap["mean"] == pytest.approx(means["mine"] - means["wan"])
    assert data["systems"]["wan"]["overall"]["low"] is not None
    assert "aesthetic" not in data["systems"]["wan"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "systems.csv").read_text())))
    assert [row["system"] for row in rows] == ["wan", "mine"]
    assert "minus wan" in capsys.readouterr().out


def test_measuring_twice_gives_the_same_bytes(stories, models, tmp_path):
    for name in "ab":
        choice = ("--out", tmp_path / name, *options(models, "--viclip"))
        assert evaluate(stories / "wan", *choice) == 0
    for file in ("metrics.json", "shots.csv", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_stand_in_is_chosen_and_named(stories, models, tmp_path, caplog):
    stand_in = ("--features", "open_clip_frame_average", "--clip", models["--clip"])
    assert evaluate(stories / "wan", "--out", tmp_path, *stand_in) == 0
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert data["measured_with"]["features"].startswith("open_clip frame average")
    assert not {"global", "overall"} & set(data["systems"]["stories"])
    assert data["systems"]["stories"]["clip_average_overall"]["stories"] == 2
    assert "open_clip frame average" in (tmp_path / "report.html").read_text()


def test_one_bad_story_does_not_stop_the_others(stories, models, tmp_path, caplog):
    shutil.copytree(stories / "wan", tmp_path / "in")
    bad = tmp_path / "in" / "one" / "shot_01_02.mp4"
    bad.write_bytes(b"broken")
    assert evaluate(tmp_path / "in", "--out", tmp_path / "out", *options(models, "--viclip")) == 3
    assert "shot_01_02.mp4 cannot be read" in caplog.text
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [story["story"] for story in data["stories"]] == ["two"]
    assert any("shot_01_02.mp4" in note for note in data["notes"])


def test_unfinished_stories_need_to_be_asked_for(stories, models, tmp_path, caplog):
    folder = tmp_path / "part"
    shutil.copytree(stories / "wan" / "one", folder)
    (folder / "shot_01_01.mp4").unlink()
    choice = (folder, "--out", tmp_path / "out", *options(models, "--viclip"))
    assert evaluate(*choice) == 2
    assert "lacks 1 of the 3 shots" in caplog.text
    assert evaluate(*choice, "--partial") == 0


def test_what_is_wrong_is_told_before_anything_is_measured(stories, models, tmp_path, caplog):
    out, one = ("--out", tmp_path / "out"), stories / "wan" / "one"
    viclip = options(models, "--viclip")
    wrong = {
        "ViCLIP needs a weights file": (one, *out),
        "open_clip_frame_average": (one, *out),  # what is offered instead
        "there is no file": (one, *out, "--viclip", tmp_path / "no.pth"),
        "is not a whole ViCLIP": (one, *out, "--viclip", models["--clip"]),
        "CLIP ViT-L/14": (one, *out, *viclip, "--laion", models["--laion"]),
        "is not a LAION aesthetic head": (
            one, *out, *viclip, "--laion", models["--viclip"], "--clip", models["--clip"]
        ),
        "there is no folder": (tmp_path / "none", *out, *viclip),
        "holds shots": (tmp_path, *out, *viclip),
        "give folders to measure": (*out, *viclip),
        "or --compare": (one, *out, *viclip, "--compare", one),
        "two systems are called one": ("--compare", one, one, *out, *viclip),
        "--script is for one story": (
            stories / "wan", "--script", one / "script.json", *out, *viclip
        ),
        "--aesthetic-every must be 1": (
            one, *out, "--features", "tiny_world", "--aesthetic-every", "0"
        ),
        "CLIP ViT-L/14 (of the LAION aesthetic predictor and of the stand-in": (
            one, *out, "--features", "open_clip_frame_average"
        ),
    }  # fmt: skip
    for words, arguments in wrong.items():
        caplog.clear()
        assert evaluate(*arguments) == 2, words
        assert words in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_hundred_shots_stay_under_four_gigabytes(models, tmp_path):
    """Every frame of 200 shots is looked at, but hardly any is in memory at once."""
    folder = write_story(tmp_path / "long", [(21, 256, 448)], prompts=["a dog"] * 200)
    for i in range(2, 201):
        os.link(folder / "shot_01_01.mp4", folder / f"shot_01_{i:02d}.mp4")
    command = [sys.executable, "-m", "storymem", "evaluate", folder, "--out", tmp_path / "out",
               "--quiet", "--measure-device", "cpu", "--aesthetic-every", "4",
               *options(models, "--viclip", "--clip", "--laion")]  # fmt: skip
    # A process begins with the peak of the one that made it, so a small one makes it.
    small = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    small += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", small, *map(str, command)]
    done = subprocess.run(command, cwd=PACK, stdout=subprocess.PIPE, text=True, check=True)
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(data["stories"][0]["per_shot"]) == 200
    # The frames alone are 1.4 GB. Measured: 0.9 GB, most of it torch, open_clip and the models.
    peak = int(done.stdout.split()[-1])  # KiB
    assert 0.3 * 1024**2 < peak < 1.5 * 1024**2


def test_stories_without_titles_are_paired_by_their_folders(models, tmp_path):
    """Their scripts are all called alike, and a mark on a name is not for the text encoder."""
    for system, names in (("first", ("a", "b")), ("second", ("b", "c"))):
        for name in names:
            folder = write_story(tmp_path / system / name, [(9, 32, 48)])
            (folder / "script.json").unlink()
            (folder / "script.txt").write_text("@Mara walks to the sea\n")
    report = tmp_path / "report"
    compared = ("--compare", tmp_path / "first", tmp_path / "second")
    assert (
        evaluate(*compared, "--out", report, *options(models, "--viclip", "--clip", "--laion")) == 0
    )
    rows = list(csv.DictReader(io.StringIO((report / "stories.csv").read_text())))
    assert [row["story"] for row in rows] == ["a", "b", "b", "c"]
    data = json.loads((report / "metrics.json").read_text())
    assert data["differences_from_first"]["second"]["single_shot"]["stories"] == 1
    shots = list(csv.DictReader(io.StringIO((report / "shots.csv").read_text())))
    assert {row["prompt"] for row in shots} == {"Mara walks to the sea"}


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    stories, models, tmp_path, monkeypatch, caplog
):
    from storymem.cli import evaluate as command

    monkeypatch.setattr(command, "measure_films", None)
    (tmp_path / "file").write_text("")
    arguments = (stories / "ours" / "one", "--out", tmp_path / "file" / "report")
    assert evaluate(*arguments, *options(models, "--viclip")) == 2
    assert "the report cannot be written to" in caplog.text
