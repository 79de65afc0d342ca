"""Where a ComfyUI has its models, seen from outside: its folders and its extra_model_paths.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files.small_file import read_small_file
from .machine import HostFacts, installed_version
from .report import Finding

DEFAULT = {  # folder of the host, and of this package -> places below ``models``
    "diffusion_models": ("unet", "diffusion_models"), "checkpoints": ("checkpoints",),
    "loras": ("loras",), "text_encoders": ("text_encoders", "clip"), "vae": ("vae",),
    "vae_approx": ("vae_approx",), "clip_vision": ("clip_vision",), "aesthetics": ("aesthetics",),
    "viclip": ("viclip",),
}  # fmt: skip
OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}  # as the host takes them
EXTRA = "extra_model_paths.yaml"
LARGEST_EXTRA, LARGEST_VERSION = 1 << 20, 1 << 16  # bytes
_VERSION = re.compile(r'(?m)^__version__\s*=\s*["\']([\w.+-]{1,40})["\']')


@dataclass
class HostFolders:
    """Model folders by kind, and what is to be said of how they were found."""

    folders: dict[str, list[Path]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def folders_of(models: Path, extra: Path | None = None) -> HostFolders:
    """The model folders below ``models``, with those of an ``extra_model_paths.yaml``."""
    found = HostFolders({k: [models / name for name in v] for k, v in DEFAULT.items()})
    if extra is not None and extra.is_file():
        for kind, place in _extra(extra, found.findings):
            found.folders.setdefault(OLD_NAMES.get(kind, kind), []).append(place)
    return found


def host_of(comfyui: Path) -> HostFacts:
    """What the folder of a ComfyUI says of it, without running any of it."""
    version = ""
    try:
        text = read_small_file(comfyui / "comfyui_version.py", LARGEST_VERSION)
        told = _VERSION.search(text.decode("utf-8", "replace"))
        version = told[1] if told else ""
    except OSError:
        pass
    return HostFacts(version, installed_version("comfyui-frontend-package"))


def _extra(path: Path, findings: list[Finding]) -> Iterator[tuple[str, Path]]:
    """Kinds and places that the file names, as the host reads it."""
    private = {"file": str(path)}
    try:
        import yaml
    except ImportError:
        text = "extra_model_paths.yaml was not read: this Python lacks PyYAML, which ComfyUI's has"
        findings.append(Finding("warning", text, private=private))
        return
    try:
        config = yaml.safe_load(read_small_file(path, LARGEST_EXTRA).decode("utf-8"))
    except Exception:  # PyYAML raises whatever it meets in a value that contradicts its tag
        config = ""
    if config is None:  # nothing but comments
        return
    if not isinstance(config, Mapping):
        text = "extra_model_paths.yaml cannot be read, so ComfyUI does not start with it: mend it"
        findings.append(Finding("error", text, private=private))
        return
    for part in config.values():
        if isinstance(part, Mapping):
            root = _root(part, path.parent)
            if not os.path.isdir(root):
                text = (
                    "a base_path of extra_model_paths.yaml is no folder, so nothing is found by it"
                )
                findings.append(Finding("note", text, private={"path": str(root)}))
            yield from _places(part, root)


def _root(part: Mapping, home: Path) -> Path:
    base = part.get("base_path")
    return home / os.path.expandvars(os.path.expanduser(base)) if isinstance(base, str) else home


def _places(part: Mapping, root: Path) -> Iterator[tuple[str, Path]]:
    for kind, lines in part.items():
        if kind in ("base_path", "is_default") or not isinstance(lines, str):
            continue
        for line in lines.split("\n"):
            if line:
                yield str(kind), Path(os.path.normpath(root / line))
