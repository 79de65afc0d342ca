"""How much work a piece of Python does, in a figure that no other load on the machine changes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable


def count_calls(task: Callable[[], object]) -> int:
    """The Python and C functions that ``task`` calls, and what its generators give."""
    calls = 0

    def count(_frame, event, _arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # finalizers of what was there before are no work of the task
    sys.setprofile(count)
    try:
        task()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls
