"""Exit codes of the commands."""

from __future__ import annotations

DONE, BROKEN, REFUSED, SHOT_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
