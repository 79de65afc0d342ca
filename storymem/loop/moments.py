"""When a shot begins, and when each remembered frame happened, in the story as it was made.

Moments are pixel frames from the begin of the first shot. Frames that repeat the shot before count
again: a film of shots of 81 frames has its shots at 0, 81, 162 ..., cut or not (Memento counts so).
They are found from finished shots, whatever their script says now, and are part of no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from ..sampling.continuity import OVERLAP_FRAMES
from .plan import Loop, Step


@dataclass(frozen=True)
class Place:
    """Where a finished shot stands in time."""

    begin: int  # moment of its first frame as made
    overlap: int  # of its frames that repeat the shot before
    kept: int  # frames that are its own

    @property
    def end(self) -> int:
        """The moment at which the next shot begins."""
        return self.begin + self.overlap + self.kept


def begin_of(step: Step) -> int:
    """The moment of a shot's first frame; those of before it are finished."""
    places = places_before(step)
    return places[-1][1].end if places else 0


def places_before(step: Step) -> list[tuple[Step, Place]]:
    """The finished shots before one, oldest first, and where they stand."""
    before: list[Step] = []
    while (step := step.before) is not None:
        before.append(step)
    return _places(reversed(before))


def with_moments(bank: MemoryBank, loop: Loop, step: Step, *, after: int = 0) -> MemoryBank:
    """``bank``, as a shot begins with it, with the moment of every frame that a finished shot of
    this story left.

    What the story began with happened before it and has no moment, but for keyframes of the clip
    that it continues. Frames of shots that are not known keep what they have.

    Args:
        step: the shot. Its own frames are among those of ``bank`` where ``after`` is set.
        after: frames of the shot as it was made, when it is finished but has no record yet.
    """
    places = places_before(step)
    if after:
        begin = places[-1][1].end if places else 0
        overlap = step.plan.overlap_frames
        places.append((step, Place(begin, overlap, after - overlap)))
    elif step.record is not None:
        places = _places([*(one for one, _ in places), step])
    found = _by_shot(places)
    start = {(frame.digest, frame.order) for frame in loop.start_frames}

    def told(frame: MemoryFrame) -> MemoryFrame:
        moment = _moment(frame, loop.story.name, found, start)
        return frame if moment == frame.moment else replace(frame, moment=moment)

    frames, dropped = (tuple(map(told, part)) for part in (bank.frames, bank.dropped))
    return replace(bank, frames=frames, dropped=dropped)


# --- inside ----------------------------------------------------------------------------------

_Found = Mapping[tuple[int, str | None], Place]


def _places(steps) -> list[tuple[Step, Place]]:
    found: list[tuple[Step, Place]] = []
    for step in steps:
        if step.record is None:
            continue
        mode = step.record.facts.get("mode")
        overlap = OVERLAP_FRAMES.get(mode) if isinstance(mode, str) else None
        overlap = step.plan.overlap_frames if overlap is None else overlap
        begin = found[-1][1].end if found else 0
        found.append((step, Place(begin, overlap, step.record.frames)))
    return found


def _by_shot(places: Sequence[tuple[Step, Place]]) -> _Found:
    """By the number that a shot had when it was made, and by its prompt as well: a locked one may
    have moved since, to where another has its number."""
    found: dict[tuple[int, str | None], Place] = {}
    for step, place in places:
        shot = step.plan.shot
        facts = step.record.facts if step.record is not None else {}
        index, prompt = facts.get("shot", shot.index), facts.get("shot_prompt", shot.prompt)
        if isinstance(index, int):
            if index == shot.index or (index, None) not in found:
                found[index, None] = place
            found[index, prompt] = place
    return found


def _moment(
    frame: MemoryFrame, story: str, found: _Found, start: set[tuple[str, tuple[int, int]]]
) -> int | None:
    """When a frame happened; ``None`` where nothing is known."""
    if (frame.shot, None) not in found or frame.story != story:
        if frame.story and start and (frame.digest, frame.order) in start:
            return None  # of an earlier film
        return frame.moment
    if (start and (frame.digest, frame.order) in start) or (
        frame.is_reference and frame.moment is None
    ):
        return None
    place = found.get((frame.shot, frame.prompt)) or found[frame.shot, None]
    first = place.begin + place.overlap
    is_repeated = frame.moment is not None and place.begin <= frame.moment < first
    return frame.moment if is_repeated and frame.frame <= 0 else first + frame.frame
