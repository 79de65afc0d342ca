"""What a weights file holds by its header alone: names, shapes and types of its tensors.

The content says what a file is, never its ending; numbers are not read.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .gguf_header import MAGIC, read_gguf_header
from .json_text import parse_json
from .messages import reason_of
from .pickle_outline import OutlineError, read_checkpoint_outline
from .small_file import read_small_file
from .weights_file import (
    LENGTH_BYTES,
    SAFETENSORS,
    ZIP,
    WeightsError,
    look_at,
    read_header,
)

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pt2")
GGUF = (".gguf",)
ENDINGS = (*SAFETENSORS, *CHECKPOINTS, *GGUF)
SHARDS_INDEX = ".index.json"  # behind ``model.safetensors``, of a model in several files
LARGEST_INDEX = 1 << 25  # bytes
LONGEST_NAME = 255  # of a file, in letters, on any disk
MOST_AXES = 64  # as torch has them
_BITS = {  # of one number, by safetensors' names
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """Shapes and types (as safetensors or ggml name them) of tensors by name, the file's form
    (``safetensors``, ``checkpoint``, ``torchscript`` or ``gguf``), the texts of its header, and
    ``module name`` of what it would import beyond tensors."""

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]
    form: str
    notes: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()


def read_file_outline(path: str | Path) -> Outline:
    """The outline of a weights file.

    Raises:
        OutlineError: for what is no such file, damaged, cut short or cannot be opened; its text
            holds no name and no path.
    """
    path = Path(path)
    try:
        _check_kind(path)
        _, beginning = look_at(path)
        if beginning.startswith(MAGIC):
            return _of_gguf(path)
        is_json = beginning[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"
        if is_json or (path.suffix.lower() in SAFETENSORS and not beginning.startswith(ZIP)):
            return _of_safetensors(path)
        return _of_checkpoint(path)
    except WeightsError as error:
        raise OutlineError(error.reason) from None
    except OSError as error:
        raise OutlineError(f"it cannot be read ({reason_of(error)})") from None


def _check_kind(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise OutlineError("it is a link to a file that is not there") from None
        raise OutlineError("it is not there") from None
    if stat.S_ISDIR(mode):
        raise OutlineError("it is a folder with the name of a file; the file may be inside")
    if not stat.S_ISREG(mode):
        raise OutlineError("it is no plain file")


def _of_safetensors(path: Path) -> Outline:
    header = read_header(path)
    shapes, types, spans = {}, {}, []
    for name, entry in header.items():
        shape, kind, span = entry.get("shape"), entry.get("dtype"), entry["data_offsets"]
        if not _is_shape(shape) or not isinstance(kind, str) or not _is_span(span):
            raise OutlineError("its header is damaged; download it again")
        if kind in _BITS and math.prod(shape) * _BITS[kind] != 8 * (span[1] - span[0]):
            raise OutlineError("its header contradicts itself; download it again")
        shapes[name], types[name] = tuple(shape), kind
        spans.append(span)
    spans.sort()
    if any(a[1] != b[0] for a, b in pairwise(spans)) or spans[0][0] != 0:
        raise OutlineError("its header contradicts itself; download it again")
    return Outline(shapes, types, "safetensors", _notes_of(path))


def _is_shape(shape: object) -> bool:
    if not isinstance(shape, list) or len(shape) > MOST_AXES:
        return False
    return all(type(n) is int and 0 <= n < 2**48 for n in shape)


def _is_span(span: object) -> bool:
    return isinstance(span, list) and len(span) == 2 and type(span[0]) is int and span[0] <= span[1]


def _notes_of(path: Path) -> dict[str, str]:
    """The texts of a header that was read before."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        notes = parse_json(file.read(length)).get("__metadata__")
    found = notes.items() if isinstance(notes, dict) else ()
    return {k: v for k, v in found if isinstance(v, str)}


def _of_checkpoint(path: Path) -> Outline:
    found = read_checkpoint_outline(path)
    if not found.tensors and not found.foreign:
        raise OutlineError("it holds no weights; choose another file")
    return Outline(
        {name: tensor.shape for name, tensor in found.tensors.items()},
        {name: tensor.type for name, tensor in found.tensors.items()},
        "torchscript" if found.is_torchscript else "checkpoint",
        foreign=found.foreign,
    )


def _of_gguf(path: Path) -> Outline:
    header = read_gguf_header(path)
    return Outline(
        {name: tensor.shape for name, tensor in header.tensors.items()},
        {name: tensor.type for name, tensor in header.tensors.items()},
        "gguf",
        {name: note for name, note in header.notes.items() if isinstance(note, str)},
    )


def missing_shards(index: Path) -> tuple[list[str], list[str]]:
    """The files that an index of a model in several files names, and those that are not there.

    Raises:
        OutlineError: for an index that cannot be read, or names files outside of its folder.
    """
    try:
        found = parse_json(read_small_file(index, LARGEST_INDEX))
    except OSError as error:
        raise OutlineError(f"it cannot be read ({reason_of(error)})") from None
    except ValueError:
        raise OutlineError("it is no index of files that can be read") from None
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        raise OutlineError("it is no index of files that can be read")
    names = list(dict.fromkeys(str(name) for name in places.values()))
    if any("/" in name or "\\" in name or name in ("", ".", "..") for name in names):
        raise OutlineError("it names files outside of its folder")
    if any("\0" in name or len(name) > LONGEST_NAME for name in names):
        raise OutlineError("it names files that no disk can have")
    return names, [name for name in names if not os.path.isfile(index.parent / name)]
