"""In which steps memory runs along."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError

import pytest

from storymem.sampling.memory_refresh import (
    EVERY_STEP,
    Refresh,
    RefreshClock,
    parse_refresh_steps,
    refresh_schedule,
)


@pytest.mark.parametrize(
    ("steps", "whole", "expected"),
    [
        (0, None, ()),
        (1, None, (0,)),
        (4, None, (0, 1, 3)),
        (20, None, (0, 1, 3, 7, 15)),
        (2, 4, (0, 1)),
        (13, 40, (0, 2, 6)),
        (27, 40, (0, 2, 6, 14)),
        (100, 100, (0, 5, 15, 35, 75)),
        (20, 30, (0, 2, 6, 14)),
    ],
)
def test_the_schedule_of_the_library(steps, whole, expected):
    assert refresh_schedule(steps, whole) == expected


def test_every_schedule_begins_with_a_refresh_and_gets_rarer():
    for whole in range(1, 130):
        for steps in range(1, whole + 1):
            found = refresh_schedule(steps, whole)
            assert found[0] == 0
            assert all(0 <= step < steps for step in found)
            gaps = [b - a for a, b in itertools.pairwise(found)]
            assert gaps == sorted(set(gaps))


@pytest.mark.parametrize("numbers", [(-1, None), (3, -1), (-1, 20)])
def test_a_negative_number_of_steps_is_refused(numbers):
    with pytest.raises(ValueError, match="0 or more steps"):
        refresh_schedule(*numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  ", None),
        ("0", (0,)),
        ("3, 1 7", (0, 1, 3, 7)),
        ("5,5", (0, 5)),
        ("33 1", (0, 1, 33)),
        ("9999", (0, 9999)),
    ],
)
def test_steps_as_an_artist_writes_them(text, expected):
    assert parse_refresh_steps(text) == expected


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "0;1", "10000", "١"])
def test_steps_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="refresh_steps must be step numbers from 0 on"):
        parse_refresh_steps(text)


def test_what_nodes_say():
    assert Refresh.of("exact", "") == EVERY_STEP
    assert Refresh.of("cached", "0 2") == Refresh(True, (0, 2))
    with pytest.raises(ValueError, match="memory_refresh must be one of exact, cached"):
        Refresh.of("often", "")


def test_what_nodes_share_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        EVERY_STEP.is_cached = True


def refreshed(levels, evaluated) -> list[bool]:
    clock = RefreshClock(levels)
    return [clock.is_refresh(sigma) for sigma in evaluated]


@pytest.mark.parametrize(
    ("evaluated", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]),
        ([0.9, 0.9, 0.8, 0.8], [1, 1, 0, 0]),  # prompt and negative prompt apart
        ([0.9, 0.85, 0.8, 0.75, 0.7, 0.65], [1, 0, 0, 0, 1, 0]),  # between two steps
        ([0.9, 0.6], [1, 1]),  # the level itself was skipped
        ([0.9, 0.8, 0.7, 0.9, 0.8], [1, 0, 1, 1, 0]),  # up again, as another run
        ([0.5, 0.4], [1, 0]),  # a run that begins below every level
    ],
)
def test_the_noise_level_decides(evaluated, expected):
    assert refreshed([0.9, 0.7], evaluated) == [bool(e) for e in expected]


def test_a_clock_that_forgets_begins_anew():
    clock = RefreshClock([0.9])
    assert clock.is_refresh(0.9)
    assert not clock.is_refresh(0.8)
    clock.forget()
    assert clock.is_refresh(0.7)
