"""Scripts written back from rows: nothing is lost, in either format."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.not_empty import not_empty
from helpers.shared_data import STBENCH, needs_stbench
from storymem.script.fields import ScriptError
from storymem.script.reader import load_story
from storymem.script.rows import FORMATS, Row, Script, check_written, read_script, write_script

DOCS = Path(__file__).resolve().parents[2] / "docs"
ODD_TEXTS = (
    "a cat",
    " leading and trailing \t",
    "two\n\nparagraphs",
    "above\n---\nbelow",
    "-----",
    "[continue]\nnot a tag",
    "[seed: 7]",
    "[dream]\na bird",
    '[prompt = "x"]\ntext',
    "[close-up] a face",
    '{"story_name": "not JSON"}',
    "{",
    "[1, 2]",
    '["a"]',
    "windows\r\nnewlines\r\n",
    "old\rnewlines",
    "quotes \" and \\ and '",
    "🐉 龙 \u202e right to left \u2028 line \u0085 separator",
    "\ufeffa mark before",
    "\u3000wide blanks\u3000",
    "\x00control\x1f",
    "```\nfenced\n```",
    "<think>",
    "</thinking> over",
    "<html>",
    "in {braces: of} a sentence",
    '{"scenes": []}',
    "x" * 20_000,
    "---\r\n---",
    "[scene]\n[lock]\n[character]",
    "line\n  [continue]\n",
)
FULL = {
    "story_name": "All of it",
    "story_overview": "Two\nlines.",
    "character": "Mira, sixty.",
    "mood": {"dark": [1, 2.5, None, True]},
    "length": 49,
    "scenes": [
        {
            "scene_num": 3,
            "video_prompts": ["a", {"prompt": "b", "seed": 5, "camera": "pan"}, "c"],
            "cut": [True, "False", True],
            "lora_strength": 0.8,
            "negative_prompt": ["rain", "", None],
            "reference_images": [["a, b.png", "c.png"], None, ["d.png", "e.png"]],
            "first_frame_prompt": ["1", "2", "3"],
            "lock": [False, True, None],
            "place": "harbour",
        },
        {"scene_num": 3, "video_prompts": ["d"], "cut": [True], "seed": [2**64 - 1]},
        {"scene_num": 9, "video_prompts": [], "cut": [], "idea": "later"},
        {"scene_num": 0, "video_prompts": ["e"], "cut": [True], "continuity": "last_five_frames"},
    ],
}


def told(text: str) -> tuple:
    """Everything that a story says, but not how its script was written."""
    story = load_story(text, default_name="")
    return story.name, story.overview, story.character, story.cast, story.shots


def assert_nothing_is_lost(text: str) -> None:
    script = read_script(text)
    canonical = write_script(script, "json")
    for form in FORMATS:
        written = write_script(script, form)
        assert told(written) == told(text)
        again = read_script(written)
        assert again.format == form
        assert write_script(again, "json") == canonical
        assert not set(written) & {"\r", "\0"}  # which a browser's text field changes
        check_written(script, written)
        for other in FORMATS:  # JSON -> plain -> JSON and the like
            assert write_script(read_script(write_script(again, other)), "json") == canonical


@pytest.mark.parametrize(
    "name", ["story_name", "story_overview", "character", "prompt", "negative"]
)
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_text_of_any_kind_comes_back_as_it_was(name, text):
    scene = {"video_prompts": ["a", "b"], "cut": [True, False]}
    data = {"scenes": [scene]}
    if name == "prompt":
        scene["video_prompts"] = [text, text]
    elif name == "negative":
        scene["negative_prompt"] = scene["first_frame_prompt"] = text
        scene["reference_images"] = [text.strip() or "x", "plain.png"]
    else:
        data[name] = text
    assert_nothing_is_lost(json.dumps(data))


def test_fields_of_the_story_a_scene_and_a_shot_come_back():
    assert_nothing_is_lost(json.dumps(FULL))
    plain = write_script(read_script(json.dumps(FULL)), "plain")
    back = json.loads(write_script(read_script(plain), "json"))
    assert back["mood"] == FULL["mood"]
    assert back["scenes"][0]["place"] == "harbour"
    assert back["scenes"][0]["video_prompts"][1] == {"prompt": "b", "camera": "pan"}
    assert back["scenes_without_shots"] == [FULL["scenes"][2]]
    assert [scene["scene_num"] for scene in back["scenes"]] == [3, 3, 0]
    unread = [w for w in load_story(plain).warnings if "fields that are ignored" in w]
    assert len(unread) == 3


def random_script(chance: random.Random) -> str:
    def text():
        return "\n".join(chance.choice(ODD_TEXTS[:-4]) for _ in range(chance.randint(1, 3)))

    def maybe(value):
        return value if chance.random() < 0.3 else None

    scenes = []
    for i in range(chance.randint(1, 4)):
        count = chance.randint(1, 4)
        scene = {
            "scene_num": chance.choice([i + 1, chance.randint(0, 20)]),
            "video_prompts": [
                {"prompt": text() or "a", "mood": text()} if maybe(True) else text() + "."
                for _ in range(count)
            ],
            "cut": [(i == 0 and n == 0) or chance.random() < 0.5 for n in range(count)],
        }
        values = {
            "seed": lambda: chance.choice([0, 7, 2**53 + 1, 2**64 - 1]),
            "length": lambda: 4 * chance.randint(0, 50) + 1,
            "lora_strength": lambda: chance.choice([0.0, 1, 0.1 + 0.2, -1e300]),
            "negative_prompt": lambda: chance.choice(["", text()]),
            "first_frame_prompt": text,
            "continuity": lambda: chance.choice(["last_frame", "last_five_frames"]),
            "lock": lambda: chance.choice([True, False]),
            "reference_images": lambda: [f"{text()}.png" for _ in range(chance.randint(1, 3))],
        }
        for key, value in values.items():
            if maybe(True):
                scene[key] = [maybe(value()) for _ in range(count)]
        if maybe(True):
            scene["weather"] = chance.choice([text(), None, [1, {"deep": [text()]}], float("inf")])
        scenes.append(scene)
    data = {"scenes": scenes, **({"studio": text()} if maybe(True) else {})}
    for key in ("story_name", "story_overview", "character"):
        if maybe(True):
            data[key] = text()
    return json.dumps(data)


@pytest.mark.parametrize("seed", range(60))
def test_random_scripts_survive_any_way_between_the_formats(seed):
    assert_nothing_is_lost(random_script(random.Random(seed)))


PLAIN = [
    "a cat\r\n---\r\n a dog \r\n-----\r\na bird",
    "[title: The Lighthouse]\n[character: Mira]\nsixty\n---\n[lock]\nup\n---\n[continue]\non",
    "[scene: Night]\n[cut: hard]\na\n---\n[scene]\nb\n---\n[scene: 2]\nc\n---\n[scene: 12]\nd",
    "[character]\n[seed: 5]\nMira\n---\n[dream]\nA\n---\n[mood = dark]\nB",
    "[cast: Mara, Pip]\n[title: t]\n---\n@Mara and Pip",
    "[title: t]\n---\n[negative_prompt: ]\na\n---\n[negative_prompt]\nb",
]


@pytest.mark.parametrize("text", PLAIN, ids=range(len(PLAIN)))
def test_plain_scripts_come_back(text):
    assert_nothing_is_lost(text)


@pytest.mark.parametrize("cast", [["Mara", "Pip"], "Mara, Pip", ["a, b"], [" x "], [], [""], None])
def test_the_cast_comes_back(cast):
    scene = {"video_prompts": ["@Mara sits"], "cut": [True]}
    data = {"cast": cast, "mood": "dark", "scenes": [scene]}
    assert_nothing_is_lost(json.dumps(data))
    plain = write_script(read_script(json.dumps(data)), "plain")
    assert ("[cast: Mara, Pip]" in plain) == (cast == ["Mara", "Pip"])


def test_a_plain_script_stays_readable():
    text = """[title: The Lighthouse]
[character]
Mira, sixty.
---
She climbs the stairs.

A second line.
---
[continue]
[seed: 7]
[reference_images: a.png, b.png]
She opens the door.
---
[scene]
[lock]
Morning.
"""
    assert write_script(read_script(text), "plain") == text
    assert " = " not in write_script(read_script(text), "plain")


def test_the_example_of_the_manual_is_read_as_it_says():
    page = (DOCS / "scripts.md").read_text(encoding="utf-8")
    example = page.split("```text\n")[1].split("```")[0]
    assert_nothing_is_lost(example)
    story = load_story(example)
    assert story.overview == "A keeper's day.\nFrom pier to lamp."
    assert story.shots[0].prompt == "A title card:\n---\n[lock]\n---"
    assert story.shots[1].references == ("mara, left.png",)


def test_json_is_written_as_in_st_bench():
    data = {
        "story_name": "Cat",
        "story_overview": "A cat jumps.",
        "scenes": [
            {
                "scene_num": 1,
                "video_prompts": ["a cat", "it jumps"],
                "cut": [True, False],
                "first_frame_prompt": ["first", "second"],
            },
            {
                "scene_num": 2,
                "video_prompts": ["it sleeps"],
                "cut": [True],
                "first_frame_prompt": ["third"],
            },
        ],
    }
    assert json.loads(write_script(read_script(json.dumps(data)), "json")) == data


@needs_stbench
def test_all_of_st_bench_survives():
    paths = not_empty(STBENCH.glob("*.json"))
    assert len(paths) == 30
    for path in paths:
        assert_nothing_is_lost(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(""), "the prompt is empty"),
        (Row("   "), "the prompt is empty"),
        (Row("a", fields={"length": 80}), r"length must be 4n\+1"),
        (Row("a", fields={"seed": "abc"}), "needs a number|must be a whole number"),
        (Row("a", fields={"continuity": "always"}), "continuity must be one of"),
        (Row("a \ud800"), "not valid Unicode"),
    ],
)
def test_rows_that_are_no_story_are_written_as_they_are_and_told(row, words, form):
    script = Script((row, Row("b")))
    text = write_script(script, form)
    with pytest.raises(ScriptError, match=words):
        check_written(script, text)


@pytest.mark.parametrize("form", FORMATS)
def test_a_first_row_that_continues_from_a_clip_is_written_and_read_back(form):
    script = Script((Row("a", cut=False), Row("b")))
    text = write_script(script, form)
    check_written(script, text)
    assert [row.cut for row in read_script(text).rows] == [False, True]


def test_a_row_that_another_format_would_change_is_told():
    script = read_script("a\n---\nb")
    with pytest.raises(ScriptError, match="without changing them"):
        check_written(replace(script, name="other"), "a\n---\nb")
    with pytest.raises(ScriptError, match="format must be one of"):
        write_script(script, "yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prompt = x]\n", "must hold JSON"),
        ('[prompt = "x"]\nmore text', "both"),
        ("[prompt = 5]", "must be text"),
        ("[seed = 1.5]\na", "whole number"),
        ("[more = []]\na", "must hold an object"),
        ('[more = {"seed": 5}]\na', "but holds seed, which is read"),
        ("[scene: 1234567]\na", "must be a number from 0 to 999999"),
    ],
)
def test_broken_exact_tags_are_told(text, words):
    with pytest.raises(ScriptError, match=words):
        load_story(text)
