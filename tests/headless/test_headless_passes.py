"""``python -m storymem run --pass``: a draft and stills beside the film, on tiny random weights."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from storymem import __main__ as program
from storymem.cli import pass_options
from storymem.cli.run_options import add_options
from storymem.files.video import read_info
from storymem.film.passes import passes_of
from storymem.headless.engine import Engine
from storymem.memory.bank_folder import load_bank

pytestmark = pytest.mark.slow  # whole stories on tiny weights

STORY = "a red dog walks\n---\n[continue]\nthe dog sits\n---\nthe woman runs at night\n"
FAST = "--embedder no_weights --width 64 --height 32 --length 9 --steps 3 --cfg 2 --device cpu"


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "tale.txt"
    path.write_text(STORY)
    return path


@pytest.fixture
def runs(script, tmp_path, i2v, monkeypatch):
    """Run the story in a pass; the steps, cfg and sizes of the shots that were sampled."""
    seen = []
    original = Engine.sample

    def sample(self, kind, inputs, **kwargs):
        recipe, shape = self.recipe, inputs.noise.shape
        shot = shape[2] - inputs.memory_frames
        seen.append((recipe.steps, recipe.cfg, shape[-1] * 8, shape[-2] * 8, shot))
        return original(self, kind, inputs, **kwargs)

    monkeypatch.setattr(Engine, "sample", sample)

    def run(*more: str) -> list[tuple]:
        seen.clear()
        arguments = ["run", script, "--out", tmp_path / "tale", "--model", i2v, "--quiet"]
        wanted = [*arguments, *FAST.split(), *more, "--resume"]
        assert program.main([str(one) for one in wanted]) == 0
        return list(seen)

    return run


def files(folder: Path) -> dict[str, tuple]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def test_a_draft_and_the_film_stand_side_by_side(runs, tmp_path, caplog):
    few = ("--pass", "draft", "--draft-steps", "2", "--draft-size", "0.5")
    assert runs(*few) == [(2, 1.0, 32, 16, 3)] * 3
    draft = files(tmp_path / "tale.draft")
    assert runs() == [(3, 2.0, 64, 32, 3)] * 3
    assert files(tmp_path / "tale.draft") == draft
    assert set(passes_of(tmp_path / "tale")) == {"film", "draft"}
    film = files(tmp_path / "tale")
    with caplog.at_level(logging.INFO, logger="storymem.headless.runner"):
        assert runs(*few) == []
    assert "tale, draft: " in caplog.text  # the first line says which pass it is
    assert runs(*few, "--steps", "4", "--cfg", "5") == [], "the film's recipe is not the draft's"
    assert len(runs(*few[:2], "--draft-steps", "1", "--sampler", "euler")) == 3
    assert files(tmp_path / "tale") == film


def test_a_drafts_memory_is_limited(runs, tmp_path):
    runs("--pass", "draft", "--draft-steps", "2", "--draft-max-frames", "1")
    assert len(load_bank(tmp_path / "tale.draft" / "bank").frames) > 1
    shots = (tmp_path / "tale.draft" / ".shots" / "shots").rglob("record.json")
    facts = [json.loads(json.loads(p.read_text())["record"])["facts"] for p in shots]
    assert sorted(len(fact["saw"]) for fact in facts) == [0, 1, 1]


def test_stills_are_one_latent_frame_and_are_held(runs, tmp_path):
    assert [made[:4] + made[4:] for made in runs("--pass", "stills")] == [(3, 2.0, 64, 32, 1)] * 3
    folder = tmp_path / "tale.stills"
    assert [read_info(folder / f"shot_01_0{i}.mp4").frames for i in (1, 2, 3)] == [9, 9, 9]


def test_another_pass_in_the_folder_is_refused(runs, script, tmp_path, i2v, caplog):
    runs("--pass", "draft", "--draft-steps", "2")
    wrong = ["run", script, "--out", tmp_path / "tale.draft", "--model", i2v, "--resume"]
    assert program.main([str(one) for one in (*wrong, *FAST.split())]) == 2
    assert "holds a draft, and not a film" in caplog.text


def test_the_drafts_loras_come_in_pairs(tmp_path, script, caplog):
    wrong = ["run", script, "--out", tmp_path / "tale", "--tiny", "--pass", "draft"]
    assert program.main([*map(str, wrong), "--draft-lora-high", "a.safetensors"]) == 2
    assert "--draft-lora-low" in caplog.text


def test_a_folder_without_a_name_has_passes_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft = pass_options.DRAFT
    assert pass_options.folder_of_pass(Path("."), draft).name == f"{tmp_path.name}.draft"
    assert pass_options.folder_of_pass(Path("a/b"), draft) == Path("a/b.draft")
    assert pass_options.folder_of_pass(Path("a/b"), None) == Path("a/b")


@pytest.mark.parametrize(
    ("more", "steps", "size"),
    [
        (("--tiny", "--pass", "draft"), 6, 1.0),
        (("--tiny", "--pass", "draft", "--draft-steps", "3"), 3, 1.0),
        (("--tiny", "--pass", "stills"), 0, 1.0),
        (("--pass", "draft"), 4, 0.7),
    ],
)
def test_a_draft_of_the_tiny_model_has_steps_enough_to_draw_somebody(more, steps, size):
    parser = argparse.ArgumentParser()
    add_options(parser)
    draft = pass_options.draft_of(parser.parse_args(["--out", "tale", *more]))
    assert (draft.steps, draft.size) == (steps, size)


def test_rehearsals_come_before_the_film_and_go_on(runs, script, tmp_path, caplog):
    script.write_text(json.dumps({
        "story_name": "tale", "cast": ["Mara"],
        "scenes": [{"scene_num": 1, "video_prompts": ["Mara walks", "a dog"], "cut": [True] * 2}],
    }))  # fmt: skip
    few = ("--rehearsals", "2", "--draft-steps", "2", "--draft-size", "1")
    made = runs(*few)
    assert [one[0] for one in made] == [2, 2, 2, 2, 3, 3]
    assert list(passes_of(tmp_path / "tale")) == ["film", "draft", "draft2"]
    bank = load_bank(tmp_path / "tale" / "bank")
    assert [frame.name for frame in bank.frames if frame.pinned] == ["Mara"]
    assert runs(*few) == []
    assert runs("--pass", "draft", *few[2:]) == []
    wrong = ["run", script, "--out", tmp_path / "tale", "--model", tmp_path, "--rehearsals"]
    for more, said in ((["1", "--pass", "stills"], "leave out one"), (["4"], "must be 0 to 3")):
        assert program.main([str(one) for one in (*wrong, *more)]) == 2
        assert said in caplog.text


def test_rehearsals_need_a_name(runs, script, tmp_path, i2v, caplog):
    wrong = ["run", script, "--out", tmp_path / "tale", "--model", i2v, "--rehearsals", "1"]
    assert program.main([str(one) for one in wrong]) == 2
    assert "names nobody" in caplog.text
