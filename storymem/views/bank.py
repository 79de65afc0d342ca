"""What the page shows of a memory bank, as plain JSON: pictures by digest, facts, no pixels."""

from __future__ import annotations

import math

from ..memory.bank import MemoryBank
from ..memory.edits import FROM, KINDS, BankEdits
from ..memory.frame import MemoryFrame
from ..memory.roles import (
    MAX_SHOWN,
    frame_roles,
    left_out_reasons,
    roles_refer_to,
    seen_reasons,
    shown_indices,
)

MAX_TEXT = 400  # characters of a reason or name: they come from files as well
LEARNED = "learned"  # in the place of a policy, where Choose Memory chose
DECIMALS = 4  # of scores and similarities


def shown_frames(bank: MemoryBank) -> list[MemoryFrame]:
    """The frames whose pictures the page asks for."""
    kept = [bank.frames[i] for i in shown_indices(frame_roles(bank))]
    return [*kept, *bank.dropped[-MAX_SHOWN:]]


def view_bank(bank: MemoryBank) -> dict:
    """The bank for the page.

    ``number`` counts from 1, as on the contact sheet; ``shot`` from 0, -1 for a reference picture;
    ``seen`` is why the shot of ``tell`` sees the frame, empty when it does not; ``left_out`` why it
    was left out of that one; ``label`` whom the artist wrote that it shows (null: nothing),
    ``shows`` whom its file or prompt names; ``pool`` (where it says something) the only expert
    that has the frame, high or low. ``edits`` are the clicks that the bank was made with,
    as Memory Bank has them, those that hold from a shot on included.
    """
    roles, reasons, left_out = frame_roles(bank), seen_reasons(bank), left_out_reasons(bank)

    def view(frame: MemoryFrame, role: str, index: int) -> dict:
        label = bank.edits.label_of(frame.digest)
        return {
            **_view(frame, role, index),
            "seen": reasons.get(frame.digest, "")[:MAX_TEXT],
            "left_out": left_out.get(frame.digest, "")[:MAX_TEXT],
            "label": None if label is None else label[:MAX_TEXT],
            "shows": ", ".join(bank.shows.get(frame.digest, ()))[:MAX_TEXT],
        }

    first = max(0, len(bank.dropped) - MAX_SHOWN)
    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "policy": LEARNED if bank.scored else bank.policy,
        "tell": roles_refer_to(bank),
        "count": len(bank.frames),
        "frames": [view(bank.frames[i], roles[i], i) for i in shown_indices(roles)],
        "dropped": [
            view(frame, "dropped", first + i) for i, frame in enumerate(bank.dropped[first:])
        ],
        "edits": _clicks(bank.edits.given or bank.edits),
    }


def _clicks(edits: BankEdits) -> dict:
    """The clicks on frames, as ``BankEdits.parse`` reads them."""
    found: dict = {kind: list(getattr(edits, kind)) for kind in KINDS}
    found[FROM] = [
        {
            "shot": later.shot,
            "row": later.row,
            **{kind: list(getattr(later, kind)) for kind in KINDS if getattr(later, kind)},
        }
        for later in edits.later
    ]
    return {name: value for name, value in found.items() if value}


def _view(frame: MemoryFrame, role: str, index: int) -> dict:
    return {
        "digest": frame.digest,
        "role": role,
        "edit": frame.edited,
        "number": index + 1,
        "place": frame.place,
        "shot": frame.shot,
        "frame": frame.frame,
        "score": _number(frame.score),
        "scorer": frame.scorer[:MAX_TEXT],
        "similarity": _number(frame.similarity),
        "reason": frame.why[:MAX_TEXT],
        "pinned": frame.pinned,
        "name": frame.name[:MAX_TEXT],
        **({"pool": frame.pool} if frame.pool else {}),
    }


def _number(value: float | None) -> float | None:
    # NaN is no JSON: the page would lose the whole message.
    return round(float(value), DECIMALS) if value is not None and math.isfinite(value) else None
