"""How rows are written, word for word, in either format."""

from __future__ import annotations

import json
import logging
from dataclasses import FrozenInstanceError

import pytest

from storymem.script.fields import ScriptError
from storymem.script.rows import FORMATS, Row, Script, check_written, read_script, write_script

EVERYTHING = Script(
    (
        Row(
            "A girl.", True, 1, True, {"seed": 7, "reference_images": ["a.png", "b.png"]},
            {"camera": "pan"}, {"place": "sea"},
        ),
        Row("She turns.", False, 1, False, {"lock": True, "seed": 7}),
        Row("Night.", True, 2, True, {"length": 49, "negative_prompt": ""}),
        Row("Dawn.", True, 2, False, {"length": 49}),
        Row("End.", True, 9, True, {"lock": "no"}),
    ),
    "Kite", "A girl flies.", "Red hair.", {"mood": "x", "cast": ["Mara"]},
)  # fmt: skip


def test_all_of_a_script_in_json():
    written = json.loads(write_script(EVERYTHING, "json"))
    assert list(written) == [
        "story_name", "story_overview", "character", "cast", "mood", "scenes",
    ]  # fmt: skip
    scenes = written.pop("scenes")
    assert list(written.values()) == ["Kite", "A girl flies.", "Red hair.", ["Mara"], "x"]
    assert [list(scene.items()) for scene in scenes] == [
        [
            ("scene_num", 1),
            ("video_prompts", [{"prompt": "A girl.", "camera": "pan"}, "She turns."]),
            ("cut", [True, False]),
            ("seed", 7),
            ("reference_images", [["a.png", "b.png"], None]),
            ("lock", [None, True]),
            ("place", "sea"),
        ],
        [
            ("scene_num", 2),
            ("video_prompts", ["Night.", "Dawn."]),
            ("cut", [True, True]),
            ("length", 49),
            ("negative_prompt", ["", None]),
        ],
        [("scene_num", 9), ("video_prompts", ["End."]), ("cut", [True]), ("lock", ["no"])],
    ]


def test_all_of_a_script_in_plain_text():
    assert write_script(EVERYTHING, "plain").splitlines() == [
        "[title: Kite]", '[overview = "A girl flies."]', "[cast: Mara]",
        '[story_more = {"mood": "x"}]', "[character]", "Red hair.", "---",
        "[seed: 7]", "[reference_images: a.png, b.png]", '[more = {"camera": "pan"}]',
        '[scene_more = {"place": "sea"}]', "A girl.", "---",
        "[continue]", "[lock]", "[seed: 7]", "She turns.", "---",
        "[scene]", "[length: 49]", "[negative_prompt: ]", "Night.", "---",
        "[length: 49]", "Dawn.", "---",
        "[scene: 9]", "[lock: no]", "End.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "written"),
    [
        (Row(""), "[cut]\n"),
        (Row("{x}"), "[cut]\n{x}\n"),
        (Row("[x] y"), "[cut]\n[x] y\n"),
        (Row("Xenia (x) {y}"), "Xenia (x) {y}\n"),
        (Row("A list {a: b}"), "A list {a: b}\n"),
        (Row("<think>hm"), '[prompt = "<think>hm"]\n'),
        (Row("```\na\n```"), '[prompt = "```\\na\\n```"]\n'),
        (Row("  "), '[prompt = "  "]\n'),
        (Row("\ufeffa"), '[prompt = "\ufeffa"]\n'),
        (Row("a\ufeff"), "a\ufeff\n"),
        (Row("", cut=False, fields={"seed": 7}), "[continue]\n[seed: 7]\n"),
        (Row("a", scene=2), "[scene: 2]\na\n"),
        (Row("a", scene=0, starts=True), "[scene: 0]\na\n"),
        (Row("a", scene=2, starts=True), "[scene: 2]\na\n"),
        (Row("a\n---\nb"), '[prompt = "a\\n---\\nb"]\n'),
        (Row(" a"), '[prompt = " a"]\n'),
        (Row("a\rb"), '[prompt = "a\\rb"]\n'),
        (Row("1. a\n2. b"), "1. a\n2. b\n---\n"),
        (Row("a", fields={"seed": None, "length": 9}), "[length: 9]\na\n"),
        (
            Row("a", fields={"reference_images": ["a, b.png"]}),
            '[reference_images = ["a, b.png"]]\na\n',
        ),
        (Row("a", fields={"reference_images": []}), "[reference_images = []]\na\n"),
        (Row("a", fields={"reference_images": [""]}), '[reference_images = [""]]\na\n'),
        (Row("a", fields={"seed": True}), "[seed = true]\na\n"),
        (Row("a", fields={"negative_prompt": " x"}), '[negative_prompt = " x"]\na\n'),
        (Row("a", fields={"lock": False}), "[lock = false]\na\n"),
        (Row("a", fields={"negative_prompt": "x\ty"}), '[negative_prompt = "x\\ty"]\na\n'),
    ],
)
def test_a_row_is_written_in_the_shortest_way_that_reads_back(row, written):
    assert write_script(Script((row,)), "plain") == written


def test_a_scene_that_begins_again_is_kept():
    rows = (Row("a", scene=3, starts=True), Row("b", scene=3, starts=True), Row("c", scene=3))
    script = Script(rows, "T")
    assert write_script(script, "plain").split("\n---\n") == [
        "[title: T]", "[scene: 3]\na", "[scene: 3]\nb", "c\n",
    ]  # fmt: skip
    for form in FORMATS:
        again = read_script(write_script(script, form)).rows
        assert [(row.scene, row.starts) for row in again] == [(3, True), (3, True), (3, False)]


def test_a_format_is_one_of_two_and_holds_what_texts_can_hold():
    assert FORMATS == ("json", "plain")
    with pytest.raises(ScriptError, match="the format must be one of json, plain, but it is 'xml'"):
        write_script(EVERYTHING, "xml")
    for form in FORMATS:
        with pytest.raises(ScriptError, match="the script holds values that no text can hold: "):
            write_script(Script((Row("a", more={"x": {1, 2}}),)), form)


def test_scenes_without_shots_are_kept_for_what_they_say():
    empty = {"scene_num": 2, "video_prompts": [], "cut": [], "place": "sea"}
    bare = {"scene_num": 3, "video_prompts": [], "cut": []}
    shot = {"scene_num": 1, "video_prompts": ["a"], "cut": [True]}
    script = read_script(json.dumps({"scenes": [shot, empty, bare]}))
    assert script.more == {"scenes_without_shots": [empty]}
    again = read_script(json.dumps({"scenes": [shot, empty], **script.more}))
    assert again.more == {"scenes_without_shots": [empty, empty]}
    assert (script.name, script.format, read_script("a").format) == ("", "json", "plain")


@pytest.mark.parametrize(
    ("script", "blocks"),
    [
        (Script(()), [""]),
        (Script((Row("a"), Row("{x}"), Row("[y] z"), Row("\ufeffb"))),
         ["[cut]", "{x}", "[y] z", '[prompt = "\ufeffb"]']),
        (Script((Row("```\na\n```"), Row("b"))), ['[prompt = "```\\na\\n```"]', "b"]),
        (Script((Row("Here is it:"), Row("a\n[lock]\nb"))), ["Here is it:", "a\n[lock]\nb"]),
        (Script((Row("a"), Row("b", scene=2), Row("c", scene=5), Row("d", scene=4))),
         ["a", "[scene]\nb", "[scene: 5]\nc", "[scene: 4]\nd"]),
        (Script((Row("a"), Row("b"), Row(""))), ["a", "b", "[cut]"]),
        (Script((Row("a"),), character=" Mira"), ['[character = " Mira"]', "a"]),
        (Script((Row("a"),), "T", character="```\nMira\n```"),
         ['[title: T]\n[character = "```\\nMira\\n```"]', "a"]),
    ],
)  # fmt: skip
def test_the_blocks_of_a_plain_script(script, blocks):
    first = "a" if blocks[0] == "[cut]" else blocks[0]
    assert write_script(script, "plain") == "\n---\n".join([first, *blocks[1:]]) + "\n"


def test_a_scene_is_as_many_rows_as_have_its_number():
    rows = (Row("a"), Row("b"), Row("c", scene=2), Row("d", scene=2, starts=True))
    data = json.loads(write_script(Script(rows), "json"))
    assert [(scene["scene_num"], scene["video_prompts"]) for scene in data["scenes"]] == [
        (1, ["a", "b"]), (2, ["c"]), (2, ["d"]),
    ]  # fmt: skip


def test_json_is_indented_and_keeps_every_letter():
    assert write_script(Script((Row("é 龙"),), "Ü"), "json").splitlines() == [
        "{",
        '  "story_name": "Ü",',
        '  "scenes": [',
        "    {",
        '      "scene_num": 1,',
        '      "video_prompts": [',
        '        "é 龙"',
        "      ],",
        '      "cut": [',
        "        true",
        "      ]",
        "    }",
        "  ]",
        "}",
    ]


@pytest.mark.parametrize(
    ("given", "name"),
    [(" Kite ", "Kite"), ("Cafe\u0301", "Caf\u00e9"), ("  ", "  "), ("", "")],
)
def test_a_name_is_the_storys_but_one_of_blanks_is_kept(given, name):
    data = {"story_name": given, "scenes": [{"video_prompts": ["a"], "cut": [True]}]}
    for text in (json.dumps(data), f"[title = {json.dumps(given)}]\n---\na"):
        script = read_script(text)
        assert script.name == name
        for form in FORMATS:
            check_written(script, write_script(script, form))


def test_a_row_has_what_its_shot_says_and_nothing_else():
    text = json.dumps(
        {
            "seed": 5,
            "scenes": [
                {
                    "video_prompts": [
                        {"prompt": "a", "cut": True, "lock": False, "negative_prompt": "", "x": 1},
                        {"prompt": "b", "cut": False, "reference_images": [], "seed": 0},
                        {"prompt": "c", "cut": True, "first_frame_prompt": "", "lock": True},
                    ],
                    "place": "sea",
                }
            ],
        }
    )
    assert read_script(text) == Script(
        (
            Row("a", True, 1, True, {"seed": 5, "negative_prompt": ""}, {"x": 1}, {"place": "sea"}),
            Row("b", False, 1, False, {"seed": 0}),
            Row("c", True, 1, False, {"seed": 5, "lock": True}),
        )
    )
    assert read_script("a") == Script((Row("a", starts=True),), format="plain")
    with pytest.raises(FrozenInstanceError):
        Row("a").prompt = "b"
    with pytest.raises(FrozenInstanceError):
        Script(()).name = "b"
    assert Row("a") == Row("a", True, 1, False, {}, {}, {})
    assert Script(()) == Script((), "", "", "", {}, "json")


def test_reading_for_the_page_logs_nothing(caplog):
    with caplog.at_level(logging.DEBUG):
        text = '[more = {"camera": "pan"}]\na\n---\nb'
        script = read_script(text)
        story = check_written(script, text)
    assert len(story.warnings) == 1
    assert caplog.records == []
