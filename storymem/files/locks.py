"""Locks of the operating system on a file: whoever dies, however, holds none any more.

By hand, in a few lines: of the filelock package, hosts have versions that know no lock held twice,
or wait for themselves, and it leaves open whether a lock is held or the file system knows none.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # a link could lead, and make a file, anywhere


class PathLock:
    """A lock on one file, which is made where it is missing. Nobody may write to that file: on some
    network drives not even the holder can."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether it is held now; ``False`` when somebody else holds it.

        Raises:
            OSError: where there is no such place, or the file system knows no locks.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        try:
            if _lock(descriptor) and _is_still_at(descriptor, self.path):
                self._descriptor = descriptor
        finally:
            if self._descriptor != descriptor:
                os.close(descriptor)
        return self._descriptor == descriptor

    def release(self) -> None:
        """Let go; more than once does nothing. The file stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _unlock(descriptor)  # a process that was forked meanwhile has it open, too
            os.close(descriptor)


def is_held(path: str | Path) -> bool | None:
    """Whether anybody, this process included, holds a lock on what is at ``path``; ``None`` where
    that cannot be known."""
    lock = PathLock(path)
    try:
        if not lock.path.exists():
            return False
        is_free = lock.acquire()
    except OSError:
        return None
    lock.release()
    return not is_free


def _lock(descriptor: int) -> bool:
    """Whether the lock could be taken at once."""
    if os.name == "nt":
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    with suppress(OSError):
        if os.name == "nt":
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_still_at(descriptor: int, path: Path) -> bool:
    """Whether the file was not removed or replaced before it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
