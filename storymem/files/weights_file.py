"""Reading weights files: tensors and nothing else, whatever a file claims to be.

No reader here runs what a file contains. ``.safetensors`` holds numbers only; PyTorch checkpoints
are unpickled with ``weights_only``; TorchScript archives, which PyTorch can only read by running
them, are read by :mod:`storymem.files.torchscript`.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from .json_text import is_finite, parse_json
from .messages import reason_of, short
from .torchscript import ArchiveError, read_archive

SAFETENSORS = (".safetensors", ".sft")
SAFETENSORS_HEADER = 100_000_000  # bytes: what the safetensors library reads at most
LENGTH_BYTES = 8  # of a safetensors file's first number, the length of its header
ZIP, LFS = b"PK\x03\x04", b"version https://git-lfs"
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")
CONSTANTS = "constants.pkl"  # what PyTorch tells a TorchScript archive by
# Before 2.6 torch.load ran such an archive also when it was asked for weights only.
TORCH_RUNS_ARCHIVES = torch.__version__ < (2, 6)
LONGEST_ROW = 1 << 17  # numbers of a vector that an outline holds
LONGEST_NOTE = 1024  # bytes at a file's beginning that say what it is instead
# What tensors are made of in a pickle. PyTorch allows more, of which some fill memory, or make a
# tensor of any size, out of a few bytes.
_MAKERS = {
    "collections OrderedDict", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2",
    "torch.nn.parameter Parameter", "torch Tensor", "torch Size", "torch device",
    "torch.storage UntypedStorage", "collections Counter", "__builtin__ set", "builtins set",
}  # fmt: skip
_KIND = re.compile(r"torch (\w+Storage|b?float\w+|u?int\w+|bool|complex\w+)")
_MORE = "it holds more than tensors"
# Where checkpoints keep their tensors; the last two are of Memento's training.
NESTED = ("state_dict", "model", "trainable_state_dict", "lora_state_dict")
OLD_PICKLES = 5  # one after the other in a checkpoint that is no zip file
DEEPEST = 4  # such levels; a pickle may hold itself


class WeightsError(ValueError):
    """A file that cannot be read as weights; ``reason`` is why, without the file's name."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path} cannot be read as a weights file: {reason}")
        self.reason = reason


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a ``.safetensors`` file, a torch checkpoint or a TorchScript archive, on the CPU.

    Raises:
        ValueError: when the file cannot be read, naming it and what to do.
    """
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS:
        read_header(path)
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # the library has errors of its own
            raise unreadable(path, error) from None
    return _tensors(path, _load_checkpoint(path, "cpu"))


def read_outline(path: str | Path) -> dict[str, torch.Tensor]:
    """Like ``read_state_dict``, but tensors on the meta device: names, shapes and types. Of a
    ``.safetensors`` file single numbers and rows are there, too; the rest of it is not read.

    Raises:
        ValueError: as ``read_state_dict`` does.
    """
    path = Path(path)
    if path.suffix.lower() not in SAFETENSORS:
        return _tensors(path, _load_checkpoint(path, "meta"))
    header = read_header(path)
    from safetensors import safe_open

    outline = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in header:
                part = file.get_slice(key)
                if math.prod(part.get_shape()) == 1 or _is_row(part.get_shape()):
                    outline[key] = file.get_tensor(key)
                else:
                    kind = part.get_dtype()
                    if kind not in DTYPES:
                        raise WeightsError(
                            path,
                            f"{short(key)} holds {short(str(kind))} numbers, which this PyTorch "
                            "does not know; choose another file, or update PyTorch",
                        )
                    shape = part.get_shape()
                    outline[key] = torch.empty(shape, dtype=DTYPES[kind], device="meta")
    except WeightsError:
        raise
    except Exception as error:
        raise unreadable(path, error) from None
    return outline


def _is_row(shape: list[int]) -> bool:
    """Whether a tensor is a bias or a norm's weight, which takes no time to read."""
    return len(shape) == 1 and shape[0] <= LONGEST_ROW


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts in the header of a ``.safetensors`` file that describe it.

    Raises:
        ValueError: when the file cannot be read.
    """
    path = Path(path)
    read_header(path)
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise unreadable(path, error) from None


_KINDS = {  # safetensors' names -> torch's, of which older versions lack some
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
DTYPES = {name: getattr(torch, kind) for name, kind in _KINDS.items() if hasattr(torch, kind)}


def read_header(path: str | Path) -> dict[str, dict]:
    """What a ``.safetensors`` file says that it holds, by name, after a look at whether it does.

    Raises:
        ValueError: for a file that is no such file, cut short, or longer than it should be.
    """
    path = Path(path)
    size, beginning = look_at(path)
    if beginning.startswith(ZIP):
        raise WeightsError(path, "it holds a PyTorch checkpoint; rename it to end in .pt")
    if size < LENGTH_BYTES:
        raise WeightsError(path, f"it is cut short: only {size} bytes are there; download it again")
    length = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if length > SAFETENSORS_HEADER:
        raise WeightsError(path, "it does not begin like a .safetensors file; download it again")
    if length > size - LENGTH_BYTES:
        raise WeightsError(path, "it is cut short, within its header; download it again")
    try:
        with open(path, "rb") as file:
            file.seek(LENGTH_BYTES)
            header = parse_json(file.read(length))
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        if not all(isinstance(end, int) and 0 <= end < 2**63 for end in ends):
            raise ValueError
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        raise WeightsError(path, "its header is damaged; download it again") from None
    held, described = size - LENGTH_BYTES - length, max(ends, default=0)
    if held < described:
        raise WeightsError(
            path, f"it is cut short: {held} of {described} bytes are there; download it again"
        )
    if held > described:
        raise WeightsError(
            path,
            f"it has {held - described} bytes more than its header says; it is damaged, or "
            "something was appended to it: download it again",
        )
    if not entries:
        raise WeightsError(path, "it holds no weights; choose another file")
    return entries


def load_pickled(path: str | Path, device: str = "cpu", *, is_mapped: bool = False) -> object:
    """What a PyTorch checkpoint holds: tensors, numbers, texts and lists of them.

    Raises:
        ValueError: when it is damaged, or holds anything else.
    """
    path = Path(path)
    _, beginning = look_at(path)
    if _is_torchscript(path, beginning):
        # Some versions of PyTorch would run it, whatever they are asked for.
        raise WeightsError(path, "it is a TorchScript archive, which holds code")
    return _unpickle(path, beginning, device, is_mapped=is_mapped)


def _unpickle(path: Path, beginning: bytes, device: str, *, is_mapped: bool = False) -> object:
    try:
        if not all(map(makes_tensors, _named_in(path, beginning))):
            raise pickle.UnpicklingError(_MORE)
        return torch.load(str(path), map_location=device, weights_only=True, mmap=is_mapped)
    except Exception as error:  # damaged bytes fail in any way
        raise unreadable(path, error) from None


def makes_tensors(name: str) -> bool:
    """Whether a pickle that imports ``module name`` may be read: it makes tensors and no more."""
    return name in _MAKERS or _KIND.fullmatch(name) is not None


def _named_in(path: Path, beginning: bytes) -> Iterator[str]:
    """The functions and classes that the pickles of a checkpoint name, without following them."""
    if beginning.startswith(ZIP):  # as PyTorch tells the two forms apart
        # PyTorch's own reader, for it and Python's differ on names and damaged lists.
        pickled = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")
        yield from _globals(io.BytesIO(pickled))
        return
    with open(path, "rb") as file:
        for _ in range(OLD_PICKLES):
            yield from _globals(file)


def _globals(stream: BinaryIO) -> Iterator[str]:
    for step, argument, _ in pickletools.genops(stream):
        if step.name == "GLOBAL":  # the only way that weights_only knows
            yield argument


def unreadable(path: str | Path, error: Exception) -> WeightsError:
    """The error to raise when a reader failed with ``error``: why it did, and what to do."""
    # What the readers say of a value that they took for granted means nothing to anybody else.
    reason = "its content is damaged" if type(error) is ValueError else reason_of(error).strip(". ")
    if "weights_only" in str(error) or "Weights only" in str(error):
        reason = _MORE  # torch tells how to run the rest, which nobody should
    advice = "it may be damaged: download it again"
    if Path(path).suffix.lower() not in SAFETENSORS:
        advice = (
            "it may be cut short, or hold code or something else: download it again, or use the "
            ".safetensors file"
        )
    return WeightsError(path, f"{reason}; {advice}")


def _load_checkpoint(path: Path, device: str) -> object:
    size, beginning = look_at(path)
    if _is_torchscript(path, beginning):
        try:
            return read_archive(path, device)
        except ArchiveError as error:
            raise WeightsError(path, str(error)) from None
    if size > LENGTH_BYTES and beginning[LENGTH_BYTES : LENGTH_BYTES + 2] == b'{"':
        raise WeightsError(path, "it is a .safetensors file by another name; rename it")
    return _unpickle(path, beginning, device)


def _tensors(path: Path, loaded: object) -> dict[str, torch.Tensor]:
    for _ in range(DEEPEST):
        nested = [loaded[key] for key in NESTED if key in loaded] if _is_mapping(loaded) else []
        if not nested or not _is_mapping(nested[0]):
            break
        loaded = nested[0]
    found = loaded.items() if _is_mapping(loaded) else ()
    tensors = {k: v for k, v in found if isinstance(k, str) and isinstance(v, torch.Tensor)}
    tensors |= {k: _as_tensor(v) for k, v in found if isinstance(k, str) and _is_number(k, v)}
    if not tensors:
        raise ValueError(f"{path} holds no weights; choose another file")
    size = max(path.stat().st_size, LENGTH_BYTES)
    for key, tensor in tensors.items():
        is_plain = tensor.layout is torch.strided and not tensor.is_quantized
        is_plain = is_plain and not tensor.is_neg() and not tensor.is_conj()
        # A few bytes can claim to be a matrix of any size, which the first use of it would make.
        held = tensor.untyped_storage().nbytes()
        if not is_plain or tensor.nbytes > held or (held > size and not tensor.is_meta):
            raise WeightsError(path, f"{short(key)} is not a plain tensor; download the file again")
    return tensors


def _is_number(name: str, value: object) -> bool:
    """Whether a checkpoint keeps a LoRA's alpha as a plain number."""
    return name.endswith(".alpha") and isinstance(value, (int, float))


def _as_tensor(number: float) -> torch.Tensor:
    return torch.tensor(number if is_finite(number) else math.nan, dtype=torch.float64)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def look_at(path: Path) -> tuple[int, bytes]:
    """Size and first bytes of a file of weights, as far as these tell.

    Raises:
        ValueError: for no file, and for what is plainly something else.
    """
    try:
        if not path.is_file():
            raise WeightsError(path, "there is no such file; check its name")
        size = path.stat().st_size
        with open(path, "rb") as file:
            beginning = file.read(LONGEST_NOTE)
    except OSError as error:
        raise WeightsError(path, reason_of(error)) from None
    if not size:
        raise WeightsError(path, "it is empty (0 bytes); download it again")
    if beginning.startswith(LFS):
        raise WeightsError(
            path,
            "it is a Git LFS pointer, a note in place of the weights; fetch them with git lfs pull,"
            " or download the file from the model's page",
        )
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGE):
        raise WeightsError(
            path,
            "it is a web page, as when a download needs a login or the page was saved instead of "
            "the file; download the file itself",
        )
    return size, beginning


def _is_torchscript(path: Path, beginning: bytes) -> bool:
    """Whether a file is a zip file that holds a TorchScript archive.

    Raises:
        WeightsError: for a zip file whose list of entries is damaged, or that is no such archive
            and names the same bytes often, so that a small one claims to hold any amount.
    """
    if not beginning.startswith(ZIP):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise unreadable(path, error) from None
    if any(entry.filename.endswith(CONSTANTS) for entry in entries):
        return True
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsError(path, "it claims to hold more than it does; download it again")
    return TORCH_RUNS_ARCHIVES and _mentions(path, CONSTANTS.encode())


def _mentions(path: Path, text: bytes) -> bool:
    """Looks at every byte: readers of zip files disagree on damaged lists."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(text) >= 0
