"""A script in a file, in whatever encoding an editor saved it."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from .reader import check_file

_MARKS = (  # the longest first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_STORY = re.compile(r"\ufeff?\s*(?:null|true|false|-?[0-9][0-9.eE+-]*)\s*")
_LOOKED_AT = 400  # bytes, by which UTF-16 without a mark is known


def read_script_text(path: Path, name: str = "the script") -> str:
    """The text of a script file.

    Args:
        name: what the file is called in the error for one that is too long.

    Raises:
        ValueError: for a file that is too long, is no text in Unicode, or is JSON of one value that
            tells nothing.
        OSError: when it cannot be read.
    """
    check_file(path.stat().st_size, name)
    text = decode(path.read_bytes())
    if path.suffix.lower() == ".json" and _NO_STORY.fullmatch(text):
        raise ValueError("a JSON script begins with {; save plain text as .txt")
    return text


def decode(content: bytes) -> str:
    """Text from bytes in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises:
        ValueError: for anything else.
    """
    known = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    try:
        return content.decode(known or _without_mark(content[:_LOOKED_AT]))
    except UnicodeDecodeError:
        raise ValueError("it is neither UTF-8 nor UTF-16 text; save it as UTF-8") from None


def _without_mark(head: bytes) -> str:
    """UTF-16 or UTF-32 where the other bytes of what is mostly ASCII are zero, else UTF-8."""
    if len(head) > 7:
        for name, letter in (("utf-32-le", 0), ("utf-32-be", 3)):
            rest = [head[i::4] for i in range(4) if i != letter]
            if 0 not in head[letter::4] and all(_mostly_zero(part) for part in rest):
                return name
    even, odd = head[::2], head[1::2]
    for name, zeros, letters in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if len(zeros) > 1 and _mostly_zero(zeros) and 0 not in letters:
            return name
    return "utf-8"


def _mostly_zero(part: bytes) -> bool:
    return part.count(0) > len(part) // 2
