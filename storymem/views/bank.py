"""What the page shows of a memory bank, as plain JSON: pictures by digest, facts, no pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..memory.bank import MemoryBank, MemoryFrame
from ..memory.retrieval import has_to_choose

MAX_SHOWN = 200  # frames of each kind: what a page shows smoothly and a workflow file can carry
MAX_TEXT = 400  # characters of a reason or name: they come from files as well
UNSEEN = ("waiting", "open")
DECIMALS = 4  # of scores and similarities


def roles_tell(bank: MemoryBank) -> str:
    """Of which shot the roles tell.

    ``next``: what the window shows the next shot; ``this``: what was chosen for the shot that the
    bank was handed to; ``last``: what the last shot saw, while the next one's prompt is not known;
    ``open``: the same, but there was no shot yet.
    """
    if bank.choice is not None:
        return "this"
    if not has_to_choose(bank):
        return "next"
    return "last" if bank.seen else "open"


def seen_reasons(bank: MemoryBank) -> Mapping[str, str]:
    """Why the shot that the roles tell of sees a frame, by digest; the window needs no reasons."""
    if bank.choice is not None:
        return {bank.frames[i].digest: why for i, why in bank.choice.reasons.items()}
    return bank.seen if has_to_choose(bank) else {}


def frame_roles(bank: MemoryBank) -> tuple[str, ...]:
    """What each of ``bank.frames`` is to the shot that ``roles_tell``.

    The window knows sink, window, pinned and waiting. Other policies choose by the prompt: seen
    instead of window, and open as long as it cannot be known.
    """
    tell = roles_tell(bank)
    used = set(bank.used_indices())
    sink = min(bank.sink, bank.max_frames)
    reasons = seen_reasons(bank)

    def role(i: int, frame: MemoryFrame) -> str:
        if tell == "next":
            if i not in used:
                return "waiting"
            return "sink" if i < sink else "pinned" if frame.pinned else "window"
        if frame.pinned:
            return "pinned"
        if tell == "open":
            return "sink" if i < sink and bank.policy == "relevant" else "open"
        why = reasons.get(frame.digest)
        return "waiting" if why is None else "sink" if why.startswith("sink") else "seen"

    return tuple(role(i, frame) for i, frame in enumerate(bank.frames))


def shown_indices(roles: tuple[str, ...]) -> list[int]:
    """Which frames of a bank are shown: all that a shot sees, and the latest others."""
    used = [i for i, role in enumerate(roles) if role not in UNSEEN]
    others = [i for i, role in enumerate(roles) if role in UNSEEN]
    room = max(0, MAX_SHOWN - len(used))
    return sorted([*used[:MAX_SHOWN], *others[max(0, len(others) - room) :]])


def shown_frames(bank: MemoryBank) -> list[MemoryFrame]:
    """The frames whose pictures the page asks for."""
    kept = [bank.frames[i] for i in shown_indices(frame_roles(bank))]
    return [*kept, *bank.dropped[-MAX_SHOWN:]]


def view_bank(bank: MemoryBank) -> dict:
    """The bank for the page.

    ``number`` counts from 1, as on the contact sheet; ``shot`` from 0, -1 for a reference picture;
    ``seen`` is why the shot of ``tell`` sees the frame, empty when it does not; ``label`` whom the
    artist wrote that it shows (null: nothing), ``shows`` whom its file or prompt names.
    """
    roles, reasons = frame_roles(bank), seen_reasons(bank)

    def view(frame: MemoryFrame, role: str, index: int) -> dict:
        label = bank.edits.label_of(frame.digest)
        return {
            **_view(frame, role, index),
            "seen": reasons.get(frame.digest, "")[:MAX_TEXT],
            "label": None if label is None else label[:MAX_TEXT],
            "shows": ", ".join(bank.shows.get(frame.digest, ()))[:MAX_TEXT],
        }

    first = max(0, len(bank.dropped) - MAX_SHOWN)
    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "policy": bank.policy,
        "tell": roles_tell(bank),
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
