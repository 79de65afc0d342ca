"""Where test data lie that are not in the repository: ST-Bench's scripts, collected scripts.

They have licences of their own, and stand in a folder ``shared`` beside the checkout or beside a
folder above it. A git worktree and a clone lie anywhere: their main checkout, and what they were
cloned from if it is on this machine, are asked too. ``STORYMEM_SHARED`` names the folder elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

VARIABLE = "STORYMEM_SHARED"
PACK = Path(__file__).resolve().parents[2]


def _git(folder: Path, *command: str) -> str:
    """What git says about the repository of ``folder``; "" where there is none, or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *command], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _checkouts(start: Path) -> Iterator[Path]:
    """``start``, its main checkout, what that was cloned from, and so on; each once."""
    waiting, seen = [start], set()
    while waiting:
        folder = waiting.pop(0).resolve()
        if folder in seen or not folder.is_dir():
            continue
        seen.add(folder)
        yield folder
        if common := _git(folder, "rev-parse", "--git-common-dir"):
            waiting.append((folder / common).parent)
        if origin := _git(folder, "config", "--get", "remote.origin.url"):
            waiting.append(folder / origin.removeprefix("file://"))  # an absolute path stays one


def find_shared(name: str, start: Path = PACK) -> Path | None:
    """The folder ``name`` of the shared test data, or None where they are not.

    Raises:
        FileNotFoundError: when ``STORYMEM_SHARED`` is set and has no such folder.
    """
    if named := os.environ.get(VARIABLE):
        if not (Path(named) / name).is_dir():
            raise FileNotFoundError(f"{VARIABLE} is {named}, but there is no folder {name} in it")
        return Path(named) / name
    for checkout in _checkouts(start):
        for above in checkout.parents:
            folder = above / "shared" / name
            if folder.is_dir():
                return folder
    return None


STBENCH = find_shared("stbench")
COLLECTED = find_shared("cases/scripts")
MISSING = [
    what
    for what, folder in (("ST-Bench's scripts", STBENCH), ("the collected scripts", COLLECTED))
    if folder is None
]
HINT = f"set {VARIABLE} to the folder that holds stbench and cases"
needs_stbench = pytest.mark.skipif(STBENCH is None, reason=f"no ST-Bench scripts here: {HINT}")
needs_collected = pytest.mark.skipif(COLLECTED is None, reason=f"no collected scripts here: {HINT}")
