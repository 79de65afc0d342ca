"""How a shot of the loop begins: from which memory and frames, and whether it was made before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from ..memory.bank import MemoryBank
from ..memory.picture import Picture
from .cache_keys import shot_key
from .given_edits import check_edits, given_tail
from .moments import begin_of, with_moments
from .plan import Begun, Loop, Step
from .run_memory import bank_of_run, begin_memory, with_settings
from .shot_memory import with_names
from .shot_record import DamagedError, Record
from .shot_store import ShotResult

logger = logging.getLogger(__name__)


def begin_shot(loop: Loop, step: Step, before: ShotResult | None) -> Begun:
    """What a shot starts from, and whether an earlier run made it from the same. Changes nothing:
    the caller writes it down with ``step.begin``.

    Raises:
        ValueError: when the shot before it, or the clip before the first shot, is too short to
            continue from, and for more pinned frames than a shot may see.
    """
    shot, wanted = step.plan.shot, step.plan.overlap_frames
    memory = begin_memory(loop, shot, before.bank if before else loop.bank)
    bank = with_moments(with_names(memory.bank, loop.story), loop, step)
    memory, begin = replace(memory, bank=bank), begin_of(step)
    if not wanted:
        key = step.key or shot_key(step.own, memory, [])
        return Begun(key, memory, None, *_find_result(loop, step, key), begin)
    check_edits(loop, [step])
    if before is None:
        tail = loop.opening.last(wanted)
    else:
        tail = given_tail(loop, step, before.tail)[-wanted:]
    if len(tail) < wanted:
        raise ValueError(
            f"{shot} continues from the last {wanted} frames of the shot before it, but that one "
            f"has only {len(tail)}; make it longer, or choose last_frame"
        )
    given = torch.from_numpy(tail.numpy() / np.float32(255))
    key = step.key or shot_key(step.own, memory, [Picture(frame).digest for frame in tail])
    return Begun(key, memory, given, *_find_result(loop, step, key), begin)


def load_result(
    loop: Loop, record: Record, known: Mapping[str, Picture] | None = None
) -> ShotResult:
    """What the next shot needs of a finished one, with the settings of this run.

    Args:
        known: pictures by digest that were found whole a moment ago.

    Raises:
        DamagedError: when a picture is missing or altered.
    """
    result = loop.store.load(record, known)
    return replace(result, bank=bank_of_run(loop, result.bank, record.facts))


def bank_after(loop: Loop, step: Step) -> MemoryBank:
    """The bank after a finished shot, as the page shows it and the folder keeps it.

    Raises:
        DamagedError: when a picture is missing or altered.
    """
    bank = (step.result or load_result(loop, step.record)).bank
    bank = with_moments(with_settings(loop, bank, step.plan.shot.index + 1), loop, step)
    if step.seen is not None and not step.reason:
        bank = replace(bank, seen=step.seen)
    return with_names(bank, loop.story)


def _find_result(loop: Loop, step: Step, key: str) -> tuple[Record | None, ShotResult | None]:
    """The record of a key, when it is there with all its pictures, and what it holds."""
    if step.key:  # the list has looked for it
        return None, None
    record = loop.store.find(key)
    try:
        return record, load_result(loop, record) if record else None
    except DamagedError as error:
        logger.warning("StoryMem: %s is regenerated: %s", step.plan.shot, error)
        return None, None
