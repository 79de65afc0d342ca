"""Packs of custom nodes beside this one: two copies of it, and those that change the same parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..files.small_file import read_small_file
from .machine import HostFacts
from .model_files import ModelFile
from .report import Finding, Section

KEY, TITLE = "packs", "Custom nodes"
OWN_NAME = re.compile(r'(?m)^\s*name\s*=\s*["\']comfyui-storymem["\']')
LARGEST_PROJECT = 1 << 16  # bytes of a pyproject.toml
SERVED = re.compile(r"[\w.-]+", re.ASCII)  # folder names of which the host serves web files
GGUF_PACK = "comfyui-gguf"
# Packs that replace parts of ComfyUI for all models, by their folders' names in small letters: the
# names that they are published under, and what they replace by their own descriptions.
REPLACES = {
    "comfyui-multigpu": ("ComfyUI-MultiGPU", "which device models are loaded to"),
    "comfyui_multigpu": ("ComfyUI-MultiGPU", "which device models are loaded to"),
}


def look_at_packs(
    custom_nodes: Sequence[Path], host: HostFacts | None, files: Sequence[ModelFile] = ()
) -> Section:
    """Packs that are there twice, failed, are missing, or change parts that this one uses.

    Args:
        custom_nodes: the folders that packs are in.
        host: what it loaded; None to go by the folders.
        files: those of the model folders.
    """
    folders = [one for place in custom_nodes for one in _folders(place)]
    here = {one.name for one in folders}
    if host and host.packs:  # the host counts its own extras among them
        here = {name for name in host.packs if not custom_nodes or name in here}
    own = {one.name.lower() for one in folders if is_this_pack(one)}
    names = {name.lower() for name in here}
    findings = [
        *_copies(folders),
        *_failed(host),
        *(Finding("note", "{pack} replaces {what} in ComfyUI; when memory or speed is odd, try "
                  "without it", {"pack": pack, "what": what})
          for name, (pack, what) in REPLACES.items() if name in names),
        *_gguf(names, files),
    ]  # fmt: skip
    if not any(finding.level in ("error", "warning") for finding in findings):
        text = "{count} packs of custom nodes beside this one; no conflict is known"
        findings.append(Finding("ok", text, {"count": len(names - own)}))
    return Section(KEY, TITLE, tuple(findings))


def _folders(place: Path) -> list[Path]:
    try:
        found = sorted(place.iterdir())
    except OSError:
        return []
    return [one for one in found if one.is_dir() and not one.name.endswith(".disabled")
            and one.name != "__pycache__" and not one.name.startswith(".")]  # fmt: skip


def is_this_pack(folder: Path) -> bool:
    """Whether a folder is a copy of this pack, by its ``pyproject.toml``."""
    try:
        project = read_small_file(folder / "pyproject.toml", LARGEST_PROJECT)
    except OSError:
        return False
    return OWN_NAME.search(project.decode("utf-8", "replace")) is not None


def _copies(folders: Sequence[Path]) -> Iterator[Finding]:
    own = {one.resolve(): one for one in folders if is_this_pack(one)}
    if len(own) > 1:
        text = "this pack is there {count} times: keep one, or nodes and pages of two versions mix"
        private = {"folders": ", ".join(one.name for one in own.values())}
        yield Finding("error", text, {"count": len(own)}, private)
    for folder in own.values():
        if SERVED.fullmatch(folder.name) is None:
            text = (
                "the folder of this pack has a name with a space or with letters outside a to z, "
                "so ComfyUI cannot serve its pages: rename it to ComfyUI-StoryMem"
            )
            yield Finding("error", text, private={"folder": folder.name})


def _failed(host: HostFacts | None) -> Iterator[Finding]:
    if host and host.failed_packs:
        text = (
            "{count} packs of custom nodes could not be loaded: the log at ComfyUI's start says why"
        )
        private = {"packs": ", ".join(host.failed_packs)}
        yield Finding("warning", text, {"count": len(host.failed_packs)}, private)


def _gguf(names: set[str], files: Sequence[ModelFile]) -> Iterator[Finding]:
    count = sum(file.kind.precision.startswith("GGUF") for file in files)
    if count and not any(GGUF_PACK in name.replace("_", "-") for name in names):
        text = "{count} GGUF files are there, which need the pack ComfyUI-GGUF"
        yield Finding("note", text, {"count": count})
