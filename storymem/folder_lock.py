"""Several processes and one story's folder: two that make it in different ways would mix their
shots, film and memory.

``changing`` is held for moments, while files are written. ``StoryClaim`` is held for a whole run:
it says in which way the story is made, and refuses to begin beside a run that makes it otherwise;
two servers that make the same shots share them. Both are the operating system's own locks, so that
a process that dies, however it dies, holds nothing.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .disk import StoreError, host_mark

LOCK_FILE = ".storymem.lock"
CLAIM_FILE = ".storymem-run.{mark}.{process}.{chance}.lock"
PATIENCE = 60  # seconds; a film is joined in less
logger = logging.getLogger(__name__)


class FolderBusy(StoreError):
    """Another process makes, or writes, the story of this folder."""


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """No other process changes the files of ``folder`` in here; may be nested.

    Raises:
        FolderBusy: when another process does not stop writing there.
    """
    lock = FileLock(str(folder / LOCK_FILE), thread_local=False, is_singleton=True)
    is_held = True
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise FolderBusy(
            f"another process has been writing to {folder} for {PATIENCE} s; wait until it is "
            "done, or stop it"
        ) from None
    except (NotImplementedError, OSError) as error:
        # A file system without locks; or one that cannot be written, which the writing will tell.
        logger.debug("StoryMem: %s cannot be locked: %s", folder, error)
        is_held = False
    try:
        yield
    finally:
        if is_held:
            lock.release()


class StoryClaim:
    """A run's claim on a folder, until ``release``."""

    def __init__(self, folder: Path, mark: str):
        """Claim ``folder``, which must be there, for a run that makes what ``mark`` says.

        Raises:
            FolderBusy: when another process makes something else there.
        """
        self._lock: FileLock | None = None
        own = f"{host_mark()}-{os.getpid()}"
        with changing(folder):
            for other in folder.glob(CLAIM_FILE.format(mark="*", process="*", chance="*")):
                its_mark, process = other.name.split(".")[2:4]
                if process != own and its_mark != mark[:16] and not _is_left_over(other):
                    raise FolderBusy(
                        f"another process, such as a second ComfyUI or a headless run, is making "
                        f"the story in {folder} in another way; wait until it is done or stop it, "
                        "or choose another folder"
                    )
            name = CLAIM_FILE.format(mark=mark[:16], process=own, chance=uuid.uuid4().hex[:8])
            try:
                self._lock = FileLock(str(folder / name), thread_local=False)
                self._lock.acquire(timeout=0)
            except (NotImplementedError, OSError) as error:
                self._lock = None
                logger.warning(
                    "StoryMem: %s cannot be locked (%s): do not let a second ComfyUI make the "
                    "same story in another way meanwhile", folder, error,
                )  # fmt: skip

    def release(self) -> None:
        """Let others make the story in their way; more than once does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
            with suppress(OSError):
                os.unlink(lock.lock_file)


def _is_left_over(claim: Path) -> bool:
    """Whether nobody holds a claim any more; it is removed then."""
    lock = FileLock(str(claim), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError, OSError):
        return False
    lock.release()
    claim.unlink(missing_ok=True)
    return True
