"""Prompts and persons in Memento's form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storymem.film.subtitle_files import cue_of
from storymem.loop.cache_keys import READS_RECONSTRUCT, own_key
from storymem.loop.plan import Loop, LoopSettings, plan_in
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.script.captions import describe_within, has_captions, split_captions
from storymem.script.reader import load_story
from storymem.script.rows import check_written, read_script, write_script
from storymem.script.story import Shot, Story
from storymem.views.script import script_of_view, view_script

GIRL = "young woman with long golden-blonde hair (a bun)"
PROMPT = f"global caption: [Person A]: {GIRL}; shot caption: [Person A] runs; she falls."
MEMENTO = {
    "story_name": "K",
    "story_overview": "Two meet.",
    "reconstruct_target": f"[Person A] {GIRL}\n[Animal B] a dog",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": [PROMPT, PROMPT.replace("runs", "sits")],
            "first_frame_prompt": ["a field", "a bench"],
            "cut": [True, False],
        }
    ],
}


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        (PROMPT, (f"[Person A]: {GIRL}", "[Person A] runs; she falls.")),
        ("global caption: a ;; shot caption: b", ("a", "b")),
        ("global caption: a;b; \nshot caption:\nb shot caption: c", ("a;b", "b shot caption: c")),
        ("x global caption: a; global caption: b; shot caption: c", ("x  a;  b", "c")),
        ("shot caption: b; global caption: a", ("", "b; global caption: a")),
        ("global caption:shot caption:", ("", "")),
        ("Global caption: a; shot caption: b", ("Global caption: a; shot caption: b",) * 2),
        (" a sea ", (" a sea ",) * 2),
        ("global caption: a", ("global caption: a",) * 2),
    ],
)
def test_prompts_are_taken_apart_as_the_released_code_does(prompt, parts):
    assert split_captions(prompt) == parts


@pytest.mark.parametrize(
    ("prompt", "character", "expected"),
    [
        (PROMPT, "Tall.", PROMPT.replace("caption: [", "caption: Tall; [", 1)),
        (
            "global caption: a; shot caption: b",
            "[Person A]: tall;\n\n Pip is small. \n",
            "global caption: [Person A]: tall; Pip is small; a; shot caption: b",
        ),
        ("  global caption:; shot caption: b", "Tall", "global caption: Tall; shot caption: b"),
        ("global caption: shot caption: b", "Tall", "global caption: Tall; shot caption: b"),
        ("global caption: a; shot caption: b", " \n.", "global caption: a; shot caption: b"),
    ],
)
def test_a_description_comes_into_the_global_part(prompt, character, expected):
    assert has_captions(prompt)
    found = describe_within(prompt, character)
    assert found == expected
    assert has_captions(found)
    assert split_captions(found)[1] == split_captions(prompt)[1]


def test_a_prompt_with_captions_begins_with_them_whatever_describes_the_characters():
    story = load_story({**MEMENTO, "character": "@Mara is tall.", "cast": ["Mara"]}, quiet=True)
    whole = story.prompt_of(story.shots[0])
    assert whole == f"Mara is tall.\n{PROMPT}"  # by which finished shots are known, as ever
    assert story.encoded(whole).startswith("global caption: Mara is tall; [Person A]: young")
    assert split_captions(story.encoded(whole)) == (
        f"Mara is tall; [Person A]: {GIRL}", "[Person A] runs; she falls.",
    )  # fmt: skip
    bare = load_story(MEMENTO, quiet=True)
    assert bare.encoded(bare.prompt_of(bare.shots[0])) == PROMPT
    plain = Story("S", (Shot(0, 1, 1, "A sea.", True),), character="Tall.")
    assert plain.encoded(plain.prompt_of(plain.shots[0])) == "Tall.\nA sea."
    late = Story("S", (Shot(0, 1, 1, f"Look: {PROMPT}", True),), character="Tall.")
    assert late.encoded(late.prompt_of(late.shots[0])) == f"Tall.\nLook: {PROMPT}"


def test_the_target_is_the_text_of_the_identity_frame():
    story = load_story(MEMENTO, quiet=True)
    assert story.reconstruct == story.reconstruct_prompt == MEMENTO["reconstruct_target"]
    assert story.cast == ("Person A", "Animal B")
    assert story.who(story.shots[0]) == ("Person A",)
    as_list = {**MEMENTO, "reconstruct_target": MEMENTO["reconstruct_target"].split("\n")}
    assert load_story(as_list, quiet=True).reconstruct == story.reconstruct
    named = {**MEMENTO, "reconstruct_target": {"Person A": GIRL, "Pip": ""}}
    assert load_story(named, quiet=True).reconstruct == f"[Person A] {GIRL}\n[Pip]"
    spoken = load_story({**MEMENTO, "reconstruct_target": "[Mara]: see @Mara"}, quiet=True)
    assert (spoken.reconstruct, spoken.reconstruct_prompt) == ("[Mara]: see @Mara",
                                                               "[Mara]: see Mara")  # fmt: skip
    assert (
        load_story({**MEMENTO, "reconstruct_target": "all of them"}, quiet=True).reconstruct == ""
    )
    assert load_story("a", quiet=True).reconstruct == ""
    with pytest.raises(ValueError, match="reconstruct_target has 20014 characters"):
        load_story({**MEMENTO, "reconstruct_target": "[Person A] tall" + "a" * 19999}, quiet=True)


def test_every_form_keeps_the_target_and_the_captions():
    text = json.dumps(MEMENTO)
    script = read_script(text)
    assert json.loads(write_script(script, "json")) == MEMENTO
    plain = write_script(script, "plain")
    assert f"[reconstruct_target: [Person A] {GIRL}]\n[reconstruct_target: [Animal B] a dog]" in (
        plain
    )
    for form in ("json", "plain"):
        again = check_written(script, write_script(script, form))
        assert again.reconstruct == MEMENTO["reconstruct_target"]
        assert [shot.prompt for shot in again.shots] == MEMENTO["scenes"][0]["video_prompts"]
    page = script_of_view(json.loads(json.dumps(view_script(script))))
    assert page == script
    commented = text.replace('"scenes"', '/* all */ "scenes"', 1).replace("{", "{ // Memento\n", 1)
    assert load_story(commented, quiet=True).reconstruct == MEMENTO["reconstruct_target"]


@pytest.mark.parametrize(
    "target",
    [
        "", "[A] b\n\n[C] d", " [A] b", "[A] b\n", "[A] b\tc", "[A] b\rc", "[A] ]", "[A]", "5",
        "[A] b</think>", 5, None, ["[A] b", "c"], {"A": "b"}, "[A] b]\n[seed: 5",
    ],
)  # fmt: skip
def test_targets_of_all_kinds_come_back_as_they_are(target):
    data = {**MEMENTO, "mood": "dark", "reconstruct_target": target, "cast": ["Pip"]}
    script = read_script(json.dumps(data))
    assert json.loads(write_script(script, "json")) == data
    for form in ("json", "plain"):
        check_written(script, write_script(script, form))
        assert read_script(write_script(script, form)).more["reconstruct_target"] == target


def test_in_plain_text_each_person_has_a_tag():
    text = "[title: K]\n[reconstruct_target: [Person A]: tall]\n[Reconstruct_target: [B] a dog]\n"
    story = load_story(f"{text}---\n{PROMPT}\n---\n[cut]\n[Person A] sits.", quiet=True)
    assert story.reconstruct == "[Person A]: tall\n[B] a dog"
    assert story.cast == ("Person A", "B")
    assert [shot.prompt for shot in story.shots] == [PROMPT, "[Person A] sits."]


def test_the_target_counts_in_the_keys_of_those_pictures_alone_that_are_made_of_it(tmp_path):
    def key(body, **more) -> str:
        story = load_story({**MEMENTO, **more}, quiet=True)
        loop = Loop(story, LoopSettings(), MemoryBank(), body, ShotStore(tmp_path))
        return own_key(loop, plan_in(loop, story.shots[0], has_previous=False))

    other = {"reconstruct_target": "[Person A] a man"}
    assert key("body") == key("body", **other)
    reads = f'["body", "{READS_RECONSTRUCT}"]'
    assert key(reads) != key(reads, **other)


def test_the_example_of_the_manual_is_in_this_form():
    page = (Path(__file__).resolve().parents[2] / "docs" / "scripts.md").read_text("utf-8")
    example = page.split("```json\n")[1].split("```")[0]
    story = load_story(example, quiet=True)
    assert story.warnings == ()
    assert story.cast == ("Person A", "Animal B")
    assert [story.who(shot) for shot in story.shots] == [("Person A",), ("Person A", "Animal B")]
    assert all(has_captions(shot.prompt) for shot in story.shots)
    assert json.loads(write_script(read_script(example), "json")) == json.loads(example)


def test_people_read_what_happens_in_a_shot():
    shot, other = load_story(MEMENTO, quiet=True).shots
    assert shot.words == "[Person A] runs; she falls."
    assert str(other) == "shot 2 (scene 1, shot 2: '[Person A] sits; she falls.')"
    assert cue_of(load_story(MEMENTO, quiet=True), shot, 0, 16, prompts=True).lines == (shot.words,)
    assert Shot(0, 1, 1, "global caption: a; shot caption:", True).words.startswith("global")
    assert Shot(0, 1, 1, "A sea.", True).words == "A sea."
