"""How errors speak of values and of other errors: short, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

LONGEST = 60  # characters of a value in a message
MANY = 8  # entries of a list or an object that are looked at


def shown(value: object, longest: int = LONGEST) -> str:
    """A value as a message shows it: like ``repr``, but never longer than ``longest``.

    A text of a megabyte, a number of a million digits or a list of lists costs nothing.
    """
    text = _repr(value, longest, depth=3)
    # What no terminal, log or page can hold is written as an escape.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, str) and len(text) > longest:
        return text[: longest - 4] + "..." + text[0]  # the quote that begins it ends it
    return _cut(text, longest)


def short(text: str, longest: int = LONGEST) -> str:
    """A text in one line, but never longer than ``longest``."""
    line = " ".join(text[: 4 * longest].split())
    return _cut(line, longest) if len(text) <= 4 * longest else line[: longest - 3] + "..."


def listed(names: Iterable[object], most: int = MANY, longest: int = LONGEST) -> str:
    """``a, b, c``, each no longer than ``longest``, and how many more there are beyond ``most``."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(short(str(name), longest) for name in names[:most]) + more


def reason_of(error: BaseException, longest: int = 200) -> str:
    """What an error says, in one line and without paths; never empty.

    Of the system's errors only the reason is taken: their text repeats the whole path. What Python
    says by itself when content has another form than a reader takes for granted helps nobody.
    """
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, (TypeError, AttributeError, LookupError, RecursionError, MemoryError)):
        return "its content is damaged"
    text = getattr(error, "strerror", None) or str(error)  # FFmpeg's errors have one, too
    line = next((line.strip() for line in str(text).splitlines() if line.strip()), "")
    return _cut(line or type(error).__name__, longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _repr(value: object, longest: int, depth: int) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= longest else value[:longest])
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() <= 256:
            return str(value)
        return f"a number of about {value.bit_length() * 0.30103:.0f} digits"
    if isinstance(value, (list, tuple, dict)) and depth == 0:
        return "..."
    if isinstance(value, dict):
        parts = [
            f"{_repr(k, longest, depth - 1)}: {_repr(v, longest, depth - 1)}"
            for k, v in islice(value.items(), MANY)
        ]
        return "{" + ", ".join(parts) + (", ..." if len(value) > MANY else "") + "}"
    if isinstance(value, (list, tuple)):
        parts = [_repr(part, longest, depth - 1) for part in value[:MANY]]
        return "[" + ", ".join(parts) + (", ..." if len(value) > MANY else "") + "]"
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    return type(value).__name__


def is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: half of a surrogate pair alone cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def count_shots(shots: int) -> str:
    """``1 shot``, ``2 shots``."""
    return counted(shots, "shot")


def counted(number: int, what: str) -> str:
    """``1 frame``, ``2 frames``: a number and its noun, which takes an s."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
