"""Careful file work: whole or not there, lasting through a power cut, refusals in plain words."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_SECONDS = 600  # no small file takes longer to write
logger = logging.getLogger(__name__)


class StoreError(ValueError):
    """The disk does not do what is asked of it, in the artist's words."""


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step: readers see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_later(path: Path) -> None:
    """Have the disk make a record last through a power cut, while the next shot is being computed.

    Nothing waits for it: what a power cut tears is found by its checksum and made again.
    """
    threading.Thread(target=_sync, args=(path,), name="storymem-sync").start()


def _sync(path: Path) -> None:
    inside = list(path.iterdir()) if path.is_dir() else []
    folders = [] if os.name == "nt" else [path, path.parent] if inside else [path.parent]
    for entry in [*(inside or [path]), *folders]:
        try:
            descriptor = os.open(entry, os.O_RDWR if entry.is_file() else os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            logger.debug("%s could not be synced: %s", entry, error)


def is_running(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end the process there; age decides instead
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def telling(what: str, place: str | Path):
    """Turns what the disk says into words an artist can act on.

    Raises:
        StoreError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} could not be written to {place}: {error}. Shots finished before are kept; "
            "free some space or make the folder writable, then start the story again"
        ) from error


def check_out(folder: Path, what: str) -> None:
    """Make the folder that an ``--out`` names and try to write there, before hours of work.

    Raises:
        ValueError: when that cannot be done; ``what`` is what was to be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{what} cannot be written to {folder}: {error}; choose another --out"
        ) from error


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove half-written files of programs that were killed, but none that is being written."""
    for leftover in folder.rglob(pattern):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                leftover.unlink()
