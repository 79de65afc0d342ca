"""Model files on disk: what each really is, told from its header."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.outline import SHARDS_INDEX, Outline, missing_shards, read_file_outline
from ..files.pickle_outline import OutlineError
from . import listing
from .kinds import FileKind, kind_of
from .listing import Gap, list_files
from .lora_files import by_name, scale_of
from .report import Finding, Section

FOLDERS = (  # that are looked at, as the host and this package call them
    "diffusion_models", "unet", "unet_gguf", "checkpoints", "loras", "text_encoders", "clip",
    "clip_gguf", "vae", "clip_vision", "aesthetics", "viclip", "vae_approx",
)  # fmt: skip
_MEMORY_LORAS = ("storymem_lora", "memento_lora")


Known = tuple[int, int, FileKind]  # size, date in nanoseconds, and what the file was then


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
        problem = str(error)
    except Exception as error:
        problem = f"it could not be looked at ({type(error).__name__}); please report it"
    return FileKind("broken", problem=problem, size=_size(path))


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
    except (OSError, ValueError):
        return 0


# --- folders -----------------------------------------------------------------------------------


def find_files(
    folders: Mapping[str, Sequence[Path]],
    *,
    known: dict[str, Known] | None = None,
    tell: Callable[[int, int], None] | None = None,
    gaps: list[Gap] | None = None,
) -> list[ModelFile]:
    """Every weights file below model folders, each looked at.

    Args:
        folders: places of each folder, by its name; names other than ``FOLDERS`` are passed over.
        known: kinds by path, used while size and date stay, and filled.
        tell: called with the files looked at and their number; what it raises ends the look.
        gaps: gets what was left out: of a folder with more files than are looked at, or one that
            cannot be opened.
    """
    left_out: list[Gap] = [] if gaps is None else gaps
    listed = [one for folder in FOLDERS
              for one in list_files(folder, folders.get(folder, ()), left_out)]  # fmt: skip
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


def find_beyond(
    names: Iterable[tuple[str, str]], files: Sequence[ModelFile], gaps: Sequence[Gap]
) -> list[ModelFile]:
    """Files that were left out of ``files`` and are named, each looked at.

    Args:
        names: of a folder and of a file in it.
        gaps: where files were left out.
    """
    found: list[ModelFile] = []
    for folder, name in dict.fromkeys(names):
        for gap in gaps:
            path = gap.place / name.replace("\\", "/")
            if gap.folder != folder or ".." in path.parts or not path.is_relative_to(gap.place):
                continue
            here = [file for file in (*files, *found) if file.folder == folder]
            if os.path.isfile(path) and path not in {file.path for file in here}:
                name = path.relative_to(gap.place).as_posix()
                found.append(ModelFile(folder, len(here) + 1, name, path, identify(path)))
    return found


def _known(path: Path, known: dict[str, Known] | None) -> FileKind:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return identify(path)
    if known is None or path.name.endswith(SHARDS_INDEX):  # which rests on other files
        return identify(path)
    size, date, kind = known.get(str(path), (0, 0, None))
    if kind is None or (size, date) != (state.st_size, state.st_mtime_ns):
        kind = identify(path)
        known[str(path)] = (state.st_size, state.st_mtime_ns, kind)
    return kind


def describe_files(files: Sequence[ModelFile], gaps: Sequence[Gap] = ()) -> Section:
    """A finding on each file, those that cannot be used first, and on what was left out."""
    findings = [*map(_finding, files), *(one for gap in gaps for one in _left_out(gap))]
    if not files:
        findings.insert(0, Finding("warning", "no model file was found in the model folders"))
    order = {"error": 0, "warning": 1, "note": 2, "ok": 3}
    findings.sort(key=lambda finding: order[finding.level])
    return Section("files", "Model files", tuple(findings))


def _left_out(gap: Gap) -> Iterator[Finding]:
    values: dict = {
        "folder": gap.folder,
        "files": listing.MOST_FILES,
        "folders": listing.MOST_FOLDERS,
    }
    private = {"path": str(gap.place)}
    if gap.files:
        text = "{folder}: {files} files were looked at in one place, and {more} more were left out"
        yield Finding("note", text, values | {"more": gap.files}, private)
    if gap.is_deep:
        text = "{folder}: one place has more than {folders} folders, and the rest was left out"
        yield Finding("note", text, values, private)
    if gap.unread:
        text = "{folder}: folders that cannot be opened: {count}; check their permissions"
        private = {"path": ", ".join(map(str, gap.unread))}
        yield Finding("warning", text, values | {"count": len(gap.unread)}, private)


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
