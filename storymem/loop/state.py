"""The loop as one value, for hosts whose own loops carry exactly one (paper: shot by shot,
section 3.1).

A state is immutable and small: the story, which shots are finished, and the memory. Pixels of
finished
shots are on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ..memory.bank import MemoryBank
from ..sampling.continuity import ShotPlan
from ..sound.shot_sound import ShotSound
from .begin import bank_after, begin_shot, load_result
from .cache_keys import own_key, shot_key
from .changed_inputs import BodyNames
from .given_edits import given_digests
from .plan import Loop, Step, plan_in
from .regeneration import Regeneration, find_regenerations
from .run_memory import begin_memory
from .shot_record import DamagedError, Record
from .shot_store import ShotResult
from .shots import CHOSEN, LOCKED, finish_shot
from .take_names import find_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopState:
    """What goes around the loop."""

    loop: Loop
    bank: MemoryBank
    steps: tuple[Step, ...] = ()  # finished, each with its record
    locked: Mapping[int, str] = field(default_factory=dict)  # keys that locks hold, by shot index
    # What is heard of finished shots, by key of their record; None: nothing is connected.
    sounds: Mapping[str, ShotSound | None] | None = None
    # The finished shot that was found last, by its key: it is asked for more than once.
    _found: dict[str, tuple[Record, ShotResult]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def is_done(self) -> bool:
        """Whether every shot of the story is finished."""
        return len(self.steps) == len(self.loop.story.shots)

    def next_step(self, body: str = "") -> Step:
        """The shot whose turn it is.

        Raises:
            ValueError: when all are finished.
        """
        if self.is_done:
            raise ValueError(
                f"all {len(self.steps)} shots of '{self.loop.story.name}' are finished, but the "
                "loop goes around once more; connect the shot_count of Begin Story to the "
                "num_iterations of Start Loop, or take out the Next Shot that is one too many"
            )
        loop = replace(self.loop, body=body)
        shot = loop.story.shots[len(self.steps)]
        plan = plan_in(loop, shot, has_previous=bool(self.steps))
        step = Step(plan, own_key(loop, plan), self.steps[-1] if self.steps else None)
        memory = begin_memory(loop, shot, self.bank)
        given = given_digests(loop, step)
        step.key, step.seen = shot_key(step.own, memory, given), memory.bank.seen
        step.saw = tuple(frame.digest for frame in memory.frames)
        held = self.locked.get(shot.index, "") if shot.lock else ""
        chosen = find_key(loop.store, shot.take, loop.settings.pass_name)
        for key, reason in ((chosen, CHOSEN), (held, LOCKED)):
            if key == step.key:
                break
            if self._find_whole(key):
                step.key, step.reason = key, reason
                break
        return step

    def begin(self) -> tuple[ShotPlan, MemoryBank, torch.Tensor | None]:
        """What the next shot starts from: its plan, the bank, the frames it continues from."""
        step = self.next_step()
        before = None
        if self.steps:
            record = self.steps[-1].record
            _, result = self._found.get(record.key, (None, None))
            before = ShotResult(
                self.bank, result.tail if result else self.loop.store.load_tail(record)
            )
        begun = begin_shot(self.loop, step, before)
        return replace(step.plan, begin=begun.begin), begun.bank, begun.given

    def find(self, body: str) -> Record | None:
        """The finished record of the next shot, when it was made before."""
        return self._find_whole(self.next_step(body).key)

    def regenerations(self, body: str, names: BodyNames) -> list[Regeneration]:
        """Why the next shot is to be made although the story's folder has a result of it."""
        step = self.next_step(body)
        step.earlier = {"key": self.locked.get(step.plan.shot.index)}
        return find_regenerations(replace(self.loop, body=body), [step], names)

    def memory_frames(self) -> int:
        """How many frames the next shot sees."""
        return len(begin_memory(self.loop, self.next_step().plan.shot, self.bank).frames)

    def reuse(self, body: str, record: Record) -> LoopState:
        """The state after a shot that was found finished."""
        _, result = self._found.get(record.key, (None, None))
        return self._after(replace(self.next_step(body), record=record, result=result))

    def finish(self, body: str, frames, bank: MemoryBank, **options) -> LoopState:
        """The state after a shot, with its frames on disk; ``options`` as of ``finish_shot``."""
        step = self.next_step(body)
        loop = replace(self.loop, body=body)
        step.record, step.result = finish_shot(loop, step, frames, bank, **options)
        return self._after(step)

    def _find_whole(self, key: str) -> Record | None:
        if key in self._found:
            return self._found[key][0]
        record = self.loop.store.find(key)
        # What the shot before left has been read: with the banks of later shots it comes again.
        there = (*self.bank.frames, *self.bank.dropped) if self.steps else ()
        known = {frame.digest: frame.picture for frame in there}
        try:
            result = load_result(self.loop, record, known) if record else None
        except DamagedError as error:
            logger.warning("StoryMem: a finished shot is regenerated: %s", error)
            return None
        if record:
            self._found.clear()
            self._found[key] = record, result
        return record

    def _after(self, step: Step) -> LoopState:
        bank = bank_after(self.loop, step)
        return replace(self, bank=bank, steps=(*self.steps, replace(step, result=None)))
