"""The memory of a pass before the film: fewer frames, and of stills the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..files.images import to_uint8
from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.policies import Choice
from ..script.story import Shot
from .plan import Loop
from .shot_memory import ShotMemory, shot_memory

STILL_BEFORE = "the still before, which this one continues"
ITSELF = "the still itself"


def begin_draft_memory(loop: Loop, shot: Shot, bank: MemoryBank) -> ShotMemory:
    """What a shot of a draft, or a still, sees of the bank that it begins with.

    Pinned frames, such as portraits, are seen in any case: ``max_frames`` of the draft limits the
    others. A still that continues sees the one before it, unless pinned frames take all places.
    """
    draft = loop.settings.draft
    pinned = sum(frame.pinned for frame in bank.frames)
    if draft.max_frames:
        most = max(draft.max_frames, pinned)
        bank = replace(bank, max_frames=min(bank.max_frames, most))
    before = _still_before(loop, shot, bank) if draft.is_stills else None
    memory = shot_memory(bank, loop.story, shot, embedder=loop.embedder)
    if before is None or before in memory.indices or pinned >= bank.max_frames:
        return memory
    frames = list(bank.frames)
    frames[before] = replace(frames[before], pinned=True)
    found = shot_memory(
        replace(bank, frames=tuple(frames)), loop.story, shot, embedder=loop.embedder
    )
    reasons = {**found.reasons, before: STILL_BEFORE}
    choice = Choice(found.indices, reasons)
    bank = replace(found.bank, frames=bank.frames, choice=choice)
    return ShotMemory(bank, found.indices, reasons)


def remember_still(bank: MemoryBank, frames: torch.Tensor, story: str, shot: Shot) -> MemoryBank:
    """``bank`` that holds a still, also where none of its nodes kept that as a keyframe.

    Args:
        frames: float ``[n, H, W, 3]`` of the shot; the first is the still.
    """
    still = MemoryFrame(
        to_uint8(frames[0], str(shot)), story=story, shot=shot.index, reason=ITSELF,
        prompt=shot.prompt,
    )  # fmt: skip
    known = {frame.digest for frame in bank.frames if frame.shot == shot.index}
    return bank if still.digest in known else bank.remember([still])


def hold_still(frames: torch.Tensor, length: int) -> torch.Tensor:
    """A still for as long as its shot lasts in the film, ``[length, H, W, 3]``."""
    return frames[:1].expand(max(1, length), *frames.shape[1:])


def _still_before(loop: Loop, shot: Shot, bank: MemoryBank) -> int | None:
    """Index of the frame that the shot before ``shot`` left last; ``None`` after a cut."""
    if shot.cut or shot.index == 0 or shot.index in loop.start_images:
        return None
    own = [i for i, frame in enumerate(bank.frames) if _is_of(frame, loop, shot.index - 1)]
    return _last(own)


def _is_of(frame: MemoryFrame, loop: Loop, index: int) -> bool:
    return frame.story == loop.story.name and frame.shot == index and not frame.is_reference


def _last(found: Sequence[int]) -> int | None:
    return found[-1] if found else None
