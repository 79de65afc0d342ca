"""Names, shapes and types in a PyTorch checkpoint or a TorchScript archive, by its pickles alone.

The instructions of a pickle are read one by one and followed only as far as lists, tables and texts
go. What it would import is noted by name and never imported, what it would call is noted and never
called, and the numbers themselves are not read.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .torchscript import DEEPEST, LISTS, LONGEST_PATH, MAX_PARTS
from .weights_file import DEEPEST as DEEPEST_NEST
from .weights_file import NESTED, OLD_PICKLES, ZIP, makes_tensors

MAX_BYTES = 64 * 2**20  # of all pickles of a file; 1300 tensors of a model take 0.2 MB
MAX_STEPS = 1_000_000  # of its instructions
STORAGES = {  # as safetensors calls what they hold -> bytes of one number
    "DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1), "Float8_e4m3fnStorage": ("F8_E4M3", 1),
    "Float8_e5m2Storage": ("F8_E5M2", 1), "ComplexFloatStorage": ("C64", 8),
}  # fmt: skip
_TENSOR = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
           "torch._utils _rebuild_tensor_v3")  # fmt: skip
_FIRST = (  # what is made of its first argument
    "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state",
    "torch.jit._pickle restore_type_tag", "torch Size",
    *(f"torch.jit._pickle {name}" for name in LISTS),
)  # fmt: skip


class OutlineError(ValueError):
    """A checkpoint whose outline cannot be read, and why."""


@dataclass(frozen=True)
class Tensor:
    """What a checkpoint says of a tensor: shape, and type by safetensors' name."""

    shape: tuple[int, ...]
    type: str


@dataclass
class CheckpointOutline:
    """Tensors by name, and what the file would import beyond tensors (``module name`` each)."""

    tensors: dict[str, Tensor]
    foreign: tuple[str, ...]
    is_torchscript: bool = False


def read_checkpoint_outline(path: str | Path) -> CheckpointOutline:
    """The outline of a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` file.

    Raises:
        OutlineError: when it is damaged, cut short, or no checkpoint.
        OSError: when it cannot be read at all.
    """
    path = Path(path)
    with open(path, "rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
    try:
        return _of_zip(path) if is_zip else _of_pickles(path)
    except (OutlineError, OSError):
        raise
    except zipfile.BadZipFile:
        raise OutlineError("it is cut short or damaged; download it again") from None
    except Exception:  # damaged bytes fail in any way
        raise OutlineError("its content is damaged; download it again") from None


def _of_zip(path: Path) -> CheckpointOutline:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise OutlineError("it is a zip file, but no PyTorch checkpoint; choose another file")
        with archive.open(f"{roots[0]}data.pkl") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OutlineError("its list of weights is too long to be one")
        machine = _Machine()
        value = machine.read(io.BytesIO(content))
    for key, size in machine.storages.items():
        entry = entries.get(f"{roots[0]}data/{key}")
        if entry is None or entry.file_size < size:
            raise OutlineError("some of its numbers are missing; download it again")
    is_script = any(name.endswith("/constants.pkl") for name in entries)
    return _outline(value, machine, is_torchscript=is_script)


def _of_pickles(path: Path) -> CheckpointOutline:
    """As torch wrote it before it wrote zip files: a number, a version, a system, the content."""
    machine, values = _Machine(), []
    with open(path, "rb") as file:
        limited = _Limited(file)
        for _ in range(OLD_PICKLES - 1):
            values.append(machine.read(limited))
            if len(values) == 1 and isinstance(values[0], (dict, _Made)):
                break  # pickled by itself, without torch
    size = path.stat().st_size
    if sum(machine.storages.values()) > size:
        raise OutlineError("it is cut short; download it again")
    return _outline(values[-1], machine)


class _Limited:
    """A file of which only the beginning is read, however long a text in it claims to be."""

    def __init__(self, file: BinaryIO):
        self._file, self._left = file, MAX_BYTES

    def read(self, count: int) -> bytes:
        return self._taken(self._file.read(self._allowed(count)))

    def readline(self) -> bytes:
        return self._taken(self._file.readline(self._allowed(1 << 16)))

    def tell(self) -> int:
        return self._file.tell()

    def _allowed(self, count: int) -> int:
        if count > self._left:
            raise OutlineError("its list of weights is too long to be one")
        return count

    def _taken(self, content: bytes) -> bytes:
        self._left -= len(content)
        return content


@dataclass(frozen=True)
class _Name:
    """Something that the pickle would import."""

    path: str  # "module name"


@dataclass
class _Made:
    """Something that the pickle would make by a call."""

    of: object
    state: object = None


@dataclass(frozen=True)
class _Storage:
    """Numbers that the pickle points to: their type, and how many."""

    type: str
    count: int


_MARK = object()


@dataclass
class _Machine:
    """Follows pickles with stand-ins. ``storages`` are sizes in bytes by their name."""

    storages: dict[str, int] = field(default_factory=dict)
    foreign: dict[str, None] = field(default_factory=dict)
    steps: int = 0

    def read(self, stream: BinaryIO) -> object:
        stack: list = []
        memo: dict[int, object] = {}
        for step, argument, _ in pickletools.genops(stream):
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise OutlineError("its list of weights is too long to be one")
            self._follow(step.name, argument, stack, memo)
        return stack[-1]

    def _follow(self, step: str, argument: object, stack: list, memo: dict) -> None:
        if step in _CONSTANTS:
            stack.append(_CONSTANTS[step]())
        elif step in _VALUES:
            stack.append(argument)
        elif step in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif step == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif step in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif step == "GLOBAL":  # the only way that torch's own reader of weights knows
            self._import(str(argument), stack)
        elif step in _JOINED:
            _JOINED[step](stack)
        elif step in ("BINPERSID", "PERSID"):
            stack.append(self._storage(stack.pop() if step == "BINPERSID" else argument))
        elif step in ("REDUCE", "NEWOBJ"):
            arguments, made = stack.pop(), stack.pop()
            stack.append(self._make(made, arguments))
        elif step == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], _Made):
                stack[-1].state = state
        elif step not in ("PROTO", "FRAME", "STOP"):
            raise OutlineError("it is written in an unusual way, which is not read here")

    def _import(self, path: str, stack: list) -> None:
        is_own = path.startswith("__torch__") or path in _FIRST
        if not (is_own or makes_tensors(path)):
            self.foreign[path] = None
        stack.append(_Name(path))

    def _storage(self, pid: object) -> object:
        match pid:
            case ("storage", _Name(path), str(key), _, int(count), *_):
                kind, size = STORAGES.get(path.removeprefix("torch "), ("U8", 1))
                self.storages[key] = max(count, 0) * size
                return _Storage(kind, count)
        return _Made(pid)

    def _make(self, made: object, arguments: object) -> object:
        path = made.path if isinstance(made, _Name) else ""
        match path, arguments:
            case _, (_Storage(kind) as held, int(first), tuple(shape), tuple(strides), *rest) if (
                path in _TENSOR
            ):
                _check_held(held, first, shape, strides)
                types = [one.path.removeprefix("torch ") for one in rest if isinstance(one, _Name)]
                return Tensor(_shape(shape), _TYPES.get(types[-1], kind) if types else kind)
            case "torch._tensor _rebuild_from_type_v2", (inner, _, tuple(inside), *_):
                return self._make(inner, inside)
            case _, (first, *_) if path in _FIRST:
                return first
            case "collections OrderedDict", ():
                return {}
        return _Made(made)


def _check_held(held: _Storage, first: int, shape: tuple, strides: tuple) -> None:
    """A few bytes can claim to be a matrix of any size, which the first use of it would make."""
    steps = zip(_shape(shape), _shape(strides), strict=True)
    last = first + sum((size - 1) * step for size, step in steps)
    is_held = first >= 0 and last < held.count and math.prod(shape) <= held.count
    if not is_held and 0 not in shape:
        raise OutlineError("it claims to hold more than it does; download it again")


def _shape(shape: tuple) -> tuple[int, ...]:
    if not all(isinstance(size, int) and 0 <= size < 2**48 for size in shape):
        raise OutlineError("its content is damaged; download it again")
    return shape


_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_CONSTANTS = {
    "MARK": lambda: _MARK, "NONE": lambda: None, "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}  # fmt: skip
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip


def _to_mark(stack: list) -> list:
    parts = []
    while (part := stack.pop()) is not _MARK:
        parts.append(part)
    return parts[::-1]


def _set(holder: object, keys: list, values: list) -> None:
    for key, value in zip(keys, values, strict=True):
        if isinstance(holder, dict) and isinstance(key, (str, int)):
            holder[key] = value


def _set_items(stack: list) -> None:
    parts = _to_mark(stack)
    _set(stack[-1], parts[::2], parts[1::2])


def _set_item(stack: list) -> None:
    value, key = stack.pop(), stack.pop()
    _set(stack[-1], [key], [value])


def _extend(stack: list, parts: list) -> None:
    if isinstance(stack[-1], list):
        stack[-1].extend(parts)


def _tuple_of(count: int, stack: list) -> None:
    parts = stack[-count:]
    del stack[-count:]
    stack.append(tuple(parts))


def _pop(stack: list) -> None:
    stack.pop()


_JOINED = {
    "TUPLE": lambda stack: stack.append(tuple(_to_mark(stack))),
    "TUPLE1": lambda stack: _tuple_of(1, stack),
    "TUPLE2": lambda stack: _tuple_of(2, stack),
    "TUPLE3": lambda stack: _tuple_of(3, stack),
    "LIST": lambda stack: stack.append(_to_mark(stack)),
    "APPEND": lambda stack: _extend(stack, [stack.pop()]),
    "APPENDS": lambda stack: _extend(stack, _to_mark(stack)),
    "ADDITEMS": _to_mark,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "POP": _pop,
    "POP_MARK": _to_mark,
    "DUP": lambda stack: stack.append(stack[-1]),
}


def _outline(
    value: object, machine: _Machine, *, is_torchscript: bool = False
) -> CheckpointOutline:
    if is_torchscript:
        return CheckpointOutline(dict(_parts_of(value)), tuple(machine.foreign), True)
    for _ in range(DEEPEST_NEST):
        nested = [value[k] for k in NESTED if k in value] if isinstance(value, dict) else []
        if not nested or not isinstance(nested[0], dict):
            break
        value = nested[0]
    found = value.items() if isinstance(value, dict) else ()
    tensors = {k: v for k, v in found if isinstance(k, str) and isinstance(v, Tensor)}
    tensors |= {  # a LoRA's alpha may be a plain number
        k: Tensor((), "F64")
        for k, v in found
        if isinstance(k, str) and k.endswith(".alpha") and isinstance(v, (int, float))
    }
    return CheckpointOutline(tensors, tuple(machine.foreign))


def _parts_of(model: object) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a TorchScript archive's modules, by dotted name."""
    waiting: list[tuple[str, object, int]] = [("", model, 0)]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        name, value, depth = waiting.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, _Made) and isinstance(value.state, dict) and depth < DEEPEST:
            for part, inner in reversed(value.state.items()):
                path = f"{name}.{part}" if name else str(part)
                if len(path) <= LONGEST_PATH:
                    waiting.append((path, inner, depth + 1))
    raise OutlineError("it holds too many parts to be a model; choose another file")
