"""A small file of somebody else's: read whole, or refused, whatever stands under its name."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_small_file(path: str | Path, most: int) -> bytes:
    """The bytes of a plain file.

    Never waits and never reads without end: pipes, sockets, devices and folders are refused, also
    behind a link.

    Args:
        most: bytes that it may have.

    Raises:
        OSError: when it cannot be read, is no plain file, or is longer; a path that no file can
            have counts as one that is not there.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except ValueError:  # a zero byte in its name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, "it is too long")
    return content
