"""Careful file work: whole or not there, lasting through a power cut, refusals in plain words."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from .messages import reason_of

HELD_SECONDS = 2.0  # how long a file is waited for that another program holds open
HELD_POLL_SECONDS = 0.05  # between tries
FOREIGN_SECONDS = 24 * 3600  # what another machine, or an earlier version, writes is dead after
# The name of a file that is being written: of which, by which machine and process, and chance.
UNFINISHED = re.compile(
    r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-(?P<mark>[0-9a-f]{12})\.part"
)
# As earlier versions named them: films, copies of shots and small files, pictures of a bank.
EARLIER = re.compile(
    r"\.[0-9a-f]{32}\.mp4"
    r"|\.(story\.json|script\.json|script\.txt|shot_[0-9_]+\.mp4|[0-9a-f]{64}\.png)\.[0-9a-f]{32}"
    r"|\.(bank\.json|bank\.json\.saving|(reference|shot)_[0-9a-z_]+\.png)\.[0-9]+\.tmp"
)
LONGEST_HINT = 40  # characters of a file's name in that of its unfinished copy: 160 bytes at most
OWN_MARK = uuid.uuid4().hex[:6]  # begins every mark of this process
logger = logging.getLogger(__name__)


class StoreError(ValueError):
    """The disk does not do what is asked of it, in the artist's words."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which then takes its place in one step.

    Readers see the old file or the new one. When writing fails the old one stays, and what a killed
    process leaves is found by its name (see ``remove_unfinished``).
    """
    with unfinished_file(path) as unfinished:
        yield unfinished
        when_free(os.replace, unfinished, path)


def when_free(act: Callable[..., object], *paths: Path) -> None:
    """Do to files what Windows refuses while another program has one open, such as a player or a
    virus scanner: for seconds it is tried again.

    Raises:
        PermissionError: when it is still refused then.
    """
    end = time.monotonic() + HELD_SECONDS
    while True:
        try:
            act(*paths)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(HELD_POLL_SECONDS)


def remove_when_free(path: Path) -> None:
    """Remove a file, if it is there (see ``when_free``)."""
    with suppress(FileNotFoundError):
        when_free(os.unlink, path)


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write. It is gone afterwards, unless it was moved."""
    unfinished = unfinished_beside(path)
    try:
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to fill. It is gone afterwards, unless it was moved."""
    unfinished = unfinished_beside(path)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_beside(path: Path) -> Path:
    """A name for what is being written and shall become ``path``."""
    writer = f"{host_mark()}-{os.getpid()}-{OWN_MARK}{uuid.uuid4().hex[:6]}"
    return path.with_name(f".{path.name[:LONGEST_HINT]}.{writer}.part")


def write_whole(path: Path, data: bytes, *, is_synced: bool = False) -> None:
    """Replace a file in one step: readers see the old one or the new one.

    Args:
        is_synced: only once the disk has all of it, and then its new name, so that it outlives a
            power cut.
    """
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        file.write(data)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    if is_synced and os.name != "nt":
        _sync_one(path.parent)


def remove_unfinished(folder: Path, *, is_ours_alone: bool = False) -> None:
    """Remove what killed processes left half written right in ``folder``, and nothing that is being
    written.

    Args:
        is_ours_alone: nobody else keeps anything there, so that what has another name goes, too,
            when it is a day old.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _is_dead(entry, is_ours_alone):
                _remove(entry)


def remove_link(path: Path) -> None:
    """Take away a link where a folder of ours belongs: what it leads to is somebody else's."""
    if path.is_symlink():
        logger.warning("StoryMem: %s was a link to another place and has been removed", path)
        path.unlink()


def _is_dead(entry: os.DirEntry, is_ours_alone: bool) -> bool:
    with suppress(OSError):
        old = time.time() - entry.stat(follow_symlinks=False).st_mtime > FOREIGN_SECONDS
        match = UNFINISHED.fullmatch(entry.name)
        if not match:
            return old and (is_ours_alone or EARLIER.fullmatch(entry.name) is not None)
        is_ours = match["host"] == host_mark()
        return old or (is_ours and not is_at_work(int(match["process"]), match["mark"]))
    return False


def _remove(entry: os.DirEntry) -> None:
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


@cache
def host_mark() -> str:
    """Tells machines and containers that share a folder apart: each counts its own processes."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/etc/machine-id").read_text(encoding="utf-8", errors="replace"))
    with suppress(OSError, AttributeError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(repr(facts).encode("utf-8", "replace")).hexdigest()[:8]


def sync_later(path: Path) -> None:
    """Have the disk make a record last through a power cut, while the next shot is being computed.

    Nothing waits for it: what a power cut tears is found by its checksum and regenerated.
    """
    threading.Thread(target=_sync, args=(path,), name="storymem-sync").start()


def _sync(path: Path) -> None:
    inside = list(path.iterdir()) if path.is_dir() else []
    folders = [] if os.name == "nt" else [path, path.parent] if inside else [path.parent]
    for entry in [*(inside or [path]), *folders]:
        _sync_one(entry)


def _sync_one(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        logger.debug("%s could not be synced: %s", path, error)


def is_at_work(process: int, mark: str) -> bool:
    """Whether the process of this machine that made a mark is still there.

    A later one may have its number: in a container ComfyUI has the same one at every start.
    """
    if process == os.getpid():
        return mark.startswith(OWN_MARK)
    return is_running(process)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of that number; on Windows always true."""
    if os.name == "nt":
        return True  # signal 0 would end the process there; age decides instead
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a number that no process can have
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def explain_write_errors(what: str, place: str | Path):
    """Turns what the disk says into words an artist can act on.

    Raises:
        StoreError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} could not be written to {place}: {reason_of(error)}. Shots finished before "
            "are kept; free some space or make the folder writable, then start the story again"
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
            f"{what} cannot be written to {folder}: {reason_of(error)}; choose another --out"
        ) from error
