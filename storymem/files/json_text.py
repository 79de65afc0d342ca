"""JSON from people and from files: read with errors in words, however odd it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

DEEPEST = 100  # lists and objects inside each other; Python itself gives up at about a thousand


class JsonError(ValueError):
    """A text that is not read as JSON; ``line`` and ``column`` count from 1, 0 where unknown."""

    def __init__(self, reason: str, line: int = 0, column: int = 0):
        super().__init__(f"{reason} at line {line}, column {column}" if line else reason)
        self.reason, self.line, self.column = reason, line, column


def parse_json(text: str | bytes, *, pairs_hook: Callable | None = None) -> object:
    """What a JSON text says.

    Args:
        pairs_hook: makes a value of an object's names and values, instead of ``dict``.

    Raises:
        JsonError: for what is no JSON, nested deeper than ``DEEPEST``, or holds a number of
            thousands of digits; never anything else.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.lineno, error.colno) from None
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8 text") from None
    except ValueError:  # Python reads no longer numbers
        raise JsonError("it holds a number of thousands of digits") from None
    except RecursionError:
        raise JsonError(_DEEP) from None
    if is_deeper(value, DEEPEST):
        raise JsonError(_DEEP)
    return value


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float: not NaN, not infinite, not too large for one."""
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number of hundreds of digits
        return False


_DEEP = f"it is nested too deeply (more than {DEEPEST} levels)"


def is_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects are inside each other more than so many times."""
    layer = [value]
    for _ in range(levels + 1):
        inside: list = []
        for part in layer:
            if isinstance(part, dict):
                inside += part.values()
            elif isinstance(part, list):
                inside += part
        layer = [part for part in inside if isinstance(part, (dict, list))]
        if not layer:
            return False
    return True
