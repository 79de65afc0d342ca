"""Training with bad options, folders that cannot be written, and damaged files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

import numpy as np
import tiny_diffusers
import torch

from storymem import __main__ as program
from storymem.training import checkpoints
from storymem.training import command as training
from storymem.training.data import find_groups, read_stretch
from storymem.video import write_video

FAST = "--width 32 --height 32 --length 5 --max-memory 2 --rank 2 --workers 0 --device cpu --quiet"


@pytest.fixture(scope="module")
def i2v(tmp_path_factory) -> Path:
    return tiny_diffusers.write_i2v(tmp_path_factory.mktemp("i2v"))


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data" / "dog"
    folder.mkdir(parents=True)
    for level in (50, 100):
        write_video(folder / f"{level}.mp4", [np.full((64, 48, 3), level, np.uint8)] * 20)
        (folder / f"{level}.txt").write_text("a red dog")
    return folder.parent


@pytest.fixture
def train(data, i2v, tmp_path):
    def start(*more, out="out") -> int:
        arguments = ["train", data, "--model", i2v, "--out", tmp_path / out, *FAST.split(), *more]
        return program.main([str(argument) for argument in arguments])

    return start


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        ("--keep", ["-1"], "keep must be 0 or more"),
        ("--clip-norm", ["0", "-1", "nan", "inf"], "clip_norm must be above 0"),
        ("--learning-rate", ["0", "nan"], "learning_rate must be above 0"),
        ("--alpha", ["nan"], "alpha must be above 0"),
        ("--weight-decay", ["nan", "-1"], "weight_decay must be 0 or more"),
        ("--warmup", ["-1"], "warmup must be 0 or more"),
        ("--shift", ["nan", "inf"], "shift above 0"),
        ("--text-dropout", ["nan"], "text_dropout must be from 0 to 1"),
    ],
)
def test_numbers_that_cannot_work_are_told_before_anything_is_loaded(
    train, monkeypatch, caplog, option, values, words
):
    monkeypatch.setattr(training, "_train", None)
    for value in values:
        caplog.clear()
        assert train(option, value) == 2, value
        assert words in caplog.text
    caplog.clear()
    assert train("--modes", "nan", "1", "1") == 2
    assert "modes must be three shares" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_loaded(
    train, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(training, "_train", None)
    (tmp_path / "out").write_text("a file")
    assert train() == 2
    assert train(out="out/below") == 2
    assert caplog.text.count("checkpoints cannot be written to") == 2


def test_files_that_cannot_be_read_are_named(data, caplog):
    clip = data / "dog" / "50.mp4"
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match=r"50.mp4 (cannot be read as a video|ends before)"):
        read_stretch(clip, 5, 0.9, (32, 32))
    (data / "dog" / "100.txt").write_bytes(b"\xff\xfe\x00dog")
    with pytest.raises(ValueError, match=r"100.txt cannot be read: .* save it as UTF-8"):
        find_groups(data)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_with_a_way_on(train, tmp_path, caplog):
    steps = ("--save-every", "1", "--keep", "0")
    assert train("--steps", "2", *steps) == 0
    (_, first), (_, last) = checkpoints.list_checkpoints(tmp_path / "out")
    state = last / checkpoints.STATE_FILE
    for size in (0, 100, state.stat().st_size - 50):
        os.truncate(state, size) if size < state.stat().st_size else None
        caplog.clear()
        assert train("--steps", "3", *steps, "--resume") == 1
        assert f"{state} is damaged" in caplog.text
        assert f"remove {last.name}" in caplog.text
    torch.save({"step": 2}, state)
    assert train("--steps", "3", *steps, "--resume") == 1
    assert "parts of it are missing" in caplog.text
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    assert train("--steps", "3", *steps, "--resume") == 0
    assert [step for step, _ in checkpoints.list_checkpoints(tmp_path / "out")] == [1, 2, 3]
    assert first.is_dir()
