"""What a bank's list and a shot's record may say of a frame."""

from __future__ import annotations

from dataclasses import fields

import pytest

from storymem.memory.frame import MemoryFrame
from storymem.memory.frame_fields import (
    DROPPED_EDITS,
    FIELDS,
    KEPT_EDITS,
    check_field,
    check_frame,
    is_count,
)

NAN, INFINITE = float("nan"), float("inf")


def test_every_fact_of_a_frame_but_its_picture_is_kept():
    assert set(FIELDS) == {field.name for field in fields(MemoryFrame)} - {"picture"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, "text") for field in ("story", "scorer", "reason", "name", "prompt", "edited")],
        ("name", ""),
        *[(field, n) for field in ("shot", "frame") for n in (0, -1, 999_999, -999_999)],
        *[(field, n) for field in ("score", "similarity") for n in (None, 3, -1, 2.5)],
        ("pinned", True),
        ("pinned", False),
    ],
)
def test_what_a_frame_may_have(field, value):
    check_field("x", field, value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("story", 3, "wrong type"),
        ("name", None, "wrong type"),
        ("shot", 1.0, "wrong type"),
        ("shot", True, "wrong type"),
        ("frame", "1", "wrong type"),
        ("frame", None, "wrong type"),
        ("score", "3", "wrong type"),
        ("score", True, "wrong type"),
        ("similarity", False, "wrong type"),
        ("pinned", 1, "wrong type"),
        ("pinned", None, "wrong type"),
        ("shot", 1_000_000, "at most 999999"),
        ("shot", -1_000_000, "at most 999999"),
        ("frame", 1_000_000, "at most 999999"),
        ("score", NAN, "plain number"),
        ("score", INFINITE, "plain number"),
        ("similarity", -INFINITE, "plain number"),
        ("score", 10**400, "plain number"),
        ("reason", "\ud800", "valid Unicode"),
    ],
)
def test_what_no_frame_has_is_named(field, value, words):
    with pytest.raises(ValueError, match=f'bank.json: "{field}" .*{words}'):
        check_field("bank.json", field, value)
    with pytest.raises(ValueError, match=words):
        check_frame("bank.json", {"story": "Tale", field: value}, ("", "text"))


def test_a_record_may_hold_a_score_that_is_no_number():
    for field in ("score", "similarity"):
        check_frame("x", {field: NAN}, KEPT_EDITS, may_be_nan=True)
        check_field("x", field, INFINITE, may_be_nan=True)
    with pytest.raises(ValueError, match="plain number"):
        check_field("x", "score", 10**400, may_be_nan=True)  # no float can hold it
    with pytest.raises(ValueError, match="wrong type"):
        check_field("x", "score", "nan", may_be_nan=True)


def test_clicks_of_kept_and_of_dropped_frames():
    for edited in ("", "pin", "unpin", "keep"):
        check_frame("x", {"edited": edited}, KEPT_EDITS)
    for edited in ("", "drop"):
        check_frame("x", {"edited": edited}, DROPPED_EDITS)
    check_frame("x", {}, DROPPED_EDITS)
    for edited, edits in (("drop", KEPT_EDITS), ("pin", DROPPED_EDITS), ("keep", DROPPED_EDITS)):
        with pytest.raises(ValueError, match=r'^x: "edited" must be one of'):
            check_frame("x", {"edited": edited}, edits)


def test_names_that_no_frame_has_are_passed_over():
    check_frame("x", {"file": 3, "sha256": None, "later": []}, KEPT_EDITS)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(0, True), (1, True), (999_999, True), (1_000_000, False), (-1, False)]
    + [(value, False) for value in (True, False, 1.0, "1", None)],
)
def test_numbers_that_count(value, is_one):
    assert is_count(value) is is_one
