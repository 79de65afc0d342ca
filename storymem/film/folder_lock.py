"""Several processes and one story's folder: two that make it in different ways would mix their
shots, film and memory.

``changing`` is held for moments, while files are put in place. ``StoryClaim`` is held for a whole
run: it says in which way the story is made, and refuses to begin beside a run that makes it
otherwise; two servers that make the same shots share them. Both are the operating system's own
locks, so that a process that dies, however it dies, holds nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files.disk import StoreError, host_mark
from ..files.locks import PathLock, is_held

LOCK_FILE = ".storymem.lock"
CLAIM_FILE = ".storymem-run.{mark}.{process}.{chance}.lock"
POLL_SECONDS = 0.02  # between looks at whether another process is done
PATIENCE = 60  # seconds; putting files in place takes a moment, also for a long story
# Of this process: how often each folder is held, and its claims.
_HELD: dict[str, tuple[PathLock, int]] = {}
_CLAIMS: set[str] = set()
_GUARD = threading.Lock()
logger = logging.getLogger(__name__)


class FolderBusy(StoreError):
    """Another process makes, or writes, the story of this folder."""


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """No other process changes the files of ``folder`` in here; may be nested.

    Raises:
        FolderBusy: when another process does not stop writing there.
    """
    place = os.path.join(os.path.realpath(folder), LOCK_FILE)
    is_locked = _take(place)
    try:
        yield
    finally:
        if is_locked:
            _give_back(place)


def _take(place: str) -> bool:
    """Whether the lock is held; not where there are none."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with _GUARD:  # never while it waits: other folders' changes go on
            if place in _HELD:
                lock, times = _HELD[place]
                _HELD[place] = lock, times + 1
                return True
            lock = PathLock(place)
            try:
                if lock.acquire():
                    _HELD[place] = lock, 1
                    return True
            except OSError as error:
                # A file system without locks; or a folder that is not there or cannot be written,
                # which the writing will tell.
                logger.debug("StoryMem: %s cannot be locked: %s", place, error)
                return False
        if time.monotonic() >= deadline:
            raise FolderBusy(
                f"another process has been writing to {os.path.dirname(place)} for {PATIENCE} s; "
                "wait until it is done, or stop it"
            )
        time.sleep(POLL_SECONDS)


def _give_back(place: str) -> None:
    with _GUARD:
        lock, times = _HELD.pop(place)
        if times > 1:
            _HELD[place] = lock, times - 1
        else:
            lock.release()


def is_claimed(folder: Path) -> bool:
    """Whether a run of this or another process makes the story in ``folder`` now."""
    claims = folder.glob(CLAIM_FILE.format(mark="*", process="*", chance="*"))
    return any(claim.name in _CLAIMS or is_held(claim) for claim in claims)


class StoryClaim:
    """A run's claim on a folder, until ``release``."""

    def __init__(self, folder: Path, mark: str):
        """Claim ``folder``, which must be there, for a run that makes what ``mark`` says.

        Raises:
            FolderBusy: when another process makes something else there.
        """
        mark = mark[:16]
        with changing(folder):
            for other in sorted(folder.glob(CLAIM_FILE.format(mark="*", process="*", chance="*"))):
                held = other.name in _CLAIMS or is_held(other)
                if held is False:  # its process was killed
                    with suppress(OSError):
                        other.unlink()
                elif held and other.name not in _CLAIMS and other.name.split(".")[2] != mark:
                    raise FolderBusy(
                        "another process, such as a second ComfyUI or a headless run, is making "
                        f"the story in {folder} in another way; wait until it is done or stop it, "
                        "or give this one a filename_prefix of its own"
                    )
            process = f"{host_mark()}-{os.getpid()}"
            chance = uuid.uuid4().hex[:8]
            self._lock = PathLock(
                folder / CLAIM_FILE.format(mark=mark, process=process, chance=chance)
            )
            try:
                self._lock.acquire()
                _CLAIMS.add(self._lock.path.name)
            except OSError as error:
                self.release()
                logger.warning(
                    "StoryMem: %s cannot be locked (%s): do not let a second ComfyUI make the "
                    "same story in another way meanwhile", folder, error,
                )  # fmt: skip

    def release(self) -> None:
        """Let others make the story in their way; more than once does nothing."""
        _CLAIMS.discard(self._lock.path.name)
        if os.name == "nt":  # where an open file cannot be removed
            self._lock.release()
        with suppress(OSError):
            self._lock.path.unlink()
        self._lock.release()
