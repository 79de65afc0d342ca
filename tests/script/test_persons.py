"""Persons as other tools write them: who is in the story, what they look like, their pictures."""

from __future__ import annotations

import json

import pytest

from storymem.script.offers import find_offers
from storymem.script.reader import load_story
from storymem.script.rows import check_written, read_script, write_script

GIRL, BOY = "girl with red hair", "boy with cap"
MEMENTO = {
    "story_name": "K",
    "reconstruct_target": f"[Person A]: {GIRL}\n[Person B] {BOY}",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": [
                f"global caption: [Person A]: {GIRL}; shot caption: [Person A] runs.",
                f"global caption: [Person A]: {GIRL}, [Person B]: {BOY}; shot caption: [Person A] "
                "meets [Person B].",
            ],
            "cut": [True, False],
        }
    ],
}


@pytest.mark.parametrize(
    "target",
    [
        MEMENTO["reconstruct_target"],
        MEMENTO["reconstruct_target"].split("\n"),
        {"Person A": GIRL, "Person B": BOY},
        [{"name": "[Person A]", "description": GIRL}, {"name": "Person B", "appearance": BOY}],
    ],
)
def test_the_persons_of_memento_are_the_cast(target):
    story = load_story({**MEMENTO, "reconstruct_target": target}, quiet=True)
    assert story.cast == ("Person A", "Person B")
    assert story.warnings == ()  # the prompts hold their descriptions
    assert [shot.prompt for shot in story.shots] == MEMENTO["scenes"][0]["video_prompts"]
    for form in ("json", "plain"):
        script = read_script(json.dumps({**MEMENTO, "reconstruct_target": target}))
        again = check_written(script, write_script(script, form))
        assert (again.cast, again.warnings) == (story.cast, ())


def test_what_is_no_list_of_persons_is_told_as_before():
    story = load_story({**MEMENTO, "reconstruct_target": "all of them"}, quiet=True)
    assert story.cast == ()
    assert story.warnings == ("the story has fields that are ignored: reconstruct_target",)


def test_a_description_that_no_shot_is_told_is_said_and_offered():
    data = {**MEMENTO, "scenes": [{"video_prompts": ["[Person A] runs."], "cut": [True]}]}
    story = load_story(data, quiet=True)
    assert (
        "gives the description of Person A, Person B, which no shot sees (only Memento's identity "
        "frame reads reconstruct_target): put descriptions into" in story.warnings[0]
    )
    assert story.prompt_of(story.shots[0]) == "[Person A] runs."  # nothing is guessed
    (offer,) = find_offers(json.dumps(data))
    assert (offer.kind, offer.names) == ("persons", ("Person A", "Person B"))
    better = load_story(offer.script, quiet=True)
    assert better.character == f"Person A: {GIRL}\nPerson B: {BOY}"
    assert better.warnings == ()
    assert find_offers(offer.script) == []


CHARACTERS = {
    "characters": [
        {"name": "Mara", "description": GIRL, "reference_image": "cast\\mara.png"},
        {"name": "Pip", "appearance": BOY},
    ],
    "shots": ["Mara runs.", "A tree."],
}


def test_characters_with_pictures_come_to_the_shots_that_name_them():
    story = load_story(CHARACTERS, quiet=True)
    assert story.cast == ()  # as ever: the field is not read
    words = "\n".join(story.warnings)
    assert "ignored: characters" in words
    assert "description and pictures of Mara, Pip" in words
    (offer,) = find_offers(json.dumps(CHARACTERS))
    better = load_story(offer.script, quiet=True)
    assert better.cast == ("Mara", "Pip")
    assert better.character == f"Mara: {GIRL}\nPip: {BOY}"
    assert [shot.references for shot in better.shots] == [("cast/mara.png",), ()]
    assert better.warnings == ()


def test_characters_with_more_fields_are_kept():
    data = {**CHARACTERS, "characters": [{"name": "Mara", "description": GIRL, "voice": "low"}]}
    (offer,) = find_offers(json.dumps(data))
    assert read_script(offer.script).more["characters"][0]["voice"] == "low"


def test_the_character_of_the_node_counts_as_told():
    data = {"cast": [{"name": "Mara", "description": GIRL}], "shots": ["Mara runs."]}
    assert load_story(data, quiet=True).cast == ("Mara",)
    assert "description of Mara" in load_story(data, quiet=True).warnings[0]
    assert load_story(data, character=f"Mara: {GIRL}.", quiet=True).warnings == ()


def test_persons_in_plain_text_are_known_without_a_list():
    story = load_story(
        f"[character]\n[Person B]: {BOY}\n---\n[Person A] meets [Person B].\n---\n"
        "A [Person] and [Dog a]."
    )
    assert story.names == ("Person B", "Person A")
    assert story.who(story.shots[0]) == ("Person A", "Person B")
    assert story.who(story.shots[1]) == ()
    assert story.prompt_of(story.shots[0]).endswith("[Person A] meets [Person B].")


def test_blanks_inside_the_brackets_of_a_name_are_no_part_of_it():
    cast = [{"name": "[ Person A ]", "description": GIRL}]
    story = load_story({"cast": cast, "shots": [f"[Person A], a {GIRL}, runs."]}, quiet=True)
    assert story.cast == ("Person A",)
    assert story.who(story.shots[0]) == ("Person A",)
    with pytest.raises(ValueError, match="cast must be a list of names"):
        load_story({"cast": [{"name": "[ ]"}], "shots": ["A tree."]}, quiet=True)
