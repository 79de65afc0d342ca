"""Training with bad options, folders that cannot be written, and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

import av
import numpy as np
import torch

from storymem import __main__ as program
from storymem.cli import train as training
from storymem.files import disk
from storymem.files.video import write_video
from storymem.training import checkpoints
from storymem.training.data import read_stretch

pytestmark = pytest.mark.slow  # loading the training tools takes longer than the tests
FAST = "--width 32 --height 32 --length 5 --max-memory 2 --rank 2 --workers 0 --device cpu --quiet"


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
        ("--keep", ["-1"], "keep must be 0 or more (0 keeps all), but it is -1"),
        ("--clip-norm", ["0", "-1", "nan", "inf"], "clip_norm must be above 0 and finite"),
        ("--learning-rate", ["0", "nan", "inf"], "learning_rate must be above 0 and finite"),
        ("--alpha", ["0", "nan", "inf"], "alpha must be above 0 and finite"),
        ("--weight-decay", ["nan", "inf", "-1"], "weight_decay must be 0 or more and finite"),
        ("--warmup", ["-1"], "warmup must be 0 or more, but it is -1"),
        ("--workers", ["-1"], "workers must be 0 or more, but it is -1"),
        ("--shift", ["0", "nan", "inf"], "shift above 0 and finite"),
        ("--boundary", ["nan", "1"], "boundary must be between 0 and 1"),
        ("--text-dropout", ["nan"], "text_dropout must be from 0 to 1"),
        ("--modes", ["nan 1 1", "1 nan 1", "inf 1 1", "-1 1 1"], "modes must be three shares"),
    ],
)
def test_numbers_that_cannot_work_are_told_before_anything_is_loaded(
    train, monkeypatch, caplog, option, values, words
):
    monkeypatch.setattr(training, "_train", None)
    for value in values:
        caplog.clear()
        assert train(option, *value.split()) == 2, value
        assert words in caplog.text


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_loaded(
    train, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(training, "_train", None)
    (tmp_path / "out").write_text("a file")
    assert train() == 2
    assert train(out="out/below") == 2
    assert caplog.text.count("checkpoints cannot be written to") == 2
    assert caplog.text.count("choose another --out") == 2


def test_a_folder_that_is_read_only_is_told_before_anything_is_loaded(
    train, tmp_path, monkeypatch, caplog
):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(training, "_train", None)
    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuse)
    assert train() == 2
    assert f"checkpoints cannot be written to {tmp_path / 'out'}" in caplog.text


def test_a_folder_that_can_be_written_is_left_empty(train, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_train", lambda *_: None)
    assert train(out="new/out") == 0
    assert list((tmp_path / "new" / "out").iterdir()) == []


def write_noise(path: Path) -> Path:
    """A clip with its index in front: cut off, it opens but does not decode."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(20):
            picture = random.integers(0, 255, (64, 48, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("is_index_lost", [False, True])
def test_a_clip_that_is_cut_off_is_named_with_a_way_on(data, is_index_lost):
    clip = data / "dog" / "50.mp4"
    if not is_index_lost:
        write_noise(clip)
    whole = clip.read_bytes()
    assert read_stretch(clip, 5, 0.9, (32, 32)).shape == (5, 32, 32, 3)
    clip.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be read as a video") as error:
        read_stretch(clip, 5, 0.9, (32, 32))
    assert str(error.value).startswith(str(clip))
    assert "take it out of the data, or replace it" in str(error.value)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_training_stops_with_the_name_of_a_clip_that_is_cut_off(data, train, caplog, workers):
    for name in ("50", "100"):
        clip = write_noise(data / "dog" / f"{name}.mp4")
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert train("--steps", "1", "--workers", workers) == 1
    assert f"{data / 'dog'}" in caplog.text
    assert "take it out of the data, or replace it" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.slow
def test_a_caption_that_is_not_utf_8_is_named_before_anything_is_loaded(
    data, train, monkeypatch, caplog
):
    monkeypatch.setattr(training, "_train", None)
    caption = data / "dog" / "100.txt"
    caption.write_bytes("a red dög".encode("latin-1"))
    assert train() == 2
    assert f"{caption} cannot be read as UTF-8 text" in caplog.text
    assert "save it again as UTF-8" in caplog.text


# --- damaged checkpoints ----------------------------------------------------------------------


def write_checkpoints(out: Path, steps=(1, 2)) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Checkpoints of a model of one layer, as far as resuming reads them."""
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    for step in steps:
        folder = out / f"checkpoint-{step:06d}"
        folder.mkdir(parents=True)
        weights = {name: p.detach() for name, p in model.named_parameters()}
        state = {"step": step, "settings": {"rank": 4}, "weights": weights}
        torch.save({**state, "optimizer": optimizer.state_dict()}, folder / checkpoints.STATE_FILE)
    return model, optimizer


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_off_is_told_before_anything_is_loaded(
    train, tmp_path, monkeypatch, caplog, share
):
    monkeypatch.setattr(training, "_train", lambda *_: None)
    write_checkpoints(tmp_path / "out")
    assert train("--resume") == 0
    state = tmp_path / "out" / "checkpoint-000002" / checkpoints.STATE_FILE
    whole = state.read_bytes()
    state.write_bytes(whole[: int(len(whole) * share)])
    assert train("--resume") == 2
    assert f"{state} is missing or damaged" in caplog.text
    assert f"take checkpoint-000002 out of {tmp_path / 'out'}" in caplog.text
    state.parent.rename(tmp_path / "elsewhere")
    assert train("--resume") == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [1],
        lambda state: {"step": 2},
        lambda state: {**state, "settings": None},
        lambda state: {**state, "weights": None},
        lambda state: {**state, "optimizer": {}},
        lambda state: {**state, "optimizer": None},
        lambda state: {**state, "optimizer": {"state": {}, "param_groups": []}},
    ],
)
def test_a_checkpoint_without_all_its_parts_is_named_with_a_way_on(tmp_path, change):
    model, optimizer = write_checkpoints(tmp_path)
    assert checkpoints.resume(tmp_path, model, optimizer, {"rank": 4}) == 2
    state = tmp_path / "checkpoint-000002" / checkpoints.STATE_FILE
    torch.save(change(torch.load(state)), state)
    with pytest.raises(ValueError, match="is missing or damaged") as error:
        checkpoints.resume(tmp_path, model, optimizer, {"rank": 4})
    assert str(error.value).startswith(str(state))
    assert "start over in another --out" in str(error.value)


@pytest.mark.parametrize("seed", range(4))
def test_a_checkpoint_with_wrong_bytes_is_never_a_traceback(tmp_path, seed):
    model, optimizer = write_checkpoints(tmp_path)
    state = tmp_path / "checkpoint-000002" / checkpoints.STATE_FILE
    whole, random = state.read_bytes(), np.random.default_rng(seed)
    told = []
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, len(whole), 3)
        damaged[places] = random.integers(0, 256, 3)
        state.write_bytes(damaged.tobytes())
        try:
            checkpoints.resume(tmp_path, model, optimizer, {"rank": 4})
        except ValueError as error:
            told.append(str(error))
    assert len(told) > 75
    assert all(words.startswith(str(state.parent)) for words in told)


def test_a_checkpoint_of_a_model_of_another_size_is_refused(tmp_path):
    write_checkpoints(tmp_path)
    other = torch.nn.Linear(8, 4)
    optimizer = torch.optim.AdamW(other.parameters())
    with pytest.raises(ValueError, match="holds other weights than this model has"):
        checkpoints.resume(tmp_path, other, optimizer, {"rank": 4})
