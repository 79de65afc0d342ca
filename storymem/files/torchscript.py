"""Tensors of a TorchScript archive, read without TorchScript.

OpenAI publishes CLIP in this form. PyTorch reads it by running it: a class in it may bring code of
its own for being unpickled, which can write files. Here nothing of it runs. The archive is a zip
file: ``data.pkl`` in it is unpickled with stand-ins that only keep what they are given for the
archive's own classes (``__torch__...``), and anything that is not known to be harmless is refused;
the numbers lie in ``data/`` as plain bytes.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import torch

from .messages import reason_of, shown

MAX_PICKLE = 16 * 2**20  # bytes of data.pkl: names and shapes only; CLIP's has 0.2 MB
MAX_STEPS = 1_000_000  # of its instructions, each of which may make an object
MAX_PARTS = 100_000  # modules, lists and tensors; CLIP ViT-L/14 has a thousand
DEEPEST = 64  # modules inside each other
LONGEST_PATH = 1000  # characters of a part's name, with those of all modules above it
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
# The instructions of pickles that TorchScript writes.
STEPS = frozenset({
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST",
    "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID",
})  # fmt: skip
LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


class ArchiveError(ValueError):
    """An archive that is not read, and why."""


class _Unlike(Exception):
    """Something in an archive is not as its description says."""


def read_archive(path: str | Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Every tensor of the archive's modules by its dotted name, as ``state_dict`` calls them.

    Plain tensor attributes are there, too: the archive does not tell them from parameters.

    Args:
        device: ``cpu``, or ``meta`` for shapes and types without the numbers.

    Raises:
        ArchiveError: for an archive that is damaged, or holds what would have to be run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _flatten(_Reader(archive, Path(path).stat().st_size, device).load())
    except ArchiveError:
        raise
    except (_Unlike, zipfile.BadZipFile) as error:
        raise ArchiveError(f"its archive is damaged ({reason_of(error)}); {_ADVICE}") from None
    except Exception:  # damaged bytes fail in any way
        raise ArchiveError(f"its archive is damaged; {_ADVICE}") from None


_ADVICE = "download it again, or use a .safetensors file of the same model"


class _Object:
    """In place of an instance of one of the archive's classes: keeps its state, does nothing."""

    def __init__(self):
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Class:
    """In place of one of the archive's classes."""

    def __new__(cls) -> _Object:
        return _Object()


class _Storage:
    """Numbers of the archive, one after the other."""

    def __init__(self, values: torch.Tensor):
        self.values = values


class _Reader:
    """One archive. What it gives the unpickler is made for this one: nothing outlives it."""

    def __init__(self, archive: zipfile.ZipFile, size: int, device: str):
        self._archive, self._unread, self._device = archive, size, device
        self._storages: dict[str, _Storage] = {}
        self._class = type("Class", (_Class,), {})
        names = archive.namelist()
        roots = {name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")}
        if len(roots) != 1 or len(set(names)) < len(names):
            raise ArchiveError("its archive does not hold one model; choose another file")
        self._root = roots.pop()

    def load(self) -> object:
        info = self._archive.getinfo(f"{self._root}/data.pkl")
        if info.file_size > MAX_PICKLE:
            raise ArchiveError("its list of weights is too long; choose another file")
        content = self._archive.read(info)
        _check_steps(content)
        return _Unpickler(BytesIO(content), self._stand_in, self._storage).load()

    def _stand_in(self, module: str, name: str) -> object:
        """What the unpickler gets for a name: only what does nothing."""
        if module == "__torch__" or module.startswith("__torch__."):
            return self._class
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        found: dict[tuple[str, str], Callable] = {
            ("torch._utils", "_rebuild_tensor_v2"): lambda *parts: self._tensor(*parts),
            ("torch._utils", "_rebuild_parameter"): lambda value, *_: value,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("collections", "OrderedDict"): lambda: OrderedDict(),
            **{("torch.jit._pickle", n): (lambda values: values) for n in LISTS},
        }
        if (module, name) not in found:
            raise ArchiveError(
                f"it names {shown(f'{module}.{name}')}, which would have to be run; {_ADVICE}"
            )
        return found[module, name]

    def _storage(self, pid: object) -> _Storage:
        kind, dtype, key, _, count = pid  # "storage", its type, its file, a device, numbers
        known = isinstance(dtype, torch.dtype) and isinstance(key, str) and type(count) is int
        if kind != "storage" or not known:
            raise _Unlike("numbers are described in an unknown way")
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._root}/data/{key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
                raise _Unlike(f"numbers {shown(key)} are not as described")
            self._unread -= info.file_size
            if self._unread < 0:  # entries of the archive that share their bytes
                raise _Unlike("it claims to hold more than it does")
            if self._device == "meta":
                values = torch.empty(count, dtype=dtype, device="meta")
            elif count:
                values = torch.frombuffer(bytearray(self._archive.read(info)), dtype=dtype)
            else:
                values = torch.empty(0, dtype=dtype)
            self._storages[key] = _Storage(values)
        storage = self._storages[key]
        if storage.values.dtype != dtype or len(storage.values) != count:
            raise _Unlike(f"numbers {shown(key)} are described twice")
        return storage

    @staticmethod
    def _tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *_) -> torch.Tensor:
        if not isinstance(storage, _Storage):
            raise _Unlike("a tensor has no numbers")
        return storage.values.as_strided(size, stride, offset)


class _Unpickler(pickle._Unpickler):
    """Written in Python: the one in C makes room for as many objects as a pickle claims to hold."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BytesIO, find_class: Callable, persistent_load: Callable):
        super().__init__(file)
        self.find_class, self.persistent_load = find_class, persistent_load

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], key, value)

    def _set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(self.stack[-1], key, value)

    @staticmethod
    def _set(holder: object, key: object, value: object) -> None:
        # Tuples of tuples that hold themselves twice would take for ever as a key.
        if not isinstance(holder, dict) or not isinstance(key, (str, int)):
            raise _Unlike("a name is none")
        holder[key] = value

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Object):
            raise _Unlike("a part of it is given what it cannot have")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.BUILD[0]] = _build


def _check_steps(content: bytes) -> None:
    """Look at every instruction before one is followed."""
    for number, (step, _, _) in enumerate(pickletools.genops(content)):
        if step.name not in STEPS:
            raise _Unlike("its list of weights is not TorchScript's")
        if number >= MAX_STEPS:
            raise _Unlike("its list of weights is too long")


def _flatten(model: object) -> dict[str, torch.Tensor]:
    """Tensors by dotted name; a part that two modules share is there under both names."""
    if not isinstance(model, _Object):
        raise ArchiveError("its archive holds no model; choose another file")
    found: dict[str, torch.Tensor] = {}
    waiting: list[tuple[str, object, int]] = [("", model, 0)]
    parts = 0
    while waiting:
        prefix, value, depth = waiting.pop()
        parts += 1
        if parts > MAX_PARTS or depth > DEEPEST:
            raise ArchiveError("it holds too many parts to be a model; choose another file")
        if isinstance(value, torch.Tensor):
            found[prefix] = value
        elif isinstance(value, _Object):
            if not isinstance(value.state, dict):
                raise ArchiveError(
                    f"a part of it ({shown(prefix or 'the model')}) brings code of its own for "
                    "being read, which is never run; use a .safetensors file of the same model"
                )
            start = f"{prefix}." if prefix else ""
            for name, part in reversed(value.state.items()):
                if not isinstance(name, str):
                    raise _Unlike("a part of it has no name")
                if len(start) + len(name) > LONGEST_PATH:
                    raise _Unlike("a part of it has too long a name")
                waiting.append((f"{start}{name}", part, depth + 1))
    return found
