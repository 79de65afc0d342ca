"""Lines that begin as those of a list do, in the many ways of people and language models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

_COUNT = (
    r"(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3}|(?=[ivx])[ivx]{1,5}|one|two|three|four|five|six"
    r"|seven|eight|nine|ten|eleven|twelve)"
)
_GAP = r"[ \t]{0,9}"  # bounded, so that two of them side by side cost nothing
_WORD = r"[^\W\d_]{1,20}"
_OPEN = rf"{_GAP}(?:\*\*|\#{{1,6}}{_GAP})?[\[(]?"
_CLOSE = rf"[\])]?{_GAP}(?:\*\*)?{_GAP}"
_TO = rf"{_GAP}(?:-|–|—|to){_GAP}"
_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]{1,3})?"
_SECOND = r"[0-9]{1,4}(?:\.[0-9])?"
_SPAN = rf"(?:{_TIME}(?:{_TO}{_TIME})?|{_SECOND}{_GAP}s?{_TO}{_SECOND}{_GAP}s)"
# In each pattern ``word`` is what has to be the same in all of them.
_NAMED = re.compile(  # Einstellung 1: ... Shot one: ... Scene 1, Shot 2: ... 镜头一：
    rf"{_OPEN}(?:{_WORD}{_GAP}\#?{_COUNT}{_GAP}[,，/·–—-]{_GAP})?"
    rf"(?P<word>{_WORD}?){_GAP}\#?{_COUNT}{_CLOSE}(?:[:：.–—-]{_GAP}(?:\*\*)?{_GAP}|$)",
    re.IGNORECASE,
)
_ORDINAL = re.compile(rf"{_OPEN}第{_COUNT}(?P<word>[^\W\d_]{{1,3}}?){_CLOSE}[:：]{_GAP}")
_TIMED = re.compile(rf"{_OPEN}(?P<word>){_SPAN}{_CLOSE}[:：–—-]?{_GAP}", re.IGNORECASE)
_ROMAN = re.compile(rf"{_GAP}(?P<word>)(?=[IVX])[IVX]{{1,5}}[.)][ \t]+")
_BULLET = re.compile(rf"{_GAP}(?P<word>[-*•·–—])[ \t]+(?=\S)")


def divide_list(
    text: str, is_above: Callable[[str], bool], is_preface: Callable[[str], bool]
) -> list[str]:
    """A text divided at its lines that begin like those of a list; empty when it is none.

    Args:
        is_above: of a line that belongs above the first of the list, and is kept there: a tag.
        is_preface: of a sentence before the list, which is left out.
    """
    lines = text.split("\n")
    above = 0
    while above < len(lines) and (not lines[above].strip() or is_above(lines[above])):
        above += 1
    first = above
    if first < len(lines) and is_preface(lines[first].strip()):
        first += 1
    for pattern in (_NAMED, _ORDINAL, _TIMED, _ROMAN, _BULLET):
        blocks = _at(pattern, lines[first:])
        if len(blocks) > 1:
            return ["\n".join([*lines[:above], blocks[0]]).strip(), *blocks[1:]]
    return []


def _at(pattern: re.Pattern, lines: list[str]) -> list[str]:
    """Lines divided where the pattern is, which is on the first that is not empty."""
    found = [pattern.match(line) for line in lines]
    words = Counter(match["word"].lower() for match in found if match)
    filled = [match for line, match in zip(lines, found, strict=True) if line.strip()]
    if len(words) != 1 or not filled[0] or (pattern is _BULLET and not all(filled)):
        return []
    blocks: list[list[str]] = []
    for line, match in zip(lines, found, strict=True):
        if match:
            blocks.append([line[match.end() :].strip()])
        elif blocks:
            blocks[-1].append(line)
    texts = ["\n".join(block).strip() for block in blocks]
    return texts if all(texts) else []
