"""Who is in a story."""

from __future__ import annotations

import pytest

from storymem.script.cast import (
    handles_of,
    named_in,
    names_in_label,
    names_of,
    speak_names,
    strip_mentions,
    unknown_handles,
)
from storymem.script.reader import load_story
from storymem.script.rows import read_script, write_script
from storymem.script.story import summarise


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


HANDLES = "She walks @home at @ 5pm, me@example.org, a sign says @work and @2nd."


def test_a_handle_of_nobody_stays_as_typed():
    story = load_story(f"[cast: Mara]\n---\n{HANDLES}\n---\n@mara waves.\n---\nA tree.")
    assert [story.prompt_of(shot) for shot in story.shots] == [HANDLES, "mara waves.", "A tree."]
    assert story.names == ("Mara",)
    assert story.warnings == ()
    assert [story.who(shot) for shot in story.shots] == [(), ("Mara",), ()]


@pytest.mark.parametrize(
    ("script", "spoken"),
    [
        ("[cast: mara]\n---\n@mara waves.", "mara waves."),
        ("[cast: Old Tom]\n---\n@tom's boat, @Tom.", "tom's boat, Tom."),
        ("[character]\nMara is tall.\n---\n@MARA waves to @Pip.", "MARA waves to Pip."),
        ("[character]\n@Mara is tall.\n---\n@mara waves to @pip.", "mara waves to @pip."),
        ("@Mara waves.", "Mara waves."),  # as ever: it makes Mara somebody of the story
        ("@mara waves, @Mara smiles.", "mara waves, Mara smiles."),
        ("@小明跑步", "小明跑步"),
    ],
)
def test_a_handle_of_somebody_is_spoken_as_the_name(script, spoken):
    story = load_story(script)
    assert story.prompt_of(story.shots[0]).splitlines()[-1] == spoken
    assert story.who(story.shots[0])


def test_a_handle_of_nobody_in_several_prompts_is_told():
    story = load_story("@mara runs.\n---\n@mara waves @home.", quiet=True)
    assert story.prompt_of(story.shots[0]) == "@mara runs."
    (warning,) = story.warnings
    assert warning.startswith("several prompts have @mara, which is nobody of the cast")
    named = load_story("[cast: mara]\n---\n@mara runs.\n---\n@mara waves @home.", quiet=True)
    assert named.prompt_of(named.shots[0]) == "mara runs."
    assert named.warnings == ()


def test_the_summary_says_who_is_in_each_shot():
    story = load_story("[cast: Mara, Pip]\n---\nPip and @Mara run.\n---\n[continue]\n@home.")
    assert summarise(story).splitlines()[1:] == [
        "1. [01_01, with Pip, Mara] Pip and @Mara run.",
        "2. [01_02, continues] @home.",
    ]


# --- the edges of names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Mara are twins", ("Mara",)),
        ("Mara was a sailor", ("Mara",)),
        ("Mara：tall", ("Mara",)),
        ("Mara，tall", ("Mara",)),
        ("Mara - tall", ("Mara",)),
        ("Mara \u2014 tall", ("Mara",)),
        ("Mara \u2013 tall", ("Mara",)),
        ("Mara-tall", ()),
        ("Mara:", ("Mara",)),
        ("\u201cMara\u201d", ()),
        ("2. Mara, tall", ()),
        ("* Mara, tall", ("Mara",)),
        ("Mara rows", ()),
        ("Anna Maria Luisa Bo is tall", ("Anna Maria Luisa Bo",)),
        ("Anna Maria Luisa Bo Zoe is tall", ()),
        ("The Captain is tall", ()),
        ("Character Mara is tall", ()),
        ("\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u662fb", ("\u4e00\u4e8c\u4e09\u56db\u4e94\u516d",)),
        ("\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u662fb", ()),
        ("\u4e00\u662fb", ()),
        ("[Person A] is tall and [Animal B] is not", ("Person A", "Animal B")),
        ("[person A], [Person AB], [Person]", ()),
        ("Mara and [Person A], who is old", ("Person A",)),
    ],
)
def test_what_a_line_of_the_character_block_tells(line, names):
    assert names_of((), line, ()) == names


def test_every_line_of_the_character_block_is_read_and_memento_persons_of_prompts():
    block = "Mara is tall.\nan old boat\n\u5c0f\u660e\u662f\u7537\u5b69\nPip: small"
    names = names_of(("  @Zoe ",), block, ("[Person A] meets @Bo.", "[Animal B] and @mara"))
    assert names == ("Zoe", "Mara", "\u5c0f\u660e", "Pip", "Bo", "Person A", "Animal B")


def test_a_handle_that_begins_small_names_nobody_and_letters_of_a_name_stay():
    assert names_of((), "", ["@eBay, @pip, @ALEX, @Ax-, @X"]) == ("ALEX", "Ax", "X")


def test_empty_names_are_nobody():
    assert names_of(("", "@", " "), "", ("@", "@ Mara")) == ()


@pytest.mark.parametrize(
    ("prompt", "spoken"),
    [
        ("@Mara's lamp, @Mara\u2019s boat", "Mara's lamp, Mara\u2019s boat"),
        ("@Mara- waves", "Mara- waves"),
        ("'@Mara'", "'Mara'"),
        ("@@Mara", "@@Mara"),
        ("a@Mara .@Mara _@Mara", "a@Mara .@Mara _@Mara"),
        ("@Maras", "@Maras"),
        ("(@Mara)", "(Mara)"),
    ],
)
def test_what_stands_around_a_handle(prompt, spoken):
    assert speak_names(prompt, handles_of(["Mara"])) == spoken


def test_a_handle_may_be_a_name_or_a_word_of_it_in_any_case():
    assert handles_of(["Old Tom", "MARA"]) == {"old tom", "old", "tom", "mara"}
    assert handles_of([]) == frozenset()


@pytest.mark.parametrize(
    ("prompt", "names", "found"),
    [
        ("Mara's", ("Mara",), ("Mara",)),
        ("xMara Marax Mara_ 1Mara", ("Mara",), ()),
        ("MARA", ("mara",), ("mara",)),
        ("O'Neill (jr.) waves", ("O'Neill (jr.)",), ("O'Neill (jr.)",)),
        ("a.b", ("axb",), ()),
        ("Bo and Al", ("Al", "Bo"), ("Bo", "Al")),
        ("Old Tom", ("Tom", "Old Tom"), ("Old Tom", "Tom")),
        ("\u6d77\u8fb9\u5c0f\u660e\u8dd1", ("\u5c0f\u660e",), ("\u5c0f\u660e",)),
        ("x\u00c9lodie waves", ("\u00c9lodie",), ("\u00c9lodie",)),
        ("\u00c9lodies", ("\u00c9lodie",), ()),
        ("Ren\u00e9e", ("Ren\u00e9",), ("Ren\u00e9",)),
        ("xRen\u00e9", ("Ren\u00e9",), ()),
        ("xR\u00e9ne", ("R\u00e9ne",), ()),
        ("Andr\u00e9ex", ("Andr\u00e9e",), ()),
        ("x\u00e9Ab", ("\u00e9Ab",), ("\u00e9Ab",)),
        ("\u674eAb", ("\u674eA",), ()),
        ("R\u00e9nex", ("R\u00e9ne",), ()),
    ],
)
def test_where_a_name_begins_and_ends(prompt, names, found):
    """At the bounds of words, where its first and last letters are of a script that has them."""
    assert named_in(prompt, names) == found


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("Mara/Pip\nBo; Zoe", ("Mara", "Pip", "Bo", "Zoe")),
        ("Mara+Pip", ("Mara+Pip",)),
        ("Mara\uff1bPip\uff0cBo", ("Mara", "Pip", "Bo")),
        ("Sand\u548cPip", ("Sand\u548cPip",)),
        ("1, 2b, @", ("2b",)),
        ("@Mara and @Pip", ("Mara", "Pip")),
    ],
)
def test_signs_between_names_of_a_label(label, names):
    assert names_in_label(label) == names


def test_handles_of_nobody_count_once_for_each_prompt():
    known = handles_of(["Mara"])
    assert unknown_handles(["@bo meets @bo", "@Mara"], known) == ()
    assert unknown_handles(["@bo's hat", "@bo", "@mara", "@mara"], known) == ("bo",)
    assert unknown_handles(["@MARA", "@Mara", "@MARA", "@Mara's"], known) == ()
    assert unknown_handles(["@zoe @bo", "@bo", "@zoe", "@al"], known) == ("zoe", "bo")


def test_possessives_come_off_names_and_nothing_else_does():
    assert names_of((), "", ["@Mara's", "@Bess's", "@Jess' hat", "@Al-", "@O'Neill's"]) == (
        "Mara",
        "Bess",
        "Jess",
        "Al",
        "O'Neill",
    )
