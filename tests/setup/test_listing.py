"""Model folders: what of them is looked at, what is told of the rest, and odd files in them."""

from __future__ import annotations

import json
import os
import time

import pytest

from helpers.sparse_weights import write_safetensors
from storymem.files.outline import OutlineError, read_file_outline
from storymem.files.small_file import read_small_file
from storymem.setup import host_folders, listing, packs
from storymem.setup.checkup import CheckupInputs, check
from storymem.setup.model_files import describe_files, find_files, identify

VAE = "wan.safetensors"
WORKFLOW = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": VAE}}}


def checked(tmp_path, workflow=WORKFLOW) -> dict[str, list[str]]:
    report = check(CheckupInputs(folders={"vae": [tmp_path]}, workflow=workflow))
    return {one.key: [f"{f.level} {f.sentence()}" for f in one.findings] for one in report.sections}


def test_linked_folders_are_looked_into_and_the_hosts_own_are_not(tmp_path):
    write_safetensors(tmp_path / "far" / "a.safetensors", {"x": (2, 2)})
    place = tmp_path / "vae"
    for name in (*listing.SKIPPED, "mine"):
        write_safetensors(place / name / "b.safetensors", {"x": (2, 2)})
    (place / "link").symlink_to(tmp_path / "far", target_is_directory=True)
    assert [f.name for f in find_files({"vae": [place]})] == [
        "link/a.safetensors",
        "mine/b.safetensors",
    ]


def test_files_that_are_left_out_are_counted_and_one_that_is_needed_is_looked_at(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(listing, "MOST_FILES", 2)
    for name in "abcd":
        write_safetensors(tmp_path / f"{name}.safetensors", {"x": (2, 2)})
    write_safetensors(tmp_path / VAE, {"x": (2, 2)})
    gaps: list = []
    assert [f.name for f in find_files({"vae": [tmp_path]}, gaps=gaps)] == [
        "a.safetensors",
        "b.safetensors",
    ]
    assert [gap.files for gap in gaps] == [3]
    told = checked(tmp_path)
    text = "note vae: 2 files were looked at in one place, and 3 more were left out"
    assert text in told["files"]
    assert told["workflow"][-1].startswith("ok the file of vae_name in VAELoader is there: vae")
    other = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "../a.safetensors"}}}
    assert checked(tmp_path, other)["workflow"][-1].startswith("error")


def test_folders_that_are_left_out_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MOST_FOLDERS", 2)
    for name in "abcd":
        write_safetensors(tmp_path / name / "x.safetensors", {"x": (2, 2)})
    write_safetensors(tmp_path / "d" / VAE, {"x": (2, 2)})
    told = checked(tmp_path, {"1": {"class_type": "VAELoader", "inputs": {"vae_name": f"d/{VAE}"}}})
    assert [one for one in told["files"] if "and the rest was left out" in one]
    assert told["workflow"][-1].startswith("ok")


@pytest.mark.parametrize("name", ["no_folder", "a\0b"])
def test_a_place_that_cannot_be_opened_is_told_and_its_files_are_not_called_missing(tmp_path, name):
    (tmp_path / "no_folder").write_text("text")
    told = checked(tmp_path / name)
    assert [one for one in told["files"] if "folders that cannot be opened: 1" in one]
    assert told["workflow"][-1].startswith("warning whether vae has the file of vae_name")
    assert checked(tmp_path / "nobody made it")["workflow"][-1].startswith("error")


# --- odd files ----------------------------------------------------------------------------------


def index_of(*names: str) -> str:
    return json.dumps({"weight_map": {str(n): name for n, name in enumerate(names)}})


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "é" * 200])
def test_an_index_of_files_that_cannot_be_hides_no_other_file(tmp_path, name):
    (tmp_path / "odd.safetensors.index.json").write_text(index_of(name))
    write_safetensors(tmp_path / VAE, {"x": (2, 2)})
    told = checked(tmp_path)
    assert len(told["files"]) == 2
    assert told["workflow"][-1].startswith("ok the file of vae_name in VAELoader is there")


SCALARS = (
    {"token_embedding.weight": (), "blocks.0.attn.q.weight": (2, 2)},
    {"decoder.head.2.weight": (), "conv2.weight": (16, 16, 1, 1, 1)},
    {"visual.proj": (), "visual.conv1.weight": ()},
    {"9" * 5000 + ".weight": (2, 2)},
)


@pytest.mark.parametrize("shapes", SCALARS)
def test_odd_shapes_and_names_are_one_finding(tmp_path, shapes):
    write_safetensors(tmp_path / "a.safetensors", shapes)
    (finding,) = describe_files(find_files({"vae": [tmp_path]})).findings
    assert finding.level in ("warning", "note", "ok")


def test_whatever_is_raised_is_the_finding_of_that_file(tmp_path, monkeypatch):
    from storymem.setup import model_files

    monkeypatch.setattr(model_files, "kind_of", lambda _: [][1])
    write_safetensors(tmp_path / "a.safetensors", {"x": (2, 2)})
    found = identify(tmp_path / "a.safetensors")
    assert found.problem == "it could not be looked at (IndexError); please report it"
    assert found.size > 0


def test_a_shape_of_thousands_of_numbers_is_refused_at_once(tmp_path):
    entry = {"dtype": "F32", "shape": [2**40] * 120_000, "data_offsets": [0, 4]}
    header = json.dumps({"x": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    began = time.perf_counter()
    with pytest.raises(OutlineError):
        read_file_outline(path)
    assert time.perf_counter() - began < 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_neither_waited_for_nor_read(tmp_path):
    pipes = [tmp_path / name for name in (
        "a.safetensors.index.json", "adapter_config.json", "comfyui_version.py", "pyproject.toml",
    )]  # fmt: skip
    for pipe in pipes:
        os.mkfifo(pipe)
    (tmp_path / "z.index.json").symlink_to("/dev/zero")
    write_safetensors(tmp_path / "adapter_model.safetensors", {
        "blocks.0.self_attn.q.lora_A.weight": (4, 5120),
        "blocks.0.self_attn.q.lora_B.weight": (5120, 4),
    })  # fmt: skip
    began = time.perf_counter()
    assert len(find_files({"loras": [tmp_path]})) == 3
    assert not packs.is_this_pack(tmp_path)
    assert host_folders.host_of(tmp_path).version == ""
    assert time.perf_counter() - began < 10


def test_a_small_file_is_read_whole_or_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"four")
    assert read_small_file(path, 4) == b"four"
    for place, most in ((path, 3), (tmp_path, 9), (tmp_path / "gone", 9), ("/dev/zero", 9)):
        with pytest.raises(OSError):
            read_small_file(place, most)
    with pytest.raises(FileNotFoundError):
        read_small_file("a\0b", 9)
