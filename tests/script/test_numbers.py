"""Lists of numbers as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.script.numbers import MAX_NUMBERED, parse_ranges

RANGE = st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda r: (r[0], r[0] + r[1]))


@settings(max_examples=60, deadline=None)
@given(st.lists(RANGE, max_size=6), st.sampled_from([",", ";", " ", " , ", ";\n"]), st.data())
def test_a_list_of_ranges_is_each_of_their_numbers_once_and_in_order(ranges, between, data):
    dashes = st.sampled_from(["-", " - ", "- ", " -"])
    typed = between.join(
        str(first) if first == last else f"{first}{data.draw(dashes)}{last}"
        for first, last in ranges
    )
    expected = {n - 1 for first, last in ranges for n in range(first, last + 1)}
    assert parse_ranges(typed, "redo_shots", shots=46) == tuple(sorted(expected))
    assert parse_ranges(typed, "pin") == tuple(sorted(expected))


def test_a_dash_joins_over_blanks_and_nothing_else_does():
    assert parse_ranges("1 2 -4 6- 7 9", "pin") == (0, 1, 2, 3, 5, 6, 8)


@pytest.mark.parametrize("text", ["0", "9", "7-9", "3-2", "0-2"])
def test_a_shot_that_the_story_has_not_is_named(text):
    told = f"^redo_shots names {text}, but the story has shots 1 to 8$"
    with pytest.raises(ValueError, match=told):
        parse_ranges(f"1, {text}", "redo_shots", shots=8)


def test_the_first_and_the_last_shot_are_there():
    assert parse_ranges("1, 8", "redo_shots", shots=8) == (0, 7)
    assert parse_ranges("1-8", "redo_shots", shots=8) == tuple(range(8))


@pytest.mark.parametrize(
    ("shots", "told"),
    [
        (8, "^lock_shots must look like 3 or 3, 5-7, but it holds 'x'$"),
        (
            None,
            "^lock_shots must be numbers of the contact sheet such as 3 or 3, 5-7, but it holds "
            "'x'$",
        ),
    ],
)
def test_what_is_no_number_is_shown_with_what_is_wanted(shots, told):
    with pytest.raises(ValueError, match=told):
        parse_ranges("3, x", "lock_shots", shots=shots)


def test_a_list_names_a_million_numbers_at_most_in_all():
    assert MAX_NUMBERED == 1_000_000
    assert parse_ranges("1000000", "pin") == (999_999,)
    assert len(parse_ranges("1-999998, 5-6", "pin")) == 999_998
    for text in ("1000001", "1-1000001", "1-999999, 5-6", "00000001"):
        with pytest.raises(ValueError, match="pin must be numbers of the contact sheet"):
            parse_ranges(text, "pin")
