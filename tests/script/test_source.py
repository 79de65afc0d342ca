"""What language models and people write is read as the script that it is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from storymem.script.file import decode, read_script_text
from storymem.script.reader import load_story
from storymem.script.rows import check_written, read_script, write_script

DATA = {
    "story_name": "Kite",
    "story_overview": "A girl flies a kite.",
    "scenes": [
        {"scene_num": 1, "video_prompts": ["She runs.", "Her hands."], "cut": [True, False]}
    ],
}  # fmt: skip
JSON = json.dumps(DATA, indent=2)
PLAIN = "She runs.\n---\n[continue]\nHer hands."


def shots(text: str) -> list[tuple[str, bool]]:
    return [(shot.prompt, shot.cut) for shot in load_story(text, quiet=True).shots]


TWO = [("She runs.", True), ("Her hands.", False)]


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{JSON}\n```",
        f"```\n{JSON}\n```",
        f"~~~json\n{JSON}\n~~~\n",
        f"Here is your script:\n\n```json\n{JSON}\n```\n\nLet me know if you want changes!",
        f"Sure! Here is the script:\n{JSON}",
        f"Here it is: {JSON} Enjoy.",
        f"<think>A script with --- lines? {{no}}\n\n{{\"scenes\": []}}</think>\n{JSON}",
        f"<thinking>\nhm\n</thinking>\n<reflection>ok</reflection>```json\n{JSON}\n```",
        f"the user wants a script\n</think>\n\n{JSON}",
        f"{JSON}\n\nLet me know if you want changes!",
        f"{JSON}\n```json\n{JSON}\n```",  # the same one twice
        JSON.replace("true", "True").replace("false", "False"),
        JSON.replace('"', "'"),
        re.sub(r'"([^"]*)"', r"“\1”", JSON),
        JSON.replace('"story_name"', "“story_name”").replace('"Kite"', "“Kite”"),
        JSON.replace("\n  ]", ",\n  ]").replace("\n}", ",\n}"),
        JSON.replace("{\n", "{ // the story\n", 1).replace("[\n", "[ /* scenes */\n", 1),
        "Here it is:\n" + JSON.replace("{", "{\n// the story\n/* of */ # a kite\n", 1),
        JSON.replace('"scene_num": 1', '"scene_num": "1"'),
        JSON.replace('"scene_num": 1', '"scene_num": 1.0'),
        JSON.replace("true", '"yes"').replace("false", '"No"'),
        JSON.replace("true", "1").replace("false", "0"),
        JSON.replace("true", '"1"').replace("false", "0.0"),
    ],
)  # fmt: skip
def test_a_json_script_is_read_whatever_is_around_it(text):
    story = load_story(text, quiet=True)
    assert story.name == "Kite"
    assert shots(text) == TWO
    for form in ("json", "plain"):
        script = read_script(text)
        check_written(script, write_script(script, form))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```\n{PLAIN}\n```",
        f"Here is your story:\n\n```text\n{PLAIN}\n```\nEnjoy!",
        f"<think>a shot, --- another\n---\none</think>\n{PLAIN}",
        *(PLAIN.replace("---", sign) for sign in ("***", "___", "===", "—", "———", "⸻", "* * *")),
        PLAIN.replace("[continue]\nHer", "[continue] Her"),
        PLAIN.replace("[continue]", "**[continue]**"),
        PLAIN.replace("[continue]", "`[continue]`"),
        PLAIN.replace("[continue]", "[Shot 2]\n[continue]"),
        PLAIN.replace("[continue]", "[Shot 2]\n\n[continue]\n"),
        PLAIN.replace("[continue]", "[Shot 2] [continue]").replace("] [c", "]\n[c"),
        "1. She runs.\n2. [continue] Her hands.",
        "1) She runs.\n\n2) [continue]\nHer hands.",
        "**Shot 1:** She runs.\n\n**Shot 2:** [continue] Her hands.",
        "Shot 1: She runs.\nShot 2: [continue] Her hands.",
        "### Shot 1\nShe runs.\n\n### Shot 2\n[continue]\nHer hands.",
        "[Shot 1]\nShe runs.\n[Shot 2]\n[continue]\nHer hands.",
        "镜头1：She runs.\n镜头2：[continue] Her hands.",
    ],
)  # fmt: skip
def test_a_plain_script_is_read_however_its_shots_are_divided(text):
    assert shots(text) == TWO
    for form in ("json", "plain"):
        script = read_script(text)
        check_written(script, write_script(script, form))


def test_blank_lines_may_be_between_tags():
    story = load_story(
        "[title: Pier]\n\n[character]\nMara has red hair.\n---\na\n---\n[continue]\n\nb"
    )
    assert (story.name, story.character) == ("Pier", "Mara has red hair.")
    assert [(shot.prompt, shot.cut) for shot in story.shots] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    "data",
    [
        ["She runs.", "Her hands."],
        [{"prompt": "She runs."}, {"prompt": "Her hands."}],
        [{"description": "She runs.", "duration": 5}, {"description": "Her hands."}],
        {"title": "Kite", "shots": ["She runs.", "Her hands."]},
        {"shots": [{"visual_prompt": "She runs."}, {"video_prompt": "Her hands."}]},
        {"video_prompts": ["She runs.", "Her hands."]},
        {"prompts": ["She runs.", "Her hands."]},
        {"scenes": [{"shots": ["She runs."]}, {"shots": [{"prompt": "Her hands."}]}]},
        {"scenes": [{"prompt": "She runs."}, {"scene_num": 2, "description": "Her hands."}]},
    ],
)  # fmt: skip
def test_the_lists_of_other_tools_are_shots_that_begin_with_a_cut(data):
    assert shots(json.dumps(data)) == [("She runs.", True), ("Her hands.", True)]
    assert [shot.prompt for shot in load_story({"shots": ["a"]}, quiet=True).shots] == ["a"]


def test_cuts_of_other_tools_are_kept():
    data = {
        "shots": [{"prompt": "a"}, {"prompt": "b", "cut": False}, {"prompt": "c", "cut": "yes"}]
    }
    assert [cut for _, cut in shots(json.dumps(data))] == [True, False, True]
    assert [cut for _, cut in shots('{"shots": ["a", "b"], "cut": [true, false]}')] == [True, False]


def test_numbers_may_be_written_as_text_and_folders_as_on_windows():
    data = {**DATA, "seed": "42", "length": 81.0, "lora_strength": "0.5"}
    data["reference_images"] = ["cast\\mara.png"]
    shot = load_story(data).shots[0]
    assert (shot.seed, shot.length, shot.lora_strength) == (42, 81, 0.5)
    assert shot.references == ("cast/mara.png",)
    one = JSON.replace('"scene_num": 1', '"reference_images": ["cast\\mara.png"]')  # one backslash
    assert load_story(one).shots[0].references == ("cast/mara.png",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{JSON}\nor\n{JSON.replace('Kite', 'Dog')}", "holds 2 scripts ('Kite', 'Dog'); keep"),
        (f"First:\n{JSON}\nor\n{JSON.replace('Kite', 'Dog')}", "holds 2 scripts"),
        (f"Here:\n```json\n{JSON[:-20]}\n```", "the JSON script that begins at line 3"),
        (f"Sure!\n{JSON[:60]}", "at line 2 is not valid JSON, or is cut off"),
        (f"{JSON}\nor\n{JSON[:-9]}", "the JSON script that begins at line 19"),
        ("Here:\n" + JSON.replace("She", 'A " She'), "the JSON script that begins at line 2"),
        (f"{JSON}]]", "begins like JSON but is not valid JSON: Extra data at line"),
        (f"{JSON}, {JSON}", "begins like JSON but is not valid JSON: Extra data"),
        (JSON.replace("}\n  ]", "}\n  ]},\n  ["), "not valid JSON"),  # closed before its last scene
        (f"Here:\n{JSON}}}", "the JSON script that begins at line 2"),
        ("<think>\nShe runs.\n---\nHer hands.", "begins with <think>, which never ends"),
        ("<think>hm</think>", "the script is empty"),
        ('[{"description": "a", "caption": "b"}]', "a shot has description, caption: rename"),
        ("<!DOCTYPE html>\n<html><body>404</body></html>", "it is a web page"),
        ('{"story_name": "x", "scenes": 1,}', "'scenes' must be a list"),
    ],
)  # fmt: skip
def test_nothing_is_guessed(text, words):
    with pytest.raises(ValueError) as error:
        load_story(text)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"Sure! Here it is:\n{JSON}", "the text around the JSON script is left out: Sure! Here"),
        (f"<think>hm</think>{JSON}", "the thoughts before the script are left out"),
        ("a\n---\n```\nb\n```\n---\n```\nc\n```", "the lines of ``` are filmed as part of"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_said(text, words):
    assert any(words in warning for warning in load_story(text, quiet=True).warnings)


@pytest.mark.parametrize(
    "text",
    [
        "A girl runs.\n***\nClose-up.\n---\nb",  # a line of --- divides: *** is text, as ever
        "She counts: 1. one, 2. two.",
        "At 1. she runs.\n3. Then more.",
        "A list {a: b} of [things: c] in braces.",
        "She says *[laughs]* and leaves.",
        "A sign reads [Shot 2] in red.",
        '[more = {"shots": ["x"]}]\na\n---\nb',
        "one paragraph.\n\nanother paragraph.",
    ],
)
def test_what_was_read_before_is_read_as_before(text):
    expected = [part.strip() for part in text.split("\n---\n")]
    found = [prompt for prompt, _ in shots(text)]
    assert found == [part.removeprefix('[more = {"shots": ["x"]}]\n') for part in expected]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no mark", "mark"])
def test_files_are_read_in_every_encoding_of_unicode(encoding, mark):
    chinese = "夜色中的山谷。" * 300
    texts = (JSON, PLAIN, "A café by the sea.", "a \U0001f3c3 b c", "Act one " * 40 + chinese, "ab")
    for text in texts:
        assert decode((mark + text).encode(encoding)) == text
    if mark or encoding == "utf-8":  # else nothing tells them apart
        assert decode((mark + chinese).encode(encoding)) == chinese
        assert decode((mark + "a").encode(encoding)) == "a"


@pytest.mark.parametrize("text", ["a\0", "\0\0\0\0\0\0\0\0", "a\0b\0\0\0c", "a\0\0\0", "abcdefg\0"])
def test_a_text_with_zero_characters_is_not_taken_for_another_encoding(text):
    assert decode(text.encode()) == text


def test_chinese_without_a_mark_is_read_where_its_ascii_tells_the_encoding():
    text = "scene one, night: the valley, the old road 山"
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        assert decode(text.encode(encoding)) == text


def test_a_text_without_a_mark_is_known_where_more_than_half_is_ascii():
    assert decode("a cat 日日日日".encode("utf-16-le")) == "a cat 日日日日"
    with pytest.raises(ValueError, match="neither UTF-8 nor UTF-16"):
        decode("a cat日日日日日".encode("utf-16-le"))


@pytest.mark.parametrize("text", ["null", " true\n", "false", "12", "-1.5e+3", "\ufeffnull"])
def test_a_json_file_of_one_value_is_no_story_and_a_text_file_of_it_is(tmp_path, text):
    (tmp_path / "a.JSON").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a JSON script begins with \{; save plain text as \.txt"):
        read_script_text(tmp_path / "a.JSON")
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read_script_text(tmp_path / "a.txt") == text.removeprefix("\ufeff")


def test_a_script_file_is_read_whatever_its_name_ends_with(tmp_path):
    for name, text in (("a.json", JSON), ("b.json", "null and void"), ("c.txt", PLAIN)):
        (tmp_path / name).write_text(text, encoding="utf-16")
        assert read_script_text(tmp_path / name) == text


def test_a_file_that_is_too_long_is_refused_by_its_name_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "long.txt"
    path.write_bytes(b"")
    os.truncate(path, 2**31)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it is read"))
    with pytest.raises(ValueError, match=r"^my\.txt is too long to be a script"):
        read_script_text(path, "my.txt")
    with pytest.raises(ValueError, match=r"^the script is too long"):
        read_script_text(path)


def test_other_encodings_are_refused():
    with pytest.raises(ValueError, match="neither UTF-8 nor UTF-16 text; save it as UTF-8"):
        decode("Ein Café".encode("latin-1"))
