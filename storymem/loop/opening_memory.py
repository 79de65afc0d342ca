"""The keyframes of a clip that a story begins from: chosen once, then known by what chose them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files.disk import explain_write_errors, write_whole
from ..files.hashing import digest_of
from ..files.json_text import parse_json
from ..memory.bank import MemoryBank
from ..memory.frame import REFERENCE_SHOT, MemoryFrame
from .opening_clip import OpeningClip
from .shot_store import ShotStore

FOLDER = "openings"  # in the store
LARGEST = 1 << 20  # bytes of a choice on disk
LONGEST = 1000  # characters of a reason


@dataclass(frozen=True)
class Chosen:
    """One keyframe of a clip."""

    frame: int  # index in the clip, from 0
    reason: str = ""
    score: float | None = None
    scorer: str = ""
    similarity: float | None = None


def choice_key(clip: OpeningClip, bank: MemoryBank, how: str) -> str:
    """By what a choice is known: the clip, what is in the memory already, and what chooses.

    Args:
        how: everything that decides the selection, as a text.
    """
    return digest_of(["opening", clip.digest, [frame.digest for frame in bank.frames], how])


def find_choice(store: ShotStore, clip: OpeningClip, key: str) -> list[Chosen] | None:
    """The keyframes that were chosen under ``key``; ``None`` when they are not known."""
    path = _path(store, key)
    try:
        if path.stat().st_size > LARGEST:
            return None
        entries = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(entries, list):
        return None
    found = [_read(entry, len(clip.frames)) for entry in entries]
    return None if any(one is None for one in found) else found


def keep_choice(store: ShotStore, key: str, chosen: Iterable[Chosen]) -> None:
    """Write a choice down, so that later runs and looks ahead know it.

    Raises:
        StoreError: when the disk refuses.
    """
    path = _path(store, key)
    with explain_write_errors("the keyframes of the opening clip", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps([asdict(one) for one in chosen]).encode())


def chosen_of(frames: Iterable[MemoryFrame]) -> list[Chosen]:
    """What of keyframes, as a selection gives them, is kept."""
    return [Chosen(f.frame, f.reason, f.score, f.scorer, f.similarity) for f in frames]


def remember_clip(bank: MemoryBank, clip: OpeningClip, chosen: Sequence[Chosen]) -> MemoryBank:
    """``bank`` with a clip's keyframes after its own reference pictures, and before every shot."""
    own = [frame.frame for frame in bank.frames if frame.shot == REFERENCE_SHOT]
    first = max(own, default=-1) + 1
    known = {frame.digest for frame in bank.frames}
    frames = [
        MemoryFrame(
            clip.frames[one.frame].clone(),
            frame=first + i,
            score=one.score,
            scorer=one.scorer,
            similarity=one.similarity,
            reason=f"frame {one.frame} of the clip that the story begins from: {one.reason}",
            moment=one.frame - len(clip.frames),
        )
        for i, one in enumerate(chosen)
    ]
    frames = [frame for frame in frames if frame.digest not in known]
    return bank.remember(frames) if frames else bank


# --- inside ----------------------------------------------------------------------------------


def _path(store: ShotStore, key: str) -> Path:
    return store.root / FOLDER / f"{key}.json"


def _read(entry: object, count: int) -> Chosen | None:
    if not isinstance(entry, dict) or set(entry) != set(Chosen.__dataclass_fields__):
        return None
    frame, numbers = entry["frame"], (entry["score"], entry["similarity"])
    is_frame = type(frame) is int and 0 <= frame < count
    are_numbers = all(n is None or isinstance(n, float) for n in numbers)
    words = (entry["reason"], entry["scorer"])
    are_words = all(isinstance(word, str) and len(word) <= LONGEST for word in words)
    return Chosen(**entry) if is_frame and are_numbers and are_words else None
