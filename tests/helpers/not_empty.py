"""For tests that go through the files of a folder: a loop over none of them asserts nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def not_empty(paths: Iterable[Path]) -> list[Path]:
    """The paths of a listing, sorted; an AssertionError when there is none."""
    listed = sorted(paths)
    assert listed, "the test goes through files, but there are none: has a folder moved?"
    return listed
