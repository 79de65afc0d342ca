"""Headers are read as the libraries read them, nothing of a file is run, and faults have words."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from helpers import hostile_weights as hostile
from helpers.hostile_weights import WRITTEN, write_archive, zipped_bomb
from helpers.sparse_weights import write_gguf, write_safetensors
from storymem.files.outline import missing_shards, read_file_outline
from storymem.files.pickle_outline import OutlineError
from storymem.files.weights_file import DTYPES, read_outline
from storymem.setup.model_files import identify

STATE = {
    "a.weight": torch.zeros(3, 5, dtype=torch.float16),
    "a.bias": torch.zeros(3),
    "b.weight": torch.zeros(2, 3, 4, dtype=torch.bfloat16),
    "c": torch.tensor(7),
}


def shapes_and_types(path) -> dict:
    outline = read_file_outline(path)
    return {n: (s, DTYPES[outline.types[n]]) for n, s in outline.shapes.items()}


def as_torch_reads(path) -> dict:
    return {n: (tuple(t.shape), t.dtype) for n, t in read_outline(path).items()}


@pytest.mark.parametrize("form", ["new", "legacy", "nested", "ordered", "parameters"])
def test_a_checkpoint_has_the_outline_that_torch_reads(tmp_path, form):
    path, state = tmp_path / "model.pth", dict(STATE)
    if form == "nested":
        state = {"state_dict": state, "epoch": 3}
    if form == "ordered":
        state = torch.nn.Linear(3, 2).state_dict()
    if form == "parameters":
        state = {n: torch.nn.Parameter(t, requires_grad=False) for n, t in state.items()}
    torch.save(state, path, _use_new_zipfile_serialization=form != "legacy")
    assert shapes_and_types(path) == as_torch_reads(path)


def test_a_safetensors_file_has_the_outline_that_its_library_reads(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({n: t.contiguous() for n, t in STATE.items()}, path, {"made": "here"})
    assert shapes_and_types(path) == as_torch_reads(path)
    assert read_file_outline(path).notes == {"made": "here"}


class Part(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2).half()
        self.register_buffer("counts", torch.zeros(4, dtype=torch.int64))

    def forward(self, x):
        return self.inner(x)


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_has_the_outline_that_torch_reads(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.script(Part()).save(str(path))
    assert shapes_and_types(path) == as_torch_reads(path)
    assert read_file_outline(path).form == "torchscript"


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_a_file_brings_is_run(tmp_path):
    target = tmp_path / "target"
    archive = write_archive(tmp_path / "archive.pt", target)
    bomb = zipped_bomb(tmp_path / "bomb.pt", target)
    for path in (archive, bomb):
        try:
            found = read_file_outline(path)
        except OutlineError:
            found = None
        assert found is None or found.foreign or found.form == "torchscript"
        assert not target.exists(), WRITTEN
        assert not (tmp_path / "target.npy").exists()
    assert read_file_outline(bomb).foreign != ()


WITH_TARGET = (
    hostile.write_archive, hostile.zipped_bomb, hostile.legacy_bomb, hostile.plain_pickle,
    hostile.archive_bomb,
)  # fmt: skip
BY_THEMSELVES = (
    hostile.endless, hostile.vast, hostile.sharing, hostile.roomy, hostile.crowded,
    hostile.long_named, hostile.tangled, hostile.shared_name, hostile.zeros,
    hostile.zeros_in_capitals, hostile.zeros_beside_a_zip, hostile.zeros_as_before,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", WITH_TARGET, ids=lambda make: make.__name__)
def test_files_that_write_when_they_are_run_write_nothing(tmp_path, make):
    (tmp_path / "hostile").mkdir()
    target = tmp_path / "target"
    found = identify(make(tmp_path / "hostile" / "a.pt", target))
    assert found.kind in ("broken", "unknown")
    assert [one.name for one in tmp_path.iterdir()] == ["hostile"], hostile.WRITTEN


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", BY_THEMSELVES, ids=lambda make: make.__name__)
def test_files_that_claim_any_amount_are_told_in_little_time(tmp_path, make):
    path = make(tmp_path / "a.pt")
    began = time.perf_counter()
    assert identify(path).kind in ("broken", "unknown")
    assert time.perf_counter() - began < 30


class Calls:
    def __reduce__(self):
        return (os.system, ("touch pickled",))


def test_a_plain_pickle_is_told_by_what_it_would_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Calls()}, protocol=2))
    assert any("system" in name for name in read_file_outline(tmp_path / "a.pkl").foreign)
    assert not (tmp_path / "pickled").exists()


def test_what_torch_itself_would_not_read_as_weights_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "a.pth", pickle_protocol=4)
    for read in (read_file_outline, read_outline):
        with pytest.raises(ValueError, match=r"unusual way|more than tensors"):
            read(tmp_path / "a.pth")


def damaged(tmp_path, what: str):
    whole = write_safetensors(tmp_path / "whole.safetensors", {"a": (64, 64), "b": (8,), "c": (8,)})
    content, path = whole.read_bytes(), tmp_path / "model.safetensors"
    torch.save(STATE, tmp_path / "whole.pth")
    match what:
        case "empty":
            path.write_bytes(b"")
        case "seven bytes":
            path.write_bytes(content[:7])
        case "within the header":
            path.write_bytes(content[:40])
        case "within the numbers":
            path.write_bytes(content[:-100])
        case "zeros":
            path.write_bytes(bytes(4096))
        case "too long a header":
            path.write_bytes(struct.pack("<Q", 2**62) + content[8:])
        case "shape that lies":
            path.write_bytes(content.replace(b"[64, 64]", b"[64, 65]"))
        case "overlap":
            path.write_bytes(content.replace(b"[8192, 8208]", b"[8190, 8206]"))
        case "web page":
            path.write_text("<!DOCTYPE html><html>login</html>")
        case "pointer":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        case "checkpoint by another name":
            path.write_bytes((tmp_path / "whole.pth").read_bytes())
            return path.rename(tmp_path / "model.safetensors")
        case "checkpoint cut short":
            path = tmp_path / "model.pth"
            path.write_bytes((tmp_path / "whole.pth").read_bytes()[:-200])
        case "checkpoint without its numbers":
            path = tmp_path / "model.pth"
            with zipfile.ZipFile(tmp_path / "whole.pth") as old, zipfile.ZipFile(path, "w") as new:
                for entry in old.infolist():
                    if not entry.filename.endswith("/data/0"):
                        new.writestr(entry, old.read(entry))
        case "zip of something":
            path = tmp_path / "model.pth"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt", "hello")
        case "text":
            path = tmp_path / "model.pth"
            path.write_text("hello")
        case "link to nothing":
            path.symlink_to(tmp_path / "gone.safetensors")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "missing":
            pass
        case "gguf cut short":
            path = write_gguf(tmp_path / "model.gguf", {"a": ((32, 8), 0, 1024)})
            os.truncate(path, path.stat().st_size - 64)
        case "gguf header cut short":
            path = write_gguf(tmp_path / "model.gguf", {"a": ((32, 8), 0, 1024)})
            os.truncate(path, 30)
        case "gguf of many":
            path = tmp_path / "model.gguf"
            path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + bytes(64))
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("empty", "0 bytes"), ("seven bytes", "cut short"), ("within the header", "cut short"),
        ("within the numbers", "cut short"), ("zeros", "header is damaged"),
        ("too long a header", "does not begin like"), ("shape that lies", "contradicts itself"),
        ("overlap", "contradicts itself"), ("web page", "web page"), ("pointer", "Git LFS"),
        ("checkpoint cut short", "cut short or damaged"),
        ("checkpoint without its numbers", "numbers are missing"),
        ("zip of something", "no PyTorch checkpoint"), ("text", "damaged"),
        ("link to nothing", "link to a file that is not there"), ("folder", "folder with the name"),
        ("pipe", "no plain file"), ("missing", "not there"), ("gguf cut short", "cut short"),
        ("gguf header cut short", "cut short"), ("gguf of many", "damaged"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_without_its_name(tmp_path, what, said):
    path = damaged(tmp_path, what)
    with pytest.raises(OutlineError, match=said) as raised:
        read_file_outline(path)
    assert path.name not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_file_that_may_not_be_opened_is_told(tmp_path, monkeypatch):
    path = write_safetensors(tmp_path / "a.safetensors", {"a": (2, 2)})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(OutlineError, match="Permission denied") as raised:
        read_file_outline(path)
    assert str(tmp_path) not in str(raised.value)


def test_a_text_that_claims_to_be_long_is_not_made_room_for(tmp_path):
    claims = b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc"
    (tmp_path / "a.pth").write_bytes(claims)
    with pytest.raises(OutlineError):
        read_file_outline(tmp_path / "a.pth")


def test_a_pickle_of_nested_tuples_takes_no_time(tmp_path):
    inside = b"\x80\x02}(X\x01\x00\x00\x00a)"
    inside += b"".join(b"2\x86" for _ in range(2000)) + b"us."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", inside)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    with pytest.raises(OutlineError):
        read_file_outline(tmp_path / "a.pth")


def test_a_gguf_file_has_shapes_in_torchs_order_and_those_of_five_axes(tmp_path):
    path = write_gguf(
        tmp_path / "a.gguf",
        {"w": ((256, 4), 12, 4 * 144), "p": ((2, 2, 36, 8), 1, 2 * 2 * 36 * 8 * 2)},
        {"general.architecture": "wan", "comfy.gguf.orig_shape.p": [8, 36, 1, 2, 2]},
    )
    found = read_file_outline(path)
    assert found.shapes == {"w": (4, 256), "p": (8, 36, 1, 2, 2)}
    assert found.types == {"w": "Q4_K", "p": "F16"}
    assert found.notes["general.architecture"] == "wan"


def test_an_index_names_its_files_and_those_that_are_missing(tmp_path):
    index = tmp_path / "m.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}')
    write_safetensors(tmp_path / "m-1.safetensors", {"a": (2, 2)})
    assert missing_shards(index) == (["m-1.safetensors", "m-2.safetensors"], ["m-2.safetensors"])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../b"}}']
)
def test_an_index_that_is_none_is_told(tmp_path, text):
    (tmp_path / "m.index.json").write_text(text)
    with pytest.raises(OutlineError):
        missing_shards(tmp_path / "m.index.json")
