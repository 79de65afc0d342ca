"""Marks of pictures on disk, so that one edited in place is seen at the next run.

Time and size alone do not tell: some disks count time in steps of two seconds, and programs that
copy or synchronise files put old times back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ...storymem.files.hashing import checksum

SETTLED_NS = 4_000_000_000  # a file that changed less than this ago may change without a new time
_READ: dict[str, tuple[tuple, str]] = {}  # of settled files: their state, and what they held then
_FIRST: dict[tuple, str] = {}  # what a file of this time and size held when it was first seen


def mark_of(name: str, path: Path) -> str:
    """``name``, time and size of a file; with its SHA-256 once that changed under the same ones.

    So a mark is what it was in earlier versions (finished shots are found by it) unless that would
    hide a change.

    Raises:
        OSError: when the file is gone or cannot be read.
    """
    status = os.stat(path)
    digest = _content(path, status)
    mark = f"{name}:{status.st_mtime_ns}:{status.st_size}"
    first = _FIRST.setdefault((str(path), status.st_mtime_ns, status.st_size), digest)
    return mark if digest == first else f"{mark}:{digest}"


def _content(path: Path, status: os.stat_result) -> str:
    # st_ctime_ns cannot be put back; on Windows it is when the file was made.
    state = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    known = _READ.get(str(path))
    if known is not None and known[0] == state:
        return known[1]
    digest = checksum(path)
    if time.time_ns() - max(state[:2]) > SETTLED_NS:
        _READ[str(path)] = (state, digest)
    return digest
