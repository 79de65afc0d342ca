"""What a finished shot saw of the memory when it was made, from its record alone.

A record holds the bank that the shot left: what was there when it began, and what it added. Those
of earlier versions do not list which frames the shot got; that follows from the rest, and the
shot's key tells whether it is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..memory.bank import LEFT_OUT, MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.policies import Choice
from ..sampling.continuity import OVERLAP_FRAMES
from .cache_keys import OPENING_FACT, shot_key
from .shot_memory import ShotMemory, window_reasons
from .shot_record import DamagedError, Record
from .shot_store import ShotStore

SAW = "saw"  # fact of a record: digests of the frames that the shot got, in their order


@dataclass(frozen=True)
class SeenMemory:
    """The bank that a shot began with; its ``choice`` are the frames that the shot got."""

    bank: MemoryBank
    is_sure: bool  # whether the record says so, or its key agrees


def seen_by(store: ShotStore, record: Record) -> SeenMemory:
    """What the shot of a record saw.

    Raises:
        DamagedError: for a record that holds no memory bank.
    """
    after = store.outline(record)
    bank = _as_it_began(after, record.facts)
    if after.scored:
        bank = _with_gone(bank)
        return SeenMemory(_chosen(bank, _choice(bank, bank.scored)), True)
    choice = _choice(bank, after.seen)
    said = _said(record.facts)
    if said is None:
        return SeenMemory(_chosen(bank, choice), _agrees(store, record, bank, choice.indices))
    bank, found = _find(store, record, bank, said)
    choice = _choice(bank, after.seen)
    reasons = {i: choice.reasons.get(i, "") for i in found}
    bank = _chosen(bank, Choice(found, reasons, choice.left_out))
    return SeenMemory(bank, len(found) == len(said))


def _as_it_began(bank: MemoryBank, facts: Mapping) -> MemoryBank:
    """``bank`` without what its shot added."""
    index, story, start = (facts.get(name) for name in ("shot", "story", "start"))
    known = set(start) if isinstance(start, list) and all(map(_is_text, start)) else set()

    def is_own(frame: MemoryFrame) -> bool:
        is_of_shot = frame.shot == index and frame.frame >= 0 and frame.story in ("", story)
        return is_of_shot and frame.digest not in known

    frames, dropped = (
        tuple(frame for frame in part if not is_own(frame)) for part in (bank.frames, bank.dropped)
    )
    return replace(bank, frames=frames, dropped=dropped, choice=None)


def _with_gone(bank: MemoryBank) -> MemoryBank:
    """``bank`` with what Choose Memory took out of it for the shot, among what it left in."""
    known = {frame.digest for frame in bank.frames}
    back = [f for f in bank.dropped if f.digest in bank.scored and f.digest not in known]
    frames = tuple(sorted((*bank.frames, *back), key=lambda frame: frame.order))
    dropped = tuple(frame for frame in bank.dropped if frame not in back)
    return replace(bank, frames=frames, dropped=dropped)


def _choice(bank: MemoryBank, seen: Mapping[str, str]) -> Choice:
    """What the bank's policy chose: it left its reasons, and the window needs none."""
    if not seen:
        try:
            indices = bank.used_indices()
        except ValueError:  # the shot pinned more than there is room for
            indices = ()
        return Choice(indices, window_reasons(bank, indices))
    told = {i: seen[frame.digest] for i, frame in enumerate(bank.frames) if frame.digest in seen}
    left_out = {i: why[len(LEFT_OUT) :] for i, why in told.items() if why.startswith(LEFT_OUT)}
    reasons = {i: why for i, why in told.items() if i not in left_out}
    return Choice(tuple(reasons), reasons, left_out)


def _chosen(bank: MemoryBank, choice: Choice) -> MemoryBank:
    return replace(bank, choice=choice, seen={})


def _said(facts: Mapping) -> list[str] | None:
    said = facts.get(SAW)
    return said if isinstance(said, list) and all(map(_is_text, said)) else None


def _find(
    store: ShotStore, record: Record, bank: MemoryBank, digests: Sequence[str]
) -> tuple[MemoryBank, tuple[int, ...]]:
    """Where the frames of these digests are in ``bank``, which gets those that the shot took out of
    the memory; they are known to the record before it."""
    missing = set(digests).difference(frame.digest for frame in bank.frames)
    if missing:
        gone = {f.digest: f for f in (*_left_before(store, record), *bank.dropped)}
        back = [gone[digest] for digest in sorted(missing & set(gone))]
        frames = tuple(sorted((*bank.frames, *back), key=lambda frame: frame.order))
        dropped = tuple(frame for frame in bank.dropped if frame.digest not in missing)
        bank = replace(bank, frames=frames, dropped=dropped)
    places: dict[str, list[int]] = {}
    for i, frame in enumerate(bank.frames):
        places.setdefault(frame.digest, []).append(i)
    found = [places[digest].pop(0) for digest in digests if places.get(digest)]
    return bank, tuple(found)


def _left_before(store: ShotStore, record: Record) -> tuple[MemoryFrame, ...]:
    before = store.find(record.facts.get("previous", ""))
    try:
        return store.outline(before).frames if before else ()
    except DamagedError:
        return ()


def _agrees(store: ShotStore, record: Record, bank: MemoryBank, indices: tuple[int, ...]) -> bool:
    """Whether a shot that got these frames has the record's key."""
    own, mode, previous = (record.facts.get(name) for name in ("own", "mode", "previous"))
    count = OVERLAP_FRAMES.get(mode, 0) if _is_text(mode) else 0
    before = store.find(previous) if count else None
    try:
        given = store.tail_digests(before, count) if before else _opening(record.facts)
    except DamagedError:
        return False
    return shot_key(own, ShotMemory(bank, indices), given) == record.key


def _opening(facts: Mapping) -> list[str]:
    """The frames of a clip that the first shot of a story was given."""
    given = facts.get(OPENING_FACT)
    return given if isinstance(given, list) and all(map(_is_text, given)) else []


def _is_text(value: object) -> bool:
    return isinstance(value, str)
