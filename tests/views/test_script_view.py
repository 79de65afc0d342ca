"""What the page's editor gets of a script, and what becomes of what it sends back."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from storymem.script.fields import ScriptError
from storymem.script.rows import check_written, read_script, write_script
from storymem.views.script import MAX_SHOTS, script_of_view, view_script

SCRIPT = {
    "story_name": "Tale",
    "mood": [float("nan"), 10**40],
    "scenes": [
        {
            "scene_num": 4,
            "video_prompts": ["a", {"prompt": "b", "camera": "pan"}],
            "cut": [True, False],
            "seed": [2**64 - 1, 7],
            "negative_prompt": ["", None],
            "lora_strength": [0.1, 1],
            "reference_images": [["a.png"], None],
            "lock": [None, True],
            "place": "harbour",
        }
    ],
}


def seen() -> dict:
    return view_script(read_script(json.dumps(SCRIPT)))


def test_a_view_is_plain_json_that_a_browser_does_not_change():
    view = seen()
    text = json.dumps(view, allow_nan=False)  # NaN is no JSON in a browser
    assert view["shots"][0]["seed"] == str(2**64 - 1)  # a browser would round the number
    assert view["shots"][1]["seed"] == 7
    assert json.loads(text) == view


def test_a_view_that_nobody_changed_is_the_same_script():
    script = read_script(json.dumps(SCRIPT))
    sent = json.loads(json.dumps(seen()))
    assert write_script(script_of_view(sent), "json") == write_script(script, "json")


@pytest.mark.parametrize(
    ("cast", "text"),
    [
        (None, ""), ("Mara,  Pip", "Mara,  Pip"), (["Mara", "Pip "], "Mara, Pip "), ([], ""),
        (["Mara, the keeper"], None), ([{"name": "Mara", "age": 9}], None),
    ],
)  # fmt: skip
def test_a_cast_is_names_with_commas_and_stays_as_it_was_written(cast, text):
    data = {**SCRIPT, **({} if cast is None else {"cast": cast})}
    script = read_script(json.dumps(data))
    view = json.loads(json.dumps(view_script(script)))
    assert view["cast"] == text
    assert script_of_view(view).more == script.more
    view["cast"] = " Ann , Bo,"
    assert script_of_view(view).more["cast"] == ["Ann", "Bo"]
    view["cast"] = ""
    more = script_of_view(view).more
    assert "cast" not in more or (text == "" and more["cast"] == cast)
    view["cast"] = None  # a page that shows none
    assert script_of_view(view).more == script.more


def test_numbers_that_were_typed_are_numbers():
    view = seen()
    view["shots"][1].update(seed=" 12 ", length="81", lora_strength="0.5", scene="4")
    script = script_of_view(view)
    assert script.rows[1].fields["seed"] == 12
    assert script.rows[1].fields["length"] == 81
    assert script.rows[1].fields["lora_strength"] == 0.5
    check_written(script, write_script(script, "plain"))


@pytest.mark.parametrize("form", ["json", "plain"])
@pytest.mark.parametrize("strength", [0, 1, "1"])
def test_a_strength_is_the_same_number_however_a_browser_writes_it(strength, form):
    script = read_script("[lora_strength: 1.0]\nshe walks")
    view = view_script(script)
    view["shots"][0]["lora_strength"] = strength
    script = script_of_view(json.loads(json.dumps(view)))
    assert check_written(script, write_script(script, form)).shots[0].lora_strength == float(
        strength
    )


def test_a_strength_beyond_all_numbers_is_told_in_the_readers_words():
    view = seen()
    view["shots"][0]["lora_strength"] = 10**400
    script = script_of_view(view)
    with pytest.raises(ScriptError, match="lora_strength"):
        check_written(script, write_script(script, "json"))


def test_what_was_cleared_is_not_set_but_an_empty_negative_prompt_stays():
    view = seen()
    view["shots"][0].update(seed="", lora_strength=None, reference_images=[], lock=False)
    assert dict(script_of_view(view).rows[0].fields) == {"negative_prompt": ""}


def test_fields_that_say_nothing_may_be_left_out():
    view = seen()
    for i, shot in enumerate(view["shots"]):
        view["shots"][i] = {
            name: value
            for name, value in shot.items()
            if name in ("cut", "negative_prompt") or not (value is False or value in (None, "", []))
        }
    assert len(view["shots"][1]) < len(seen()["shots"][1]) - 3
    assert script_of_view(view) == script_of_view(seen())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed", "seven", "seed must be a whole number, but it is 'seven'"),
        ("seed", "-1", "seed must be between 0"),
        ("length", 80, r"4n\+1"),
        ("lora_strength", "strong", "lora_strength must be a number"),
        ("seed", "9" * 5000, "seed must be a whole number"),
    ],
)
def test_what_was_typed_wrong_is_judged_by_the_scripts_own_reader(field, value, words):
    view = seen()
    view["shots"][0][field] = value
    script = script_of_view(view)
    text = write_script(script, "json")
    with pytest.raises(ScriptError, match=words):
        check_written(script, text)


def test_scenes_that_were_joined_keep_the_fields_of_both():
    view = seen()
    view["shots"][0]["scene_extra"].append('{"place": "pier", "time": "dawn"}')
    assert script_of_view(view).rows[0].scene_more == {"time": "dawn", "place": "harbour"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shots": None}, "must be a list"),
        ({"shots": [{}] * (MAX_SHOTS + 1)}, "must be a list of at most"),
        ({"shots": ["a"]}, "shot 1: the prompt must be text"),
        ({"shots": [{"prompt": "a", "cut": "yes"}]}, "cut must be true or false"),
        ({"shots": [{"prompt": "a", "cut": True, "scene": "x"}]}, "must be a whole number"),
        ({"name": 5}, "name must be text"),
        ({"extra": "[1]"}, "the story: extra must be the text of a JSON object"),
        ({"extra": 5}, "the story: extra must be"),
    ],
)
def test_what_is_no_view_is_refused(change, words):
    view = {**deepcopy(seen()), **change}
    with pytest.raises(ScriptError, match=words):
        script_of_view(view)


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("subtitle", "Hello \n", "Hello"), ("subtitle", " ", None), ("audio", "\n", None),
        ("start_image", "my\\new.png", "my/new.png"), ("end_image", "a.png ", "a.png"),
        ("reference_images", ["a\\b.png"], ["a/b.png"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["json", "plain"])
def test_blanks_that_are_typed_do_not_keep_a_script_from_being_written(form, name, typed, kept):
    view = view_script(read_script("she walks"))
    view["shots"][0][name] = typed
    script = script_of_view(view)
    assert script.rows[0].fields.get(name) == kept
    check_written(script, write_script(script, form))
