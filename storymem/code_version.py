"""A hash of the code that decides how a shot looks, so that a new version makes its shots anew."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

# These read scripts, keep files and show things; a change in them does not change a shot's pixels,
# and what they feed into a shot is part of its key as a value.
NO_INFLUENCE = (
    "__init__.py",
    "bank_store.py",
    "code_version.py",
    "host_cache.py",
    "loop_graph.py",
    "loop_run.py",
    "pictures.py",
    "plain_script.py",
    "script_fields.py",
    "shot_loop.py",
    "shot_store.py",
    "story.py",
    "story_folder.py",
    "types.py",
    "video.py",
)


@lru_cache(maxsize=1)
def code_version() -> str:
    """SHA-256 of the pack's code, without blank lines and comment lines."""
    pack = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for folder in ("storymem", "nodes"):
        for path in sorted((pack / folder).glob("*.py")):
            if path.name in NO_INFLUENCE:
                continue
            digest.update(path.name.encode())
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip() and not line.strip().startswith("#"):
                    digest.update(line.rstrip().encode() + b"\n")
    return digest.hexdigest()
