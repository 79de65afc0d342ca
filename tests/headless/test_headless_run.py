"""``python -m storymem run`` on tiny random weights in diffusers' layout, without a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from PIL import Image

from helpers import tiny_diffusers
from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem import __main__ as program
from storymem.files.video import read_info
from storymem.headless import engine as engine_module
from storymem.headless.engine import Engine
from storymem.headless.identity import identify_weights
from storymem.headless.models import check_folder
from storymem.memory.bank_folder import load_bank

pytestmark = pytest.mark.slow  # whole stories on tiny weights

PACK = Path(__file__).resolve().parents[2]
STORY = "a red dog walks\n---\n[continue]\nthe dog sits\n---\nthe woman runs at night\n"
FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "tale.txt"
    path.write_text(STORY)
    return path


def run(script: Path, out: Path, model: Path, *more: str) -> int:
    arguments = ["run", script, "--out", out, "--model", model, "--quiet", *FAST.split(), *more]
    return program.main([str(argument) for argument in arguments])


def keys(out: Path) -> list[str]:
    shots = json.loads((out / "story.json").read_text())["shots"]
    return [shots[label]["key"] for label in sorted(shots)]


def digests(out: Path) -> list[str]:
    return [frame.digest for frame in load_bank(out / "bank").frames]


def pixels_of(out: Path) -> dict[str, str]:
    """Checksums of everything that was made, by shot."""
    found = {}
    for record in not_empty((out / ".shots" / "shots").rglob("record.json")):
        body = json.loads(json.loads(record.read_text())["record"])
        found[body["facts"]["label"]] = body["files"]
    return found


@pytest.fixture
def count_samples(monkeypatch):
    """Names of the kinds of experts that sampled, in order; ``fail_at`` makes one of them fail."""
    seen: list[str] = []
    original = Engine.sample

    def sample(self, kind, inputs, **kwargs):
        seen.append(f"{kind} M={inputs.memory_frames}")
        if len(seen) == sample.fail_at:
            raise RuntimeError("out of memory")
        return original(self, kind, inputs, **kwargs)

    sample.fail_at = 0
    monkeypatch.setattr(Engine, "sample", sample)
    seen_and_switch = type("Seen", (), {"kinds": seen, "switch": sample})
    return seen_and_switch


def test_a_story_becomes_shots_a_video_and_a_memory(script, tmp_path, i2v, count_samples):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    frames = [read_info(out / f"shot_01_0{i}.mp4").frames for i in (1, 2, 3)]
    assert frames == [9, 8, 9]  # the second continues: its given frame is taken off
    assert read_info(out / "story_00001_.mp4").frames == 26
    bank = load_bank(out / "bank")
    assert {frame.shot for frame in bank.frames} == {0, 1, 2}
    memory = [sum(frame.shot < shot for frame in bank.frames) for shot in (0, 1, 2)]
    assert count_samples.kinds == [f"i2v M={count}" for count in memory]


def test_a_run_that_failed_goes_on_and_ends_as_if_undisturbed(
    script, tmp_path, i2v, count_samples, caplog
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(script, whole, i2v) == 0
    count_samples.kinds.clear()
    count_samples.switch.fail_at = 3
    assert run(script, broken, i2v) == 3
    assert "shot 3" in caplog.text
    assert "out of memory" in caplog.text
    assert not (broken / "story_00001_.mp4").exists()
    count_samples.kinds.clear()
    count_samples.switch.fail_at = 0
    assert run(script, broken, i2v, "--resume") == 0
    assert len(count_samples.kinds) == 1
    assert keys(broken) == keys(whole)
    assert pixels_of(broken) == pixels_of(whole)
    assert digests(broken) == digests(whole)


def test_resuming_a_finished_story_loads_no_model(script, tmp_path, i2v, monkeypatch):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    monkeypatch.setattr(engine_module, "load_experts", None)
    monkeypatch.setattr(engine_module, "encode_texts", None)
    monkeypatch.setattr(engine_module.WanVae, "load", None)
    (out / "story_00001_.mp4").unlink()
    assert run(script, out, i2v, "--resume") == 0
    assert read_info(out / "story_00001_.mp4").frames == 26


def test_only_the_edited_shot_and_those_after_it_are_made_again(
    script, tmp_path, i2v, count_samples
):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    before = keys(out)
    count_samples.kinds.clear()
    script.write_text(STORY.replace("woman runs", "man runs"))
    assert run(script, out, i2v, "--resume") == 0
    assert len(count_samples.kinds) == 1
    assert [a == b for a, b in zip(before, keys(out), strict=True)] == [True, True, False]
    count_samples.kinds.clear()
    assert run(script, out, i2v, "--resume", "--steps", "3") == 0
    assert len(count_samples.kinds) == 3  # another recipe is another story


def test_a_story_of_the_earlier_sampler_goes_on_with_it(
    script, tmp_path, i2v, count_samples, caplog
):
    """No finished shot is made again because the default became the released sampler."""
    out = tmp_path / "out"
    assert run(script, out, i2v, "--sampler", "uni_pc", "--end-shot", "2") == 0
    before = pixels_of(out)
    count_samples.kinds.clear()
    assert run(script, out, i2v, "--resume") == 0
    assert len(count_samples.kinds) == 1
    assert "the last shots of this story were made with sampler uni_pc" in caplog.text
    assert before.items() <= pixels_of(out).items()
    recorded = keys(out)
    caplog.clear()
    assert run(script, out, i2v, "--resume", "--sampler", "uni_pc") == 0
    assert len(count_samples.kinds) == 1
    assert "of this story were made" not in caplog.text
    assert run(script, out, i2v, "--resume", "--sampler", "storymem_unipc") == 0
    assert len(count_samples.kinds) == 4  # asked for
    assert not set(recorded) & set(keys(out))
    count_samples.kinds.clear()
    caplog.clear()
    assert run(script, out, i2v, "--resume") == 0
    assert count_samples.kinds == []
    assert "of this story were made" not in caplog.text


def test_a_fresh_story_has_the_released_sampler(script, tmp_path, i2v, count_samples):
    out = tmp_path / "out"
    assert run(script, out, i2v, "--end-shot", "1") == 0
    assert run(script, out, i2v, "--resume", "--end-shot", "1", "--sampler", "storymem_unipc") == 0
    assert len(count_samples.kinds) == 1


def test_another_take_of_one_shot_has_another_seed(script, tmp_path, i2v, count_samples):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    before = keys(out)
    count_samples.kinds.clear()
    assert run(script, out, i2v, "--resume", "--redo", "3") == 0
    assert len(count_samples.kinds) == 1
    assert [a == b for a, b in zip(before, keys(out), strict=True)] == [True, True, False]


def test_a_first_shot_from_text_comes_from_the_t2v_experts(
    script, tmp_path, i2v, tmp_path_factory, count_samples
):
    t2v = tiny_diffusers.write_i2v(tmp_path_factory.mktemp("t2v"), in_channels=16)
    assert run(script, tmp_path / "out", i2v, "--t2v", t2v) == 0
    assert [kind[:3] for kind in count_samples.kinds] == ["t2v", "i2v", "i2v"]


def test_references_and_a_start_image_begin_a_story(
    script, tmp_path, i2v, tmp_path_factory, count_samples
):
    t2v = tiny_diffusers.write_i2v(tmp_path_factory.mktemp("t2v"), in_channels=16)
    picture = tmp_path / "hero.png"
    Image.fromarray(noise_image(1).numpy()).save(picture)
    references = ("--references", picture, "--t2v", t2v, "--end-shot", "1")
    assert run(script, tmp_path / "a", i2v, *references) == 0
    start = ("--start-image", picture, "--t2v", t2v, "--end-shot", "1")
    assert run(script, tmp_path / "b", i2v, *start) == 0
    assert count_samples.kinds == ["i2v M=1", "i2v M=0"]
    assert load_bank(tmp_path / "a" / "bank").frames[0].pinned


def test_the_script_names_start_images_that_lie_beside_it(
    tmp_path, i2v, tmp_path_factory, count_samples
):
    t2v = tiny_diffusers.write_i2v(tmp_path_factory.mktemp("t2v"), in_channels=16)
    Image.fromarray(noise_image(1).numpy()).save(tmp_path / "door.png")
    own = tmp_path / "own.txt"
    own.write_text("[start_image: door.png]\nA door opens.")
    assert run(own, tmp_path / "out", i2v, "--t2v", t2v) == 0
    assert count_samples.kinds == ["i2v M=0"]
    (tmp_path / "door.png").unlink()
    assert run(own, tmp_path / "other", i2v, "--t2v", t2v) == 2


def test_what_is_wrong_is_told_before_anything_is_loaded(
    script, tmp_path, i2v, monkeypatch, caplog
):
    monkeypatch.setattr(engine_module, "load_experts", None)
    monkeypatch.setattr(engine_module, "encode_texts", None)
    out, missing = tmp_path / "out", tmp_path / "missing"
    text = tmp_path / "no.json"
    text.write_text("{")
    plain = tmp_path / "plain.json"
    plain.write_text("null")
    wrong = {
        "no model_index.json": lambda: run(script, out, missing),
        "missing cannot be read as a script: No such file": lambda: run(missing, out, i2v),
        "no.json cannot be read as a script: the script begins like JSON but is not valid JSON": (
            lambda: run(text, out, i2v)
        ),
        "begins with {; save plain text as .txt": lambda: run(plain, out, i2v),
        "CLIP ViT-B/32 needs a weights file": lambda: run(script, out, i2v, "--embedder", "clip"),
        "no LoRA folder": lambda: run(script, out, i2v, "--lora", missing),
        "pass both --lora-high": lambda: run(script, out, i2v, "--lora-high", missing),
        "width must be a multiple of 16": lambda: run(script, out, i2v, "--width", "50"),
        "length must be 4n+1": lambda: run(script, out, i2v, "--length", "10"),
        "steps must be 1 or more": lambda: run(script, out, i2v, "--steps", "0"),
        "fps must be between 1 and 240": lambda: run(script, out, i2v, "--fps", "0"),
        "threshold must be a number": lambda: run(script, out, i2v, "--threshold", "nan"),
        "--max-keyframes must be 1 or more": lambda: run(script, out, i2v, "--max-keyframes", "0"),
        "--lora-strength must be a number": lambda: run(script, out, i2v, "--lora-strength", "inf"),
        "--cfg-low must be 0 or more": lambda: run(script, out, i2v, "--cfg-low", "nan"),
        "shift must be 0 or more": lambda: run(script, out, i2v, "--shift", "nan"),
        "--rope-shift must be a whole number": lambda: run(script, out, i2v, "--rope-shift", "-1"),
        "seed must be between 0": lambda: run(script, out, i2v, "--seed", "-1"),
        "6 memory frames 200 apart reach position 1200": lambda: run(
            script, out, i2v, "--rope-shift", "200"
        ),
        "latent frames of a shot reach position 1024": lambda: run(
            script, out, i2v, "--length", "4097"
        ),
        "scorer-threshold must be a number": lambda: run(
            script, out, i2v, "--scorer", "sharpness", "--scorer-threshold", "nan"
        ),
        "tale.txt is a file; choose a folder": lambda: run(script, script / "below", i2v),
        "--redo names 9": lambda: run(script, out, i2v, "--redo", "9"),
        "--end-shot is 7": lambda: run(script, out, i2v, "--end-shot", "7"),
        "needs a GPU": lambda: run(script, out, i2v, "--offload", "model"),
        "LAION aesthetic predictor": lambda: run(script, out, i2v, "--scorer", "laion"),
        "missing cannot be read as a picture": lambda: run(
            script, out, i2v, "--references", missing
        ),
    }
    for words, call in wrong.items():
        caplog.clear()
        assert call() == 2, words
        assert words in caplog.text
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_no_full_disk(script, i2v, monkeypatch, caplog):
    monkeypatch.setattr(engine_module, "encode_texts", None)
    assert run(script, Path("/proc/story"), i2v) == 2
    assert "the story cannot be written to /proc/story" in caplog.text


def test_a_lora_of_another_model_is_told_before_anything_is_loaded(
    script, tmp_path, i2v, monkeypatch, caplog
):
    from safetensors.torch import save_file

    monkeypatch.setattr(engine_module, "load_experts", None)
    state = {}
    for part, shape in (("A", (4, 99)), ("B", (99, 4))):
        state[f"blocks.0.self_attn.q.lora_{part}.weight"] = torch.zeros(shape)
    for name in ("backbone_high_noise", "backbone_low_noise"):
        save_file(state, str(tmp_path / f"{name}.safetensors"))
    assert run(script, tmp_path / "out", i2v, "--lora", tmp_path) == 2
    assert "covers 1 of 20 modules" in caplog.text


def test_a_folder_with_another_runs_shots_is_not_overwritten(script, tmp_path, i2v, caplog):
    out = tmp_path / "out"
    assert run(script, out, i2v, "--end-shot", "1") == 0
    assert run(script, out, i2v) == 2
    assert "--resume" in caplog.text


def test_weights_are_told_apart_by_content_and_not_by_place(i2v, tmp_path):
    import shutil

    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(i2v, folder)
    assert identify_weights(first) == identify_weights(second)
    check_folder(first, 36)
    file = next((second / "transformer").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert identify_weights(first) != identify_weights(second)


@pytest.mark.slow
def test_two_processes_make_the_story_of_one(script, tmp_path, i2v):
    """Under torchrun, over gloo on the CPU: same memory to one level, one writer.

    The later keys are those of the frames seen, which may differ by that level.
    """
    assert run(script, tmp_path / "one", i2v) == 0
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "storymem", "run", script, "--out", tmp_path / "two", "--model", i2v),
        *FAST.split(),
        "--quiet",
    ]
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=PACK,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    alone, shared = keys(tmp_path / "one"), keys(tmp_path / "two")
    assert len(shared) == len(alone)
    assert shared[0] == alone[0]
    one, two = (load_bank(tmp_path / name / "bank").frames for name in ("one", "two"))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert (a.image.int() - b.image.int()).abs().max() <= 1


def test_a_scorer_keeps_poor_frames_out_of_memory(script, tmp_path, i2v, count_samples):
    strict = ("--scorer", "sharpness", "--scorer-threshold", "1e9")
    assert run(script, tmp_path / "out", i2v, *strict) == 0
    assert count_samples.kinds == ["i2v M=0"] * 3  # nothing was good enough to be remembered
    frames = load_bank(tmp_path / "out" / "bank")
    assert not frames.frames
    assert {frame.scorer for frame in frames.dropped} == {"sharpness"}


def test_a_policy_makes_only_the_shots_that_see_something_else(i2v, tmp_path):
    script = tmp_path / "tale.txt"
    cast = "[cast: Bo, Ann]\n---\n"
    script.write_text(
        cast + "Bo walks\n---\nAnn sits\n---\nAnn runs\n---\nAnn sleeps\n---\nBo is back"
    )
    out, few = tmp_path / "out", ["--max-frames", "2", "--sink", "0", "--max-keyframes", "1"]
    assert run(script, out, i2v, *few) == 0
    before = keys(out)
    assert run(script, out, i2v, *few, "--policy", "entities", "--resume") == 0
    assert [a == b for a, b in zip(before, keys(out), strict=True)] == [True] * 4 + [False]
    assert run(script, out, i2v, *few, "--policy", "entities_only", "--resume") == 0
    assert [a == b for a, b in zip(before, keys(out), strict=True)][:2] == [True, False]


def test_relevant_without_words_is_told_before_anything_is_made(i2v, script, tmp_path, caplog):
    assert run(script, tmp_path / "out", i2v, "--policy", "relevant") == 2
    assert "cannot compare pictures with words" in caplog.text
    assert not (tmp_path / "out" / "story.json").exists()


def test_settings_of_the_memory_that_no_shot_sees_make_nothing_again(
    script, tmp_path, i2v, count_samples
):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    first = keys(out)
    count_samples.kinds.clear()
    for settings in (["--max-frames", "9"], ["--sink", "1"], ["--policy", "entities"]):
        assert run(script, out, i2v, *settings, "--resume") == 0
    assert count_samples.kinds == []
    assert keys(out) == first


def test_shots_that_are_made_again_say_what_changed(script, tmp_path, i2v, caplog):
    out = tmp_path / "out"
    assert run(script, out, i2v) == 0
    assert "regenerated because" not in caplog.text
    assert run(script, out, i2v, "--resume", "--seed", "5", "--steps", "3") == 0
    words = "because seed changed from 0 to 5 and steps changed from 2 to 3"
    assert f"shots 1-3 are regenerated {words}" in caplog.text


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """All texts that are encoded, in order."""
    found = []
    encode = engine_module.encode_texts
    monkeypatch.setattr(
        engine_module,
        "encode_texts",
        lambda files, place, texts: found.extend(texts) or encode(files, place, texts),
    )
    return found


def test_parentheses_are_text(script, tmp_path, i2v, encoded):
    script.write_text("a red dog (seen from 16:9)\n---\n\\(the\\) dog sits\n")
    assert run(script, tmp_path / "out", i2v) == 0
    assert encoded[::2] == ["a red dog (seen from 16:9)", "\\(the\\) dog sits"]


def test_a_prompt_with_captions_begins_with_them(script, tmp_path, i2v, encoded):
    script.write_text("[character]\nTall.\n---\nglobal caption: a; shot caption: b\n---\nc\n")
    assert run(script, tmp_path / "out", i2v) == 0
    assert encoded[::2] == ["global caption: Tall; a; shot caption: b", "Tall.\nc"]
