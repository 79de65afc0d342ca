"""``python -m storymem compare``, and the runner's choices that it is made of, on tiny weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("open_clip")

from PIL import Image

from helpers import tiny_diffusers
from helpers.fakes import noise_image
from helpers.film_files import write_viclip
from storymem import __main__ as program
from storymem.files.video import read_frames, read_info
from storymem.headless.engine import Engine
from storymem.memory.bank_folder import load_bank
from storymem.sampling.start_images import as_batch, from_batch, from_folder
from storymem.script.reader import load_story

FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"
SCRIPT = "{}\n---\n[continue]\nthe dog sits\n---\nthe woman runs at night\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "--model": tiny_diffusers.write_i2v(root / "i2v"),
        "--t2v": tiny_diffusers.write_i2v(root / "t2v", in_channels=16),
        "--viclip": write_viclip(root / "viclip.pth"),
    }


@pytest.fixture
def scripts(tmp_path) -> list[Path]:
    found = []
    for name, first in (("one", "a red dog walks"), ("two", "a blue man walks")):
        found.append(tmp_path / f"{name}.txt")
        found[-1].write_text(f"[title: {name}]\n" + SCRIPT.format(first))
    return found


@pytest.fixture
def pictures(tmp_path, scripts) -> Path:
    """Key images of both scripts, smooth so that a shot shows its own."""
    for i, script in enumerate(scripts):
        folder = tmp_path / "keys" / script.stem
        folder.mkdir(parents=True)
        for shot in (1, 2, 3):
            small = Image.fromarray(noise_image(10 * i + shot, 2, 3).numpy())
            small.resize((48, 32)).save(folder / f"shot_01_{shot:02d}.png")
    return tmp_path / "keys"


@pytest.fixture
def samples(monkeypatch) -> list[str]:
    """What was sampled: the experts, memory frames, and whether a first frame was given."""
    seen: list[str] = []
    original = Engine.sample

    def sample(self, kind, inputs, **kwargs):
        seen.append(f"{kind} M={inputs.memory_frames}")
        return original(self, kind, inputs, **kwargs)

    monkeypatch.setattr(Engine, "sample", sample)
    return seen


def run(script: Path, out: Path, models, *more) -> int:
    arguments = ["run", script, "--out", out, "--model", models["--model"], "--quiet", *more]
    return program.main([str(argument) for argument in (*arguments, *FAST.split())])


def labels(out: Path) -> dict[str, str]:
    shots = json.loads((out / "story.json").read_text())["shots"]
    return {label: entry["key"] for label, entry in shots.items()}


# --- start images, without models ---


def test_a_batch_gives_each_shot_its_picture():
    story = load_story("a\n---\nb")
    images = torch.stack([torch.full((4, 6, 3), 0.25), torch.full((4, 6, 3), 0.75)])
    found = from_batch(images, story)
    assert [int(found[i][0, 0, 0]) for i in (0, 1)] == [64, 191]
    assert found[0].dtype == torch.uint8
    assert torch.equal(as_batch(found, story), (images * 255).round() / 255)
    for wrong in (images[:1], torch.cat([images, images])):
        with pytest.raises(ValueError, match="but the story 'story' has 2 shots"):
            from_batch(wrong, story)
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        from_batch(images * torch.nan, story)


def test_a_folder_gives_each_shot_its_picture_by_name(tmp_path):
    story = load_story("a\n---\nb\n---\nc")
    with pytest.raises(ValueError, match="there is no folder"):
        from_folder(tmp_path / "none", story)
    for name, value in (("shot_01_01.png", 10), ("01_02.webp", 20)):
        Image.new("RGB", (6, 4), (value,) * 3).save(tmp_path / name, lossless=True)
    with pytest.raises(
        ValueError, match=r"1 of the 3 shots of 'story': 01_03; name them shot_01_03"
    ):
        from_folder(tmp_path, story)
    Image.new("RGB", (8, 4)).save(tmp_path / "01_03.png")
    found = from_folder(tmp_path, story)
    assert [int(found[i][0, 0, 0]) for i in range(3)] == [10, 20, 0]
    with pytest.raises(ValueError, match=r"shot 01_03 is 8x4, but that of shot 01_01 is 6x4"):
        as_batch(found, story)


# --- whole stories ---


@pytest.mark.slow
def test_without_memory_every_shot_comes_from_text_with_the_same_seeds(
    scripts, tmp_path, models, samples
):
    out = tmp_path / "out"
    choices = ("--memory", "off", "--t2v", models["--t2v"])
    assert run(scripts[0], out, models, *choices) == 0
    assert samples == ["t2v M=0"] * 3
    assert [read_info(out / f"shot_01_0{i}.mp4").frames for i in (1, 2, 3)] == [9, 9, 9]
    assert not load_bank(out / "bank").frames
    assert (out / "script.txt").read_text() == scripts[0].read_text()
    # Shots know nothing of each other: an edited one is regenerated alone.
    before = labels(out)
    samples.clear()
    scripts[0].write_text(scripts[0].read_text().replace("the dog sits", "the man sits"))
    assert run(scripts[0], out, models, *choices, "--resume") == 0
    assert len(samples) == 1
    changed = [label for label, key in labels(out).items() if key != before[label]]
    assert changed == ["01_02"]


@pytest.mark.slow
def test_start_images_begin_their_shots_and_only_a_changed_one_runs_again(
    scripts, pictures, tmp_path, models, samples
):
    out, keys = tmp_path / "out", pictures / "one"
    choices = ("--memory", "off", "--start-images", keys)
    assert run(scripts[0], out, models, *choices) == 0
    assert samples == ["i2v M=0"] * 3
    first = list(read_frames(out / "shot_01_02.mp4"))
    samples.clear()
    Image.new("RGB", (48, 32), (250, 10, 10)).save(keys / "shot_01_02.png")
    assert run(scripts[0], out, models, *choices, "--resume") == 0
    assert len(samples) == 1
    assert (next(read_frames(out / "shot_01_02.mp4")) != first[0]).any()


@pytest.mark.slow
def test_what_does_not_go_together_is_told(scripts, pictures, tmp_path, models, caplog):
    out = tmp_path / "out"
    off = ("--memory", "off")
    picture = next(pictures.rglob("*.png"))
    wrong = {
        "--memory off goes with neither": (*off, "--references", picture),
        "there is no folder": (*off, "--start-images", tmp_path / "none"),
        "lacks a picture for 3": (*off, "--start-images", tmp_path),
    }
    for words, choices in wrong.items():
        caplog.clear()
        assert run(scripts[0], out, models, *choices) == 2, words
        assert words in caplog.text
    assert not out.exists()


def compare(models, out: Path, scripts, *more, run=()) -> int:
    arguments = ["compare", "--scripts", *scripts, "--out", out, "--quiet", *more]
    choices = ["--model", models["--model"], "--t2v", models["--t2v"], *FAST.split()]
    return program.main([str(part) for part in (*arguments, "--", *choices, *run)])


@pytest.mark.slow
def test_one_command_fills_the_table(scripts, pictures, tmp_path, models, samples, capsys):
    """Three systems, two scripts, from text to a table with intervals, on tiny random weights."""
    out = tmp_path / "results"
    choices = ("--systems", "storymem", "wan", "two_stage", "--start-images", pictures,
               "--viclip", models["--viclip"], "--measure-device", "cpu")  # fmt: skip
    assert compare(models, out, scripts, *choices) == 0
    kinds = {system: samples[6 * i : 6 * i + 6] for i, system in enumerate(("ours", "wan", "two"))}
    assert kinds["wan"] == ["t2v M=0"] * 6
    assert kinds["two"] == ["i2v M=0"] * 6
    assert kinds["ours"][0] == "t2v M=0"
    assert all(kind.startswith("i2v") and kind != "i2v M=0" for kind in kinds["ours"][1:3])
    data = json.loads((out / "report" / "metrics.json").read_text())
    assert list(data["systems"]) == ["storymem", "wan", "two_stage"]
    for row in data["systems"].values():
        assert row["overall"]["stories"] == 2
        assert row["overall"]["low"] is not None
        assert row["global"]["mean"] is None  # plain text has no overview
    assert list(data["differences_from_first"]) == ["wan", "two_stage"]
    rows = list(csv.DictReader(io.StringIO((out / "report" / "stories.csv").read_text())))
    assert [(r["system"], r["story"]) for r in rows] == [
        (system, story) for system in data["systems"] for story in ("one", "two")
    ]
    assert "two_stage" in capsys.readouterr().out
    # The same command again regenerates nothing but a lost story.
    samples.clear()
    assert compare(models, out, scripts, *choices) == 0
    assert samples == []


@pytest.mark.slow
def test_a_comparison_that_cannot_work_makes_nothing(scripts, tmp_path, models, caplog):
    out = tmp_path / "out"
    viclip = ("--viclip", models["--viclip"])
    broken, referring = tmp_path / "broken.json", tmp_path / "referring.txt"
    beginning = tmp_path / "beginning.txt"
    beginning.write_text("[start_image: cat.png]\nthe cat sits\n")
    mewing = tmp_path / "mewing.txt"
    mewing.write_text("[audio: mew.wav]\nthe cat sits\n")
    broken.write_text("{")
    referring.write_text("[reference_images: cat.png]\nthe cat sits\n")
    wrong = {
        "ViCLIP needs a weights file": (scripts,),
        "--start-images and the system two_stage": (scripts, *viclip, "--systems", "two_stage"),
        "two scripts have the same": ([scripts[0], scripts[0]], *viclip),
        "there is no script": ([tmp_path / "none.txt"], *viclip),
        "names a system twice": (scripts, *viclip, "--systems", "wan", "wan"),
        # What would stop a later story is told before the first one is made.
        "cannot be read as a script": ([scripts[0], broken], *viclip),
        "systems without memory cannot see": ([scripts[0], referring], *viclip),
        "names start images": ([scripts[0], beginning], *viclip),
        "names the sound 'mew.wav', but there is no file": ([scripts[0], mewing], *viclip),
        "lacks a picture for 3 of the 3": (
            scripts, *viclip, "--systems", "two_stage", "--start-images", tmp_path
        ),
        "there is no picture in": (scripts, *viclip, "--references", tmp_path),
        "which --systems does not name": (
            scripts, *viclip, "--systems", "wan", "--references", tmp_path
        ),
    }  # fmt: skip
    for words, (files, *more) in wrong.items():
        caplog.clear()
        assert compare(models, out, files, *more) == 2, words
        assert words in caplog.text
    assert not out.exists()


def test_run_options_in_the_wrong_place_are_told_of(scripts, tmp_path, caplog, capsys):
    from storymem import __main__ as program

    def compare_tiny(*more: str) -> int:
        files = map(str, scripts)
        out = str(tmp_path / "out")
        own = ("--scripts", *files, "--out", out, "--features", "tiny_world")
        return program.main(["compare", *own, *more])

    assert compare_tiny() == 2
    assert "--tiny for the tiny demo model (options of 'storymem run' come after --)" in caplog.text
    with pytest.raises(SystemExit):
        compare_tiny("--tiny")
    assert "unrecognized arguments: --tiny; options of 'storymem run' come after --" in (
        capsys.readouterr().err
    )
    assert compare_tiny("--", "--tiny", "--out", "elsewhere") == 2
    assert "--out goes before --" in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_would_stop_a_later_story_is_told_before_the_first(
    scripts, tmp_path, models, samples, caplog
):
    out, short, gone = tmp_path / "out", tmp_path / "short.txt", tmp_path / "gone.txt"
    short.write_text("one shot\n")
    gone.write_text("[reference_images: cat.png]\nthe cat sits\n")
    viclip = ("--viclip", models["--viclip"], "--measure-device", "cpu")
    ours = (*viclip, "--systems", "storymem")
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"no weights")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "report").write_text("a file")
    assert compare(models, out, [scripts[0], gone], *ours) == 2
    assert "reference images that are not there" in caplog.text
    assert compare(models, out, [scripts[0], short], *ours, run=("--end-shot", "3")) == 2
    assert "--end-shot is 3" in caplog.text
    assert compare(models, out, scripts, "--viclip", junk, "--systems", "wan") == 2
    assert "junk.pth" in caplog.text
    assert compare(models, tmp_path / "full", scripts, *ours) == 2
    assert "the report cannot be written to" in caplog.text
    assert samples == []


@pytest.mark.slow
def test_a_story_that_failed_is_named_and_its_old_shots_are_not_measured(
    scripts, tmp_path, models, samples, monkeypatch
):
    out = tmp_path / "out"
    ours = ("--viclip", models["--viclip"], "--measure-device", "cpu", "--systems", "storymem")
    assert compare(models, out, scripts, *ours) == 0
    sample = Engine.sample

    def fails_at_first(self, kind, inputs, **options):
        if not samples:
            samples.append("failed")
            raise RuntimeError("out of memory")
        return sample(self, kind, inputs, **options)

    samples.clear()
    monkeypatch.setattr(Engine, "sample", fails_at_first)
    assert compare(models, out, scripts, *ours, run=("--steps", "1")) == 3
    data = json.loads((out / "report" / "metrics.json").read_text())
    assert "could not be made" in json.dumps(data)
    rows = list(csv.DictReader(io.StringIO((out / "report" / "stories.csv").read_text())))
    assert [row["story"] for row in rows] == ["two"]
