"""Names from users, kept inside the host's folders."""

from __future__ import annotations

from pathlib import Path


def find_inside(root: str | Path, name: str) -> Path | None:
    """``root/name`` without links and ``..``; ``None`` unless it is something below ``root``."""
    if "\0" in name:
        return None
    base = Path(root).resolve()
    path = (base / name).resolve()
    return path if path != base and path.is_relative_to(base) else None
