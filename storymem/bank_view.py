"""What the page shows of a memory bank, as plain JSON: pictures by digest, facts, no pixels."""

from __future__ import annotations

import math

from .memory_bank import MemoryBank, MemoryFrame

MAX_SHOWN = 200  # frames of each kind: what a page shows smoothly and a workflow file can carry
MAX_TEXT = 400  # characters of a reason or name: they come from files as well
DECIMALS = 4  # of scores and similarities


def frame_roles(bank: MemoryBank) -> tuple[str, ...]:
    """What each of ``bank.frames`` is to the next shot: sink, window, pinned or waiting."""
    used = set(bank.used_indices())
    sink = min(bank.sink, bank.max_frames)

    def role(i: int, frame: MemoryFrame) -> str:
        if i not in used:
            return "waiting"
        if i < sink:
            return "sink"
        return "pinned" if frame.pinned else "window"

    return tuple(role(i, frame) for i, frame in enumerate(bank.frames))


def shown_indices(roles: tuple[str, ...]) -> list[int]:
    """Which frames of a bank are shown: all that the next shot sees, and the latest others."""
    used = [i for i, role in enumerate(roles) if role != "waiting"]
    others = [i for i, role in enumerate(roles) if role == "waiting"]
    room = max(0, MAX_SHOWN - len(used))
    return sorted([*used[:MAX_SHOWN], *others[max(0, len(others) - room) :]])


def shown_frames(bank: MemoryBank) -> list[MemoryFrame]:
    """The frames whose pictures the page asks for."""
    kept = [bank.frames[i] for i in shown_indices(frame_roles(bank))]
    return [*kept, *bank.dropped[-MAX_SHOWN:]]


def view_bank(bank: MemoryBank) -> dict:
    """The bank for the page.

    ``number`` counts from 1, as on the contact sheet; ``shot`` from 0, -1 for a reference picture;
    ``seen`` is why the shot before saw the frame, empty when it did not.
    """
    roles = frame_roles(bank)

    def view(frame: MemoryFrame, role: str, index: int) -> dict:
        return {**_view(frame, role, index), "seen": bank.seen.get(frame.digest, "")[:MAX_TEXT]}

    first = max(0, len(bank.dropped) - MAX_SHOWN)
    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "policy": bank.policy,
        "count": len(bank.frames),
        "frames": [view(bank.frames[i], roles[i], i) for i in shown_indices(roles)],
        "dropped": [
            view(frame, "dropped", first + i) for i, frame in enumerate(bank.dropped[first:])
        ],
    }


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
    }


def _number(value: float | None) -> float | None:
    # NaN is no JSON: the page would lose the whole message.
    return round(float(value), DECIMALS) if value is not None and math.isfinite(value) else None
