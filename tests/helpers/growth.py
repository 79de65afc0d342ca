"""Whether work grows no faster than its input, judged so that no busy machine matters."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

SMALL = 0.02  # seconds of processor time: what takes less is measured with a larger input
# From n to 4 n: linear work takes 4 times as long, n log n about 4.5, quadratic 16, cubic 64.
MOST = 10.0
AGAIN = 3  # measurements before a bad ratio is believed: the processor itself may have slowed down


def seconds(task: Callable[[], object]) -> float:
    """Processor time of this thread, the least of three runs: others only ever add to it."""
    least = float("inf")
    gc.disable()  # it looks at everything that there is, however small the task
    try:
        for _ in range(3):
            begin = time.thread_time()
            task()
            least = min(least, time.thread_time() - begin)
            if least > 5:
                break
    finally:
        gc.enable()
    return least


def _is_linear(before: float, after: float) -> bool:
    return after < MOST * max(before, SMALL / MOST)


def assert_grows_linearly(
    work: Callable[[int], Callable[[], object]], start: int = 1000, largest: int = 2**15
) -> None:
    """``work(n)`` prepares an input of size n and gives what is to be timed.

    The input is made larger until the work can be timed at all, up to ``largest``; work that is
    quadratic or worse is found at the first step that shows it.
    """
    size, before = start, seconds(work(start))
    while 4 * size <= largest:
        after = seconds(work(4 * size))
        if after > SMALL:
            for _ in range(AGAIN):
                if _is_linear(before, after):
                    break
                before = min(before, seconds(work(size)))
                after = min(after, seconds(work(4 * size)))
            assert _is_linear(before, after), (
                f"{4 * size} took {after:.3f} s where {size} took {before:.3f} s"
            )
            if before > SMALL / 4:
                return
        size, before = 4 * size, after
