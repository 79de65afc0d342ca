"""What a script says that a shot takes over from a pass before the film."""

from __future__ import annotations

import pytest

from storymem.script.promoted import Promoted, PromoteError, as_object, read_promote, written
from storymem.script.reader import load_story
from storymem.script.rows import read_script, write_script

FORMS = [
    ("seed", {"seed": True}, (Promoted("seed"),)),
    ("start", {"start": True}, (Promoted("start"),)),
    ("start 12", {"start": {"frame": 12}}, (Promoted("start", 0, 12),)),
    ("start 6:0", {"start": {"shot": 6, "frame": 0}}, (Promoted("start", 6, 0),)),
    ("memory", {"memory": True}, (Promoted("memory"),)),
    ("memory 6:", {"memory": [{"shot": 6}]}, (Promoted("memory", 6),)),
    (
        "memory 6:40 Mara",
        {"memory": [{"shot": 6, "frame": 40, "name": "Mara"}]},
        (Promoted("memory", 6, 40, "Mara"),),
    ),
    (
        "seed, start 0 #3f9a0c12b4d6, memory 6:40 Old Tom from draft2 #0123456789ab",
        {
            "seed": True,
            "start": {"frame": 0, "picture": "3f9a0c12b4d6"},
            "memory": [
                {
                    "shot": 6,
                    "frame": 40,
                    "name": "Old Tom",
                    "source": "draft2",
                    "picture": "0123456789ab",
                }
            ],
        },
        (
            Promoted("seed"),
            Promoted("start", 0, 0, picture="3f9a0c12b4d6"),
            Promoted("memory", 6, 40, "Old Tom", "draft2", "0123456789ab"),
        ),
    ),
]


@pytest.mark.parametrize(("line", "data", "entries"), FORMS)
def test_the_line_and_the_object_say_the_same(line, data, entries):
    assert read_promote(line) == read_promote(data) == entries
    assert written(entries) == line
    assert as_object(entries) == data


@pytest.mark.parametrize("nothing", ["", "nothing", " none ", None, False, {}, []])
def test_nothing_is_nothing(nothing):
    assert read_promote(nothing) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "must be text such as"),
        ("everything", "holds 'everything'; write seed, start and memory"),
        ("start 1, start 2", "names several for start"),
        ({"seeds": True}, "not 'seeds'"),
        ({"start": "6"}, "start must be true or such as"),
        ({"start": {"frame": -1}}, "start: frame must be a whole number of 0 to"),
        ({"start": {"name": "Mara"}}, "only memory has names"),
        ({"memory": [{"frame": 1, "picture": "xyz"}]}, "hexadecimal digits"),
        ({"memory": [{"frame": 1, "who": "Mara"}]}, "not 'who'"),
        ({"seed": {"frame": 1}}, "a seed is the whole shot's"),
        ({"seed": True, "pass": "rehearsal"}, "must be from draft, draft2, draft3, stills"),
        ({"memory": [{"frame": i} for i in range(21)]}, "holds 21 entries"),
    ],
)
def test_what_cannot_be_read_is_told(value, words):
    with pytest.raises(PromoteError) as caught:
        read_promote(value)
    assert words in str(caught.value)


def test_a_shot_says_what_it_takes_over_and_others_nothing():
    scene = {"video_prompts": [{"prompt": "a", "promote": "seed"}, "b"], "cut": [True, True]}
    story = load_story({"story_name": "Tale", "scenes": [scene]})
    assert [shot.promote for shot in story.shots] == [(Promoted("seed"),), ()]
    plain = load_story("a pier\n---\n[promote: start 3, memory 2:7 Mara]\na window")
    assert plain.shots[1].promote == (Promoted("start", 0, 3), Promoted("memory", 2, 7, "Mara"))


@pytest.mark.parametrize("line", [line for line, _, _ in FORMS])
@pytest.mark.parametrize("form", ["json", "plain"])
def test_rows_keep_it_in_both_forms(line, form):
    script = f"a pier\n---\n[promote: {line}]\na window"
    rows = read_script(script)
    text = write_script(rows, form)
    assert load_story(text).shots[1].promote == read_promote(line)
    assert read_script(text).rows[1].fields["promote"] == as_object(read_promote(line))
