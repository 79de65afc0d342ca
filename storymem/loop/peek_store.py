"""A shot store that is only looked at: nothing is written, and what was read once and lies there
unchanged is not read again."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock

from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.picture import Picture
from .shot_record import DamagedError, Record
from .shot_store import ShotResult, ShotStore, picture_path

MOST_KNOWN = 5_000  # records that are remembered, a few thousand characters each
MOST_FRAMES = 50_000  # that their banks share


class _Memory:
    """What was read of records, as long as their files have the same size, time and place."""

    def __init__(self):
        self._known: OrderedDict[tuple, tuple] = OrderedDict()
        self._guard = Lock()

    def recall(self, kind: str, folder: Path, read: Callable[[], object]):
        """What ``read`` gave for a folder as it is now; ``None`` is not remembered."""
        state, name = _state_of(folder), (kind, str(folder))
        with self._guard:
            known = self._known.get(name)
        if known is not None and state is not None and known[0] == state:
            return known[1]
        found = read()
        if found is not None and state is not None:
            with self._guard:
                self._known[name] = state, found
                while len(self._known) > 2 * MOST_KNOWN:
                    self._known.popitem(last=False)
        return found


_MEMORY = _Memory()
_FRAMES: dict[tuple, MemoryFrame] = {}  # equal ones of several banks are one


class PeekStore(ShotStore):
    """The records below one folder, for questions only."""

    def find(self, key: str) -> Record | None:
        """As ``ShotStore.find``."""
        if not isinstance(key, str) or not key:
            return super().find(key)
        read = super().find
        return _MEMORY.recall("record", self.folder_of(key), lambda: read(key))

    def outline(self, record: Record) -> MemoryBank:
        """As ``ShotStore.outline``."""
        read = super().outline
        return _MEMORY.recall("bank", record.folder, lambda: read(record))

    def load(self, record: Record, known: Mapping[str, Picture] | None = None) -> ShotResult:
        """As ``ShotStore.load``, without a look into the pictures, which nobody sees here.

        Raises:
            DamagedError: when one is missing.
        """
        bank = self.outline(record)
        for frame in (*bank.frames, *bank.dropped):
            if not picture_path(self.root, frame.digest).is_file():
                raise DamagedError(f"the picture {frame.digest} of {record.folder} is missing")
        return ShotResult(bank, self.load_tail(record))

    def keep_pictures(self, frames: Iterable[MemoryFrame]) -> None:
        """Nothing is kept."""

    def keep_body(self, body: str) -> None:
        """Nothing is kept."""

    def remove_unfinished(self) -> None:
        """Nothing is removed."""

    def commit(self, key: str, frames, bank, facts: Mapping, **options):
        """Raises RuntimeError: nothing is written."""
        raise RuntimeError("a store that is only looked at takes no shots")

    def _outline_frame(self, entry: Mapping) -> MemoryFrame:
        name = (str(self.root), *(f"{key}={value!r}" for key, value in sorted(entry.items())))
        frame = _FRAMES.get(name)
        if frame is None:
            if len(_FRAMES) >= MOST_FRAMES:
                _FRAMES.clear()
            frame = _FRAMES[name] = super()._outline_frame(entry)
        return frame


def _state_of(folder: Path) -> tuple | None:
    """Of each file its name, size, times and place; ``None`` when the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except (OSError, ValueError):
        return None
    return tuple(sorted((n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for n, s in found))
