"""Prompts of which the tiny model's encoder passes over most."""

from __future__ import annotations

import re

from ..files.messages import listed
from . import text

SMALL_WORDS = frozenset(
    ["a", "an", "and", "at", "in", "is", "of", "on", "the", "then", "to", "with"]
)


def is_poor(prompt: str) -> bool:
    """Whether the tiny model knows less than half of a prompt's words."""
    words = [w for w in re.findall(r"\w+", prompt.lower()) if w not in SMALL_WORDS]
    return sum(word in text.VOCABULARY for word in words) * 2 < len(words)


def understood(prompt: str) -> str:
    """``no word``, or ``only jumps, still``."""
    known = list(dict.fromkeys(word for word in text.parse(prompt) if word))
    return f"only {listed(known, 6)}" if known else "no word"
