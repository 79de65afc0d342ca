"""What the Registry hands out: the repository's files without those that .comfyignore names."""

from __future__ import annotations

import subprocess
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]


def _git(*arguments: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *arguments], cwd=PACK, capture_output=True, check=True
    ).stdout
    return {name.decode() for name in listed.split(b"\0") if name}


def packed_files() -> set[str]:
    """Paths in the package, as ``comfy node pack`` chooses them; git reads .comfyignore here.

    Files that are not yet added to git count, too, so that a new one cannot be forgotten.
    """
    everything = _git() | _git("--others", "--exclude-standard")
    return {
        name
        for name in everything - _git("--cached", "--ignored", "--exclude-from=.comfyignore")
        if (PACK / name).is_file()
    } - _git("--others", "--ignored", "--exclude-from=.comfyignore")
