"""Scripts: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from helpers.shared_data import STBENCH, needs_stbench
from storymem.files.messages import short
from storymem.script.cast import MAX_NAMES
from storymem.script.reader import load_story
from storymem.script.story import Shot, Story, summarise


def script(**changes) -> dict:
    scene = {"scene_num": 1, "video_prompts": ["a cat", "it jumps"], "cut": [True, False]}
    data = {"story_name": "Cat", "story_overview": "A cat jumps.", "scenes": [scene]}
    data.update({k: v for k, v in changes.items() if k not in scene and k not in EXTRA})
    scene.update({k: v for k, v in changes.items() if k in scene or k in EXTRA})
    return data


EXTRA = (
    "seed",
    "length",
    "negative_prompt",
    "continuity",
    "lora_strength",
    "reference_images",
    "start_image",
    "lock",
    "first_frame_prompt",
)


# --- JSON ------------------------------------------------------------------------------------


def test_shots_are_numbered_over_the_story_and_within_their_scene():
    data = {
        "story_name": "Two scenes",
        "scenes": [
            {"scene_num": 1, "video_prompts": ["a", "b"], "cut": [True, False]},
            {"scene_num": 2, "video_prompts": ["c"], "cut": [True]},
        ],
    }
    shots = load_story(json.dumps(data)).shots
    assert [(s.index, s.scene, s.number, s.label, s.cut) for s in shots] == [
        (0, 1, 1, "01_01", True),
        (1, 1, 2, "01_02", False),
        (2, 2, 1, "02_01", True),
    ]


def test_text_and_object_read_the_same():
    data = script()
    assert load_story(data).shots == load_story(json.dumps(data)).shots
    assert load_story("\ufeff  " + json.dumps(data)).shots == load_story(data).shots


def test_words_for_true_and_false_are_read_as_what_they_say():
    shots = load_story(script(cut=["True", "False"])).shots
    assert [s.cut for s in shots] == [True, False]  # not "False" is a bug, not a parse


def test_scenes_of_the_same_number_share_one_count_so_that_labels_stay_unique():
    data = script()
    data["scenes"].append(dict(data["scenes"][0], cut=[True, True]))
    labels = [s.label for s in load_story(data).shots]
    assert labels == ["01_01", "01_02", "01_03", "01_04"]


def test_fields_may_stand_at_the_story_the_scene_or_the_shot():
    data = script(seed=[7, None], length=49, lora_strength=0.8)
    data["scenes"][0]["lora_strength"] = 0.5
    data["negative_prompt"] = "blurry"
    first, second = load_story(data).shots
    assert (first.seed, first.length, first.negative, first.lora_strength) == (7, 49, "blurry", 0.5)
    assert (second.seed, second.length) == (None, 49)


def test_a_shot_may_be_an_object():
    prompts = [
        {"prompt": "a cat", "cut": True, "seed": 3, "reference_images": ["cat.png"]},
        {"prompt": "it jumps", "cut": False, "continuity": "last_five_frames", "lock": True},
    ]
    data = {"story_name": "x", "scenes": [{"video_prompts": prompts}]}
    first, second = load_story(data).shots
    assert (first.prompt, first.seed, first.references) == ("a cat", 3, ("cat.png",))
    assert (second.cut, second.continuity, second.lock) == (False, "last_five_frames", True)


def test_reference_images_of_a_scene_go_to_all_its_shots_and_nested_lists_to_one_each():
    assert [s.references for s in load_story(script(reference_images=["a.png"])).shots] == [
        ("a.png",),
        ("a.png",),
    ]
    nested = load_story(script(reference_images=[["a.png", "b.png"], None])).shots
    assert [s.references for s in nested] == [("a.png", "b.png"), ()]


def test_the_character_is_put_before_every_prompt():
    story = load_story(script(character="A grey cat."), character="Yellow eyes.")
    assert story.prompt_of(story.shots[1]) == "A grey cat.\nYellow eyes.\nit jumps"
    assert story.shots[1].prompt == "it jumps"


def test_fields_that_nothing_reads_are_named():
    data = script(mood="dark")
    data["scenes"][0]["camera"] = ["pan", "tilt"]
    assert load_story(data).warnings == (
        "the story has fields that are ignored: mood",
        "scene 1 has fields that are ignored: camera",
    )
    assert "warning: scene 1" in summarise(load_story(data))


def test_a_title_is_one_however_its_accents_are_encoded():
    """Or its shots would be regenerated where another system or a file's name gives it."""
    composed, apart = "Caf\u00e9", "Cafe\u0301"
    for title in (composed, apart):
        assert (
            load_story(
                {"story_name": title, "scenes": [{"video_prompts": ["a"], "cut": [True]}]}
            ).name
            == composed
        )
        assert load_story(f"[title: {title}]\n---\na").name == composed
        assert load_story("a", default_name=title).name == composed


def test_prompts_are_kept_as_they_are():
    prompts = ["🐉 龙\n two lines ", "x" * 10_000]
    assert [s.prompt for s in load_story(script(video_prompts=prompts)).shots] == prompts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenes": []}, "has no scenes"),
        ({"scenes": None}, "'scenes' must be a list"),
        ({"scenes": ["x"]}, "scene 1 must be an object"),
        ({"video_prompts": [], "cut": []}, "has no shots"),
        ({"video_prompts": "a cat"}, "scene 1: video_prompts must be a list"),
        ({"cut": [True]}, "scene 1 has 2 video_prompts but 1 cut values"),
        ({"cut": True}, "scene 1: cut must be a list"),
        ({"cut": [True, "maybe"]}, "scene 1, shot 2: cut must be true or false, but it is 'maybe'"),
        ({"cut": [True, 2]}, "scene 1, shot 2: cut must be true or false, but it is 2"),
        ({"video_prompts": ["a", 5]}, "scene 1, shot 2: the prompt must be text, but it is 5"),
        ({"video_prompts": ["a", " "]}, "scene 1, shot 2: the prompt is empty"),
        ({"video_prompts": ["a", None]}, "scene 1, shot 2: the prompt must be text"),
        ({"video_prompts": ["a", "\ud800"]}, "not valid Unicode"),
        ({"scene_num": "one"}, "scene_num must be a whole number"),
        ({"scene_num": True}, "scene_num must be a whole number"),
        ({"story_name": 5}, "story_name must be text"),
        ({"seed": [1, 2, 3]}, "scene 1 has 2 video_prompts but 3 seed values"),
        ({"seed": -1}, "seed must be between 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"length": 80}, r"length must be 4n\+1 frames .* use 77 or 81"),
        ({"length": True}, "length must be a whole number"),
        ({"continuity": "always"}, "continuity must be one of last_frame, last_five_frames"),
        ({"lora_strength": "strong"}, "lora_strength must be a number"),
        ({"lora_strength": float("nan")}, "lora_strength must be a number"),
        ({"negative_prompt": 3}, "negative_prompt must be text"),
        ({"reference_images": 3}, "must be image file names"),
        ({"lock": "perhaps"}, "lock must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_its_scene_and_the_fix(changes, words):
    with pytest.raises(ValueError, match=words):
        load_story(script(**changes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the script is empty"),
        ("  \n", "the script is empty"),
        ('{"story_name": ', "not valid JSON: .* at line 1, column"),
        ('["a", 2]', "must be an object"),
        ('["a", "b"', "not valid JSON"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_broken_text_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        load_story(text)


def test_something_else_than_text_is_told():
    with pytest.raises(ValueError, match="must be text or a JSON object, but it is int"):
        load_story(5)


# --- plain text ------------------------------------------------------------------------------

PLAIN = """[title: The Lighthouse]
[character]
Mira, sixty, in a yellow raincoat.
---
She climbs the stairs.
A second line.
---
[continue]
She opens the door.
---
[scene]
[seed: 7]
[length: 49]
[negative_prompt: rain]
[reference_images: a.png, b.png]
[lock]
Morning.
"""


def test_plain_text_is_read_block_by_block():
    story = load_story(PLAIN)
    assert (story.name, story.character) == (
        "The Lighthouse",
        "Mira, sixty, in a yellow raincoat.",
    )
    assert [(s.label, s.cut, s.prompt) for s in story.shots] == [
        ("01_01", True, "She climbs the stairs.\nA second line."),
        ("01_02", False, "She opens the door."),
        ("02_01", True, "Morning."),
    ]
    last = story.shots[2]
    assert (last.seed, last.length, last.negative, last.lock) == (7, 49, "rain", True)
    assert last.references == ("a.png", "b.png")


def test_plain_text_without_tags_is_shots_only():
    story = load_story("a cat\r\n---\r\n a dog \r\n-----\r\na bird", default_name="pets")
    assert story.name == "pets"
    assert [s.prompt for s in story.shots] == ["a cat", "a dog", "a bird"]
    assert all(s.cut for s in story.shots)


def test_a_bracket_that_is_no_tag_stays_in_the_prompt_with_a_warning():
    story = load_story("[close-up]\na cat\n---\n[wide shot] a dog\n---\n[dream]\na bird")
    assert [s.prompt for s in story.shots] == [
        "[close-up]\na cat",
        "[wide shot] a dog",
        "[dream]\na bird",
    ]
    assert story.warnings == ("block 3 begins with [dream], which is no tag and was kept as text",)


def test_plain_text_may_begin_from_a_clip():
    story = load_story("[continue]\na cat\n---\na dog")
    assert [shot.cut for shot in story.shots] == [False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n---\n[character]\nMira", "only one block before the first shot"),
        ("a\n---\n[continue]\n[cut]\nb", "both"),
        ("a\n---\n[continue]\n", "scene 1, shot 2: the prompt is empty"),
        ("[seed: seven]\na", "needs a number"),
        ("[seed: 7]\n[length: 8]\na", r"length must be 4n\+1"),
        ("[character]\nonly a character", "has no shots"),
    ],
)
def test_broken_plain_text_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        load_story(text)


# --- ST-Bench --------------------------------------------------------------------------------


@needs_stbench
def test_all_of_st_bench_is_read():
    stories: list[Story] = [
        load_story(path.read_text(encoding="utf-8")) for path in sorted(STBENCH.glob("*.json"))
    ]
    shots = [shot for story in stories for shot in story.shots]
    cuts = sum(shot.cut for shot in shots)
    assert (len(stories), len(shots), cuts, len(shots) - cuts) == (30, 300, 176, 124)
    assert all(7 <= len(story.shots) <= 12 for story in stories)
    assert all(story.warnings == () for story in stories)
    assert all(shot.first_frame_prompt for shot in shots)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lora_strength", 10**400, "must be a number"),
        ("scene_num", 10**399, "scene_num must be"),
        ("negative_prompt", "bad \ud83d", "not valid Unicode"),
        ("reference_images", ["a\ud800.png"], "not valid Unicode"),
    ],
)
def test_values_that_no_file_or_number_can_hold_are_refused(field, value, words):
    scene = {"video_prompts": ["a"], "cut": [True], field: value}
    with pytest.raises(ValueError, match=words):
        load_story(json.dumps({"scenes": [scene]}))


def test_a_tag_of_a_shot_under_character_is_told():
    story = load_story("[character]\n[seed: 5]\nMira\n---\nA")
    assert any("[seed]" in warning for warning in story.warnings)


def test_a_field_that_is_given_twice_is_named_and_the_last_one_counts():
    script = """{"story_name": "Tale", "scenes": [
        {"scene_num": 3, "video_prompts": ["lost"], "video_prompts": ["kept"], "cut": [true]}],
        "story_name": "Other"}"""
    story = load_story(script)
    assert (story.name, story.shots[0].prompt) == ("Other", "kept")
    assert story.warnings == (
        "scene 3 gives 'video_prompts' more than once in the same object: only the last one counts",
        "the script gives 'story_name' more than once in the same object: only the last one counts",
    )


# --- the story as a value ----------------------------------------------------------------------


def test_a_story_is_told_as_a_list():
    data = {
        "story_name": "Kite",
        "story_overview": "A girl flies a kite.",
        "cast": ["Mara"],
        "mood": "light",
        "scenes": [
            {"scene_num": 1, "video_prompts": ["Mara runs.", "A kite."], "cut": [True, False]},
            {"scene_num": 4, "video_prompts": ["The sky."], "cut": [True]},
        ],
    }
    assert summarise(load_story(data, quiet=True)) == (
        "Kite: 3 shots in 2 scenes\n"
        "warning: the story has fields that are ignored: mood\n"
        "A girl flies a kite.\n"
        "1. [01_01, with Mara] Mara runs.\n"
        "2. [01_02, continues] A kite.\n"
        "3. [04_01] The sky."
    )
    assert summarise(load_story("a cat")) == "story: 1 shot in 1 scene\n1. [01_01] a cat"


def test_a_shot_is_told_by_its_numbers_and_the_beginning_of_its_prompt():
    first, second = load_story("a cat\n---\n[scene]\n" + "x" * 100).shots
    assert str(first) == "shot 1 (scene 1, shot 1: 'a cat')"
    assert str(second) == f"shot 2 (scene 2, shot 1: '{short('x' * 100, 80)}')"
    assert "x" * 70 in str(second)


def test_a_story_and_its_shots_never_change_and_say_nothing_that_was_not_set():
    story = load_story("a cat")
    with pytest.raises(FrozenInstanceError):
        story.name = "b"
    with pytest.raises(FrozenInstanceError):
        story.shots[0].prompt = "b"
    assert story.shots[0] == Shot(0, 1, 1, "a cat", True)
    shot = story.shots[0]
    assert (shot.references, shot.first_frame_prompt, shot.lock, shot.row) == ((), "", False, "")
    assert (shot.seed, shot.length, shot.negative, shot.continuity) == (None,) * 4
    assert shot.lora_strength is None
    assert Story("a", ()) == Story("a", (), "", "", "", (), (), prompt_weights=False)
    assert "its text" not in repr(Story("a", (), source="its text"))


def test_the_memory_knows_the_first_names_only():
    names = [f"Name{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(MAX_NAMES + 1)]
    shots = (Shot(0, 1, 1, f"{names[-2]} meets {names[-1]}.", True),)
    assert Story("a", shots, cast=tuple(names)).who(shots[0]) == (names[-2],)
