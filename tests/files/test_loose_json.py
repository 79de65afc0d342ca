"""JSON as people and language models write it."""

from __future__ import annotations

import json
import random

import pytest

from storymem.files.loose_json import read_value, tidy_json

VALUE = {
    "a": ["it's", 'she said "no"', "back\\slash", "line\nbreak", "“quoted”", "//no"],
    "b": None,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ('{"a": 1, // one\n "b": /* two\n lines */ 2 # three\n}', {"a": 1, "b": 2}),
        ("{'a': True, 'b': False, 'c': None}", {"a": True, "b": False, "c": None}),
        ("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}),
        ("{“a”: “she said \"no\"”, ‘b’: „ja“, «c»: 1}", {"a": 'she said "no"', "b": "ja", "c": 1}),
        ("{story_name: \"x\", scenes: []}", {"story_name": "x", "scenes": []}),
        ('{"a": "two\nlines\tand a tab"}', {"a": "two\nlines\tand a tab"}),
        ('{"u": "http://x.y/#z", "v": "/* b */, ]"}', {"u": "http://x.y/#z", "v": "/* b */, ]"}),
        ('{"path": "cast\\mara.png", "x": "\\u00e9\\n"}', {"path": "cast\\mara.png", "x": "é\n"}),
        ('[-1.5e3, +2, {"a": {}}]', None),
        ("[1, 2, 3] and more", [1, 2, 3]),
    ],
)  # fmt: skip
def test_it_is_read_as_it_is_meant(text, value):
    tidy = tidy_json(text)
    if value is None:  # no JSON after all
        with pytest.raises(ValueError):
            json.loads(tidy)
    else:
        assert json.loads(tidy) == value


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', '{"a": "b', "{'a': 1]", "", "hello", "1", '"text"', "{“a”: “b}", "{/* never ends"],
)
def test_what_is_cut_off_or_no_json_is_left_alone(text):
    tidy = tidy_json(text)
    if tidy is not None:
        with pytest.raises(ValueError):
            json.loads(tidy)


@pytest.mark.parametrize("indent", [None, 2])
def test_json_proper_stays_what_it_is(indent):
    for ascii_only in (True, False):
        text = json.dumps(VALUE, indent=indent, ensure_ascii=ascii_only)
        assert json.loads(tidy_json(text)) == VALUE
        assert read_value(f"before {text} after", 7)[1] == 7 + len(text)


def test_lines_keep_their_numbers():
    text = '{\n// one\n"a": 1,\n/* two\nthree */\n"b": @}'
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(tidy_json(text) or text)
    assert error.value.lineno in (
        2,
        6,
    )  # of the comment, for a text that is no JSON for another reason


def test_random_bytes_never_end_in_another_error():
    signs = "{}[],:'\"“”‘’/*#\\ \n\tTrueab1"
    for seed in range(3000):
        rng = random.Random(seed)
        text = "{" + "".join(rng.choice(signs) for _ in range(rng.randrange(40)))
        tidy = tidy_json(text)
        assert tidy is None or isinstance(tidy, str)
