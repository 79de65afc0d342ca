"""Where a ComfyUI has its models, seen from outside: its folders and its extra_model_paths.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
LARGEST_EXTRA = 1 << 20  # bytes
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
        with open(comfyui / "comfyui_version.py", encoding="utf-8", errors="replace") as file:
            told = _VERSION.search(file.read(1 << 16))
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
        if path.stat().st_size > LARGEST_EXTRA:
            raise ValueError
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        config = ""
    if config is None:  # nothing but comments
        return
    if not isinstance(config, Mapping):
        text = "extra_model_paths.yaml cannot be read, so ComfyUI does not start with it: mend it"
        findings.append(Finding("error", text, private=private))
        return
    for part in config.values():
        if isinstance(part, Mapping):
            yield from _places(part, path.parent)


def _places(part: Mapping, home: Path) -> Iterator[tuple[str, Path]]:
    base = part.get("base_path")
    root = home / os.path.expandvars(os.path.expanduser(base)) if isinstance(base, str) else home
    for kind, lines in part.items():
        if kind in ("base_path", "is_default") or not isinstance(lines, str):
            continue
        for line in lines.split("\n"):
            if line:
                yield str(kind), Path(os.path.normpath(root / line))
