"""The memory of a run's shots: what this run's settings make of an earlier bank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ..memory.bank import MemoryBank
from ..memory.edits import NO_EDITS, undo_edits
from ..memory.edits_from import edits_at
from ..memory.frame import MemoryFrame
from ..script.story import Shot
from .draft_memory import begin_draft_memory
from .memory_choice import CHOOSES
from .plan import Loop
from .shot_memory import PROVENANCE, WINDOW, ShotMemory, shot_memory, whole_pool


def begin_memory(loop: Loop, shot: Shot, bank: MemoryBank) -> ShotMemory:
    """What a shot of a run sees, by the bank that the shot before it left, or the story's first."""
    bank = bank_at_start(loop, shot, with_settings(loop, bank, shot.index))
    if loop.settings.draft is not None:
        memory = begin_draft_memory(loop, shot, bank)
        return replace(memory, is_pool=CHOOSES in loop.body)
    if CHOOSES in loop.body:
        return whole_pool(bank, loop.story)
    return shot_memory(bank, loop.story, shot, embedder=loop.embedder)


def bank_at_start(loop: Loop, shot: Shot, bank: MemoryBank) -> MemoryBank:
    """The bank that a shot begins with: the one before it, what is promoted to the shot, and its
    own reference images."""
    promoted = loop.promoted.get(shot.index, ())
    known = {frame.digest for frame in bank.frames} if shot.references or promoted else set()
    extra = [
        MemoryFrame(
            loop.references[name],
            story=loop.story.name,
            shot=shot.index,
            frame=i - len(shot.references),  # before the shot's own keyframes
            reason=f"reference image of shot {shot.index + 1}",
            name=name,
        )
        for i, name in enumerate(shot.references)
    ]
    first = -len(shot.references) - len(promoted)
    extra += [
        replace(frame, shot=shot.index, frame=first + i, moment=None)
        for i, frame in enumerate(promoted)
    ]
    extra = [frame for frame in extra if frame.digest not in known]
    return bank.remember(extra) if extra else bank


def with_settings(loop: Loop, bank: MemoryBank, index: int = 0) -> MemoryBank:
    """A bank, perhaps of an earlier run, with everything that this run's Memory Bank sets.

    Args:
        index: of the shot that the bank is for: some clicks hold from one shot on.
    """
    of_run = loop.bank
    is_told = bank.policy == of_run.policy and (bank.policy != WINDOW or loop.story.remembers)
    return replace(
        bank.with_edits(edits_at(of_run.edits, loop.story, index)),
        max_frames=of_run.max_frames,
        sink=of_run.sink,
        policy=of_run.policy,
        embedder=of_run.embedder,
        seen=bank.seen if is_told else {},
    )


def bank_of_run(loop: Loop, bank: MemoryBank, facts: Mapping) -> MemoryBank:
    """The bank of a finished shot as this run would have left it.

    What the bank at the story's start says of its own pictures (their names, whether they are
    pinned) decides no shot's key as long as every shot sees the same, so it may have changed since.

    Args:
        facts: what the shot's record says; see ``pin_facts``.
    """
    frames, dropped = undo_edits(bank.frames, bank.dropped)
    start = {frame.digest: frame for frame in loop.start_frames}
    copies = Counter(frame.digest for frame in frames)
    pins = facts.get("pins_in_loop")
    pins = pins if isinstance(pins, Mapping) else {}

    def told(frame: MemoryFrame) -> MemoryFrame:
        now = start.get(frame.digest)
        # A shot may have made the very picture once more; that one is not the start's.
        if now and (copies[frame.digest] == 1 or frame.order == now.order):
            known = {name: getattr(now, name) for name in PROVENANCE}
            return replace(frame, pinned=bool(pins.get(frame.digest, now.pinned)), **known)
        if frame.frame < 0 and 0 <= frame.shot < len(loop.story.shots):
            for name in loop.story.shots[frame.shot].references:
                if loop.reference_digests.get(name) == frame.digest:
                    return replace(frame, name=name)
        return frame

    frames = tuple(sorted(map(told, frames), key=lambda frame: frame.order))
    return with_settings(loop, replace(bank, frames=frames, dropped=dropped, edits=NO_EDITS))


def pin_facts(loop: Loop, bank: MemoryBank) -> dict:
    """Which of the story's first pictures a node of the loop's body pinned or unpinned: that stays,
    whatever Memory Bank says of them in a later run."""
    start = {frame.digest: frame.pinned for frame in loop.start_frames}
    frames, _ = undo_edits(bank.frames, bank.dropped)
    pins = {f.digest: f.pinned for f in frames if f.pinned != start.get(f.digest, f.pinned)}
    return {"pins_in_loop": pins} if pins else {}
