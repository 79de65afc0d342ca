"""How commands say dates and sizes."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime


def said_date(when: str) -> str:
    """A time (ISO 8601, UTC) as clocks here show it, to the minute."""
    with suppress(ValueError, OSError, OverflowError):
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    return "unknown date    "


def said_size(count: int) -> str:
    """Bytes as ``12 KB`` (rounded up) or ``1.5 MB``."""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{-(-count // 2**10)} KB"
