"""Who is in a story."""

from __future__ import annotations

import pytest

from storymem.script.cast import named_in, names_in_label, names_of, strip_mentions
from storymem.script.reader import load_story
from storymem.script.rows import read_script, write_script


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Mara is a young woman with copper hair.", "Mara"),
        ("Pip, a small grey terrier", "Pip"),
        ("Old Tom: a fisherman of seventy", "Old Tom"),
        ("- Mary-Jane O'Neill wears a blue dress", "Mary-Jane O'Neill"),
        ("Élodie has a red scarf", "Élodie"),
        ("小明是一个十岁的男孩", "小明"),
        ("老王：六十岁的渔夫", "老王"),
    ],
)
def test_a_character_block_tells_names(line, name):
    assert names_of((), line, ()) == (name,)


@pytest.mark.parametrize(
    "line",
    [
        "A young woman with copper hair, in a raincoat.",
        "The style is watercolour",
        "a girl is running",
        "",
        "Her dog, a terrier",
    ],
)
def test_descriptions_without_a_name_give_none(line):
    assert names_of((), line, ()) == ()


def test_cast_then_character_block_then_marks_each_name_once():
    names = names_of(["Pip", "@Zoe"], "Mara is tall.\nPIP is small.", ["@mara meets @Bo", "@Bo"])
    assert names == ("Pip", "Zoe", "Mara", "Bo")


def test_prompts_name_whole_words_in_any_case_in_order():
    names = ("Mara", "Pip", "Bo")
    assert named_in("pip barks; Mara's coat is wet", names) == ("Pip", "Mara")
    assert named_in("A marathon, a bottle of Boost, a pipe", names) == ()
    assert named_in("@Bo waves", names) == ("Bo",)
    assert named_in("海边，小明在跑步", ("小明", "小红")) == ("小明",)


def test_marks_come_off_and_other_signs_stay():
    assert strip_mentions("@Mara waves at @Pip, me@example.org") == (
        "Mara waves at Pip, me@example.org"
    )


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_script_may_list_its_cast_and_keeps_it(form):
    script = read_script("[title: Sea]\n[cast: Mara, Old Tom]\n---\n@Mara rows.\n---\nTom waves.")
    story = load_story(write_script(script, form))
    assert story.cast == ("Mara", "Old Tom")
    assert story.warnings == ()
    assert story.shots[0].prompt == "@Mara rows."
    assert story.prompt_of(story.shots[0]) == "Mara rows."


def test_a_cast_that_is_no_list_of_names_is_told():
    with pytest.raises(ValueError, match="cast must be a list of names"):
        load_story({"cast": 7, "scenes": [{"video_prompts": ["a"], "cut": [True]}]})


def test_a_possessive_mark_names_nobody_new():
    names = names_of(["Mara"], "", ["@Mara's lamp lights '@Pip'.", "@Jean-Luc's"])
    assert names == ("Mara", "Pip", "Jean-Luc")
    assert strip_mentions("@Mara's lamp") == "Mara's lamp"


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("Mara", ("Mara",)),
        ("Mara, @Pip;  the old cat", ("Mara", "Pip", "the old cat")),
        ("Mara and Pip & Ada + Bo", ("Mara", "Pip", "Ada", "Bo")),
        ("小美，阿福、老王 和 小李", ("小美", "阿福", "老王", "小李")),
        ("Sandy", ("Sandy",)),
        ("", ()),
        (" , 12; -", ()),
    ],
)
def test_a_label_holds_one_name_or_several(label, names):
    assert names_in_label(label) == names
