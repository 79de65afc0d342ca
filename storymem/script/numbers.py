"""Lists of numbers as people type them: ``1, 4-6``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..files.messages import shown

MAX_NUMBERED = 10**6  # numbers that one list may name, in all its ranges together


def parse_ranges(text: str, name: str, *, shots: int | None = None) -> tuple[int, ...]:
    """Indices from the numbers in ``"3, 5-7"``, which count from 1: each once, in order.

    Args:
        name: the input that holds the text, for the error.
        shots: how many the story has that the numbers mean; without it they are numbers of a
            contact sheet.

    Raises:
        ValueError: for text that is no list of such numbers.
    """
    is_named, total = bytearray(), 0
    for part in _parts(text):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match and shots is not None and not 1 <= first <= last <= shots:
            raise ValueError(f"{name} names {part}, but the story has shots 1 to {shots}")
        total += last - first + 1
        if not 1 <= first <= last <= MAX_NUMBERED or total > MAX_NUMBERED:
            form = "look like" if shots is not None else "be numbers of the contact sheet such as"
            raise ValueError(f"{name} must {form} 3 or 3, 5-7, but it holds {shown(part)}")
        is_named.extend(bytes(max(0, last - len(is_named))))
        is_named[first - 1 : last] = b"\1" * (last - first + 1)
    return tuple(i for i, is_there in enumerate(is_named) if is_there)


def _parts(text: str) -> Iterator[str]:
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
