"""The header of a GGUF file: names, shapes and types of its tensors.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .pickle_outline import OutlineError, Tensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 100_000  # tensors, and notes; a model of Wan has 1100
MAX_BYTES = 256 * 2**20  # of a header, with the words of a text encoder
LONGEST_TEXT = 4096  # bytes of a text that is kept
MOST_SIZES = 8  # numbers of a list that is kept, such as a shape
ALIGNMENT = 32  # bytes, unless the file says another
TYPES = {  # number -> name, numbers in a block, bytes of a block
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip
_SHAPE_NOTE = "comfy.gguf.orig_shape."  # where ComfyUI-GGUF keeps shapes of more than four axes
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_TEXT, _LIST = 8, 9


@dataclass
class GgufHeader:
    """Tensors by name, their shapes in PyTorch's order of axes, and the notes that are short."""

    tensors: dict[str, Tensor]
    notes: dict[str, object] = field(default_factory=dict)


def read_gguf_header(path: str | Path) -> GgufHeader:
    """What a ``.gguf`` file says that it holds, after a look at whether it does.

    Raises:
        OutlineError: when it is no such file, damaged or cut short.
        OSError: when it cannot be read at all.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            return _Reader(file, path.stat().st_size).read()
        except OutlineError:
            raise
        except OSError:
            raise
        except Exception:  # damaged bytes fail in any way
            raise OutlineError("its header is damaged; download it again") from None


class _Reader:
    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size, self._left = file, size, MAX_BYTES

    def read(self) -> GgufHeader:
        if self._bytes(4) != MAGIC:
            raise OutlineError("it does not begin like a GGUF file; download it again")
        if self._number("<I") not in VERSIONS:
            raise OutlineError("it is a GGUF file of a version that is not read here")
        counts = self._number("<Q"), self._number("<Q")
        if max(counts) > MAX_ENTRIES:
            raise OutlineError("its header is damaged; download it again")
        notes = {}
        for _ in range(counts[1]):
            name, value = self._text(), self._value(self._number("<I"))
            if value is not None:
                notes[name] = value
        entries = [self._entry() for _ in range(counts[0])]
        self._check_size(entries, notes)
        tensors = {}
        for name, shape, kind, _ in entries:
            told = notes.get(_SHAPE_NOTE + name)
            if isinstance(told, list) and math.prod(told) == math.prod(shape):
                shape = tuple(told)
            tensors[name] = Tensor(shape, TYPES[kind][0] if kind in TYPES else "unknown")
        if not tensors:
            raise OutlineError("it holds no weights; choose another file")
        return GgufHeader(tensors, notes)

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name, axes = self._text(), self._number("<I")
        if axes > 8:
            raise OutlineError("its header is damaged; download it again")
        shape = tuple(self._number("<Q") for _ in range(axes))[::-1]
        return name, shape, self._number("<I"), self._number("<Q")

    def _check_size(self, entries: list, notes: dict) -> None:
        step = notes.get("general.alignment", ALIGNMENT)
        step = step if isinstance(step, int) and step > 0 else ALIGNMENT
        start = -(-self._file.tell() // step) * step
        for _, shape, kind, offset in entries:
            _, numbers, size = TYPES.get(kind, ("", 1, 0))
            end = start + offset + math.prod(shape) // numbers * size
            if end > self._size:
                raise OutlineError(
                    f"it is cut short: {self._size} of at least {end} bytes are there; download it "
                    "again"
                )

    def _value(self, kind: int) -> object:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            raise OutlineError("its header is damaged; download it again")
        inside, count = self._number("<I"), self._number("<Q")
        if inside in _NUMBERS:
            size = struct.calcsize(_NUMBERS[inside])
            content = self._bytes(count * size)
            if count > MOST_SIZES:
                return None
            return [one for (one,) in struct.iter_unpack(_NUMBERS[inside], content)]
        if inside != _TEXT:
            raise OutlineError("its header is damaged; download it again")
        for _ in range(count):
            self._bytes(self._number("<Q"))
        return None

    def _text(self) -> str:
        return self._bytes(self._number("<Q")).decode("utf-8", "replace")[:LONGEST_TEXT]

    def _number(self, form: str) -> object:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise OutlineError("its header is damaged; download it again")
        found = self._file.read(count)
        if len(found) < count:
            raise OutlineError("it is cut short, within its header; download it again")
        return found
