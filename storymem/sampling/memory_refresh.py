"""At which steps memory runs along with the shot, and at which its kept keys and values are read.

Memory tokens hardly change from step to step. In a *refresh* memory and shot run together, and the
keys and values of the memory are kept; in the steps between only the shot runs and reads those.
Refreshes belong at the beginning, ever rarer; an expert begins with one, for its weights are
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXACT, CACHED = "exact", "cached"
MEMORY_REFRESH = (EXACT, CACHED)
MOST_STEPS = 10_000
USUAL_STEPS = 20  # at which the schedule was measured


@dataclass(frozen=True)
class Refresh:
    """In which steps memory runs along: every one, or those of a schedule."""

    is_cached: bool = False
    steps: tuple[int, ...] | None = None  # counted from an expert's first; None: the library's
    whole: int | None = None  # steps of the whole run, where they are known

    @classmethod
    def of(cls, memory_refresh: str, refresh_steps: str) -> Refresh:
        """As the nodes' inputs say it.

        Raises:
            ValueError: for what is no such word, or no step numbers.
        """
        if memory_refresh not in MEMORY_REFRESH:
            raise ValueError(
                f"memory_refresh must be one of {', '.join(MEMORY_REFRESH)}, but it is "
                f"{memory_refresh!r}"
            )
        return cls(memory_refresh == CACHED, parse_refresh_steps(refresh_steps))


EVERY_STEP = Refresh()


def refresh_schedule(steps: int, whole: int | None = None) -> tuple[int, ...]:
    """Steps of one expert that refresh, counted from its first: 0, 1, 3, 7, 15 and so on where a
    run has about 20 steps; of a longer run, whose steps are smaller, as many steps further apart.

    Args:
        steps: those that the expert makes.
        whole: those of the whole run, of both experts; ``None``: ``steps``.

    Raises:
        ValueError: for a negative number of steps.
    """
    whole = steps if whole is None else whole
    if steps < 0 or whole < 0:
        raise ValueError(f"a run makes 0 or more steps, but they are {steps} of {whole}")
    unit = max(1, round(whole / USUAL_STEPS))
    found, power = [], 1
    while unit * (power - 1) < steps:
        found.append(unit * (power - 1))
        power *= 2
    return tuple(found)


def parse_refresh_steps(text: str) -> tuple[int, ...] | None:
    """Steps as an artist writes them (``0 1 3 7`` or ``0, 1, 3, 7``), in order; ``None`` for the
    schedule of the library. The first step of an expert is always one.

    Raises:
        ValueError: for anything but whole numbers from 0 on.
    """
    words = text.replace(",", " ").split()
    if not words:
        return None
    if not all(word.isascii() and word.isdecimal() and int(word) < MOST_STEPS for word in words):
        raise ValueError(
            f"refresh_steps must be step numbers from 0 on, such as 0 1 3 7 15, but it is {text!r}"
        )
    return tuple(sorted({0, *map(int, words)}))


class RefreshClock:
    """Which evaluation of a model refreshes, decided by its noise level alone: samplers evaluate
    between their steps, wrappers skip steps, and a run may begin anew at any time."""

    def __init__(self, levels: Sequence[float]):
        """``levels``: noise levels at which the run refreshes."""
        self.levels = sorted(map(float, levels), reverse=True)
        self.refreshed: float | None = None

    def is_refresh(self, sigma: float) -> bool:
        """Whether an evaluation at ``sigma`` refreshes. All evaluations of one level agree, so that
        prompts that are evaluated apart see one store."""
        is_first = self.refreshed is None or sigma > self.refreshed
        if is_first or any(sigma <= level < self.refreshed for level in self.levels):
            self.refreshed = sigma
        return sigma == self.refreshed

    def forget(self) -> None:
        """The next evaluation refreshes."""
        self.refreshed = None
