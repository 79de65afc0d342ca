"""The clock of one run: how long its shots take, and what those to come will take."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..selection.algorithm import MAX_KEYFRAMES_PER_SHOT
from .plan import Loop, Step
from .shot_record import MALFORMED, RECORD_FILE, read_facts
from .time_left import FACT, Timed, TimeLeft, Work, find_rate, pace_of, read_timed, spoken

NEWEST_OF_STORE = 16  # records of other stories that are read


class RunClock:
    """Tells of one run. What it does not know it does not say.

    Args:
        steps: the run's, which change as shots are begun and finished.
        asked: what a shot asks for where its script says nothing else, its memory left out.
        machine: see ``machine_of``.
        shots: what the story's folder knows of its results, by label.
        sees_memory: whether the size of the memory is felt.
    """

    def __init__(
        self,
        loop: Loop,
        steps: Sequence[Step],
        asked: Work,
        machine: str,
        shots: Mapping[str, Mapping],
        *,
        sees_memory: bool = True,
    ):
        self._loop, self._steps, self._asked = loop, steps, asked
        self._most_memory = loop.bank.max_frames if sees_memory else 0
        self._machine, self._pace = machine, pace_of(loop.body)
        own = timed_results(shots.values())
        others = (one for one in _newest_of_store(loop.store.root) if one not in own)
        self._timed = [*own, *others]
        self._has_made = False
        self._current: Step | None = None
        self._began, self._memory = 0.0, 0

    def begin(self, step: Step, memory: int) -> None:
        """A shot is being made from now on, and sees ``memory`` frames."""
        self._current, self._began = step, time.monotonic()
        self._memory = min(memory, self._most_memory)

    def finish(self, step: Step, frames: Sequence[int]) -> dict | None:
        """What the record of a shot keeps of its time; ``None`` for one whose beginning this run
        has not seen, because the host knew some of it from another run.

        Args:
            frames: shape ``[T, H, W, C]`` of the shot as sampled.
        """
        if step is not self._current:
            return None
        made = Work(frames=frames[0], height=frames[1], width=frames[2])
        timed = Timed(
            self._work_of(step, self._memory).sized(made),
            max(time.monotonic() - self._began, 0.001),
            self._machine,
            self._pace,
            not self._has_made,
            int(time.time()),
        )
        self._has_made = True
        self._timed.insert(0, timed)
        return timed.as_fact()

    def left(self, place: int | None = None) -> TimeLeft | None:
        """What is left of the run; ``None`` while no result tells how long shots take here.

        Args:
            place: in the list of steps, of the shot that is being made.
        """
        rate = find_rate(self._timed, self._machine, self._pace)
        if rate is None:
            return None
        running = None if place is None else self._steps[place]
        if running is not None and running.record is not None:
            running = None
        shot, certain, open_ones = 0.0, 0.0, 0.0
        for step in self._steps:
            if step.record is not None:
                continue
            seconds = rate.seconds_of(self._work_of(step, self._memory_of(step)))
            if step is running:
                past = time.monotonic() - self._began if step is self._current else 0.0
                shot = max(0.0, seconds - past)
            elif step.is_undecided:
                open_ones += seconds
            else:
                certain += seconds
        return TimeLeft(shot, certain, certain + open_ones)

    def tell(self) -> str:
        """For the end of a line in the log: how long the shot took that was just finished, and
        what is left."""
        took = f" in {spoken(self._timed[0].seconds)}" if self._has_made else ""
        left = self.left()
        if left is None and any(step.record is None for step in self._steps):
            return f"{took}; time left: unknown until the first shot is finished"
        if left is None or not left.most:
            return took
        least, most = spoken(left.least), spoken(left.most)
        if not left.least:
            return f"{took}, up to {most} left if later shots change"
        also = f", up to {most} if later shots change" if least != most else ""
        return f"{took}, about {least} left{also}"

    # --- inside ---

    def _work_of(self, step: Step, memory: int) -> Work:
        frames = step.plan.shot.length or self._asked.frames
        return replace(self._asked, frames=frames, memory=memory)

    def _memory_of(self, step: Step) -> int:
        """Frames that a shot sees: each shot before it is taken to add as many as it may."""
        known, index = len(self._loop.bank.frames), 0
        if self._current is not None:
            known, index = self._memory, self._current.plan.shot.index
        added = max(0, step.plan.shot.index - index) * MAX_KEYFRAMES_PER_SHOT
        return min(known + added, self._most_memory)


def timed_results(entries: Iterable[Mapping]) -> list[Timed]:
    """How long a story's results took, newest first; of those that say it."""
    return _newest_first(read_timed(entry.get(FACT)) for entry in entries)


def time_of_waiting(
    timed: Iterable[Timed | None], waiting: Iterable[tuple[bool, int | None]], machine: str
) -> TimeLeft | None:
    """What a story's shots will take that are not finished, each made as the latest one was made on
    this machine; ``None`` when that is unknown.

    Args:
        timed: how long the story's results took, where they say it.
        waiting: of each shot to be made: whether that is certain, and its length in frames where
            its script says one.
    """
    own = [one for one in _newest_first(timed) if one.machine == machine]
    rate = find_rate(own, machine, own[0].pace) if own else None
    if rate is None:
        return None
    least = most = 0.0
    for is_certain, length in waiting:
        seconds = rate.seconds_of(replace(rate.like, frames=length or rate.like.frames))
        least, most = least + seconds * is_certain, most + seconds
    return TimeLeft(0.0, least, most)


# --- inside ----------------------------------------------------------------------------------


def _newest_first(timed: Iterable[Timed | None]) -> list[Timed]:
    known = [one for one in timed if one is not None]
    return sorted(known, key=lambda one: one.finished, reverse=True)


def _newest_of_store(root: Path) -> list[Timed]:
    """How long the latest shots of any story took, newest first. Looks at the date of every record
    and into a few of them."""
    newest = heapq.nlargest(NEWEST_OF_STORE, _dated_records(root))
    found = []
    for _, folder in newest:
        try:
            found.append(read_timed(read_facts(Path(folder) / RECORD_FILE).get(FACT)))
        except MALFORMED:
            continue
    return [one for one in found if one is not None]


def _dated_records(root: Path) -> Iterator[tuple[int, str]]:
    for part in _folders(root / "shots"):
        for entry in _folders(part):
            try:
                yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.path
            except OSError:  # taken away meanwhile
                continue


def _folders(place) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(place) as entries:
            yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
