"""Clicks in the memory that hold from one shot of a story on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..script.story import Shot, Story
from .edits import CONTRARY, KINDS, BankEdits, LaterEdits

LEFT = {one: other for pair in CONTRARY for one, other in (pair, pair[::-1])}


def edits_at(edits: BankEdits, story: Story, index: int) -> BankEdits:
    """The clicks that hold when the shot at ``index`` of ``story`` begins.

    Of two on one frame the one from the later shot counts. A shot behind the last one has them all.
    """
    if not edits.later:
        return edits
    begun = [(start, later) for start, later in placed(edits, story) if start <= index]
    found = replace(edits, later=(), given=edits)
    for _, later in sorted(begun, key=lambda one: one[0]):
        found = _with(found, later)
    return found


def placed(edits: BankEdits, story: Story) -> list[tuple[int, LaterEdits]]:
    """Those that hold from a shot on which the story has, with its index."""
    found = [(_find(later, story.shots), later) for later in edits.later]
    return [(shot.index, later) for shot, later in found if shot is not None]


def lost_edits(edits: BankEdits, story: Story) -> list[str]:
    """What the artist should know of clicks from a shot on that the story no longer has."""
    lost = [later.shot or later.row for later in edits.later if _find(later, story.shots) is None]
    if not lost:
        return []
    are = "are" if len(lost) > 1 else "is"
    return [
        f"changes to the memory from shot {', '.join(sorted(set(lost)))} on have no effect: there "
        f"{are} no such shot in the story; make them again from another shot, or clear them in the "
        "memory gallery"
    ]


def joined(edits: BankEdits, more: BankEdits) -> BankEdits:
    """The clicks of both; of two on one frame that of ``more`` counts."""
    names = (*more.names, *(pair for pair in edits.names if more.label_of(pair[0]) is None))
    return replace(
        _with(edits, more),
        images=tuple(dict.fromkeys((*edits.images, *more.images))),
        names=names,
        later=(*edits.later, *more.later),
        given=None,
    )


def _find(later: LaterEdits, shots: Sequence[Shot]) -> Shot | None:
    by_row = [shot for shot in shots if later.row and shot.row == later.row]
    by_label = [shot for shot in shots if later.shot and shot.label == later.shot]
    return next(iter((*by_row, *by_label)), None)


def _with(edits: BankEdits, later: LaterEdits | BankEdits) -> BankEdits:
    changed = {}
    for kind in KINDS:
        own = getattr(later, kind)
        named = (*own, *getattr(later, LEFT[kind]))
        changed[kind] = (*(d for d in getattr(edits, kind) if not _is_among(d, named)), *own)
    return replace(edits, **changed)


def _is_among(digits: str, others: Sequence[str]) -> bool:
    """Whether one of ``others`` means the same frame, by however many digits."""
    return any(digits.startswith(other) or other.startswith(digits) for other in others)
