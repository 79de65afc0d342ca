"""Notices files that changed under the host's feet: models that were replaced, results that rest on
others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

MOST_FILES = 20_000  # watched for one Close: a hundred stories, looked at in a tenth of a second


class FileVersions:
    """Notices files that were replaced under the same name since this process first saw them.

    The host keeps what it loaded from such a file, and a finished shot must not be made from that.
    """

    def __init__(self):
        self._first: dict[str, list[int]] = {}

    def replaced(self, files: dict[str, list[int]]) -> dict[str, list[int]]:
        return {p: now for p, now in files.items() if self._first.setdefault(p, now) != now}


@dataclass(frozen=True)
class Seen:
    """A file as a finished loop left or found it."""

    status: object
    result: str  # of which loop, see ``FileWatch.remember``


class FileWatch:
    """Notices when files that finished loops rest on change, so that the host runs their Close
    again.

    Workflows of several tabs have nodes of the same id, and the host asks a node whether it changed
    before it can tell its workflow. So the files of all of them are watched under that id: a change
    has each of them look at its files once more, and none takes an older result for whole.
    """

    def __init__(self):
        self._seen: dict[str, dict[str, Seen]] = {}
        self._changes: dict[str, int] = {}

    def remember(self, node_id: str, result: str, files: Iterable[str]) -> None:
        """Watch what a finished loop rests on.

        Args:
            node_id: of its Close.
            result: names what it made: the same text for a loop that leaves the same files.
        """
        known = self._seen.get(node_id, {})
        found = {path: Seen(_status(path), result) for path in files}
        if any(path in known and _is_overwritten(known[path], new) for path, new in found.items()):
            self._count(node_id)
        if len(known) + len(found) > MOST_FILES:
            self._count(node_id)  # what is not watched any more must not be taken for whole
            known = {}
        self._seen[node_id] = {**known, **found}

    def expire(self, node_id: str) -> None:
        """Count what was remembered as changed already: it changed while the loop was running."""
        self._count(node_id)

    def token(self, node_id: str) -> str:
        """The same text as long as nothing changed."""
        known = self._seen.get(node_id, {})
        now = {path: Seen(_status(path), seen.result) for path, seen in known.items()}
        if now != known:
            self._count(node_id)
            self._seen[node_id] = now
        return f"{self._changes.get(node_id, 0)} changes"

    def _count(self, node_id: str) -> None:
        self._changes[node_id] = self._changes.get(node_id, 0) + 1


def _is_overwritten(old: Seen, new: Seen) -> bool:
    return old.result != new.result and old.status != new.status


def _status(path: str):
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The last tells of a picture edited in place whose time was put back, or is counted coarsely.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


VERSIONS = FileVersions()
WATCH = FileWatch()
