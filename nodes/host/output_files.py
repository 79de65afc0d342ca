"""Files of the output folder, as the page asks the host for them."""

from __future__ import annotations

from pathlib import Path


def shown_file(path: Path, output: Path) -> dict | None:
    """A file of the output folder as the page asks the host for it; ``None`` when it is gone."""
    try:
        version = str(path.stat().st_mtime_ns)
    except OSError:
        return None
    subfolder = path.parent.relative_to(output).as_posix()
    return {"filename": path.name, "subfolder": subfolder, "type": "output", "version": version}
