"""Scripts as JSON: where each value comes from, to the last value that is taken."""

from __future__ import annotations

import re

import pytest

from storymem.files.json_text import DEEPEST
from storymem.script import reader
from storymem.script.cast import MAX_NAMES
from storymem.script.reader import check_file, check_length, load_story


def scene(*prompts, **fields) -> dict:
    return {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}


def tale(*scenes, **fields) -> dict:
    return {"story_name": "Kite", "scenes": list(scenes), **fields}


def shots(*scenes, **fields):
    return load_story(tale(*scenes, **fields), quiet=True).shots


def told(*scenes, **fields) -> str:
    with pytest.raises(ValueError) as caught:
        load_story(tale(*scenes, **fields))
    return str(caught.value)


def test_a_value_is_the_shots_own_else_the_scenes_else_the_storys():
    own = {"prompt": "a", "seed": 1, "length": None}
    first, second, third = shots(
        scene(own, {"prompt": "b"}, seed=[5, None], length=9), scene("c"), seed=7, length=13
    )
    assert [(s.seed, s.length) for s in (first, second, third)] == [(1, 9), (7, 9), (7, 13)]
    assert [s.seed for s in shots(scene(own, "b", seed=5))] == [1, 5]


def test_a_value_of_zero_or_nothing_is_a_value():
    (shot,) = shots(scene({"prompt": "a", "seed": 0, "lock": False}, seed=5, lock=True), seed=7)
    assert (shot.seed, shot.lock) == (0, False)
    assert [s.seed for s in shots(scene("a", seed=0), seed=7)] == [0]


def test_a_list_has_a_value_for_every_prompt():
    assert told(scene("a", "b", length=[9])) == (
        "scene 1 has 2 video_prompts but 1 length values: give one for each prompt (null for none)"
    )
    assert "but 3 length values" in told(scene("a", "b", length=[9, 9, 9]))
    pictures = shots(scene("a", "b", reference_images=[None, ["x.png"]]))
    assert [shot.references for shot in pictures] == [(), ("x.png",)]
    both = shots(scene("a", "b", reference_images=["x.png", "y.png"]))
    assert [shot.references for shot in both] == [("x.png", "y.png")] * 2


def test_scenes_are_numbered_by_their_place_or_as_they_say():
    assert [s.label for s in shots(scene("a"), scene("b", "c"), scene("d", scene_num="7"))] == [
        "01_01", "02_01", "02_02", "07_01",
    ]  # fmt: skip
    assert [s.scene for s in shots(scene("a", scene_num=0), scene("b", scene_num=999_999))] == [
        0, 999_999,
    ]  # fmt: skip
    for number in (-1, 1_000_000, 1.5, None, True):
        assert told(scene("a"), scene("b", scene_num=number)).startswith(
            "scene 2: scene_num must be a whole number from 0 to 999999, but it is "
        )
    assert told(scene("a", scene_num=None)).endswith("but it is missing")
    assert told(scene("a"), "b").startswith(
        "scene 2 must be an object with video_prompts and cut, but it is 'b'"
    )


def test_cuts_stand_at_the_scene_or_at_all_its_shots():
    a, b = {"prompt": "a", "cut": True}, {"prompt": "b", "cut": False}
    at_shots = load_story({"scenes": [{"video_prompts": [a, b]}]})
    assert [shot.cut for shot in at_shots.shots] == [True, False]
    at_scene = {"video_prompts": [a, b], "cut": [True, True]}
    assert [shot.cut for shot in load_story({"scenes": [at_scene]}).shots] == [True, True]
    for prompts in ([a, {"prompt": "b"}], [a, "b"]):
        with pytest.raises(ValueError, match="scene 1: cut must be a list"):
            load_story({"scenes": [{"video_prompts": prompts}]})


def test_a_continued_shot_says_where_its_cut_is_wrong():
    assert told(scene("a"), scene("b", "c", cut=[True, "?"])).startswith(
        "scene 2, shot 2: cut must"
    )


def test_a_first_shot_may_continue_from_a_clip_which_the_script_does_not_hold():
    """Whether there is one is known where the story is made: see test_opening_clip.py."""
    story = load_story(tale(scene("a", cut=[False], scene_num=3), scene("b")))
    assert [shot.cut for shot in story.shots] == [False, True]
    assert story.warnings == ()


def test_a_scene_without_prompts_is_told_and_left_out():
    story = load_story(tale(scene("a"), scene(), scene("b")))
    assert [shot.label for shot in story.shots] == ["01_01", "03_01"]
    assert story.warnings == ("scene 2 has no video_prompts, so no shot is made of it",)
    assert told(scene()) == "the story 'Kite' has no shots: write at least one prompt"


def test_fields_that_nothing_reads_are_told_with_their_place():
    named = {"prompt": "b", "cut": True, "id": "row-7", "camera": "pan", "id2": 1}
    story = load_story(tale(scene("a", named, mood="x"), weather="rain"))
    assert story.warnings == (
        "the story has fields that are ignored: weather",
        "scene 1 has fields that are ignored: mood",
        "scene 1, shot 2 has fields that are ignored: camera, id2",
    )
    assert [shot.row for shot in story.shots] == ["", "row-7"]


def test_a_name_and_an_overview_may_be_left_out():
    for empty in ({}, {"story_name": "", "story_overview": None}):
        story = load_story({"scenes": [scene("a")], **empty}, default_name="my file")
        assert (story.name, story.overview, story.character) == ("my file", "", "")
    assert load_story({"scenes": [scene("a")]}).name == "story"
    full = load_story(tale(scene("a"), story_overview="A girl.", character="  Red hair. "))
    assert (full.name, full.overview, full.character) == ("Kite", "A girl.", "Red hair.")
    assert load_story(tale(scene("a"), story_name=" Kite \n")).name == "Kite"


def test_the_characters_of_script_and_input_stand_under_each_other():
    def character(own, given):
        return load_story(tale(scene("a"), character=own), character=given).character

    assert character("Red hair.", " Blue eyes.\n") == "Red hair.\nBlue eyes."
    assert character("", "Blue eyes.") == "Blue eyes."
    assert character("Red hair.", "  ") == "Red hair."


def test_warnings_are_logged_unless_it_is_quiet(caplog):
    data = tale(scene("a", mood="x"))
    load_story(data, quiet=True)
    assert caplog.messages == []
    load_story(data)
    assert caplog.messages == ["story 'Kite': scene 1 has fields that are ignored: mood"]


def test_a_script_is_as_long_as_four_million_characters():
    check_length(4 * 2**20)
    check_file(16 * 2**20 + 3)
    for check, size in ((check_length, 4 * 2**20 + 1), (check_file, 16 * 2**20 + 4)):
        with pytest.raises(ValueError, match=r"^it is too long .* \(more than 4 million char"):
            check(size, "it")
    with pytest.raises(ValueError, match=r"^the script is too long"):
        check_file(2**40)


def test_text_and_character_count_together(monkeypatch):
    monkeypatch.setattr(reader, "MAX_SCRIPT", 10)
    assert load_story("a cat", character="black").character == "black"
    with pytest.raises(ValueError, match="too long"):
        load_story("a cat", character="black.")


def test_half_a_character_is_told_with_what_is_before_it():
    before = "".join(chr(97 + i) for i in range(26))
    for data in (tale(scene(before + "\ud83d")), f"{before}\ud83d"):
        told = f"not valid Unicode, after '{before[6:]}'; type it again"
        with pytest.raises(ValueError, match=re.escape(told)):
            load_story(data)
    for more in ({"character": "\ud83d"}, {"default_name": "\ud83d"}):
        for source in ("a cat", tale(scene("a"))):
            with pytest.raises(ValueError, match="not valid Unicode"):
                load_story(source, **more)
    with pytest.raises(ValueError, match="not valid Unicode"):
        load_story('{"scenes": [{"video_prompts": ["a \\ud83d"], "cut": [true]}]}')


def test_an_object_may_be_as_deep_as_a_text():
    def nested(depth):
        value: object = 1
        for _ in range(depth):
            value = [value]
        return value

    story = load_story(tale(scene("a"), more=nested(DEEPEST)), quiet=True)
    assert len(story.shots) == 1
    assert told(scene("a"), more=nested(DEEPEST + 1)) == (
        "the script is nested too deeply to be a story"
    )


def test_more_names_than_the_memory_tells_apart_are_told():
    names = [f"Name{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(MAX_NAMES + 1)]
    prompts = [f"{name} walks." for name in names]
    assert load_story(tale(scene(*prompts[:-1]), cast=names[:-1])).warnings == ()
    (warning,) = load_story(tale(scene(*prompts), cast=names)).warnings
    assert warning == (
        f"the story has {MAX_NAMES + 1} names ({', '.join(names[:3])} and {MAX_NAMES - 2} more); "
        f"the memory tells the first {MAX_NAMES} apart"
    )


def test_handles_of_nobody_are_told():
    story = load_story(tale(scene("@mara runs.", "@mara waits for @Tom."), cast=["Tom"]))
    (warning,) = story.warnings
    assert warning.startswith("several prompts have @mara, which is nobody of the cast")
    assert load_story(tale(scene("@mara runs.", "@mara waits."), cast=["Mara"])).warnings == ()


def test_what_a_story_is_given_stays_with_it():
    data = tale(scene("a"), cast=["Mara"])
    story = load_story(data, quiet=True)
    assert story.cast == ("Mara",)
    assert load_story(story.source, quiet=True).shots == story.shots
    plain = load_story("[cast: Mara]\n---\nMara runs.", quiet=True)
    assert plain.cast == ("Mara",)
    assert plain.source == "[cast: Mara]\n---\nMara runs."
