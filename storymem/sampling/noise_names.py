"""For which expert a file is meant, by its name: nothing in the weights of a model tells."""

from __future__ import annotations

import re

STATED = re.compile(r"(high|(?<![bfgs])low)[\W_]*noise", re.IGNORECASE)
# A word that may mean anything: memory, quality, steps ... are not the noise.
BARE = re.compile(
    r"(?<![a-z])(high|low)(?![a-z])(?![\W_]*(?:v?ram|mem|res|q|step|rank|bit|poly|key|light|motion))",
    re.IGNORECASE,
)


def noise_of(name: str) -> str:
    """``high`` or ``low`` when a file's name says one of them for certain, else empty."""
    for part in (re.split(r"[\\/]", name)[-1], name):
        if found := {word.lower() for word in STATED.findall(part)}:
            return found.pop() if len(found) == 1 else ""
    return ""


def misplaced(high: str, low: str) -> list[str]:
    """Which of two files, ``high`` and ``low``, belong into the other one's place by their names.

    A bare "low" says something only beside a bare "high": it may be anything's.
    """
    files = {"high": high, "low": low}
    if wrong := [noise for noise, name in files.items() if noise_of(name) not in ("", noise)]:
        return wrong
    bare = [{word.lower() for word in BARE.findall(name)} for name in files.values()]
    return list(files) if bare == [{"low"}, {"high"}] else []
