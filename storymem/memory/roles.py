"""What each frame of a bank is to the shot that is next."""

from __future__ import annotations

from collections.abc import Mapping

from .bank import LEFT_OUT, MemoryBank
from .frame import MemoryFrame
from .retrieval import has_to_choose

MAX_SHOWN = 200  # frames of each kind: what a page shows smoothly and a workflow file can carry
UNSEEN = ("waiting", "open")


def roles_refer_to(bank: MemoryBank) -> str:
    """Of which shot the roles tell.

    ``next``: what the window shows the next shot; ``this``: what was chosen for the shot that the
    bank was handed to; ``last``: what the last shot saw, while the next one's prompt is not known;
    ``open``: the same, but there was no shot yet.
    """
    if bank.choice is not None:
        return "this"
    if bank.scored:
        return "last"
    if not has_to_choose(bank):
        return "next"
    return "last" if bank.seen else "open"


def seen_reasons(bank: MemoryBank) -> Mapping[str, str]:
    """Why the shot that the roles tell of sees a frame, by digest; the window needs no reasons."""
    if bank.choice is not None:
        return {bank.frames[i].digest: why for i, why in bank.choice.reasons.items()}
    told = _told(bank)
    return {digest: why for digest, why in told.items() if not why.startswith(LEFT_OUT)}


def left_out_reasons(bank: MemoryBank) -> Mapping[str, str]:
    """Why a frame was left out of the shot that the roles tell of, by digest, even if pinned."""
    seen = seen_reasons(bank)
    if bank.choice is not None:
        told = {bank.frames[i].digest: why for i, why in bank.choice.left_out.items()}
        return {digest: why for digest, why in told.items() if digest not in seen}
    told = _told(bank)
    return {digest: why[len(LEFT_OUT) :] for digest, why in told.items() if digest not in seen}


def _told(bank: MemoryBank) -> Mapping[str, str]:
    """What the last shot saw or left out, with reasons; empty for the window."""
    return bank.scored or (bank.seen if has_to_choose(bank) else {})


def frame_roles(bank: MemoryBank) -> tuple[str, ...]:
    """What each of ``bank.frames`` is to the shot that ``roles_refer_to``.

    The window knows sink, window, pinned and waiting. Other policies choose by the prompt: seen
    instead of window, and open as long as it cannot be known. A pinned frame that was left out
    waits. Of a bank that Choose Memory chose from, a frame that came since is open.
    """
    tell = roles_refer_to(bank)
    used = set(bank.used_indices())
    sink = min(bank.sink, bank.max_frames)
    reasons, left_out = seen_reasons(bank), left_out_reasons(bank)

    def role(i: int, frame: MemoryFrame) -> str:
        if tell == "next":
            if i not in used:
                return "waiting"
            return "sink" if i < sink else "pinned" if frame.pinned else "window"
        if frame.digest in left_out:
            return "waiting"
        if frame.pinned:
            return "pinned"
        if tell == "open":
            return "sink" if i < sink and bank.policy == "relevant" else "open"
        why = reasons.get(frame.digest)
        if why is None:
            return "open" if bank.scored else "waiting"
        return "sink" if why.startswith("sink") else "seen"

    return tuple(role(i, frame) for i, frame in enumerate(bank.frames))


def shown_indices(roles: tuple[str, ...]) -> list[int]:
    """Which frames of a bank are shown: all that a shot sees, and the latest others."""
    used = [i for i, role in enumerate(roles) if role not in UNSEEN]
    others = [i for i, role in enumerate(roles) if role in UNSEEN]
    room = max(0, MAX_SHOWN - len(used))
    return sorted([*used[:MAX_SHOWN], *others[max(0, len(others) - room) :]])
