"""A shot that continues from one whose file an artist edited: it is given the edited frames, and
its key depends on them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..sampling.continuity import ShotPlan
from .plan import Loop, Step


def edited_frames(loop: Loop, step: Step) -> list[str]:
    """Digests of the frames that a step is given from an artist's edit of the shot before it; empty
    where it is given none, or those of the shot as it was generated."""
    given = step.plan.overlap_frames
    return list(loop.edits.get(step.previous, ()))[-given:] if given else []


def given_digests(loop: Loop, step: Step) -> list[str]:
    """Digests of the frames that a step continues from, in order; empty after a cut. The first
    shot continues from a clip alone.

    Raises:
        DamagedError: when the record of the shot before has to be read, and lost a picture.
    """
    if not step.plan.overlap_frames:
        return []
    if step.before is None:
        return opening_digests(loop, step.plan)
    edited = edited_frames(loop, step)
    return edited or loop.store.tail_digests(step.before.record, step.plan.overlap_frames)


def opening_digests(loop: Loop, plan: ShotPlan) -> list[str]:
    """Digests of the frames that the first shot continues from; empty for any other shot, and for
    one that begins with a cut."""
    is_first = plan.shot.index == 0 and loop.opening is not None and plan.overlap_frames
    return loop.opening.digests(plan.overlap_frames) if is_first else []


def given_tail(loop: Loop, step: Step, tail: torch.Tensor) -> torch.Tensor:
    """The last frames of the shot before, ``uint8 [n, H, W, 3]``: ``tail``, or those of its edit.

    Raises:
        DamagedError: when the store lost a picture of the edit.
    """
    edited = edited_frames(loop, step)
    return torch.stack([loop.store.read_picture(digest) for digest in edited]) if edited else tail


def check_edits(loop: Loop, steps: Iterable[Step]) -> None:
    """Raise ValueError for a shot to be made that continues from an edit with too few frames."""
    for step in steps:
        given, edited = step.plan.overlap_frames, edited_frames(loop, step)
        if step.record is None and edited and len(edited) < given:
            raise ValueError(
                f"{step.plan.shot} continues from the last {given} frames of the shot before it, "
                f"but the edited shot_{step.before.label}.mp4 has only {len(edited)}; make it "
                "longer, delete it to get the generated one back, or choose last_frame"
            )
