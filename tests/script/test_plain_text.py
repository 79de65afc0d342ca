"""The plain form of a script, rule by rule: what divides it, what is a tag, what a tag says."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest

from storymem.script.plain_text import (
    Block,
    Division,
    PlainScript,
    divide,
    is_tag_line,
    parse_plain,
    read_tag,
    split_tags,
)

THREE = ("a", "b", "c")


@pytest.mark.parametrize("line", ["---", "  ----- \t", "-" * 80])
def test_lines_of_three_hyphens_or_more_divide(line):
    assert divide(f"a\r\n{line}\r\nb\n{line}\nc") == Division(THREE, "---")


@pytest.mark.parametrize("line", ["--", "- --", "--- x", "\\---", "x ---"])
def test_other_lines_with_hyphens_do_not(line):
    assert divide(f"a\n{line}\nb") == Division((f"a\n{line}\nb",))


@pytest.mark.parametrize(
    "line", ["***", "____", "===", "~~~", "—", "———", "* * *", "- - -", "_ _ _"]
)
def test_lines_of_other_signs_divide_where_no_hyphens_do(line):
    assert divide(f"a\n {line} \nb\n{line}\nc") == Division(THREE, line)
    assert divide(f"a\n---\n{line}\nb").parts == ("a", f"{line}\nb")
    assert divide(f"{line}\na") == Division((f"{line}\na",))  # one part is no division


@pytest.mark.parametrize(
    "line", ["**", "__", "==", "~~", "* *", "-*-", "=-=", "***a", "a***", "* * x", "–a", "*** ==="]
)
def test_lines_of_fewer_or_mixed_signs_do_not(line):
    assert divide(f"a\n{line}\nb") == Division((f"a\n{line}\nb",))


@pytest.mark.parametrize("text", ["1. a\n2. b", "a\n***\nb", "Shot 1: a\nShot 2: b", "a"])
def test_a_line_of_hyphens_at_the_end_makes_one_shot_of_all_before_it(text):
    assert divide(f"{text}\n---") == divide(f"{text}\n---\n---\n") == Division((text,), "---")


def test_empty_blocks_are_counted_but_at_the_ends():
    assert divide("---\na\n---\n---\nb\n---\n \n---\nc\n---\n---") == Division(THREE, "---", (1, 2))
    assert divide("a\n---\n---\n---\nb").empty == (1, 1)
    assert divide("") == divide(" \n ") == Division(())
    assert divide("\n a \n") == Division(("a",))
    (warning,) = parse_plain("a\n***\n\n***\nb").warnings
    assert warning == (
        "there is an empty block after block 1, of which no shot is made: describe the shot "
        "there, or take one line of *** away"
    )


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("1. a\n2. b\n3. c", "1."),
        ("1) a\n2) b\n3) c", "1)"),
        ("## 1. a\n## 2. b\n## 3. c", "## 1."),
        ("Shot 1: a\nSHOT 2: b\nshot 3: c", "Shot 1:"),
        ("[Shot 1] - a\n[Shot 2] - b\n[Shot 3] - c", "[Shot 1] -"),
        ("### Clip #1\na\n### Clip #2\nb\n### Clip #3\nc", "### Clip #1"),
        ("镜头1：a\n镜头2：b\n镜头3：c", "镜头1："),
    ],
)
def test_headings_that_count_from_one_divide(text, sign):
    assert divide(text) == Division(THREE, sign)
    assert divide(f"[title: T]\n\n{text}") == Division(("[title: T]", *THREE), sign)
    assert divide(f"---\n{text}\n---").parts == THREE
    intro = f"An introduction.\n{text}"
    assert divide(intro) == Division((intro,))


@pytest.mark.parametrize(
    "text", ["1. a", "2. a\n3. b", "1. a\n3. b", "1. a\n1. b", "1. a\n2. \n3. c"]
)
def test_other_headings_do_not(text):
    assert divide(text) == Division((text,))


@pytest.mark.parametrize(
    "form",
    [
        "{}.a",
        "{}、a",
        "# {}. a",
        "**{}. a**",
        "shot{}:a",
        "Clip {} – a",
        "分镜 {}\na",
        "[shot #{}]\na",
    ],
)
def test_a_heading_is_a_number_with_its_signs(form):
    first, second = form.format(1), form.format(2)
    division = divide(f"{first}\n{second}")
    assert [part.strip("* ") for part in division.parts] == ["a", "a"]
    assert first.startswith(division.sign)


@pytest.mark.parametrize("form", ["{} a", "{}: a", "{}.", "x {}. a", "shot{}a", "scene {}: a"])
def test_a_number_without_them_is_none(form):
    text = f"{form.format(1)}\n{form.format(2)}"
    assert divide(text) == Division((text,))


def test_a_list_within_a_shot_is_its_text():
    text = "Shot 1: a\n1. x\n2. y\nShot 2: b"
    assert divide(text) == Division(("a\n1. x\n2. y", "b"), "Shot 1:")
    empty = "Shot 1:\nShot 2: b"
    assert divide(empty) == Division((empty,))  # a heading without a shot is none
    with pytest.raises(FrozenInstanceError):
        divide(text).sign = "x"


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        ("[lock]", ("lock", "", "")),
        ("[ Seed : 7 ]", ("seed", ":", "7")),
        ('[prompt = "a: b"]', ("prompt", "=", '"a: b"')),
        ("[title:]", ("title", ":", "")),
        ("[seed:7]", ("seed", ":", "7")),
        ("[more={}]", ("more", "=", "{}")),
        ("[a_b]", ("a_b", "", "")),
        ("lock]", None),
        ("[lock", None),
        ("[7]", None),
        ("[]", None),
        ("[close up]", None),
        ("[close-up]", None),
        ("[close Xup]", None),
    ],
)
def test_a_tag_is_a_name_and_what_it_says(line, tag):
    assert read_tag(line) == tag


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("[cut]", True),
        (" **[continue]** ", True),
        ("# [scene: 2]", True),
        ("[Shot 3]", True),
        ("[镜头 12]", True),
        ("[cast: Mara]", True),
        ("[character]", True),
        ("[seed: 7]", True),
        ("[cut] She runs.", True),
        ('[overview = "x"]', True),
        ("[overview: x]", False),
        ("[more = {}]", True),
        ("[more: x]", False),
        ('[character = "x"]', True),
        ('[title = "x"]', True),
        ("[title: x]", True),
        ("[lock]", True),
        ("[lock = true]", True),
        ("[cut = true]", False),
        ("[cast = 1]", False),
        ("[dream]", False),
        ("She runs.", False),
        ("**bold**", False),
        ("**a [cut]**", False),
        ("**X[cut]**", False),
        ("**[cut]X**", False),
        ("[Shot 1234]", True),
        ("[Shot #1234] a", True),
        ("[Shot 12345]", False),
        ("[Shot]", False),
        ("[Shot x]", False),
        ("[分镜7]", True),
        ("[cut]a", False),
        ("[cut]`* a", True),
        ("[seed: 7] a", False),
        (f"[scene: {'x' * 39}] a", True),
        (f"[scene: {'x' * 40}] a", False),
        (f"[scene: {'x' * 99}]", True),
        ("[LOCK: No] a", True),
        ("## *`_[cut]_`*", True),
    ],
)
def test_a_line_is_known_as_a_tag(line, is_one):
    assert is_tag_line(line) is is_one


def test_the_tags_of_a_block_stand_above_its_text():
    part = "[seed: 7]\n\n[Shot 2]\n**[cut]**\n\nShe runs.\n[lock]"
    assert split_tags(part) == ({"seed": "7", "cut": ""}, "She runs.\n[lock]", [])
    assert split_tags("[lock]\n[dream]\na") == ({"lock": ""}, "[dream]\na", ["[dream]"])
    assert split_tags("[lock]\n\n[dream]\na") == ({"lock": ""}, "[dream]\na", [])  # its text
    assert split_tags("[odd = 1]\na") == ({}, "[odd = 1]\na", [])
    assert split_tags("  [lock] \n \t\n\t[cut]\n  \n a ") == ({"lock": "", "cut": ""}, "a", [])
    assert split_tags("[cut]\n\n") == ({"cut": ""}, "", [])
    assert split_tags("[continue] **She runs.**\nFast.") == (
        {"continue": ""}, "She runs.\nFast.", [],
    )  # fmt: skip
    assert split_tags("[continue] **Xerxes**") == ({"continue": ""}, "Xerxes", [])
    assert split_tags("[lock]\n[continue] She runs.\n\n") == (
        {"lock": "", "continue": ""}, "She runs.", [],
    )  # fmt: skip
    assert split_tags("[Shot 1] She runs.") == ({}, "She runs.", [])
    assert split_tags("[close] up") == ({}, "[close] up", [])


def blocks(text: str) -> list[tuple]:
    return [(b.scene, b.prompt, b.cut, b.starts) for b in parse_plain(text).blocks]


def test_scenes_are_counted_or_say_their_number():
    text = "[scene]\na\n---\nb\n---\n[scene]\nc\n---\n[scene: 9]\nd\n---\n[scene: The End]\n"
    text += "[continue]\ne"
    assert blocks(text) == [
        (1, "a", True, True), (1, "b", True, False), (2, "c", True, True), (9, "d", True, True),
        (10, "e", False, True),
    ]  # fmt: skip
    assert parse_plain(text).blocks[-1].scene_more == {"name": "The End"}
    assert parse_plain(text).blocks[2].scene_more == {}
    assert blocks("[scene: 0]\na\n---\n[scene: 999999]\nb") == [
        (0, "a", True, True), (999_999, "b", True, True),
    ]  # fmt: skip
    told = "block 2: [scene: 1000000] must be a number from 0 to 999999"
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_plain("a\n---\n[scene: 1000000]\nb")


def test_the_fields_of_a_shot_are_what_its_tags_say():
    (block,) = parse_plain(
        "[seed: 7]\n[length: 49]\n[lora_strength: .5]\n[lock]\n[reference_images: a.png , b.png]\n"
        '[negative_prompt = "a\\nb"]\n[continuity: last_frame]\nA girl.'
    ).blocks
    assert block == Block(
        1,
        "A girl.",
        True,
        {
            "seed": 7, "length": 49, "lora_strength": 0.5, "lock": True,
            "reference_images": ["a.png", "b.png"], "negative_prompt": "a\nb",
            "continuity": "last_frame",
        },
        True,
    )  # fmt: skip
    assert parse_plain("[lock: no]\na").blocks[0].values == {"lock": "no"}
    assert Block(1, "a", True) == Block(1, "a", True, {}, False, {}, {})


def test_what_nothing_reads_is_kept_and_told():
    script = parse_plain(
        '[story_more = {"mood": "x"}]\n---\n[more = {"camera": "pan", "id": "r1"}]\n'
        '[scene_more = {"place": "sea"}]\n[cut: hard]\na\n---\n[continue: soft]\nb'
    )
    assert script.more == {"mood": "x"}
    first, second = script.blocks
    assert (first.more, first.scene_more) == (
        {"transition": "hard", "camera": "pan", "id": "r1"}, {"place": "sea"},
    )  # fmt: skip
    assert (second.more, second.cut) == ({"transition": "soft"}, False)
    assert script.warnings == [
        "the story has fields that are ignored: mood",
        "scene 1 has fields that are ignored: place",
        "scene 1, shot 1 has fields that are ignored: transition, camera",
        "scene 1, shot 2 has fields that are ignored: transition",
    ]


def test_the_story_is_what_its_first_block_says():
    script = parse_plain(
        '[title: Kite]\n[overview = "A girl."]\n[cast: Mara , Pip]\n[character]\nRed hair.\n---\na'
    )
    assert (script.title, script.overview, script.character) == ("Kite", "A girl.", "Red hair.")
    assert script.more == {"cast": ["Mara", "Pip"]}
    assert script.warnings == []
    assert [block.prompt for block in script.blocks] == ["a"]
    assert parse_plain("[character: Red hair.]\nBlue eyes.\n---\na").character == (
        "Red hair.\nBlue eyes."
    )
    later = parse_plain("[title: One]\n---\n[title: Two]\na\n---\nb")
    assert (later.title, len(later.blocks)) == ("Two", 2)
    assert parse_plain("") == PlainScript()
    assert parse_plain("[title: 20260101]\n---\na").title == "20260101"
    assert parse_plain('[title = "T"]\n[overview = ""]\n[title:]\na').title == ""


def test_who_is_in_the_story_is_no_field_that_is_ignored():
    target = '[story_more = {"reconstruct_target": "%s", "mood": "x"}]\n[cast: Pip]\n---\na'
    ignored = "the story has fields that are ignored: "
    assert parse_plain(target % "[Mara]: a girl").warnings == [f"{ignored}mood"]
    assert parse_plain(target % "a girl").warnings == [f"{ignored}reconstruct_target, mood"]


def test_tags_of_the_character_are_told_and_kept():
    script = parse_plain("[character]\n[seed: 7]\n[lock]\nRed hair.\n---\na")
    assert script.warnings[:2] == [
        f"block 1 is marked [character], so its [{tag}] is not used; put it at a shot"
        for tag in ("seed", "lock")
    ]
    assert script.more == {"character_tags": {"seed": 7, "lock": True}}


def test_a_block_that_makes_no_shot_is_told():
    script = parse_plain("a\n---\n[Shot 2]\n---\n[dream]\nb")
    assert script.warnings == [
        "block 2 holds only [Shot 2] and no prompt, so no shot is made of it: describe the shot, "
        "or remove the block",
        "block 3 begins with [dream], which is no tag and was kept as text",
    ]
    assert [block.prompt for block in script.blocks] == ["a", "[dream]\nb"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('a\n---\n[prompt = "x"]\ny', "block 2 has both [prompt = ...] and text below it"),
        ("a\n---\n[continue]\n[cut]\ny", "block 2 is marked both [continue] and [cut]; keep one"),
        ("[seed: x]\na", "block 1: [seed: ...] needs a number, but it is 'x'"),
        ("[lora_strength: x]\na", "block 1: [lora_strength: ...] needs a number"),
        ("[character]\nx\n---\n[character]\ny", "block 2 is marked [character], but only one"),
        ("a\n---\n[character]\ny", "block 2 is marked [character], but only one block before"),
        ("a\n---\n[title = 3]\nb", "block 2: [title = ...] must be text, but it is 3"),
        ("[prompt = x]", "block 1: [prompt = ...] must hold JSON after the equals sign"),
        ('[prompt = "\\ud83d"]', "block 1: [prompt = ...] holds a character that is not valid"),
        ("[more = 3]\na", "block 1: [more = ...] must hold an object { }, but it is 3"),
        ('[more = {"x": 1, "seed": 2}]\na', "but holds seed, which is read"),
        ('[more = {"prompt": 1}]\na', "but holds prompt, which is read"),
        ('[more = {"cut": 1}]\na', "but holds cut, which is read"),
        ('[scene_more = {"scene_num": 1}]\na', "but holds scene_num, which is read"),
        ('[scene_more = {"video_prompts": 1}]\na', "but holds video_prompts, which is read"),
        ('[scene_more = {"cut": 1}]\na', "but holds cut, which is read"),
        ('[story_more = {"story_name": 1}]\na', "but holds story_name, which is read"),
        ('[story_more = {"story_overview": 1}]\na', "but holds story_overview, which is read"),
        ('[story_more = {"scenes": 1}]\na', "but holds scenes, which is read"),
        ('[story_more = {"character": 1}]\na', "but holds character, which is read"),
    ],
)
def test_what_is_wrong_is_told_with_its_block(text, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_plain(text)


def test_a_prompt_may_be_given_exactly():
    assert blocks('[prompt = "a\\n---\\n[cut]"]') == [(1, "a\n---\n[cut]", True, True)]
