"""JSON as people and language models write it: rewritten as JSON proper, or left alone.

Read are trailing commas, comments (``//``, ``#``, ``/* */``), strings in single or typographic
quotes, line breaks within strings, names without quotes, and Python's ``True``, ``False`` and
``None``. Nothing is guessed: what is cut off, or is no JSON for another reason, stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_CLOSING = {'"': '"', "'": "'", "“": "”", "„": "“”", "‘": "’", "«": "»"}
_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null"}
_TOKEN = re.compile(
    r"""
    (?P<blank>\s+)
    | (?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)
    | (?P<sign>[\[\]{},:])
    | (?P<number>[-+]?[0-9][0-9.eE+-]*)
    | (?P<word>[^\W\d]\w*)
    | (?P<quote>["'“„‘«])
    """,
    re.VERBOSE | re.DOTALL,
)
_NOT_PLAIN = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|[\"\x00-\x1f]", re.DOTALL)
_ESCAPES = {"'": "'", "\n": ""}  # of Python and JavaScript, not of JSON


def tidy_json(text: str) -> str | None:
    """The first value in ``text`` as JSON proper, on the same lines; ``None`` where it is none.

    What follows after the value is left out. Takes time in proportion to the text.
    """
    found = read_value(text, 0)
    return None if found is None else found[0]


def read_value(text: str, start: int) -> tuple[str, int] | None:
    """The object or list that begins at ``start`` as JSON proper, and where it ends."""
    written: list[str] = []
    depth, comma = 0, -1  # where the last comma was written, if only blanks follow
    for kind, token, end in _tokens(text, start):
        if kind == "comment":
            token = "\n" * token.count("\n")
        elif kind == "sign":
            if token in "]}":
                depth -= 1
                if comma >= 0:
                    written[comma] = ""
            depth += token in "[{"
            comma = len(written) if token == "," else -1
        elif kind != "blank":
            comma = -1
        written.append(token)
        if depth == 0 and kind not in ("blank", "comment"):
            return ("".join(written), end) if kind == "sign" else None
    return None


def _tokens(text: str, place: int) -> Iterator[tuple[str, str, int]]:
    """Kind, text as JSON writes it, and end of each token; stops where there is none."""
    while match := _TOKEN.match(text, place):
        kind, token, place = match.lastgroup, match[0], match.end()
        if kind == "quote":
            string = _string(text, match.start())
            if string is None:
                return
            token, place = string
        elif kind == "word":
            is_name = re.compile(r"\s*:").match(text, place) is not None
            token = json.dumps(token) if is_name else _WORDS.get(token, token)
        yield kind, token, place


def _string(text: str, start: int) -> tuple[str, int] | None:
    """The string whose quote is at ``start`` as JSON, and where it ends."""
    closing = _CLOSING[text[start]]
    pattern = re.compile(rf"[^\\{closing}]*(?:\\.[^\\{closing}]*)*", re.DOTALL)
    match = pattern.match(text, start + 1)
    end = match.end()
    if end >= len(text):
        return None
    inside = match[0]
    return '"' + _NOT_PLAIN.sub(_as_json, inside) + '"', end + 1


def _as_json(match: re.Match) -> str:
    found = match[0]
    if found[0] != "\\":
        return json.dumps(found)[1:-1]
    if found[1] in '"\\/bfnrt' or len(found) > 2:
        return found
    return _ESCAPES.get(found[1], "\\" * 2 + found[1])  # a folder of Windows
