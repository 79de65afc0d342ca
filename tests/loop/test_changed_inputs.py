"""What a run says of shots that it makes again: the input that changed, with both values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.files.hashing import digest_of
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.cache_keys import READS_DIALOGUE, READS_RECONSTRUCT
from storymem.loop.changed_inputs import UPDATED, BodyNames, body_changes, changed
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.regeneration import (
    UNTOLD,
    UNTOLD_BODY,
    find_regenerations,
    regeneration_lines,
)
from storymem.loop.reuse import describe_result
from storymem.loop.shot_store import LONGEST_BODY, ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import start_bank
from storymem.script.reader import load_story

PROMPTS = ("Mara walks.", "Mara sits.", "Pip barks.")
PICTURES = [noise_image(i, 8, 8).float() / 255 for i in (71, 72)]
DIGEST = "ab" * 32


def node(kind="Sampler", fingerprint="None", **inputs) -> list:
    return [kind, fingerprint, inputs]


def graph_body(*nodes, files=(), versions=(), ends=([0, 0], [0, 1]), marks=()) -> str:
    """As nodes describe what makes a shot."""
    text = json.dumps([list(ends), list(nodes), [list(file) for file in files], *marks])
    return json.dumps([dict(versions), text])


def said(before: str, after: str, *names: str, **more) -> list[str]:
    return body_changes(before, after, BodyNames(names, **more))


LOADER = node("UNETLoader", unet_name="wan.safetensors")
SAMPLER = node(seed=42, steps=40, model=["#", 1, 0])


def test_a_widget_is_named_with_both_values():
    other = node(seed=917, steps=40, model=["#", 1, 0])
    found = said(graph_body(SAMPLER, LOADER), graph_body(other, LOADER), "'M2V Sampler'")
    assert found == ["seed of 'M2V Sampler' changed from 42 to 917"]


def test_a_widget_is_named_in_a_body_that_reads_more_of_the_script_than_prompts():
    marks = [READS_DIALOGUE, READS_RECONSTRUCT]
    other = node(seed=917, steps=40, model=["#", 1, 0])
    bodies = [graph_body(one, LOADER, marks=marks) for one in (SAMPLER, other)]
    assert said(*bodies, "'S'") == ["seed of 'S' changed from 42 to 917"]


def test_a_seed_that_moves_by_itself_says_so():
    bodies = (
        graph_body(SAMPLER, LOADER),
        graph_body(node(seed=917, steps=40, model=["#", 1, 0]), LOADER),
    )
    (found,) = said(*bodies, "'S'", controls={0: "randomize"})
    assert found.endswith("to 917 (its control after generate is 'randomize', not 'fixed')")


def test_a_widget_that_was_at_its_neutral_value_has_one():
    bodies = graph_body(node("StoryMemM2VSampler")), graph_body(node("StoryMemM2VSampler", shift=5))
    assert said(*bodies, "'S'") == ["shift of 'S' changed from 4.0 to 5"]
    assert said(*bodies[::-1], "'S'") == ["shift of 'S' changed from 5 to 4.0"]


def test_nodes_that_came_and_went():
    lora = node("LoraLoader", model=["#", 2, 0], strength=1.0)
    with_lora = graph_body(node(seed=42, steps=40, model=["#", 1, 0]), lora, LOADER)
    without = graph_body(SAMPLER, LOADER)
    kinds = {"LoraLoader": "Load LoRA"}
    assert said(without, with_lora, "'S'", "'My LoRA'", "'L'") == ["'My LoRA' was added"]
    assert said(with_lora, without, "'S'", "'L'", kinds=kinds) == ["'Load LoRA' was removed"]
    # Beside it a widget of a node that has another place now.
    cold = graph_body(node(seed=42, steps=8, model=["#", 1, 0]), lora, LOADER)
    assert said(without, cold, "'S'", "'A'", "'L'") == [
        "'A' was added",
        "steps of 'S' changed from 40 to 8",
    ]


def test_nodes_in_another_order_are_connected_as_before():
    before = graph_body(node(model=["#", 1, 0], steps=4), node("A"), node("B"))
    after = graph_body(node(model=["#", 2, 0], steps=8), node("B"), node("A"))
    assert said(before, after, "'S'") == ["steps of 'S' changed from 4 to 8"]


def test_links():
    two = [node("Sampler", model=["#", 1, 0]), node("A"), node("A")]
    other = [node("Sampler", model=["#", 2, 0]), node("A"), node("A")]
    assert said(graph_body(*two), graph_body(*other), "'S'", "'A'", "'B'") == [
        "model of 'S' is connected otherwise"
    ]
    ends = graph_body(*two, ends=([0, 1], [0, 1]))
    assert said(graph_body(*two), ends) == ["another node gives the loop its frames"]
    typed = graph_body(node("Sampler", model="x"), *two[1:])
    assert said(graph_body(*two), typed, "'S'") == ["model of 'S' is connected otherwise"]


def test_files():
    def with_file(name="a.safetensors", size=7, time=1, value="a.safetensors") -> str:
        return graph_body(node(lora=value), files=[[name, [size, time]]])

    assert said(with_file(), with_file(size=8)) == ["the file 'a.safetensors' was replaced"]
    assert said(with_file(), with_file(time=2)) == ["the file 'a.safetensors' was written anew"]
    other = with_file("b.safetensors", value="sub/b.safetensors")
    assert said(with_file(), other, "'L'") == [
        "lora of 'L' changed from 'a.safetensors' to 'sub/b.safetensors'"
    ]
    gone = graph_body(node(lora="a.safetensors"))
    assert said(with_file(), gone) == ["the file 'a.safetensors' is gone"]


def test_what_a_node_reads_and_an_update():
    assert said(graph_body(node("A", "'x'")), graph_body(node("A", "'y'")), "'Load Image'") == [
        "what 'Load Image' reads changed"
    ]
    body = graph_body(SAMPLER, LOADER)
    assert said(body, graph_body(SAMPLER, LOADER, versions={"sampling": 2})) == [UPDATED]
    assert said(body, body) == []


def test_a_lora_that_an_update_applies_at_another_scale():
    """Which no input of the node says."""
    before = graph_body(node("Lora", lora_high="a"))
    after = graph_body(node("Lora", **{"lora_high": "a", "scale of lora_high": "8 instead of 16"}))
    told = "the scale of lora_high of 'Load LoRA' is"
    assert said(before, after, "'Load LoRA'") == [f"{told} 8 instead of 16"]
    assert said(after, before, "'Load LoRA'") == [f"{told} as in earlier versions"]
    headless_after = headless(scale_of_lora={"high.safetensors": "8 instead of 16"})
    told = "the scale of 'high.safetensors' is"
    assert said(headless(), headless_after) == [f"{told} 8 instead of 16"]
    assert said(headless_after, headless()) == [f"{told} as in earlier versions"]
    assert said(headless_after, headless_after) == []


def headless(**parts) -> str:
    body = {
        "settings": {"width": 832, "threshold": 0.9}, "recipe": {"cfg": 3.5}, "judges": {},
        "weights": {"i2v": DIGEST, "lora": []}, "lora_scale": None, "vae_tiling": False,
        "start_image": None, "dtype": "torch.bfloat16", "code": {},
    }  # fmt: skip
    return json.dumps({**body, **parts})


def test_a_headless_run():
    for parts, words in (
        ({"settings": {"width": 480, "threshold": 0.9}}, "width changed from 832 to 480"),
        ({"recipe": {"cfg": 1.0}}, "cfg changed from 3.5 to 1.0"),
        ({"recipe": {"cfg": 3.5, "denoise": 0.5}}, "denoise changed from nothing to 0.5"),
        ({"weights": {"i2v": "cd" * 32, "lora": []}}, "the i2v files changed"),
        ({"weights": {"i2v": DIGEST, "lora": [DIGEST]}}, "the lora files changed"),
        ({"start_image": DIGEST}, "start_image changed"),
        ({"code": {"headless": 2}}, UPDATED),
    ):
        assert said(headless(), headless(**parts)) == [words]


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "[",
        "7",
        "[]",
        "{}",
        "[[], []]",
        '[{}, "[]"]',
        '[{}, "[[[0]], [[1]], [[2]]]"]',
        "[" * 9999,
    ],
)
def test_a_body_that_nobody_wrote_says_nothing(odd):
    assert said(odd, graph_body(SAMPLER)) == []
    assert said(odd, headless()) == []


def test_values_are_shown_safely():
    long = "a wide view of the sea, " * 400
    text = changed("text of 'T'", long + "calm", long + "rough\n\x1b[31m")
    assert len(text) < 150
    assert text.count("calm") == text.count("rough") == 1
    assert not {"\x1b", "\n"} & set(text)
    assert changed("x", DIGEST, "cd" * 32) == "x changed"
    assert changed("x", 10**9999, 10**9998) != ""
    assert changed("x", None, "b") == "x changed from nothing to 'b'"


def test_long_texts_are_shown_from_shortly_before_where_they_differ():
    same = "the sea is calm and the boat " * 2
    assert changed("text", same + "rows", same + "sails on") == (
        "text changed from '...he boat rows' to '...he boat sails on'"
    )
    assert changed("text", "a" * 30 + "b", "a" * 30 + "c") == (  # short enough as a whole
        f"text changed from '{'a' * 30}b' to '{'a' * 30}c'"
    )
    assert changed("text", "a" * 40 + "b", "a" * 40) == (
        "text changed from '...aaaaaaaab' to '...aaaaaaaa'"
    )
    assert changed("text", "b" * 41, "c" * 41) == (  # from their very beginning
        f"text changed from '{'b' * 35}...' to '{'c' * 35}...'"
    )
    assert changed("steps", 4, "4") == "steps changed from 4 to '4'"
    assert changed("x", "b" * 90 + "c" * 90, "b" * 90 + "c" * 91).startswith("x changed")


def test_a_digest_says_nothing_to_people():
    assert changed("x", DIGEST, "a.png") == "x changed"
    assert changed("x", None, DIGEST) == "x changed"
    assert changed("x", [1] * 90, [1] * 91) == "x changed"  # shortened they look the same


def test_a_control_is_told_of_numbers_alone():
    def told(value) -> bool:
        after = graph_body(node(a=value))
        (line,) = said(graph_body(node(a="x")), after, "'S'", controls={0: "randomize"})
        return line.endswith("(its control after generate is 'randomize', not 'fixed')")

    assert [told(value) for value in (5, 0, True, "5", 2.5)] == [True, True, False, False, False]
    (line,) = said(graph_body(node(a=1)), graph_body(node(a=2)), "'S'", controls={1: "randomize"})
    assert line == "a of 'S' changed from 1 to 2"


def test_a_node_without_a_name_is_called_by_its_kind():
    names = BodyNames(("'My sampler'",), {"A": "Load A"})
    assert [names.of_node(0, "A"), names.of_node(1, "A"), names.of_node(1, "B")] == [
        "'My sampler'", "'Load A'", "'B'",
    ]  # fmt: skip


def test_many_nodes_of_one_kind_keep_their_order():
    before = graph_body(*(node("A", n=i) for i in range(4)))
    after = graph_body(node("A", n=0), node("A", n=7), node("A", n=2), node("A", n=3))
    assert said(before, after, *"abcd") == ["n of b changed from 1 to 7"]
    fewer = graph_body(*(node("A", n=i) for i in range(3)))
    assert said(before, fewer, *"abc") == ["'A' was removed"]
    assert said(fewer, before, *"abcd") == ["d was added"]
    mixed = graph_body(node("C"), node("B"), node("A", n=4), ends=([2, 0], [2, 1]))
    swapped = graph_body(node("B"), node("A", n=5), node("C"), ends=([1, 0], [1, 1]))
    assert said(mixed, swapped, *"bac") == ["n of a changed from 4 to 5"]


def test_nodes_that_stayed_in_their_order_are_the_same_nodes():
    one, other = node("A", n=1), node("A", n=2)
    before = graph_body(one, node("B"), other, ends=([2, 0], [2, 1]))
    assert said(before, graph_body(node("B"), other, one, ends=([1, 0], [1, 1]))) == []
    both = graph_body(node("B", n=2), node("A", n=2), ends=([1, 0], [1, 1]))
    assert said(graph_body(node("A", n=1), node("B", n=1)), both, "b", "a") == [
        "n of b changed from 1 to 2",
        "n of a changed from 1 to 2",
    ]


def test_a_list_that_is_no_link_is_a_value():
    for was, now in (([1, 2, 3], [1, 2, 4]), (["#", 1], ["#", 2])):
        assert said(graph_body(node(a=was)), graph_body(node(a=now)), "'S'") == [
            f"a of 'S' changed from {was} to {now}"
        ]


def test_what_is_told_first():
    """What came and went, an update before it; then widgets, files and last links."""
    before = graph_body(
        node("S", a=1, model=["#", 1, 0]), node("A"), node("A"), files=[["f.bin", [1, 1]]]
    )
    after = graph_body(
        node("S", a=2, model=["#", 2, 0]), node("A"), node("A"), files=[["f.bin", [2, 1]]],
        versions={"lora": 2}, ends=([0, 0], [0, 2]),
    )  # fmt: skip
    assert said(before, after, "'S'") == [
        UPDATED,
        "a of 'S' changed from 1 to 2",
        "the file 'f.bin' was replaced",
        "model of 'S' is connected otherwise",
        "another node gives the loop its bank",
    ]
    # With a node that came, other links around it are no news.
    grown = graph_body(
        node("S", a=2, model=["#", 3, 0]), node("A"), node("A"), node("New"),
        ends=([0, 1], [0, 1]), files=[["f.bin", [1, 1]]],
    )  # fmt: skip
    assert said(before, grown, "'S'", "'A'", "'A'", "'N'") == [
        "'N' was added",
        "a of 'S' changed from 1 to 2",
    ]


def test_what_a_node_reads_is_told_where_nothing_else_says_why():
    before = graph_body(node("A", "'x'", n=1), node("B", "'x'"))
    assert said(before, graph_body(node("A", "'y'", n=1), node("B", "'y'")), "'a'", "'b'") == [
        "what 'a' reads changed",
        "what 'b' reads changed",
    ]
    assert said(before, graph_body(node("A", "'y'", n=2), node("B", "'x'")), "'a'", "'b'") == [
        "n of 'a' changed from 1 to 2"
    ]
    assert said(before, graph_body(node("A", "'y'", n=2), node("B", "'y'")), "'a'", "'b'") == [
        "n of 'a' changed from 1 to 2"
    ]


def test_a_link_to_open_stays_one():
    before = graph_body(node("S", shot=["#", "open", 1]), node("A"))
    assert said(before, graph_body(node("A"), node("S", shot=["#", "open", 1]),
                                   ends=([1, 0], [1, 1]))) == []  # fmt: skip
    assert said(before, graph_body(node("S", shot=["#", "open", 2]), node("A")), "'S'") == [
        "shot of 'S' is connected otherwise"
    ]
    assert said(before, graph_body(node("S", shot=["#", 1, 1]), node("A")), "'S'") == [
        "shot of 'S' is connected otherwise"
    ]


def test_every_file_of_a_body_is_looked_at():
    before = graph_body(node(a="x"), files=[["a", [1, 1]], ["b", [1, 1]], ["c", [1, 1]]])
    after = graph_body(node(a="x"), files=[["b", [1, 2]], ["c", [2, 2]], ["d", [1, 1]]])
    assert said(before, after) == [
        "the file 'b' was written anew",
        "the file 'c' was replaced",
        "the file 'd' is there now",
        "the file 'a' is gone",
    ]


def test_every_part_of_a_headless_body_is_looked_at():
    for name, value, words in (
        ("lora_scale", 2.0, "lora_scale changed from nothing to 2.0"),
        ("vae_tiling", True, "vae_tiling changed from False to True"),
        ("dtype", "float32", "dtype changed from 'torch.bfloat16' to 'float32'"),
        ("judges", {"scorer": "laion"}, "scorer changed from nothing to 'laion'"),
        ("weights", {"i2v": DIGEST}, "the lora files changed"),
        ("weights", {"i2v": DIGEST, "lora": [], "t2v": DIGEST}, "the t2v files changed"),
        ("settings", {"width": 832}, "threshold changed from 0.9 to nothing"),
    ):
        assert said(headless(), headless(**{name: value})) == [words]
    both = headless(code={"lora": 2}, recipe={"cfg": 1.0}, settings={"width": 480}, dtype="x")
    assert said(headless(), both) == [
        UPDATED,
        "width changed from 832 to 480",
        "threshold changed from 0.9 to nothing",
        "cfg changed from 3.5 to 1.0",
        "dtype changed from 'torch.bfloat16' to 'x'",
    ]
    assert said(headless(), headless()) == []


# --- in a run ------------------------------------------------------------------------------------


def tale(prompts=PROMPTS, cuts=(True, False, True), **fields):
    of_story = {name[1:]: fields.pop(name) for name in list(fields) if name.startswith("_")}
    scene = {"video_prompts": list(prompts), "cut": list(cuts), **fields}
    return load_story({"story_name": "Sea", "scenes": [scene], **of_story})


@pytest.fixture
def loop(tmp_path):
    bank = start_bank(PICTURES, max_frames=4, sink=1, pinned=False)
    body = graph_body(SAMPLER, LOADER)
    return Loop(tale(), LoopSettings(), bank, body, ShotStore(tmp_path / "store"))


@pytest.fixture
def made(loop):
    return make(loop, {"shots": {}})


def make(loop, manifest, count=99) -> dict:
    before = None
    for step in list_steps(loop, manifest)[:count]:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            seed = int(digest_of([loop.body, step.plan.prompt])[:8], 16)
            frames = torch.rand(8, 8, 8, 3, generator=torch.Generator().manual_seed(seed))
            step.record, step.result = finish_shot(loop, step, frames, begun.bank, crf=30)
        before = step.result or load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return manifest


def lines(loop, manifest) -> list[str]:
    steps = list_steps(loop, manifest)
    found = find_regenerations(loop, steps, BodyNames(("'M2V Sampler'",)))
    return regeneration_lines(found, steps)


def other_body(**inputs) -> str:
    return graph_body(node(**{"seed": 42, "steps": 40, "model": ["#", 1, 0], **inputs}), LOADER)


def test_a_finished_story_says_nothing(loop, made):
    assert lines(loop, made) == []
    assert lines(loop, {"shots": {}}) == []


def test_one_line_for_all_shots(loop, made):
    after = replace(loop, body=other_body(seed=917))
    assert lines(after, made) == [
        "shots 1-3 are regenerated because seed of 'M2V Sampler' changed from 42 to 917"
    ]
    make(after, made, count=1)  # stopped after the first shot
    assert lines(after, made) == [
        "shots 2-3 are regenerated because seed of 'M2V Sampler' changed from 42 to 917"
    ]
    assert lines(loop, made) == []  # the first one is there as well


def test_at_most_three_changes_are_named(loop, made):
    (line,) = lines(replace(loop, body=other_body(seed=1, steps=2, cfg=1.0, a=1, b=2)), made)
    assert line.count(" changed ") == 3
    assert line.endswith(" and 2 more changes")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": [None, 9, None]}, "its own seed changed from nothing to 9"),
        ({"length": [None, 49, None]}, "its length changed from nothing to 49"),
        ({"lora_strength": [None, 0.5, None]}, "its lora_strength changed from nothing to 0.5"),
        ({"negative_prompt": [None, "x", None]}, "its negative prompt changed from '' to 'x'"),
        ({"cuts": (True, True, True)}, "how it begins changed from 'last_frame' to 'a cut'"),
    ],
)  # fmt: skip
def test_fields_of_a_shot(loop, made, fields, words):
    (line,) = lines(replace(loop, story=tale(**fields)), made)
    assert line == (
        f"shot 2 is regenerated because {words}; shot 3 follows if what it sees changes"
    )


def test_an_edited_prompt_is_known_as_such(loop, made):
    after = replace(loop, story=tale(("Mara runs.", *PROMPTS[1:])))
    (found,) = find_regenerations(after, list_steps(after, made))
    assert found.is_edited
    assert found.shots == (1,)
    assert found.reasons == ("its prompt changed from 'Mara walks.' to 'Mara runs.'",)
    seeds = replace(after, body=other_body(seed=7))
    one, others = find_regenerations(seeds, list_steps(seeds, made))
    assert (one.is_edited, others.is_edited, others.shots) == (True, False, (2, 3))


def test_the_character_description(loop, made):
    after = replace(loop, story=replace(tale(), character="Mara is tall."))
    words = "the character description changed from '' to 'Mara is tall.'"
    assert lines(after, made) == [f"shots 1-3 are regenerated because {words}"]
    shorter = replace(loop, story=replace(tale(), character="Mara."))
    words = "the character description changed from 'Mara is tall.' to 'Mara.'"
    assert lines(shorter, make(after, {"shots": {}})) == [
        f"shots 1-3 are regenerated because {words}"
    ]


def test_shots_put_in(loop, made):
    after = replace(loop, story=tale(("A gull.", *PROMPTS), (True, True, False, True)))
    found = find_regenerations(after, list_steps(after, made))
    assert ("its place in the story changed from 2 to 3",) in [one.reasons for one in found]


def test_another_take_is_what_the_artist_asks_for(loop, made):
    again = replace(loop, settings=replace(loop.settings, redo=(1,), take=2))
    assert lines(again, made) == []


def test_the_memory(loop, made):
    for bank, words in (
        (replace(loop.bank, max_frames=1, sink=0), "max_frames of the memory bank changed from 4"),
        (
            start_bank([PICTURES[0]], max_frames=4, sink=1, pinned=False),
            "the reference pictures of the memory bank changed",
        ),
    ):
        line = lines(replace(loop, bank=bank), made)[0]
        assert line.startswith(f"shot 1 is regenerated because {words}")


def test_parentheses(loop, made):
    hosted = replace(loop, story=tale(("Mara (tall).", *PROMPTS[1:])), reads_weights=True)
    manifest = make(hosted, {"shots": {}})
    on = replace(hosted, story=replace(hosted.story, prompt_weights=True))
    assert lines(on, manifest)[0].startswith(
        "shot 1 is regenerated because parentheses in its text are read as weights now"
    )


# --- results of earlier versions -----------------------------------------------------------------


def as_before(loop, *, keep=()) -> None:
    """Leave of each record what earlier versions wrote."""
    import hashlib

    new = {"length", "lora_strength", "pictures", "memory", "start", "text"} - set(keep)
    for path in not_empty(loop.store.root.glob("shots/*/*/record.json")):
        body = json.loads(json.loads(path.read_text())["record"])
        body["facts"] = {k: v for k, v in body["facts"].items() if k not in new}
        text = json.dumps(body)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps({"sha256": digest, "record": text}))
    for path in not_empty(loop.store.root.glob("bodies/*/*")):
        path.unlink()


def test_records_of_earlier_versions_are_found_and_say_what_is_known(loop, made):
    as_before(loop)
    assert lines(loop, made) == []  # the same keys
    assert lines(replace(loop, body=other_body(seed=1)), made) == [
        f"shots 1-3 are regenerated because {UNTOLD_BODY}"
    ]
    line = lines(replace(loop, story=tale(seed=[None, 9, None])), made)[0]
    assert "its own seed changed from nothing to 9" in line
    line = lines(replace(loop, story=tale(length=[None, 49, None])), made)[0]
    assert f"because {UNTOLD}" in line


def test_a_body_that_was_altered_is_not_believed(loop, made):
    (path,) = loop.store.root.glob("bodies/*/*")
    path.write_text(graph_body(node(seed=1)))
    assert UNTOLD_BODY in lines(replace(loop, body=other_body(seed=2)), made)[0]


def test_a_huge_body_is_not_kept(loop):
    huge = replace(loop, body="x" * (LONGEST_BODY + 1))
    make(huge, {"shots": {}}, count=1)
    assert not list(loop.store.root.glob("bodies/*/*"))


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, ["a"], {"max_frames": []}, 1e999])
def test_odd_facts_are_survived(loop, made, odd):
    import hashlib

    for path in not_empty(loop.store.root.glob("shots/*/*/record.json")):
        body = json.loads(json.loads(path.read_text())["record"])
        wanted = ("story", "label", "prompt", "shot_prompt", "own")  # texts, or it is no record
        body["facts"] = {k: v if k in wanted else odd for k, v in body["facts"].items()}
        text = json.dumps(body)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps({"sha256": digest, "record": text}))
    assert lines(loop, made) == []
    for after in (
        replace(loop, body=other_body(seed=2)),
        replace(loop, bank=replace(loop.bank, max_frames=1, sink=0)),
        replace(loop, story=tale(seed=[None, 9, None])),
    ):
        assert all(len(line) < 1500 for line in lines(after, made))
