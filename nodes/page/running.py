"""How much is left of the runs in progress, for pages that were loaded after they were told."""

from __future__ import annotations

import time
from dataclasses import replace

from ...storymem.loop.time_left import TimeLeft

_LEFT: dict[tuple[str, str], tuple[float, TimeLeft | None]] = {}


def note_time_left(folder: str, script: str, left: TimeLeft | None) -> None:
    """Keep what is left of a run in progress; ``None`` when that is unknown.

    Args:
        folder: of the story, in the output folder.
        script: the mark of its script.
    """
    _LEFT[folder, script] = time.monotonic(), left


def forget_time_left(folder: str, script: str) -> None:
    """The run is over."""
    _LEFT.pop((folder, script), None)


def is_running(folder: str) -> bool:
    """Whether a run makes the story of a folder, whatever script it has."""
    return any(noted == folder for noted, _ in list(_LEFT))


def time_left_of(folder: str, script: str) -> dict[str, dict[str, float] | None]:
    """What is left by now of a run: ``running``, for the page; nothing when none is on."""
    noted = _LEFT.get((folder, script))  # another thread may take it out meanwhile
    if noted is None:
        return {}
    then, left = noted
    if left is None:
        return {"running": None}
    if left.shot:  # below 0 for one that takes longer than expected
        left = replace(left, shot=left.shot - (time.monotonic() - then))
    return {"running": left.as_figures()}
