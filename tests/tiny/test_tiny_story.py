"""Stories on the tiny model without a host: its files, its demo, its identity from shot to shot."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.not_empty import not_empty
from storymem.tiny import demo, files, judge, staging, world

KEPT_SHOTS = 3


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """As if the pack came without files."""
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setattr(files, "SHIPPED", tmp_path / "nothing")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """A folder with a random DiT of one layer under the tiny model's name: right in form only."""
    pytest.importorskip("diffusers")
    from safetensors.torch import save_file

    from storymem.tiny import dit

    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = dit.to_host(dit.build(layers=1, ffn=64).state_dict())
    folder = tmp_path_factory.mktemp("stand_in")
    state = {key: value.half().contiguous() for key, value in state.items()}
    save_file(state, str(folder / files.FILES["diffusion_models"]))
    return folder


# --- files and words -----------------------------------------------------------------------------


def test_a_folder_of_ones_own_comes_before_the_shipped_files(monkeypatch, tmp_path):
    name = files.FILES["vae"]
    shipped = files.find("vae")
    assert shipped == files.SHIPPED / "vae" / name
    (tmp_path / name).write_bytes(b"flat")
    assert files.find("vae", tmp_path) == tmp_path / name
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    assert files.find("vae") == tmp_path / name
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / name).write_bytes(b"in a folder of its kind")
    assert files.find("vae") == tmp_path / "vae" / name
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "empty"))
    assert files.find("vae") == shipped


def test_a_file_that_is_nowhere_is_told_with_its_place_and_how_to_make_it(no_weights):
    assert files.find("vae") is None
    with pytest.raises(ValueError, match=r"train_dit") as told:
        files.require("diffusion_models")
    assert files.VARIABLE in str(told.value)
    assert str(files.SHIPPED / "diffusion_models") in str(told.value)


def test_a_look_is_four_words_in_any_order():
    look = demo.parse_look("hat, stripe RED square")
    named = [values[i] for values, i in zip(world.ATTRIBUTES.values(), look, strict=True)]
    assert named == ["red", "stripe", "square", "hat"]


@pytest.mark.parametrize("wrong", ["", "red", "red belly circle", "red blue belly circle hat",
                                   "red belly circle hat nose"])  # fmt: skip
def test_a_look_that_is_not_whole_is_told(wrong):
    with pytest.raises(ValueError, match="one word of each of red, yellow"):
        demo.parse_look(wrong)


def test_the_demos_portraits_show_the_looks_that_were_asked_for():
    referee = judge.Judge(scales=(world.PORTRAIT_ZOOM,))
    frames = torch.stack(demo.portraits())[:, None]
    seen = referee.identify(frames, torch.eye(2, len(world.KINDS), dtype=torch.bool))
    for kind, look in enumerate(demo.LOOKS):
        assert torch.equal(seen[kind, kind], demo.parse_look(look))


def test_the_demo_script_says_nothing_about_looks_and_nothing_unknown():
    from storymem.script.reader import load_story
    from storymem.tiny import text

    story = load_story(demo.SCRIPT)
    words = {value for values in world.ATTRIBUTES.values() for value in values}
    for shot in story.shots:
        told = set(shot.prompt.lower().replace(",", " ").split())
        assert told <= set(text.VOCABULARY)
        assert not told & words
    assert {shot.cut for shot in story.shots} == {True, False}
    assert not story.warnings
    assert demo.explain(story.shots[1].prompt) == (
        "name: bomo, action: jumps, place: beach, camera: panleft"
    )


def test_a_dit_comes_back_from_the_hosts_layout(stand_in):
    from safetensors.torch import load_file

    from storymem.tiny import dit

    path = stand_in / files.FILES["diffusion_models"]
    model = dit.load_host_file(path)
    assert len(model.blocks) == 1
    state, stored = dit.to_host(model.state_dict()), load_file(str(path))
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key].half(), stored[key]) for key in stored)
    with pytest.raises(ValueError, match="is no tiny M2V model"):
        dit.load_host_file(files.find("vae"))


# --- the headless command ------------------------------------------------------------------------


def run(*arguments) -> int:
    from storymem import __main__ as program

    return program.main([str(argument) for argument in arguments])


def test_missing_weights_and_mixed_models_are_told_before_anything_is_made(
    no_weights, tmp_path, caplog
):
    pytest.importorskip("diffusers")
    out = tmp_path / "out"
    assert run("run", "--tiny", "--out", out) == 2
    assert "train_dit" in caplog.text
    assert run("run", "--tiny", "--model", tmp_path, "--out", out) == 2
    assert "either --tiny or --model" in caplog.text
    assert run("run", "--tiny", "--tiny-weights", tmp_path / "missing", "--out", out) == 2
    assert "check --tiny-weights" in caplog.text
    assert run("run", "--tiny", "--tiny-weights", tmp_path, "--out", out) == 2
    assert f"{tmp_path} has no file of a tiny model" in caplog.text
    assert run("run", "story.txt", "--out", out) == 2
    assert "--tiny for the tiny demo model" in caplog.text
    assert not out.exists()


def test_try_it_refuses_a_folder_that_cannot_be_written_before_it_installs(tmp_path, monkeypatch):
    from storymem import try_it

    monkeypatch.setattr(try_it, "set_up", None)
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "story")
    assert try_it.main(["story", "--headless", "--out", out]) == try_it.REFUSED


@pytest.mark.slow
def test_the_tiny_model_makes_a_story_with_a_contact_sheet(stand_in, tmp_path):
    from storymem.files.video import read_info
    from storymem.memory.bank_folder import load_bank

    script, out = tmp_path / "tale.txt", tmp_path / "out"
    script.write_text("Bomo jumps, beach, still\n---\n[continue]\nBomo hops, beach, zoom\n")
    weights = ("--tiny-weights", stand_in, "--steps", 2, "--quiet")
    assert run("run", "--tiny", script, "--out", out, *weights) == 0
    assert [read_info(out / f"shot_01_0{i}.mp4")[:3] for i in (1, 2)] == [
        (world.FRAMES, world.SIZE, world.SIZE),
        (world.FRAMES - 1, world.SIZE, world.SIZE),
    ]
    bank = load_bank(out / "bank")
    assert [frame.pinned for frame in bank.frames[:2]] == [True, True]
    assert bank.max_frames == demo.MAX_MEMORY_FRAMES
    assert len(bank) > 2
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 1000
    entries = json.loads((out / "story.json").read_text())["shots"]
    assert entries["01_02"]["prompt"] == "Bomo hops, beach, zoom"
    looks = ("--tiny-looks", demo.LOOKS[0], "red plain square hat")
    assert (
        run("run", "--tiny", script, "--out", out, "--resume", *weights, *looks, "--end-shot", 1)
        == 0
    )
    again = json.loads((out / "story.json").read_text())["shots"]
    assert again["01_01"]["key"] != entries["01_01"]["key"]  # another portrait, another story


def test_the_sheet_command_draws_any_story_folder_and_refuses_an_empty_one(tmp_path, caplog):
    from storymem.files.video import write_video

    frames = [torch.full((32, 48, 3), 20 * i, dtype=torch.uint8).numpy() for i in range(9)]
    for label in ("01_02", "01_10", "01_01"):
        write_video(tmp_path / f"shot_{label}.mp4", frames)
    assert run("sheet", tmp_path, "--to", tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        grey = [sheet.getpixel((116 + 220 * column, 100))[0] for column in range(5)]
    assert all(math.isclose(a, b, abs_tol=12) for a, b in zip(grey, range(0, 161, 40), strict=True))
    assert run("sheet", tmp_path / "elsewhere") == 2
    assert "no finished shots" in caplog.text


def test_a_sheet_that_breaks_off_leaves_the_one_before_and_nothing_else(tmp_path, monkeypatch):
    from storymem.files.video import write_video

    write_video(tmp_path / "shot_01_01.mp4", [torch.zeros(32, 48, 3, dtype=torch.uint8).numpy()])
    assert run("sheet", tmp_path) == 0
    before = {path.name: path.read_bytes() for path in not_empty(tmp_path.iterdir())}

    def break_off(_picture, path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", break_off)
    assert run("sheet", tmp_path) == 2
    assert {path.name: path.read_bytes() for path in not_empty(tmp_path.iterdir())} == before


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("A knight rides", "understands no word of 'A knight rides'"),
        ("A knight jumps and jumps over a wall", "understands only jumps of 'A knight"),
        ("Bomo jumps, Bomo stands, the meadow", ""),
        ("", ""),
    ],
)
def test_the_runner_says_what_the_tiny_model_passes_over(stand_in, caplog, prompt, told):
    from storymem.tiny.engine import tiny_engine

    tiny_engine(stand_in).encode_texts([prompt])
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


# --- the trained model ---------------------------------------------------------------------------


@pytest.mark.slow
def test_stories_in_one_batch_are_the_headless_runners_stories(stand_in):
    """Memory, given frames, noise, positions, schedule: the same latents on both roads."""
    from dataclasses import replace

    from storymem.headless.sampling import ShotInputs, draw_noise, lay_out_condition
    from storymem.memory.bank import start_bank
    from storymem.tiny.engine import tiny_engine
    from storymem.tiny.lab import player

    stories = staging.sample_stories(8, shots=2, seed=5)
    first, second = (stories.cast.sum(1) == 2).nonzero()[:2, 0].tolist()  # as much memory each
    before = torch.rand(5, world.SIZE, world.SIZE, 3, generator=torch.Generator().manual_seed(0))
    requests = [
        player.Request(
            start_bank(player.portraits(stories, s)).used(), given, stories.prompt(s, 0), 7 + s
        )
        for s, given in ((first, None), (second, before), (first, before[:1]))
    ]
    painter = player.load_painter(
        files.require("diffusion_models", stand_in), files.require("vae"), "cpu", steps=4
    )
    batch = painter.latents(requests, 5)
    engine = tiny_engine(stand_in)
    engine.recipe = replace(engine.recipe, steps=4)
    for latents, request in zip(batch, requests, strict=True):
        condition = engine.encoder().condition(
            request.memory, request.given, width=96, height=96, length=world.FRAMES
        )
        engine.encode_texts([request.prompt, ""])
        inputs = ShotInputs(
            noise=draw_noise(request.seed, 2, 5, 12, 12),
            positive=engine.text(request.prompt),
            negative=engine.text(""),
            condition=lay_out_condition(condition, engine.vae.normalise),
            memory_frames=2,
        )
        alone = engine.sample("i2v", inputs)[0].transpose(0, 1)  # CFHW -> FCHW
        assert ((latents - alone).norm() / alone.norm()).item() < 1e-5  # measured 4e-7


@pytest.mark.slow
def test_a_character_looks_at_shot_three_as_it_did_at_shot_one(tmp_path):
    """The whole road on the CPU: portraits, memory, three shots, the judge that learns nothing."""
    from storymem.files.video import read_frames

    script, out = tmp_path / "tale.txt", tmp_path / "out"
    actions = ("Bomo jumps, beach, still", "Bomo sways, snow, still", "Bomo hops, forest, still")
    script.write_text("\n---\n".join(actions))
    assert run("run", "--tiny", script, "--out", out, "--quiet") == 0
    clips = [torch.stack([torch.from_numpy(f) for f in read_frames(out / f"shot_01_0{i}.mp4")])
             for i in range(1, KEPT_SHOTS + 1)]  # fmt: skip
    only_big = torch.eye(1, len(world.KINDS), dtype=torch.bool).expand(KEPT_SHOTS, -1)
    seen = judge.Judge().identify(torch.stack(clips).float() / 255, only_big)[:, 0]
    assert torch.equal(seen[0], demo.parse_look(demo.LOOKS[0])), "shot 1 shows the portrait's look"
    assert torch.equal(seen[-1], seen[0]), "shot 3 shows the look of shot 1"
