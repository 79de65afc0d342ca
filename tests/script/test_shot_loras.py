"""LoRAs of single shots: every way to write them, and none of them lost."""

from __future__ import annotations

import json

import pytest

from storymem.script.fields import ScriptError
from storymem.script.loras import Levels, LoraError, ShotLora, read_loras, written
from storymem.script.reader import load_story
from storymem.script.rows import read_script, write_script
from storymem.views.script import script_of_view, view_script

NOIR = ShotLora("film_noir", 0.8, 0.8)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("film_noir:0.8", [NOIR]),
        ("film_noir : 0.8", [NOIR]),
        ("film_noir：0.8", [NOIR]),
        ("<lora:film_noir:0.8>", [NOIR]),
        ("<lora:film_noir:0.8> <LoRA:rain>", [NOIR, ShotLora("rain")]),
        ("<lora:film_noir:0.8>, rain", [NOIR, ShotLora("rain")]),
        ("film_noir:0.8; rain", [NOIR, ShotLora("rain")]),
        ("film_noir:0.8:0.4", [ShotLora("film_noir", 0.8, 0.4)]),
        ("styles\\film_noir.safetensors:-1", [ShotLora("styles/film_noir.safetensors", -1, -1)]),
        ("name with blanks v2.1:.5", [ShotLora("name with blanks v2.1", 0.5, 0.5)]),
        ('[{"name": "film_noir", "strength": "0.8"}]', [NOIR]),
        ({"film_noir": 0.8, "rain": 1}, [NOIR, ShotLora("rain")]),
        ({"name": "film_noir", "weight": 0.8}, [NOIR]),
        ({"lora_name": "film_noir", "strength_model": 0.8}, [NOIR]),
        ({"name": "film_noir", "strength": 0.8, "expert": "High"}, [ShotLora("film_noir", 0.8, 0)]),
        ({"name": "film_noir", "strength_low": 0.4}, [ShotLora("film_noir", 1, 0.4)]),
        (["film_noir:0.8", {"name": "rain"}], [NOIR, ShotLora("rain")]),
        (
            [
                {"name": "a", "expert": "high", "strength": 0.7},
                {"name": "a", "expert": "low", "strength": 0.3},
            ],
            [ShotLora("a", 0.7, 0.3)],
        ),
        ("", []),
        ("none", []),
        ([], []),
        ("film_noir:0", [ShotLora("film_noir", 0, 0)]),
    ],
)
def test_every_way_to_write_loras_is_read(value, expected):
    assert read_loras(value) == tuple(expected)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("../secret", "from the loras folder on"),
        ("/etc/passwd", "from the loras folder on"),
        ({"name": "C:\\loras\\a.safetensors"}, "from the loras folder on"),
        ("a/../../b", "from the loras folder on"),
        ({"name": "a\0b"}, "from the loras folder on"),
        ("film_noir:strong", "after a colon"),
        ({"name": "a", "strength": "strong"}, "must be a number"),
        ({"name": "a", "strength": True}, "must be a number"),
        ({"name": "a", "strength": float("nan")}, "must be a number"),
        ({"name": "a", "strength": 101}, "-100 to 100"),
        ({"name": "a", "expert": "middle"}, "both, high, low"),
        ({"name": "a", "strenght": 0.4}, "but not 'strenght'"),
        ({"strength": "high"}, "names no LoRA"),
        ("a:0.5, A.safetensors", "twice"),
        (7, "must be such as"),
        ({"name": 7}, "must name LoRA files"),
        ({"name": "x" * 301}, "must name LoRA files"),
        ([f"a{i}" for i in range(31)], "at most 30"),
        ("[{", "begins like JSON"),
    ],
)
def test_what_is_no_list_of_loras_is_told(value, words):
    with pytest.raises(LoraError, match=words):
        read_loras(value)


def test_a_shot_adds_to_its_scene_and_wins():
    levels = Levels(["all:0.2", ["film_noir:0.8", "rain"], "Film_Noir.safetensors:0.3, fog"])
    assert read_loras(levels) == (
        ShotLora("all", 0.2, 0.2),
        ShotLora("Film_Noir.safetensors", 0.3, 0.3),
        ShotLora("rain"),
        ShotLora("fog"),
    )


@pytest.mark.parametrize(("scene", "shot"), [("styles/ink", "ink"), ("ink", "styles/ink.pt")])
def test_a_name_with_its_folder_and_without_is_one_name(scene, shot):
    assert read_loras(Levels([scene, {"name": shot, "strength": 0}])) == ()
    assert read_loras(Levels([[scene, "pink"], f"{shot}:0.5"])) == (
        ShotLora("pink"),
        ShotLora(shot, 0.5, 0.5),
    )


def test_strength_zero_removes_what_the_scene_has():
    assert read_loras(Levels(["film_noir:0.8, rain", {"name": "rain", "strength": 0}])) == (NOIR,)


SCRIPT = {
    "story_name": "Rain",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": ["one", {"prompt": "two", "loras": "rain:0.5"}, "three"],
            "cut": [True, True, True],
            "loras": ["film_noir:0.8"],
        },
        {
            "scene_num": 2,
            "video_prompts": ["four", {"prompt": "five", "loras": {"film_noir": 0}}],
            "cut": [True, True],
            "loras": [["film_noir:0.8:0.4"], None],
        },
        {"scene_num": 3, "video_prompts": ["six"], "cut": [True]},
    ],
}
RAIN = ShotLora("rain", 0.5, 0.5)
EXPECTED = [(NOIR,), (NOIR, RAIN), (NOIR,), (ShotLora("film_noir", 0.8, 0.4),), (), ()]


def test_scenes_and_shots_of_json_have_loras():
    assert [shot.loras for shot in load_story(SCRIPT).shots] == EXPECTED


@pytest.mark.parametrize("form", ["json", "plain"])
def test_loras_are_written_back_without_loss(form):
    text = write_script(read_script(json.dumps(SCRIPT)), form)
    assert [shot.loras for shot in load_story(text).shots] == EXPECTED
    assert write_script(read_script(text), form) == text


def test_plain_text_has_loras_as_a_tag():
    story = load_story('[loras: <lora:film_noir:0.8>]\none\n---\n[loras = ["rain:0.5"]]\ntwo')
    assert [shot.loras for shot in story.shots] == [(NOIR,), (RAIN,)]
    text = write_script(read_script("[loras: film_noir:0.8, rain:0.5]\none"), "plain")
    assert "[loras: film_noir:0.8, rain:0.5]\n" in text


@pytest.mark.parametrize("script", [
    "[loras: gone:0]\none",
    {"scenes": [{"video_prompts": ["one"], "cut": [True], "loras": "gone:0"}]},
])  # fmt: skip
def test_a_shot_that_has_only_what_is_taken_away_is_one_without_loras(script):
    assert load_story(script).shots[0].loras == ()


def test_a_name_that_no_line_can_hold_is_written_exactly():
    odd = (ShotLora("a, b]", 0.5, 0.5),)
    assert written(odd) == ""
    script = {"scenes": [{"video_prompts": ["one"], "cut": [True], "loras": [[odd[0].as_json()]]}]}
    text = write_script(read_script(json.dumps(script)), "plain")
    assert load_story(text).shots[0].loras == odd


@pytest.mark.parametrize("strength", [1 / 3, 0.1, -2, 99.999])
def test_a_strength_keeps_every_digit(strength):
    entries = (ShotLora("a", strength, strength), ShotLora("b", strength, 1))
    assert read_loras(written(entries)) == entries


def test_an_error_names_the_shot():
    with pytest.raises(ScriptError, match="scene 1, shot 1: loras gives 'a' the strength"):
        load_story({"scenes": [{"video_prompts": ["x"], "cut": [True], "loras": {"a": 1e9}}]})


def test_the_editor_has_loras_on_one_line():
    view = view_script(read_script(json.dumps(SCRIPT)))
    assert [shot["loras"] for shot in view["shots"]][:2] == [
        "film_noir:0.8",
        "film_noir:0.8, rain:0.5",
    ]
    view["shots"][0]["loras"] = "fog, film_noir:0"
    text = write_script(script_of_view(view), "json")
    assert load_story(text).shots[0].loras == (ShotLora("fog"),)
    view["shots"][0]["loras"] = "fog:thick"  # what was typed wrong stays, and is told
    with pytest.raises(ScriptError, match="after a colon"):
        load_story(write_script(script_of_view(view), "json"))


def test_a_script_without_loras_is_written_as_before():
    text = write_script(read_script("one\n---\ntwo"), "json")
    assert "loras" not in text
