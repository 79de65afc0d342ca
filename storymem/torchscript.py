"""Tensors of a TorchScript archive, read without TorchScript.

OpenAI publishes CLIP in this form. PyTorch reads it by running it: a class in it may bring code of
its own for being unpickled, which can write files. Here nothing of it runs. The archive is a zip
file: ``data.pkl`` in it is unpickled with stand-ins that only keep what they are given for the
archive's own classes (``__torch__...``), and anything that is not known to be harmless is refused;
the numbers lie in ``data/`` as plain bytes.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import torch

from .messages import reason_of, shown

MAX_PICKLE = 64 * 2**20  # bytes of data.pkl: names and shapes only; CLIP's has 0.2 MB
MAX_PARTS = 100_000  # modules, lists and tensors; CLIP ViT-L/14 has a thousand
DEEPEST = 64  # modules inside each other
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
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
        names = archive.namelist()
        roots = {name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")}
        if len(roots) != 1 or len(set(names)) < len(names):
            raise ArchiveError("its archive does not hold one model; choose another file")
        self._root = roots.pop()

    def load(self) -> object:
        info = self._archive.getinfo(f"{self._root}/data.pkl")
        if info.file_size > MAX_PICKLE:
            raise ArchiveError("its list of weights is too long; choose another file")
        reader = self

        # Written in Python: the one in C makes room for as many objects as a pickle claims to hold.
        class Unpickler(pickle._Unpickler):
            def find_class(self, module: str, name: str) -> object:
                return reader._stand_in(module, name)

            def persistent_load(self, pid: object) -> object:
                return reader._storage(pid)

        return Unpickler(BytesIO(self._archive.read(info))).load()

    def _stand_in(self, module: str, name: str) -> object:
        """What the unpickler gets for a name: only what does nothing."""
        if module == "__torch__" or module.startswith("__torch__."):
            return type("Class", (_Class,), {})
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
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(count) is not int:
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
            inside = [(f"{start}{name}", part, depth + 1) for name, part in value.state.items()]
            waiting += reversed(inside)
    return found
