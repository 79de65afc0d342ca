"""What a file may say of a memory frame, besides its picture: one check for banks and records."""

from __future__ import annotations

from collections.abc import Mapping

from ..files.json_text import is_finite
from ..files.messages import is_unicode, shown
from .frame import MemoryFrame

LARGEST = 999_999  # number of a shot, a frame or a place
TEXTS = ("story", "scorer", "reason", "name", "prompt", "edited")
KEPT_EDITS, DROPPED_EDITS = ("", "pin", "unpin", "keep"), ("", "drop")
FIELDS = {  # name in a file and in MemoryFrame -> accepted types
    **dict.fromkeys(TEXTS, (str,)),
    "shot": (int,),
    "frame": (int,),
    "score": (int, float, type(None)),
    "similarity": (int, float, type(None)),
    "pinned": (bool,),
    "moment": (int, type(None)),
    "pool": (str,),
}
WHEN_SET = {"moment": None, "pool": ""}  # written where they say something: most frames have none
POOLS = ("", "high", "low")
LATEST = LARGEST * 1000  # moment of a frame: a story's frames, many times over


def told_fields(frame: MemoryFrame) -> dict[str, object]:
    """What a file says of a frame beside its picture."""
    told = {field: getattr(frame, field) for field in FIELDS}
    return {k: v for k, v in told.items() if k not in WHEN_SET or v != WHEN_SET[k]}


def check_field(where: str, field: str, value: object, *, may_be_nan: bool = False) -> None:
    """Raise ValueError for a value that the field of a frame cannot have.

    Args:
        where: how the message begins.
        may_be_nan: a score may be no number, as a scorer may have given it.
    """
    where = f'{where}: "{field}"'
    wrong_bool = isinstance(value, bool) and bool not in FIELDS[field]
    if wrong_bool or not isinstance(value, FIELDS[field]):
        raise ValueError(f"{where} has the wrong type ({shown(value)})")
    if field in ("shot", "frame") and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{where} must be at most {LARGEST}, but it is {shown(value)}")
    if field == "moment" and value is not None and not -LATEST <= value <= LATEST:
        raise ValueError(f"{where} must be at most {LATEST}, but it is {shown(value)}")
    if field == "pool" and value not in POOLS:
        raise ValueError(f"{where} must be high, low or empty, but it is {shown(value)}")
    is_score = field in ("score", "similarity") and value is not None
    if is_score and not is_finite(value) and not (may_be_nan and isinstance(value, float)):
        raise ValueError(f"{where} must be a plain number, but it is {shown(value)}")
    if isinstance(value, str) and not is_unicode(value):
        raise ValueError(f"{where} holds characters that are not valid Unicode ({shown(value)})")


def check_frame(
    where: str, said: Mapping, edits: tuple[str, ...], *, may_be_nan: bool = False
) -> None:
    """Raise ValueError for what no frame has; names that no frame has are passed over.

    Args:
        edits: what a click may have done to it there.
    """
    for field in FIELDS:
        if field in said:
            check_field(where, field, said[field], may_be_nan=may_be_nan)
    if said.get("edited", "") not in edits:
        raise ValueError(
            f'{where}: "edited" must be one of {edits}, but it is {shown(said["edited"])}'
        )


def is_count(value: object) -> bool:
    """Whether a value can be a number of places, or a number that counts them."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
