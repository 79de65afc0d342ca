"""The clock of one run: how long its shots take, and what those to come will take."""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..files.harmless import harmless
from ..selection.algorithm import MAX_KEYFRAMES_PER_SHOT
from .plan import Loop, Step
from .shot_record import MALFORMED, RECORD_FILE, read_facts
from .time_left import (
    FACT,
    NEWEST,
    Timed,
    TimeLeft,
    Work,
    find_rate,
    pace_of,
    read_timed,
    spoken,
)

NEWEST_OF_STORE = 16  # records of other stories that are read
LARGEST_RECORD = 1 << 24  # bytes; of a larger one the time is not worth the wait
LONGEST_LOOK = 1.0  # seconds that a run waits for the store to tell
DAY = 60 * 60 * 24


class RunClock:
    """Tells of one run. What it does not know it does not say, and whatever goes wrong here stops
    no run.

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
        most, draft = loop.bank.max_frames, loop.settings.draft
        most = min(most, draft.max_frames) if draft and draft.max_frames else most
        self._most_memory = most if sees_memory else 0
        self._machine, self._pace = machine, pace_of(loop.body, loop.settings.draft)
        self._timed = [*timed_results(shots.values())]
        if any(step.record is None for step in steps) and not self._knows_enough():
            found = newest_of_store(loop.store.root)
            self._timed += [one for one in found if one not in self._timed]
        self._has_made = False
        self._took: float | None = None  # seconds, the shot that was finished last
        self._current: Step | None = None
        self._began, self._memory = 0.0, 0

    @harmless(None)
    def begin(self, step: Step, memory: int) -> None:
        """A shot is being made from now on, and sees ``memory`` frames."""
        self._current, self._began = step, time.monotonic()
        self._memory = min(memory, self._most_memory)

    @harmless(None)
    def finish(self, step: Step, frames: Sequence[int]) -> dict | None:
        """What the record of a shot keeps of its time; ``None`` for one whose beginning this run
        has not seen, because the host knew some of it from another run.

        Args:
            frames: shape ``[T, H, W, C]`` of the shot as sampled.
        """
        self._took = None
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
        self._took = timed.seconds
        if timed.work.cost:
            self._timed.insert(0, timed)
        return timed.as_fact()

    @harmless(None)
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

    @harmless("")
    def tell(self) -> str:
        """For the end of a line in the log: how long the shot took that was just finished, and
        what is left."""
        took = f" in {spoken(self._took)}" if self._took else ""
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

    def _knows_enough(self) -> bool:
        """Whether no record of another story could change an estimate."""
        here = (one for one in self._timed if not one.first and one.machine == self._machine)
        return sum(one.pace == self._pace for one in here) >= NEWEST

    def _work_of(self, step: Step, memory: int) -> Work:
        frames = step.plan.shot.length or self._asked.frames
        frames = step.plan.draft.length_of(frames) if step.plan.draft else frames
        return replace(self._asked, frames=frames, memory=memory)

    def _memory_of(self, step: Step) -> int:
        """Frames that a shot sees: each shot before it is taken to add as many as it may."""
        known, index = len(self._loop.bank.frames), 0
        if self._current is not None:
            known, index = self._memory, self._current.plan.shot.index
        added = max(0, step.plan.shot.index - index) * MAX_KEYFRAMES_PER_SHOT
        return min(known + added, self._most_memory)


@harmless(())
def timed_results(entries: Iterable[Mapping]) -> Sequence[Timed]:
    """How long a story's results took, newest first; of those that say it."""
    return _newest_first(read_timed(entry.get(FACT)) for entry in entries)


@harmless(None)
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
    tomorrow = time.time() + DAY  # what claims a later date was dated by a clock that was wrong
    dated = {id(one): one.finished if one.finished < tomorrow else 0 for one in known}
    return sorted(known, key=lambda one: dated[id(one)], reverse=True)


@harmless(())
def newest_of_store(root: Path) -> Sequence[Timed]:
    """How long the latest shots of any story took, newest first. Looks at the date of every record
    and into a few of them, as far as it comes on a slow disk."""
    end = time.monotonic() + LONGEST_LOOK
    newest = heapq.nlargest(NEWEST_OF_STORE, _dated_records(root, end))
    found = []
    for _, folder in newest:
        if found and time.monotonic() > end:
            break
        found.append(_time_in(Path(folder) / RECORD_FILE))
    return [one for one in found if one is not None]


def _time_in(path: Path) -> Timed | None:
    """How long the shot of a record took, where it says so; anything may stand in its place."""
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode) or known.st_size > LARGEST_RECORD:
            return None
        return read_timed(read_facts(path).get(FACT))
    except MALFORMED:
        return None


def _dated_records(root: Path, end: float) -> Iterator[tuple[int, str]]:
    for part in _folders(root / "shots"):
        for entry in _folders(part):
            if time.monotonic() > end:
                return
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
