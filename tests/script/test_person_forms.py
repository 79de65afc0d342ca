"""The forms in which persons are given, one by one, and what is told of them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from storymem.script.cast import MAX_NAMES
from storymem.script.fields import LONGEST_NAME, ScriptError
from storymem.script.persons import Person, cast_of, is_read, persons_of, tell_unused, unused
from storymem.script.reader import load_story

LONG = "N" * LONGEST_NAME


@pytest.mark.parametrize(
    ("cast", "names"),
    [
        (None, ()),
        ([], ()),
        (["Mara", " Pip ", "", "Mara"], ("Mara", "Pip")),
        ("Mara, Pip", ("Mara", "Pip")),
        ([{"name": "Mara"}, {"name": "Pip", "age": 9}], ("Mara", "Pip")),
        (["A", {"name": "Pip"}], ("A", "Pip")),
        ([{"name": "Pip"}, f" {LONG} "], ("Pip", LONG)),
        ([{"name": f" {LONG} "}, {"name": "B"}], (LONG, "B")),
    ],
)
def test_a_cast_is_names_or_objects_with_a_name(cast, names):
    assert cast_of({"cast": cast}) == names


@pytest.mark.parametrize(
    "cast",
    [
        5,
        {"Mara": "a girl"},
        ["Mara", 5],
        [{"name": "Mara"}, 5],
        [{"name": "Mara"}, " "],
        [{"name": "Mara"}, LONG + "N"],
        [{"name": LONG + "N"}],
        [{"name": " "}],
        [{"name": "[ ]"}],
        [{"name": 5}],
        [{"description": "a girl"}],
    ],
)
def test_another_cast_is_refused_by_its_name(cast):
    with pytest.raises(ScriptError, match=r"^cast must be a list of names"):
        cast_of({"cast": cast})


def test_the_cast_comes_before_the_persons_of_the_target_and_each_is_named_once():
    data = {"cast": ["Pip", "Mara"], "reconstruct_target": "[Mara]: a girl\n[Ann]: a woman"}
    assert cast_of(data) == ("Pip", "Mara", "Ann")
    assert is_read("reconstruct_target", data)
    assert not is_read("cast", data)
    assert not is_read("reconstruct_target", {"reconstruct_target": "a girl"})


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("[A]: a girl", [("A", "a girl")]),
        ("  [ A ]  a girl ", [("A", "a girl")]),
        ("[A]\t：a girl", [("A", "a girl")]),
        ("\n  \n[A]: a girl\n\n[B]: a boy\n \n", [("A", "a girl"), ("B", "a boy")]),
        ("[A]: a girl\n with red hair \n\n[B]\na boy", [("A", "a girl with red hair"),
                                                        ("B", "a boy")]),
        ("[A]: a\n[B]: b\n[C]: c\nd\ne", [("A", "a"), ("B", "b"), ("C", "c d e")]),
        (f"[{LONG}]: a girl", [(LONG, "a girl")]),
        (f"[{LONG}N]: a girl", []),
        ("[ ]: nobody\n[A]: a girl", [("A", "a girl")]),
        ("a girl\n[A]: a girl", []),
        ("", []),
        ([], []),
        (["[A]: a girl", "with red hair", "[B]: a boy"], [("A", "a girl with red hair"),
                                                           ("B", "a boy")]),
        ([{"name": "A", "description": "a girl"}, "B"], [("A", "a girl"), ("B", "")]),
        ({"A": "a girl", "B": {"appearance": "a boy"}}, [("A", "a girl"), ("B", "a boy")]),
        ({"A": {"name": "Ann", "desc": "a girl"}}, [("Ann", "a girl")]),
        ({"A": "a girl", " ": "a boy"}, []),
        (5, []),
    ],
)  # fmt: skip
def test_the_persons_of_a_target_are_those_of_its_lines_or_objects(target, found):
    data = {"reconstruct_target": target}
    assert cast_of(data) == tuple(name for name, _ in found)
    assert persons_of(data) == [Person(name, words) for name, words in found if words]
    assert is_read("reconstruct_target", data) == bool(found)


@pytest.mark.parametrize(
    ("entry", "person"),
    [
        ({"name": " [Xaver] ", "description": " a boy "}, Person("Xaver", "a boy")),
        ({"name": "[ Ann ]", "description": "a girl"}, Person("Ann", "a girl")),
        *(
            ({"name": "Ann", key: "a girl"}, Person("Ann", "a girl"))
            for key in ("description", "appearance", "visual_description", "desc", "caption")
        ),
        *(
            ({"name": "Ann", key: value}, Person("Ann", "", ("in/a.png",)))
            for key in ("reference_images", "reference_image", "images", "image")
            for value in ("in\\a.png", ["in\\a.png"], ["", " ", 5, None, "in/a.png"])
        ),
        (
            {
                "image": "d.png", "images": ["b.png", "c.png"], "reference_images": "a.png",
                "caption": "smiles", "description": "a girl", "name": "Ann", "voice": "low",
            },
            Person("Ann", "a girl smiles", ("a.png", "b.png", "c.png", "d.png"), False),
        ),
        ({"name": "Ann", "description": 5, "image": 7, "images": {"a": 1}}, None),
        ({"name": "Ann"}, None),
    ],
)  # fmt: skip
def test_an_object_says_what_somebody_looks_like(entry, person):
    for field in ("cast", "characters", "reconstruct_target"):
        assert persons_of({field: [entry]}) == ([] if person is None else [person])


def test_one_entry_that_is_nobody_makes_the_list_one_of_something_else():
    ann = {"name": "Ann", "description": "a girl"}
    for other in (5, None, " ", {"name": ""}, {"name": " [] "}, {"description": "x"}, LONG + "N"):
        assert persons_of({"characters": [ann, other]}) == []
    assert persons_of({"characters": "Ann: a girl"}) == []
    assert persons_of({"characters": {"Ann": "a girl", "Ben": 5}}) == [Person("Ann", "a girl")]
    with pytest.raises(FrozenInstanceError):
        Person("Ann").name = "Ben"


def test_persons_are_those_of_the_target_the_cast_and_the_characters_up_to_a_limit():
    def people(letter, count):
        return [{"name": f"{letter}{i}", "desc": "x"} for i in range(count)]

    data = {"characters": people("c", 3), "cast": people("b", MAX_NAMES - 3)}
    data["reconstruct_target"] = "[a]: x\n[silent]"
    found = [person.name for person in persons_of(data)]
    expected = ["a", *(f"b{i}" for i in range(MAX_NAMES - 3)), "c0", "c1", "c2"]
    assert len(expected) == MAX_NAMES + 1
    assert found == expected[:MAX_NAMES]


ANN, BEN, CAT = Person("Ann", "Red  hair."), Person("Ben", "", ("b.png", "c.png")), Person("Cat")


@pytest.mark.parametrize(
    ("texts", "pictures", "left"),
    [
        ([], [], ["Ann", "Ben"]),
        (["she has RED\nhair, and runs"], [], ["Ben"]),
        (["red", "hair"], ["c.png", "b.png", "a.png"], []),  # as one text they are encoded
        (["a red-haired girl"], ["b.png"], ["Ann", "Ben"]),
        (["redhair"], ["b.png", "c.png"], ["Ann"]),
    ],
)
def test_a_description_is_used_where_it_stands_and_pictures_where_all_are_seen(
    texts, pictures, left
):
    assert [p.name for p in unused([ANN, BEN, CAT], texts, pictures)] == left
    both = Person("Dan", "red hair", ("b.png",))
    missing = "Ann" in left or "b.png" not in pictures
    assert unused([both], texts, pictures) == ([both] if missing else [])


def test_a_description_may_go_on_in_the_character_of_the_node():
    data = {"cast": [{"name": "Ann", "description": "A girl with red hair"}], "shots": ["Ann runs"]}
    data["character"] = "Ann is a girl"
    assert load_story(data, character="with red hair.", quiet=True).warnings == ()
    assert len(load_story(data, character="of ten.", quiet=True).warnings) == 1


@pytest.mark.parametrize(
    ("persons", "what"),
    [
        ([ANN], "description of Ann"),
        ([BEN], "pictures of Ben"),
        ([ANN, BEN], "description and pictures of Ann, Ben"),
        ([BEN, Person("Dan", "tall")], "description and pictures of Ben, Dan"),
    ],
)
def test_what_nobody_sees_is_told_in_one_sentence(persons, what):
    assert tell_unused(persons) == [
        f"the script gives the {what}, which no shot sees: put descriptions into the prompts or "
        "into character, and pictures into reference_images"
    ]
    assert tell_unused([]) == []
