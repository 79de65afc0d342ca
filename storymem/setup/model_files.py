"""Model files on disk: what each really is, told from its header."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.outline import ENDINGS, SHARDS_INDEX, Outline, missing_shards, read_file_outline
from ..files.pickle_outline import OutlineError
from .kinds import FileKind, kind_of
from .lora_files import by_name, scale_of
from .report import Finding, Section

FOLDERS = (  # that are looked at, as the host and this package call them
    "diffusion_models", "unet", "unet_gguf", "checkpoints", "loras", "text_encoders", "clip",
    "clip_gguf", "vae", "clip_vision", "aesthetics", "viclip", "vae_approx",
)  # fmt: skip
MOST_FILES = 5000  # of one folder
MOST_FOLDERS = 20_000  # below one place, so that links in a circle come to an end
ODD_ENDINGS = (
    ".html",
    ".htm",
    ".part",
    ".crdownload",
    ".download",
    ".aria2",
    ".tmp",
    ".incomplete",
)
SKIPPED = (".git", ".cache", "__pycache__", ".huggingface")
_MEMORY_LORAS = ("storymem_lora", "memento_lora")


@dataclass(frozen=True)
class ModelFile:
    """A file of a model folder.

    Args:
        folder: which one, a name of ``FOLDERS``.
        number: its place in that folder's list, from 1.
        name: below the folder, with ``/``, as workflows name it.
        path: where it is.
        kind: what it is.
    """

    folder: str
    number: int
    name: str
    path: Path
    kind: FileKind


def identify(path: str | Path) -> FileKind:
    """What a weights file is, by its header alone; of an index, the model in all its shards.

    Never raises for what a file contains, or lacks: ``problem`` says what is wrong with it.
    """
    path = Path(path)
    try:
        if path.name.endswith(SHARDS_INDEX):
            return _of_shards(path)
        outline = read_file_outline(path)
        return replace(_of_outline(path, outline), size=path.stat().st_size)
    except OutlineError as error:
        return FileKind("broken", problem=str(error), size=_size(path))


def _of_outline(path: Path, outline: Outline) -> FileKind:
    found = kind_of(outline)
    if found.kind in _MEMORY_LORAS:
        try:
            scale = scale_of(path, outline)
        except ValueError:
            return replace(found, kind="broken", problem="it is no whole LoRA of a memory model")
        scale = scale or "its scale is not in the header"
        found = replace(found, details=(*found.details, scale))
    ending, problem = path.suffix.lower(), ""
    if outline.form == "safetensors" and ending not in (".safetensors", ".sft"):
        problem = "it is a .safetensors file by another name; rename it"
    if outline.form == "gguf" and ending != ".gguf":
        problem = "it is a GGUF file by another name; rename it to end in .gguf"
    return replace(found, problem=found.problem or problem)


def _of_shards(index: Path) -> FileKind:
    names, missing = missing_shards(index)
    if missing:
        problem = (
            f"{len(missing)} of the {len(names)} files that this model comes in are missing; "
            "download them again"
        )
        return FileKind("broken", problem=problem)
    shapes: dict = {}
    types: dict = {}
    for name in names:
        outline = read_file_outline(index.parent / name)
        shapes |= outline.shapes
        types |= outline.types
    found = kind_of(Outline(shapes, types, "safetensors"))
    size = sum((index.parent / name).stat().st_size for name in names)
    return replace(found, size=size, details=(*found.details, f"in {len(names)} files"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# --- folders -----------------------------------------------------------------------------------


def find_files(
    folders: Mapping[str, Sequence[Path]],
    *,
    known: dict[tuple, FileKind] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> list[ModelFile]:
    """Every weights file below model folders, each looked at.

    Args:
        folders: places of each folder, by its name; names other than ``FOLDERS`` are passed over.
        known: kinds by ``(path, size, date)``, used and filled.
        tell: called with the files looked at and their number; what it raises ends the look.
    """
    listed = [(folder, name, path) for folder in FOLDERS
              for name, path in _listed(folders.get(folder, ()))]  # fmt: skip
    found, numbers, seen = [], dict.fromkeys(FOLDERS, 0), set()
    for done, (folder, name, path) in enumerate(listed):
        if tell is not None:
            tell(done, len(listed))
        if path in seen:  # a folder under two names
            continue
        seen.add(path)
        numbers[folder] += 1
        found.append(ModelFile(folder, numbers[folder], name, path, _known(path, known)))
    if tell is not None:
        tell(len(listed), len(listed))
    return found


def _known(path: Path, known: dict[tuple, FileKind] | None) -> FileKind:
    try:
        state = path.stat()
        mark = (str(path), state.st_size, state.st_mtime_ns)
    except OSError:
        return identify(path)
    if known is None or path.name.endswith(SHARDS_INDEX):  # which rests on other files
        return identify(path)
    if mark not in known:
        known[mark] = identify(path)
    return known[mark]


def _listed(places: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Names below a folder, and files: an index in place of its shards, and what was saved by a
    browser or not finished."""
    for place in dict.fromkeys(map(Path, places)):
        files = sorted(_below(place))
        shards = _shards(files)
        for path in files:
            if path not in shards:
                yield path.relative_to(place).as_posix(), path


def _below(place: Path) -> list[Path]:
    found, visited = [], set()
    for folder, below, names in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited or len(visited) > MOST_FOLDERS or len(found) > MOST_FILES:
            below.clear()
            continue
        visited.add(real)
        named = [name for name in below if name.lower().endswith(ENDINGS)]
        below[:] = sorted(set(below) - set(named) - set(SKIPPED))
        found += [Path(folder, name) for name in (*names, *named) if _is_meant(name)]
    return found


def _is_meant(name: str) -> bool:
    return name.lower().endswith((*ENDINGS, SHARDS_INDEX, *ODD_ENDINGS))


def _shards(files: Sequence[Path]) -> set[Path]:
    found: set[Path] = set()
    for index in (path for path in files if path.name.endswith(SHARDS_INDEX)):
        try:
            found |= {index.parent / name for name in missing_shards(index)[0]}
        except OutlineError:
            continue
    return found


def look_at_folders(
    folders: Mapping[str, Sequence[Path]],
    *,
    known: dict[tuple, FileKind] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Section:
    """What every file of the model folders is (see ``find_files``)."""
    return describe_files(find_files(folders, known=known, tell=tell))


def describe_files(files: Sequence[ModelFile]) -> Section:
    """A finding on each file, those that cannot be used first."""
    findings = [_finding(file) for file in files]
    if not files:
        findings = [Finding("warning", "no model file was found in the model folders")]
    order = {"error": 0, "warning": 1, "note": 2, "ok": 3}
    findings.sort(key=lambda finding: order[finding.level])
    return Section("files", "Model files", tuple(findings))


def _finding(file: ModelFile) -> Finding:
    kind = file.kind
    values: dict = {"folder": file.folder, "number": file.number, "size": said_bytes(kind.size)}
    private = {"file": file.name, "path": str(file.path)}
    if kind.problem:
        text = "{folder}, file {number}, {size}: {problem}"
        return Finding("warning", text, values | {"problem": kind.problem}, private)
    told = [*kind.details, *by_name(file.name, kind.kind)]
    told += [kind.precision] if kind.precision else []
    text = "{folder}, file {number}, {size}: {kind}"
    values["kind"] = kind.title
    if told:
        text += " ({details})"
        values["details"] = ", ".join(told)
    is_odd = kind.kind in ("unknown", "other", "other_lora", "other_wan") or kind.is_unread
    level = "note" if is_odd else "ok"
    return Finding(level, text, values, private)


def said_bytes(count: int) -> str:
    """``14.3 GB`` or ``350 MB``, a GB being 10^9 bytes, as shops and browsers say it."""
    if count >= 10**9:
        return f"{count / 10**9:.1f} GB"
    return f"{count / 10**6:.0f} MB" if count >= 10**6 else f"{count} bytes"
