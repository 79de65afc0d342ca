"""Who is in a story."""

from __future__ import annotations

import pytest

from storymem.cast import named_in, names_of, without_marks


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
    assert without_marks("@Mara waves at @Pip, me@example.org") == (
        "Mara waves at Pip, me@example.org"
    )
