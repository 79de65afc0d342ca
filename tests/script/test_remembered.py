"""What a script says is worth remembering: read as people and models write it, and told as read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storymem.script.fields import ScriptError
from storymem.script.reader import load_story
from storymem.script.remembered import (
    MOST_ENTRIES,
    Remembered,
    RememberError,
    read_remembered,
    written,
)
from storymem.script.rows import check_written, read_script, write_script
from storymem.views.script import script_of_view, view_script

MARA = Remembered("who", "Mara", 3)
PIER = Remembered("place", "the pier", 1)


def script(*remember, **fields) -> dict:
    prompts = [{"prompt": "Mara on the pier.", "cut": True, "remember": r} for r in remember]
    return {"story_name": "Sea", "cast": ["Mara"], "scenes": [{"video_prompts": prompts}], **fields}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"who": "Mara", "weight": 3}, {"place": "the pier", "weight": 1}], (MARA, PIER)),
        ({"who": "Mara", "weight": "3"}, (MARA,)),
        ({"Mara": 3}, (MARA,)),
        ([{"character": "@Mara", "weight": 3.0}], (MARA,)),
        ("Mara 3, place: the pier 1", (MARA, PIER)),
        ("Mara: 3；place：the pier 1", (MARA, PIER)),
        ("R2 D2 0", (Remembered("who", "R2 D2", 0),)),
        (["Mara"], (Remembered("who", "Mara", 2),)),
        ("Mara", (Remembered("who", "Mara", 2),)),
        (
            [{"who": "Mara", "weight": 1}, {"who": "mara", "weight": 3}],
            (MARA._replace(name="mara"),),
        ),
        ("", ()),
        ([], ()),
    ],
)
def test_forms_that_mean_the_same_are_read_as_one(value, expected):
    assert read_remembered(value) == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (7, "must be a list"),
        ([7], "write {"),
        ([{"weight": 3}], "names nobody"),
        ([{"who": "Mara", "place": "pier"}], "names several"),
        ([{"who": "Mara", "weight": 4}], "a weight is 0, 1, 2 or 3"),
        ([{"who": "Mara", "weight": True}], "a weight is 0, 1, 2 or 3"),
        ([{"who": "Mara", "weight": "much"}], "a weight is 0, 1, 2 or 3"),
        ([{"who": "x" * 200, "weight": 1}], "no name"),
        ([{"who": f"n{i}", "weight": 1} for i in range(MOST_ENTRIES + 1)], "at most"),
        ("[{", "must be a list"),
    ],
)
def test_what_cannot_be_read_is_told(value, told):
    with pytest.raises(RememberError, match=told.replace("{", r"\{")):
        read_remembered(value)
    with pytest.raises(ScriptError, match="scene 1, shot 1: remember"):
        load_story(script(value))


entries = st.lists(
    st.builds(
        Remembered,
        st.sampled_from(("who", "place")),
        st.text(min_size=1, max_size=12).map(str.strip).filter(lambda n: n and n[0] != "@"),
        st.integers(0, 3),
    ),
    max_size=4,
    unique_by=lambda entry: (entry.kind, entry.name.casefold()),
)


@given(entries)
def test_whatever_is_written_reads_back(found):
    assert read_remembered(written(found)) == tuple(found)


@given(
    st.one_of(st.text(max_size=60), st.recursive(st.text() | st.integers() | st.none(), st.lists))
)
def test_any_value_is_read_or_told(value):
    try:
        found = read_remembered(value)
    except RememberError:
        return
    assert all(0 <= entry.weight <= 3 for entry in found)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_script_keeps_it_in_both_forms_and_through_the_editor(form):
    several = [{"who": "Mara", "weight": 3}, {"place": "the pier", "weight": 1}]
    odd = [{"who": "Mara, the elder]", "weight": 0}]
    rows = read_script(json.dumps(script(several, None, odd)))
    assert [row.fields.get("remember") for row in rows.rows] == [several, None, odd]
    view = json.loads(json.dumps(view_script(rows)))
    assert view["shots"][0]["remember"] == "Mara 3, place: the pier 1"
    text = write_script(script_of_view(view), form)
    told = check_written(script_of_view(view), text)
    assert [shot.remember for shot in told.shots] == [
        shot.remember for shot in load_story(script(several, None, odd)).shots
    ]
    if form == "plain":
        assert "[remember: Mara 3, place: the pier 1]" in text


def test_one_value_of_a_scene_holds_for_all_its_shots_and_a_list_of_lists_for_one_each():
    scene = {"video_prompts": ["Mara.", "Mara again."], "cut": [True, True]}
    all_of = load_story(
        {"cast": ["Mara"], "scenes": [{**scene, "remember": [{"who": "Mara", "weight": 3}]}]}
    )
    assert [shot.remember for shot in all_of.shots] == [(MARA,), (MARA,)]
    one_each = [[{"who": "Mara", "weight": 3}], None]
    each = load_story({"cast": ["Mara"], "scenes": [{**scene, "remember": one_each}]})
    assert [shot.remember for shot in each.shots] == [(MARA,), ()]
    assert each.remembers
    assert not load_story({"scenes": [scene]}).remembers


def test_a_weight_typed_wrong_in_the_editor_is_kept_and_told():
    view = view_script(read_script(json.dumps(script([{"who": "Mara", "weight": 3}]))))
    view["shots"][0]["remember"] = "Mara 9"
    changed = script_of_view(view)
    assert "Mara 9" in write_script(changed, "json")
    with pytest.raises(ScriptError, match="weight '9'"):
        check_written(changed, write_script(changed, "json"))


def test_unknown_names_and_places_are_told_and_known_ones_are_not():
    known = load_story(script([{"who": "mara", "weight": 3}, {"place": "The Pier", "weight": 1}]))
    assert known.warnings == ()
    unknown = load_story(script([{"who": "Bob", "weight": 3}, {"place": "barn", "weight": 1}]))
    assert [("Bob" in line, "barn" in line) for line in unknown.warnings] == [
        (True, False),
        (False, True),
    ]
