"""Long input takes long in proportion, never more: a small file must not stop a server."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from helpers.growth import assert_grows_linearly
from storymem.film.shot_status import script_mark, shot_states
from storymem.loop.reuse import latest_results, moved_results
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.sampling.lora import module_name
from storymem.script.cast import named_in, names_in_label, names_of, strip_mentions
from storymem.script.numbers import parse_ranges
from storymem.script.offers import find_offers
from storymem.script.plain_text import parse_plain, read_tag, split_tags
from storymem.script.reader import load_story
from storymem.script.rows import check_written, read_script, write_script
from storymem.script.story import summarise
from storymem.views.script import script_of_view, view_script

pytestmark = pytest.mark.slow


def quietly(task):
    """A refusal is an answer, too."""

    def run():
        with suppress(ValueError):
            task()

    return run


def fill(pattern: str, n: int) -> str:
    """``pattern`` with its star repeated n times."""
    before, letter, after = pattern.partition("*")
    return before + (letter and after[:1]) * n + after[1:]


# ``*x`` stands for x many times over. What made a server stand still, and everything of its kind.
TEXTS = [
    "[title:* ", "[title:* x", "[* ", "[title* :", "[title = * ]x", "[title:*]", "[*[",
    "[title:*\t]", "*[", "*-", "* ---", "---* x", "---*-x", "*\n", "-\n*-\n", "* \n",
    "@a*'", "@a*'x", "@a*’x", "@*@", "@a*-x", "@*a", "*@a ",
    "A* ", "A* b", "A*'x", "A* B", "*. A", "Mara* is", "*A ", "*一", "一* ", "一*，x",
    "a*,", "a* and ", "*；", "* 和 ",
    '{"a*": 1}', '{"a": "*\\u0041"}', "[*1,", "{*{",
    "{'a':* ", "*{'a':1}", "*{\"a\":", "x *{ a:", "{'a': '*\\'", "{'a': '*“", "{*/", "{/*x*",
    "*{#\n", "<think>* ", "*</think>", "*```\n", "```\n*```", "*1. x\n", "1. *x\n2. ", "*[Shot 1]",
    "[cut]\n*\n", "[cut]*\n ", "[continue* x", "***\n*a\n", "*— ", "* * *\n", "*— x",
    "**[cut]**\n*", "1* \n- 3", "* 1: a\n", "- * a", "- *a\n", "A 1* : b", "x {*// a\n",
]  # fmt: skip


@pytest.mark.parametrize("pattern", TEXTS)
def test_scripts_of_any_form_are_read_in_time(pattern):
    def work(n):
        text = fill(pattern, n)
        return quietly(lambda: load_story(text, quiet=True))

    assert_grows_linearly(work)


LINES = [
    "```\n", "```x\n", "~~~\n\n", "1. a\n", "2.\n", "Shot 1: a\n", "[Shot 1]\n", "[Shot 1] [cut]\n",
    "Scene 1: a\n1. b\n", "a\n\n", "a\n[continue]\n", "[cut]\n\n", "[continue] a\n", "---\n",
    "---\n\n", "***\n", "***\na\n", "[title: x]\n", "[character]\na\n\n", "**[cut]**\n", "Here:\n",
    "[x]\n", '{"shots": ["a"]}\n', "{'a': 1}\n", '{"story_name": ', "<think>a</think>",
    "[more = {}]\n", "[more = {'a': 1}]\n",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_scripts_of_many_lines_and_their_other_readings_are_read_in_time(line):
    def work(n):
        text = line * (n // len(line))

        def both():
            quietly(lambda: load_story(text, quiet=True))()
            find_offers(f"a\n{text}")

        return both

    assert_grows_linearly(work)


def test_many_persons_are_looked_for_in_time():
    def work(n):
        people = [{"name": f"Name {i}", "description": f"is {i}"} for i in range(n // 50)]
        text = json.dumps({"characters": people, "shots": ["Name 3 waves."] * (n // 50)})
        return lambda: find_offers(text)

    assert_grows_linearly(work)


@pytest.mark.parametrize("pattern", TEXTS)
def test_pieces_of_a_script_are_read_in_time(pattern):
    def work(n):
        text = fill(pattern, n)

        def pieces():
            for read in (split_tags, read_tag, parse_plain, names_in_label, strip_mentions):
                quietly(lambda read=read: read(text))()
            names_of([text], text, [text])
            module_name(text)

        return pieces

    assert_grows_linearly(work)


@pytest.mark.parametrize(
    "pattern", ["* ", "1* ", "1* -", "*-", "1,*,", "*1", "1-*1", "* -1", "*1,"]
)
def test_lists_of_numbers_are_read_in_time(pattern):
    def work(n):
        text = fill(pattern, n)

        def both():
            quietly(lambda: parse_ranges(text, "redo_shots", shots=10))()
            quietly(lambda: parse_ranges(text, "pin"))()

        return both

    assert_grows_linearly(work)


def test_ranges_of_numbers_cannot_be_added_up_without_end():
    with pytest.raises(ValueError, match="must be numbers of the contact sheet"):
        parse_ranges(", ".join(["1-1000000"] * 1000), "pin")
    assert parse_ranges(", ".join(["1-10"] * 100_000), "redo_shots", shots=10) == tuple(range(10))


@pytest.mark.parametrize("twice", ["one", "all"])
def test_names_that_stand_twice_in_json_are_told_in_time(twice):
    def work(n):
        names = [f"k{i}" for i in range(n)]
        names += names[:1] if twice == "one" else names
        inside = ", ".join(f'"{name}": 1' for name in names)
        text = '{"scenes": [{"video_prompts": ["a"], "cut": [true]}], ' + inside + "}"

        def read():
            story = load_story(text, quiet=True)
            assert "more than once" in story.warnings[0]
            assert len(" ".join(story.warnings)) < 2000

        return read

    assert_grows_linearly(work)


def test_a_story_of_thousands_of_names_is_read_in_time():
    def work(n):
        prompts = [" ".join(f"@Name{i} waves," for i in range(j, j + 20)) for j in range(0, n, 20)]
        script = "\n---\n".join(prompts)

        def read():
            story = load_story(script, quiet=True)
            assert "names" in story.warnings[-1]

        return read

    assert_grows_linearly(work, 2000, 32_000)
    assert named_in("Mara waves", tuple(f"Name{i}" for i in range(200))) == ()


# --- clicks -------------------------------------------------------------------------------------


def digests(n: int, seed: int) -> list[str]:
    random.seed(seed)
    return [f"{random.getrandbits(256):064x}" for _ in range(n)]


class Listed(MemoryFrame):
    """A frame of a digest, without pixels to hash."""

    def __post_init__(self):
        pass

    @property
    def digest(self):
        return self.picture


@pytest.mark.parametrize("kinds", [("pin", "unpin"), ("drop", "keep"), ("pin", "drop")])
def test_thousands_of_clicks_are_read_and_applied_in_time(kinds):
    def work(n):
        one, other = digests(n, 1), digests(n, 2)
        text = json.dumps({kinds[0]: one, kinds[1]: other, "names": dict.fromkeys(one, "Mara")})
        frames = tuple(Listed(d, shot=i // 3, frame=i % 3) for i, d in enumerate(one))
        dropped = tuple(
            Listed(d, shot=i // 3, frame=9, pinned=True) for i, d in enumerate(reversed(other))
        )

        def read_and_apply():
            edits = BankEdits.parse(text)
            again = edits.apply(*edits.apply(frames, dropped))
            assert len(again[0]) + len(again[1]) == 2 * n
            assert [edits.label_of(d) for d in one] == ["Mara"] * n
            edits.without(one)

        return read_and_apply

    assert_grows_linearly(work, 250, 16_000)


def test_clicks_that_contradict_each_other_are_still_found():
    one, other = digests(1000, 1), digests(1000, 2)
    for clash in (one[500], one[500][:12], one[500][:30]):
        with pytest.raises(ValueError, match=f"{clash[:12]} under both pin and unpin"):
            BankEdits.parse(json.dumps({"pin": one, "unpin": [*other, clash]}))
    with pytest.raises(ValueError, match="under both"):
        BankEdits.parse(json.dumps({"pin": [one[0][:12]], "unpin": [one[0]]}))


# --- long stories -------------------------------------------------------------------------------


def long_story(prompts) -> object:
    return load_story(
        {
            "story_name": "Long",
            "scenes": [{"video_prompts": list(prompts), "cut": [True] * len(prompts)}],
        }
    )


def results(prompts) -> dict:
    return {
        f"01_{i + 1:02d}": {"key": f"{i:064x}", "shot_prompt": prompt, "prompt": prompt}
        for i, prompt in enumerate(prompts)
    }


EDITS = {
    "nothing": lambda p: p,
    "the first edited": lambda p: ["edited", *p[1:]],
    "one put in first": lambda p: ["new", *p],
    "the first taken out": lambda p: p[1:],
    "turned around": lambda p: p[::-1],
    "all others": lambda p: [f"other {x}" for x in p],
    "the middle moved": lambda p: [*p[len(p) // 2 :], *p[: len(p) // 2]],
}


@pytest.mark.parametrize("kinds", ["all differ", "all alike", "two kinds"])
@pytest.mark.parametrize("edit", EDITS)
def test_results_of_a_long_story_are_given_to_its_shots_in_time(edit, kinds):
    def work(n):
        texts = {"all differ": "shot {}", "all alike": "shot", "two kinds": "shot {:.1}"}[kinds]
        before = [texts.format(i if kinds == "all differ" else "ab"[i % 2]) for i in range(n)]
        story, latest = long_story(EDITS[edit](before)), results(before)

        def give():
            assert len(latest_results(latest, story)) == len(story.shots)
            moved_results(latest, story, ())

        return give

    assert_grows_linearly(work, 250, 4_000)


def test_the_first_shot_of_thousands_edited_leaves_the_others_theirs():
    prompts = [f"shot {i}" for i in range(2000)]
    found = latest_results(results(prompts), long_story(["edited", *prompts[1:]]))
    assert [bool(entry) for entry in found] == [False] + [True] * 1999
    assert [entry["key"] for entry in found[1:]] == [f"{i:064x}" for i in range(1, 2000)]


def old_latest_pairs(names, labels, texts, fits):
    """Which entry goes to which shot, by trying everything: the plain table of the method."""
    many = len(labels) + 1
    best = [[0] * (len(names) + 1) for _ in range(len(texts) + 1)]
    worth = [
        [many + (name == label) if text in fits[name] else 0 for name in names]
        for label, text in zip(labels, texts, strict=True)
    ]
    for i in reversed(range(len(texts))):
        for j in reversed(range(len(names))):
            pair = worth[i][j] + best[i + 1][j + 1] if worth[i][j] else 0
            best[i][j] = max(pair, best[i + 1][j], best[i][j + 1])
    return best[0][0]


@pytest.mark.parametrize("seed", range(40))
def test_as_many_results_are_kept_as_a_table_of_all_pairs_would_keep(seed):
    from storymem.loop.reuse import _in_order, texts_that_fit

    rng = random.Random(seed)
    for _ in range(25):
        letters = "abcd"[: rng.randint(1, 4)]
        texts = [rng.choice(letters) for _ in range(rng.randint(1, 9))]
        labels = [f"01_{i + 1:02d}" for i in range(len(texts))]
        names = sorted({f"01_{rng.randint(1, 11):02d}" for _ in range(rng.randint(0, 9))})
        latest = {
            name: {"key": name, "shot_prompt": rng.choice(letters), "held_for": rng.choice("abx")}
            for name in names
        }
        fits = texts_that_fit(latest, texts)
        pairs = _in_order(names, labels, texts, fits)
        assert all(texts[i] in fits[name] for i, name in pairs)
        shots, entries = [i for i, _ in sorted(pairs)], [name for _, name in sorted(pairs)]
        assert entries == sorted(set(entries))
        assert shots == sorted(set(shots))
        many = len(labels) + 1
        weight = sum(many + (labels[i] == name) for i, name in pairs)
        assert weight == old_latest_pairs(names, labels, texts, fits)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_long_story_goes_through_the_editor_in_time(tmp_path, form):
    def work(n):
        prompts = [f"Shot {i}: @Mara walks.\nIt rains." for i in range(n)]
        story = long_story(prompts)
        text = write_script(read_script(story.source), form)

        def edit():
            script = read_script(text)
            view = view_script(script)
            written = write_script(script_of_view(view), form)
            check_written(script, written)
            again = load_story(written, quiet=True)
            summarise(again)
            script_mark(again)
            shot_states(again, None)

        return edit

    assert_grows_linearly(work, 100, 1_600)


@pytest.mark.parametrize("place", ["scene", "story"])
def test_a_list_of_pictures_for_each_shot_is_read_in_time(place):
    def work(n):
        scene = {"video_prompts": ["a"] * n, "cut": [True] * n}
        if place == "scene":
            scene["reference_images"] = [["a.png"]] * n
        story = {"scenes": [scene], "reference_images": ["a.png"] * (n if place == "story" else 1)}
        return quietly(lambda: load_story(story, quiet=True))

    assert_grows_linearly(work, 250, 4_000)


def test_what_stands_for_all_shots_does_not_make_answers_of_any_size():
    for name in ("negative_prompt", "first_frame_prompt", "character"):
        script = {"scenes": [{"video_prompts": ["a"], "cut": [True]}], name: "x" * 20_000}
        assert len(load_story(script, quiet=True).shots) == 1
        with pytest.raises(ValueError, match="20001 characters, but at most 20000"):
            load_story({**script, name: "x" * 20_001}, quiet=True)
    script = {"scenes": [{"video_prompts": ["a"], "cut": [True]}], "reference_images": ["a"] * 101}
    with pytest.raises(ValueError, match="101 pictures, but a shot takes 100 at most"):
        load_story(script, quiet=True)


@pytest.mark.parametrize("end", ["", "@", " @", ".@", "Pip.", "@Mara", "\n"])
def test_a_character_that_is_read_once_gives_the_prompts_that_it_gave(end):
    for prompt in ("@Pip waves", "Pip waves", "@@Pip", "'s @Pip"):
        story = load_story(prompt, character=f"@Mara is old.{end}", quiet=True)
        whole = strip_mentions(f"{story.character}\n{story.shots[0].prompt}")
        assert story.prompt_of(story.shots[0]) == whole


def test_what_many_joined_scenes_say_is_joined_in_time():
    def work(n):
        extras = [json.dumps({f"k{i}": i, "same": i}) for i in range(n)]
        row = {"prompt": "a", "cut": True, "scene": 1, "scene_extra": extras}

        def read():
            more = script_of_view({"shots": [row]}).rows[0].scene_more
            assert (len(more), more["same"]) == (n + 1, 0)  # the first scene's word counts

        return read

    assert_grows_linearly(work, 250, 4_000)


def test_entries_of_one_key_are_told_apart_in_time():
    def work(n):
        latest = {"01_01": {"key": "k", "prompt": "y@a " * n + "\nhello"}}
        latest |= {f"99_{i:05d}": {"key": "k", "prompt": "z"} for i in range(n)}
        story = load_story("hello", quiet=True)

        def give():
            (found,) = latest_results(latest, story)
            assert found is latest["01_01"]

        return give

    assert_grows_linearly(work, 250, 4_000)


def test_a_name_of_the_cast_is_no_longer_than_a_name():
    script = {"scenes": [{"video_prompts": ["a"], "cut": [True]}], "cast": ["a " * 50 + "b"]}
    with pytest.raises(ValueError, match="longer than the 100 characters of a name"):
        load_story(script, quiet=True)


def test_prefixes_of_a_weights_name_are_taken_off_in_time():
    def work(n):
        key = "transformer." * n + "blocks.0.ffn.0"
        return lambda: module_name(key) == "blocks.0.ffn.0" or pytest.fail("it stayed")

    assert_grows_linearly(work)


def test_deep_json_is_refused_at_once():
    def work(n):
        texts = [
            '{"scenes": ' + "[" * n + "]" * n + "}",
            "[more = " + "[" * n + "]" * n + "]\na",
            '{"a":' * n + "1" + "}" * n,
        ]

        def read():
            for text in texts:
                with pytest.raises(ValueError, match=r"deeply|must hold JSON|not valid JSON"):
                    load_story(text, quiet=True)

        return read

    assert_grows_linearly(work)
