"""Weights files that try to do something when they are read, and files that are none."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

WRITTEN = "written by a weights file"


class Writes(torch.nn.Module):
    """A TorchScript module whose reading writes a file. What is read back must be used, or
    TorchScript leaves the writing out."""

    def __init__(self, target: str):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 4))
        self.target = target
        self.total = 0.0

    def forward(self, x):
        return x * self.weight * self.total

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.target, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
        self.weight, self.target, self.training = state[0], state[1], state[2]
        written = torch.from_file(self.target, True, 4, dtype=torch.float32)
        written.fill_(7.0)
        self.total = float(written.sum().item())


class Visual(torch.nn.Module):
    """The archive of a CLIP in which one part writes."""

    def __init__(self, target: str):
        super().__init__()
        self.visual = Writes(target)
        self.class_embedding = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.visual(x)


def write_archive(path: Path, target: Path, *, model: type = Visual) -> Path:
    """A TorchScript archive that writes ``target`` when TorchScript reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model(str(target))).save(str(path))
    return path


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (np.save, (str(self.target), 1))


def _pickled(target: Path) -> dict:
    return {"state_dict": {"weight": Bomb(target)}}


def zipped_bomb(path: Path, target: Path) -> Path:
    torch.save(_pickled(target), path)
    return path


def legacy_bomb(path: Path, target: Path) -> Path:
    torch.save(_pickled(target), path, _use_new_zipfile_serialization=False)
    return path


def plain_pickle(path: Path, target: Path) -> Path:
    path.write_bytes(pickle.dumps(Bomb(target)))
    return path


def archive_bomb(path: Path, target: Path) -> Path:
    """Looks like a TorchScript archive, and its pickle names a function of numpy's."""
    with zipfile.ZipFile(path, "w") as archive:
        bomb = pickle.dumps(_pickled(target), protocol=2)
        for name, content in (
            ("data.pkl", bomb),
            ("constants.pkl", b"\x80\x02)."),
            ("version", b"3"),
        ):
            archive.writestr(zipfile.ZipInfo(f"clip/{name}"), content)  # the same bytes every time
    return path


RUNS_CODE = {
    "archive whose __setstate__ writes": write_archive,
    "archive with a bomb": archive_bomb,
    "checkpoint with a bomb": zipped_bomb,
    "older checkpoint with a bomb": legacy_bomb,
    "plain pickle": plain_pickle,
}


def endless(path: Path) -> Path:
    """A checkpoint that holds itself."""
    state: dict = {}
    state["state_dict"] = state
    torch.save(state, path)
    return path


def vast(path: Path) -> Path:
    """Four bytes that claim to be a matrix of 4 TB, in the form of a LoRA."""
    one = torch.ones(1)
    huge = one.as_strided((1_000_000, 1_000_000), (0, 0))
    torch.save({"blocks.0.self_attn.q.lora_A.weight": huge}, path)
    return path


def sharing(path: Path) -> Path:
    """A zip file whose list names the same bytes a thousand times."""
    torch.save({f"w{i}": torch.ones(256) for i in range(2)}, path)
    with zipfile.ZipFile(path) as archive:
        numbers = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<HII", data[end + 10 : end + 20])
    name = b"archive/data/x"
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 0, 0, 0, 0, 0, 0, numbers.CRC, numbers.file_size,
        numbers.file_size, len(name), 0, 0, 0, 0, 0, numbers.header_offset,
    ) + name  # fmt: skip
    more = 1000
    data[end + 8 : end + 20] = struct.pack(
        "<HHII", count + more, count + more, size + more * len(entry), start
    )
    path.write_bytes(bytes(data[:end]) + entry * more + bytes(data[end:]))
    return path


def roomy(path: Path) -> Path:
    """A pickle that asks for a table of four billion objects."""
    bomb = b"\x80\x02N" + b"r" + struct.pack("<I", 2**32 - 2) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", bomb)
        archive.writestr("clip/constants.pkl", pickle.dumps((), protocol=2))
    return path


# torch._utils._rebuild_tensor_v2(storage 0 with one float, 0, (1,), (1,), False, {})
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
    b"0X\x03\0\0\0cpuK\x01tQK\0K\x01\x85K\x01\x85\x89}tR"
)


def torchscript_like(path: Path, steps: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clip/data.pkl", b"\x80\x02" + steps)
        archive.writestr("clip/constants.pkl", pickle.dumps((), protocol=2))
    return path


def crowded(path: Path) -> Path:
    """Ten million lists, in ten million bytes that compress to nothing."""
    return torchscript_like(path, b"]" * 10_000_000 + b".")


def _named(text: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text


def long_named(path: Path) -> Path:
    """A module with a name of a million letters, with a thousand parts that begin with it."""
    module = b"c__torch__\nA\n)\x81}"
    parts = b"(" + b"".join(_named(b"p%d" % i) + b"N" for i in range(1000)) + b"u"
    steps = module + _named(b"a" * 1_000_000) + module + parts + b"bsb."
    return torchscript_like(path, steps)


def tangled(path: Path) -> Path:
    """A tuple that holds one twice, which holds one twice, 60 times, as a name: 2**60 parts."""
    doubled = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    return torchscript_like(path, b"}N" + doubled + b"Ns.")


def shared_name(path: Path) -> Path:
    """A thousand names of one and the same part, whose tensor has a name of a million letters."""
    part = b"c__torch__\nA\n)\x81}" + _named(b"a" * 1_000_000) + TENSOR + b"sbq\x01"
    names = b"".join(_named(b"p%d" % i) + b"h\x01" for i in range(1000))
    steps = b"c__torch__\nA\n)\x81}(" + _named(b"p") + part + names + b"ub."
    torchscript_like(path, steps)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("clip/data/0", bytes(4))
    return path


def zeros(path: Path) -> Path:
    """A checkpoint that asks Python for two billion bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + ZEROS)
        archive.writestr("archive/version", b"3\n")
    return path


def zeros_in_capitals(path: Path) -> Path:
    """The same under a name that only PyTorch's reader of zip files takes for the right one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/DATA.PKL", b"\x80\x02" + ZEROS)
        archive.writestr("archive/version", b"3\n")
    return path


def zeros_beside_a_zip(path: Path) -> Path:
    """The same before a zip file, which some take the whole for."""
    zeros_as_before(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
    return path


def zeros_as_before(path: Path) -> Path:
    """The same in the form of checkpoints that are no zip files."""
    before = b"".join(
        pickle.dumps(part, protocol=2)
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    path.write_bytes(before + b"\x80\x02" + ZEROS + pickle.dumps([], protocol=2))
    return path


ZEROS = b"cbuiltins\nbytearray\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R."
CLAIMS_TOO_MUCH = {
    "shared name": shared_name,
    "zeros": zeros,
    "zeros as before": zeros_as_before,
    "zeros in capitals": zeros_in_capitals,
    "zeros beside a zip": zeros_beside_a_zip,
    "endless": endless,
    "vast": vast,
    "sharing": sharing,
    "roomy": roomy,
    "crowded": crowded,
    "long named": long_named,
    "tangled": tangled,
}

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af\nsize 353976522\n"
)


def damaged(whole: bytes) -> dict[str, tuple[bytes, str]]:
    """What a ``.safetensors`` file may be instead of itself, and the word that says so."""
    header = 8 + int.from_bytes(whole[:8], "little")
    return {
        "nothing": (b"", "empty"),
        "a web page": (b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "web page"),
        "a pointer": (LFS, "Git LFS"),
        "half of it": (whole[: (len(whole) + header) // 2], "cut short"),
        "half of its header": (whole[: header // 2], "cut short"),
        "five bytes": (whole[:5], "cut short"),
        "more than it": (whole + b"\0" * 100, "100 bytes more"),
        "noise": (bytes(range(255, 0, -1)) * 8, "does not begin like"),
        "a broken header": (whole[:8] + b"{" * (header - 8) + whole[header:], "header is damaged"),
    }
