"""The fields of a script, one by one: what each takes, to the last value, and what it is told."""

from __future__ import annotations

import re

import pytest

from storymem.script.continuity import CONTINUED, MODE_OF_CONTINUITY
from storymem.script.fields import (
    SHOT_FIELDS,
    STORY_FIELDS,
    ScriptError,
    check_names,
    check_text,
    check_words,
    parse_cut,
    read_whole,
    row_id,
    without_id,
)


def kept(name: str, value):
    return SHOT_FIELDS[name].check(value, name)


def told(name: str, value) -> str:
    with pytest.raises(ScriptError) as caught:
        kept(name, value)
    return str(caught.value)


def test_every_field_goes_where_the_shot_keeps_it():
    assert {name: field.attribute for name, field in SHOT_FIELDS.items()} == {
        "seed": "seed",
        "length": "length",
        "negative_prompt": "negative",
        "continuity": "continuity",
        "lora_strength": "lora_strength",
        "loras": "loras",
        "reference_images": "references",
        "start_image": "start_image",
        "end_image": "end_image",
        "remember": "remember",
        "audio": "audio",
        "dialogue": "dialogue",
        "subtitle": "subtitle",
        "promote": "promote",
        "first_frame_prompt": "first_frame_prompt",
        "lock": "lock",
        "use_take": "take",
    }
    assert STORY_FIELDS == ("character",)


def test_a_start_image_is_one_file_name():
    assert kept("start_image", " cast\\mara.png ") == "cast/mara.png"
    assert told("start_image", ["a.png"]).startswith("start_image must be one image file name")


def test_what_is_wrong_is_told_with_its_place():
    for name, wrong in (("seed", "x"), ("length", "x"), ("negative_prompt", 3), ("lock", "x")):
        assert told(name, wrong).startswith(f"{name} must be ")


def test_the_ways_to_go_on_are_the_papers():
    assert MODE_OF_CONTINUITY == {"cut": "m2v", "last_frame": "mi2v", "last_five_frames": "mm2v"}
    assert CONTINUED == ("last_frame", "last_five_frames")  # the first is the default
    assert [kept("continuity", words) for words in CONTINUED] == list(CONTINUED)
    assert told("continuity", "cut") == (
        "continuity must be one of last_frame, last_five_frames, but it is 'cut'"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", 0, 0),
        ("seed", 2**64 - 1, 18446744073709551615),
        ("seed", "7", 7),
        ("seed", " +42 ", 42),
        ("seed", "99999999999999999999"[:19], 9999999999999999999),
        ("seed", 7.0, 7),
        ("seed", float(2**53 - 1), 2**53 - 1),
        ("length", 1, 1),
        ("length", 5, 5),
        ("length", 16_381, 16_381),
        ("lora_strength", "0.5", 0.5),
        ("lora_strength", 2, 2.0),
        ("lora_strength", -1.5, -1.5),
        ("lora_strength", 0, 0.0),
        ("negative_prompt", "", ""),
        ("negative_prompt", "x" * 20_000, "x" * 20_000),
        ("reference_images", "a.png", ("a.png",)),
        ("reference_images", ["a.png", " b"], ("a.png", " b")),
        ("reference_images", [], ()),
        ("reference_images", ["x"] * 100, ("x",) * 100),
        ("reference_images", r"pictures\mara.png", ("pictures/mara.png",)),
        # JSON took \a .. \r for one sign
        ("reference_images", "a\aa\bb\tt\nn\vv\ff\rr", ("a/aa/bb/tt/nn/vv/ff/rr",)),
        ("lock", True, True),
        ("lock", "off", False),
    ],
)
def test_a_field_takes(name, value, expected):
    read = kept(name, value)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", -1, "seed must be between 0 and 18446744073709551615, but it is -1"),
        ("seed", 2**64, "seed must be between 0 and 18446744073709551615, but it is 1844"),
        ("seed", True, "seed must be a whole number, but it is True"),
        ("seed", "7.0", "seed must be a whole number"),
        ("seed", "1" * 21, "seed must be a whole number"),
        ("seed", 0.5, "seed must be a whole number"),
        ("seed", float(2**53), "seed must be a whole number"),  # its last digit is lost
        ("seed", -float(2**53), "seed must be a whole number"),
        ("length", 0, "length must be 4n+1 frames (such as 81), but it is 0; use 1 or 5"),
        ("length", -3, "use 1 or 5"),
        ("length", 2, "use 1 or 5"),
        ("length", 4, "use 1 or 5"),
        ("length", 6, "use 5 or 9"),
        ("length", 80, "use 77 or 81"),
        ("length", 16_382, "length must be at most 16381 frames (81 is usual), but it is 16382"),
        ("lora_strength", float("inf"), "lora_strength must be a number (1.0 is the trained"),
        ("lora_strength", True, "but it is True"),
        ("lora_strength", 10**400, "must be a number"),
        ("lora_strength", [1], "must be a number"),
        ("negative_prompt", "x" * 20_001, "has 20001 characters, but at most 20000 are allowed"),
        ("first_frame_prompt", "x" * 20_001, "has 20001 characters, but at most 20000"),
        ("reference_images", "  ", "must be image file names of the input folder, but it is '  '"),
        ("reference_images", ["a", ""], "must be image file names"),
        ("reference_images", ["a", 3], "must be image file names"),
        ("reference_images", {"a": 1}, "must be image file names"),
        ("reference_images", ["x"] * 101, "holds 101 pictures, but a shot takes 100 at most"),
        ("lock", "perhaps", "lock must be true or false, but it is 'perhaps'"),
    ],
)
def test_a_field_refuses(name, value, words):
    assert words in told(name, value)


@pytest.mark.parametrize("word", ["true", "Yes", " y ", "ON", "1", 1, 1.0, True])
def test_words_for_yes(word):
    assert parse_cut(word, "shot 1") is True


@pytest.mark.parametrize("word", ["false", "No", " n ", "OFF", "0", 0, 0.0, False])
def test_words_for_no(word):
    assert parse_cut(word, "shot 1") is False


@pytest.mark.parametrize("word", ["", "tr", "2", 2, None, [True]])
def test_other_words_are_no_answer(word):
    with pytest.raises(ScriptError, match=r"^shot 1: cut must be true or false, but it is "):
        parse_cut(word, "shot 1")


def test_what_is_no_whole_number_is_left_as_it_is():
    for value in ("a", "", "1e3", "4.0", 1.5, float("inf"), None, [1], "+ 1"):
        assert read_whole(value) is value
    assert [read_whole(value) for value in ("-3", 4.0, "007", -5.0)] == [-3, 4, 7, -5]


def test_names_are_a_list_or_a_text_with_commas():
    assert check_names(" Mara ,, Old Tom,", "cast") == ("Mara", "Old Tom")
    assert check_names(["Mara ", " "], "cast") == ("Mara",)
    assert check_names(None, "cast") == check_names("", "cast") == ()
    assert check_names(["x" * 100], "cast") == ("x" * 100,)
    for value in (3, ["Mara", 3], {"Mara": 1}):
        with pytest.raises(ScriptError, match=r"^cast must be a list of names, but it is "):
            check_names(value, "cast")
    with pytest.raises(ScriptError, match="longer than the 100 characters of a name"):
        check_names(["Mara", "x" * 101], "cast")


def test_a_text_is_a_text():
    assert check_text("", "title") == ""
    assert check_words("a word", "negative") == "a word"
    with pytest.raises(ScriptError, match=r"^negative must be text"):
        check_words(3, "negative")
    with pytest.raises(ScriptError, match=re.escape("title must be text, but it is 3; put it in")):
        check_text(3, "title")


@pytest.mark.parametrize("name", ["a", "7", "A-9", "x" * 40])
def test_the_id_of_a_row_is_known(name):
    fields = {"id": name, "camera": "pan"}
    assert row_id(fields) == name
    assert without_id(fields) == {"camera": "pan"}


@pytest.mark.parametrize("other", ["", "-a", "a b", "01_02", "x" * 41, "é", 7, None, ["a"]])
def test_another_id_is_a_field_of_somebody_else(other):
    fields = {"id": other, "camera": "pan"}
    assert row_id(fields) == ""
    assert without_id(fields) == fields
    assert row_id({}) == ""
