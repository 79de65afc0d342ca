"""Scripts with more than one reading: today's stays, and the other is said and offered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.script.fields import ScriptError
from storymem.script.offers import find_offers
from storymem.script.reader import load_story
from storymem.script.rows import Row, Script, check_written, read_script, write_script

PARAGRAPHS = "A girl runs.\n\nClose-up.\n\nA tree."


def prompts(text: str) -> list[str]:
    return [shot.prompt for shot in load_story(text, quiet=True).shots]


def told(text: str) -> str:
    return "\n".join(load_story(text, quiet=True).warnings)


def offered(text: str, kind: str = "shots") -> str:
    (offer,) = [offer for offer in find_offers(text) if offer.kind == kind]
    assert offer.shots == len(prompts(offer.script))
    return offer.script


@pytest.mark.parametrize(
    ("text", "now", "words", "other"),
    [
        (PARAGRAPHS, [PARAGRAPHS], "3 paragraphs", ["A girl runs.", "Close-up.", "A tree."]),
        ("[title: Pier]\n\na\n\nb", ["a\n\nb"], "2 paragraphs", ["a", "b"]),
        (
            "Here are your shots:\n\n1. a\n\n2. b",
            ["Here are your shots:\n\n1. a\n\n2. b"],
            "headings or numbers",
            ["a", "b"],
        ),
        (
            "Scene 1: Sea\n1. a\n2. b\nScene 2: Land\n1. c",
            ["Scene 1: Sea\n1. a\n2. b\nScene 2: Land\n1. c"],
            "headings or numbers",
            ["a", "b", "c"],
        ),
        ("Scene 1: a\nScene 2: b", ["Scene 1: a\nScene 2: b"], "headings", ["a", "b"]),
        ("2. a\n3. b", ["2. a\n3. b"], "headings", ["a", "b"]),
        *(
            (text, [text], "begin like those of a list", ["a b", "c"])
            for text in (
                "- a b\n- c",
                "Here they are:\n* a b\n* c",
                "[00:00-00:05] a b\n[00:05-00:10] c",
                "0-5s: a b\n5-10s: c",
                "Scene 1, Shot 1: a b\nScene 2, Shot 1: c",
                "**Einstellung 1:** a b\n**Einstellung 2:** c",
                "### Plan 1\na b\n\n### Plan 2\nc",
                "Shot one: a b\nShot two: c",
                "I. a b\nII. c",
                "镜头一：a b\n镜头二：c",
                "第1幕：a b\n第2幕：c",
            )
        ),
        ("[title: T]\n- a\n- b", ["- a\n- b"], "like those of a list", ["a", "b"]),
        ("1. a\n2. b", ["a", "b"], "headings that count into 2 shots", ["1. a\n2. b"]),
        ("---\n1. a\n2. b\n---", ["a", "b"], "2 shots", ["1. a\n2. b"]),  # framed
        ("a\n***\nb", ["a", "b"], "lines of *** into 2 shots", ["a\n***\nb"]),
        ("a\n—\nb", ["a", "b"], "lines of — into 2 shots", ["a\n—\nb"]),
        (
            "Here it is:\n---\na\n---\nb\n---\nLet me know if you want changes!",
            ["Here it is:", "a", "b", "Let me know if you want changes!"],
            "block 1 is only Here it is:",
            ["a", "b"],
        ),
        ("a\n[continue]\nb", ["a\n[continue]\nb"], "the line [continue] stands", ["a", "b"]),
        (
            "Sure!\n[title: K]\n---\na\n---\nb",
            ["Sure!\n[title: K]", "a", "b"],
            "the line [title: K] stands",
            ["a", "b"],
        ),
        (
            "One:\n```\na\n```\nTwo:\n```\nb\n```",
            ["One:\n```\na\n```\nTwo:\n```\nb\n```"],
            "lines of ``` are filmed",
            ["a", "b"],
        ),
        (
            "She reads:\n```\nHELLO\n```\nand smiles.",
            ["She reads:\n```\nHELLO\n```\nand smiles."],
            "lines of ``` are filmed",
            ["HELLO"],
        ),
        (
            'a\n---\nb\n```json\n{"shots": ["x"]}\n```\n',
            ["x"],
            "the text around the JSON script is left out",
            ["a", "b"],
        ),
    ],
)
def test_what_may_mean_something_else_is_said_and_offered(text, now, words, other):
    assert prompts(text) == now
    assert words in told(text)
    assert prompts(offered(text)) == other


@pytest.mark.parametrize(
    "text", [PARAGRAPHS, "[title: x]\na\n\nb", "2. a\n3. b", "a\n***\nb", "1. a\n2. b"]
)
def test_the_reading_of_today_may_be_made_certain(text):
    kept = offered(text, "kept")
    assert prompts(kept) == prompts(text)
    assert told(kept) == ""
    assert find_offers(kept) == []


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a\nb",
        "a\n---\nb\n\nstill b\n---\nc",
        "[character]\nMara is tall.\n\nPip is small.\n---\na",
        f"{PARAGRAPHS}\n---\n",
        "[title: x]\n\n[character]\nMara is tall.\n---\n[lock]\n\n[seed: 7]\nb\n---\nc",
        "1920 she came. 2. no list",
        "- one bullet",
        "A list on the wall:\n- milk\nand a girl",
        "Mara: hello\nPip: hello",
        "Room 7: a door\nFloor 2: a lift",
        "In 1920 a girl runs.\nIn 1930 she rests.",
        "She says: 1. this\nand 2. that",
        '{"shots": ["a\\n\\nb", "1. a\\n2. b"]}',
        '[prompt = "a\\n\\nb"]',
    ],
)
def test_what_has_one_reading_is_read_without_a_word(text):
    assert told(text) == ""
    assert find_offers(text) == []


def test_a_script_of_one_block_that_another_sign_would_divide_is_written_as_one():
    for prompt in (PARAGRAPHS, "a\n***\nb", "1. a\n2. b", "a\n[continue]\nb", "a\n\n[Shot 2]\n\nb"):
        script = Script((Row(prompt),), format="plain")
        text = write_script(script, "plain")
        check_written(script, text)
        assert prompts(text) == [prompt]


@pytest.mark.parametrize(
    "prompt", ["```\nx\n```", "a </think> b", 'x {"shots": ["a"]} y', "<think>"]
)
@pytest.mark.parametrize("form", ["json", "plain"])
def test_prompts_that_look_like_something_around_a_script_are_written_back(prompt, form):
    for rows in ((Row(prompt),), (Row("a"), Row(prompt))):
        script = Script(rows, format=form)
        text = write_script(script, form)
        check_written(script, text)
        assert prompts(text)[-1] == prompt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n---\n\n---\nb", "an empty block after block 1, of which no shot is made"),
        ("a\n---\n---\n---\nb\n---\n \n---\nc", "an empty block after block 1, 1, 2"),
        ("a\n***\n***\nb", "take one line of *** away"),
        ("a\n---\n[Shot 2]\n---\nb", "block 2 holds only [Shot 2] and no prompt"),
    ],
)
def test_a_block_that_vanishes_is_told(text, words):
    assert words in told(text)
    assert "".join(prompts(text)) == "abc"[: len(prompts(text))]


def test_lines_around_a_script_are_no_empty_blocks():
    assert told("---\na\n---\nb\n---\n") == ""
    assert prompts("---\n1. a\n2. b\n---") == ["a", "b"]  # framed, as models write it


def test_a_scene_without_prompts_is_told():
    text = '{"scenes": [{"video_prompts": ["a"], "cut": [true]}, {"video_prompts": [], "cut": []}]}'
    assert "scene 2 has no video_prompts" in told(text)


def test_the_offers_of_a_file_say_what_its_story_is_called():
    for offer in find_offers(PARAGRAPHS, 'Sea [1]: "a"'):
        assert load_story(offer.script).name == 'Sea [1]: "a"'
    (offer, _) = find_offers(f"[title: Own]\n{PARAGRAPHS}", "Sea")
    assert load_story(offer.script).name == "Own"


PIECES = st.sampled_from(
    [
        *("---", "***", "—", "```", "```json", "1. a", "2. b", "Shot 1: a", "[Shot 2]", "Scene 3"),
        *("[continue]", "", " ", "[scene: x] b", "**[cut]**", "[title: T]", "[character]", "a"),
        *("Mara is tall.", "@Mara", "a @ b", '{"shots": ["a"]}', '{"story_name": 1', '["a", "b"]'),
        *("{'shots': ['a',],}", "<think>", "</think>", "Here:", "Let me know!", '[prompt = "a"]'),
        *("[seed: 7]", "“", "\\", "\ufeff", "[more = {}]", "[", "{", "镜头1：a", "镜头2：b"),
        '{"scenes": [{"prompt": "a"}, "b"]}',
        '{"reconstruct_target": "[A] b", "shots": [{"prompt": "[A]"}]}',
        '{"characters": [{"name": "A", "image": "a.png"}], "prompts": ["A b"]}',
    ]
)
BETWEEN = st.sampled_from(["\n", "\n\n", " ", "\r\n"])


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=9),
    st.sampled_from(["\n", "\n\n", " ", "\r\n"]),
)
def test_no_text_does_more_harm_than_an_error(pieces, between):
    text = between.join(pieces)
    offers = find_offers(text)
    for offer in offers:
        assert len(load_story(offer.script, quiet=True).shots) == offer.shots
    try:
        script = read_script(text)
    except ScriptError:
        return
    story = load_story(text, quiet=True)
    for form in ("json", "plain"):
        written = load_story(write_script(script, form), quiet=True)
        assert [shot.prompt for shot in written.shots] == [shot.prompt for shot in story.shots]
        assert (written.cast, written.character) == (story.cast, story.character)
        check_written(script, write_script(script, form))
