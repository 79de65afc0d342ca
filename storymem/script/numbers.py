"""Lists of numbers as people type them: ``1, 4-6``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..files.messages import shown

MAX_NUMBERED = 10**6  # frames that numbers of a contact sheet can mean


def parse_numbers(text: str, name: str) -> list[int]:
    """Indices from the numbers of a contact sheet, such as ``1, 4-6``, which count from 1.

    Raises:
        ValueError: for anything else, naming the input.
    """
    indices: list[int] = []
    for part in text.replace(";", ",").split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not (first or dash):
            continue
        last = last if dash else first
        is_plain = all(n.isdecimal() and len(n) < 8 for n in (first, last))
        if not (is_plain and 1 <= int(first) <= int(last) <= MAX_NUMBERED - len(indices)):
            raise ValueError(
                f"{name} must be numbers of the contact sheet such as 1, 4-6, but it has "
                f"{shown(part)}"
            )
        indices += range(int(first) - 1, int(last))
    return indices


def parse_shot_numbers(text: str, count: int) -> tuple[int, ...]:
    """``"3, 5-7"`` as indices from 0.

    Raises:
        ValueError: for text that is no list of shot numbers, or a shot that the story does not
        have.
    """
    is_named = bytearray(count)
    for part in _number_parts(text):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if not match:
            raise ValueError(
                f"redo_shots must look like '3' or '3, 5-7', but it holds {shown(part)}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise ValueError(f"redo_shots names {part}, but the story has shots 1 to {count}")
        is_named[first - 1 : last] = b"\1" * (last - first + 1)
    return tuple(i for i in range(count) if is_named[i])


def _number_parts(text: str) -> Iterator[str]:
    """``"3 , 5 - 7"`` as ``3`` and ``5-7``: blanks and commas divide, but not around a dash."""
    for piece in re.split("[,;]", text):
        part = ""
        for word in piece.split():
            if part and not (part.endswith("-") or word.startswith("-")):
                yield part
                part = ""
            part += word
        if part:
            yield part
