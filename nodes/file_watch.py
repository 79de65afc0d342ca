"""Notices files that changed under the host's feet: models that were replaced, results that rest on
others."""

from __future__ import annotations

import os
from collections.abc import Iterable


class FileVersions:
    """Notices files that were replaced under the same name since this process first saw them.

    The host keeps what it loaded from such a file, and a finished shot must not be made from that.
    """

    def __init__(self):
        self._first: dict[str, list[int]] = {}

    def replaced(self, files: dict[str, list[int]]) -> dict[str, list[int]]:
        return {p: now for p, now in files.items() if self._first.setdefault(p, now) != now}


class FileWatch:
    """Notices when files that a finished loop rests on change, so that the host runs its Close
    again."""

    def __init__(self):
        self._seen: dict[str, dict[str, object]] = {}
        self._version: dict[str, int] = {}  # counts repairs, so that no older result is used again

    def remember(self, node_id: str, files: Iterable[str]) -> None:
        if self._is_changed(node_id):
            self._version[node_id] = self._version.get(node_id, 0) + 1
        self._seen[node_id] = {path: _status(path) for path in files}

    def expire(self, node_id: str) -> None:
        """Count what was remembered as changed already: it changed while the loop was running."""
        self._seen.setdefault(node_id, {})[""] = "changed"

    def token(self, node_id: str) -> str:
        """The same text as long as nothing changed."""
        changed = "changed" if self._is_changed(node_id) else "whole"
        return f"{changed} {self._version.get(node_id, 0)}"

    def _is_changed(self, node_id: str) -> bool:
        return any(_status(path) != known for path, known in self._seen.get(node_id, {}).items())


def _status(path: str):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


VERSIONS = FileVersions()
WATCH = FileWatch()
