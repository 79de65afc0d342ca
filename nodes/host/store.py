"""Where finished shots are kept, below the host's output folder."""

from __future__ import annotations

STORE_FOLDER = (
    ".storymem"  # in the output folder: finished shots, whatever prefix and name they have
)
