"""Whatever a file or a workflow holds, it is told in a short sentence and in little time."""

from __future__ import annotations

import random
import time

import pytest
import torch

from helpers.sparse_weights import lora_shapes, write_gguf, write_safetensors
from storymem.files.pickle_outline import MAX_BYTES
from storymem.setup.kinds import TITLES
from storymem.setup.model_files import identify
from storymem.setup.needs import look_at_needs

ROUNDS = 150
STATE = {"a.weight": torch.zeros(3, 5), "a.bias": torch.zeros(3), "b.alpha": 3.0}


def whole(tmp_path, form: str) -> bytes:
    path = tmp_path / "whole"
    match form:
        case "safetensors":
            write_safetensors(path, {"a.weight": (3, 5), "a.bias": (3,)}, notes={"a": "b"})
        case "lora":
            write_safetensors(path, lora_shapes(blocks=1, rank=1))
        case "gguf":
            write_gguf(path, {"a": ((32, 2), 0, 256)}, {"n": "text", "l": [1, 2], "i": 3})
        case "checkpoint":
            torch.save(STATE, path)
        case "legacy":
            torch.save(STATE, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()[: 1 << 16]


def changed(content: bytes, choose: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(choose.randint(1, 6)):
        place = choose.randrange(min(len(found), 2048))
        match choose.randrange(4):
            case 0:
                found[place] = choose.randrange(256)
            case 1:
                del found[place : place + choose.randint(1, 40)]
            case 2:
                found[place:place] = bytes(choose.randrange(256) for _ in range(9))
            case 3:
                found[place : place + 8] = b"\xff" * 8
        if not found:
            return b""
    return bytes(found)


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".gguf"])
@pytest.mark.parametrize("form", ["safetensors", "lora", "gguf", "checkpoint", "legacy"])
def test_changed_files_are_told_in_a_sentence(tmp_path, form, ending):
    content, choose = whole(tmp_path, form), random.Random(f"{form}{ending}")
    path = tmp_path / f"secret{ending}"
    for _ in range(ROUNDS):
        path.write_bytes(changed(content, choose))
        found = identify(path)
        assert found.kind in TITLES
        assert len(found.problem) < 300
        assert "secret" not in found.problem
        assert str(tmp_path) not in found.problem


def test_what_takes_long_to_follow_is_given_up(tmp_path):
    """Steps that need no byte of their own each, doubled lists, and a text longer than the file."""
    tails = {
        "pops": b"\x80\x02" + b"(0" * (1 << 20) + b".",
        "doubled": b"\x80\x02(X\x01\x00\x00\x00a" + b"q\x00h\x00\x86" * 100_000 + b".",
        "long": b"\x80\x02X" + (MAX_BYTES + 1).to_bytes(4, "little") + b"a" * 1000,
        "number": b"\x80\x02L" + b"9" * 200_000 + b"L\n.",
    }
    for name, content in tails.items():
        (tmp_path / f"{name}.pth").write_bytes(content)
        began = time.perf_counter()
        assert identify(tmp_path / f"{name}.pth").problem
        assert time.perf_counter() - began < 20


VALUES = [None, 3, -1, 2**70, 1.5, "", "a.safetensors", [], {}, [1, 2], ["1", 0], ["9", 2**70],
          {"class_type": "UNETLoader"}, {"inputs": []}, True]  # fmt: skip


def odd(choose: random.Random, depth: int) -> object:
    names = [
        "nodes", "links", "id", "type", "mode", "inputs", "widgets_values", "widget", "name",
        "link", "definitions", "subgraphs", "properties", "models", "class_type", "1",
    ]  # fmt: skip
    if depth == 0 or choose.random() < 0.2:
        return choose.choice(VALUES)
    if choose.random() < 0.4:
        return [odd(choose, depth - 1) for _ in range(choose.randrange(4))]
    return {choose.choice(names): odd(choose, depth - 1) for _ in range(choose.randrange(5))}


def test_odd_workflows_are_told_and_end():
    choose = random.Random(7)
    told = 0
    for _ in range(4000):
        workflow = odd(choose, 5)
        if choose.random() < 0.5:
            nodes = [{"id": i, "type": choose.choice(["UNETLoader", "StoryMemM2VSampler", "g"]),
                      "inputs": odd(choose, 3), "widgets_values": odd(choose, 2)}
                     for i in range(3)]  # fmt: skip
            graphs = [{"id": "g", "nodes": odd(choose, 3), "links": odd(choose, 3)}]
            workflow = {"nodes": nodes, "links": odd(choose, 4),
                        "definitions": {"subgraphs": graphs}}  # fmt: skip
        told += len(look_at_needs(workflow, None, []).findings)
    assert told >= 4000
