"""Takes: every finished result of a shot, whose it is, what tells two apart, and a script that
names one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.changed_inputs import BodyNames
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result, latest_results, locks_of
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import CHOSEN, finish_shot, list_steps, lock_warnings
from storymem.loop.state import LoopState
from storymem.loop.take_names import find_key, find_take, missing_takes, take_name
from storymem.loop.takes import differences, held_pictures, read_takes, takes_of
from storymem.memory.bank import MemoryBank, start_bank
from storymem.script.reader import load_story


def tale(prompts=("one", "two", "three"), **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}
    return load_story({"story_name": "Tale", "scenes": [scene]}, quiet=True)


def with_row(prompt: str, row: str) -> dict:
    return {"prompt": prompt, "id": row}


@pytest.fixture
def loop(tmp_path):
    return Loop(tale(), LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path / "store"))


def make(loop, manifest=None) -> list[int]:
    """Run the loop as a run does; the numbers of the shots that it made."""
    manifest = {"shots": {}} if manifest is None else manifest
    steps, made = list_steps(loop, manifest), []
    for i, step in enumerate(steps):
        before = load_result(loop, steps[i - 1].record) if i else None
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            seed = sum(map(ord, step.key))
            frames = noise_image(seed, 8, 8)[None].expand(3, -1, -1, -1) / 255
            bank = begun.bank
            step.record, _ = finish_shot(loop, step, frames, bank, crf=30)
            made.append(i + 1)
        manifest["shots"][step.label] = describe_result(step)
    return made


def keys(loop, manifest) -> list[str]:
    return [manifest["shots"][shot.label]["key"] for shot in loop.story.shots]


def retaken(loop, manifest, **fields) -> list[str]:
    """Keys after a run with other fields in the script."""
    other = replace(loop, story=tale(**fields))
    make(other, manifest)
    return keys(other, manifest)


# --- a script that names a take -------------------------------------------------------------------


def test_a_script_that_names_a_take_has_it_whatever_changed(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    second = retaken(loop, manifest, seed=[None, 7, None])
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]
    prompts = ("one", "something else", "three")
    chosen = tale(prompts, seed=[None, 8, None], use_take=[None, take_name(first[1]), None])
    again = replace(loop, story=chosen)
    steps = list_steps(again, manifest)
    assert [step.reason for step in steps] == ["", CHOSEN, ""]
    assert make(again, manifest) == []
    assert keys(again, manifest) == first
    whole = tale(prompts, use_take=[None, second[1], None])
    assert list_steps(replace(loop, story=whole), manifest)[1].record.key == second[1]


def test_a_named_take_comes_before_a_lock_and_a_retake_before_both(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    second = retaken(loop, manifest, seed=[None, 7, None])
    manifest["locks"] = {"01_02": second[1]}
    locked = tale(seed=[None, 9, None], lock=[False, True, False])
    assert list_steps(replace(loop, story=locked), manifest)[1].record.key == second[1]
    both = tale(
        seed=[None, 9, None], lock=[False, True, False], use_take=[None, first[1][:12], None]
    )
    assert list_steps(replace(loop, story=both), manifest)[1].record.key == first[1]
    redo = replace(loop, story=both, settings=LoopSettings(redo=(1,)))
    assert list_steps(redo, manifest)[1].record is None
    assert lock_warnings(redo, list_steps(redo, manifest)) == []


def test_shots_after_a_named_take_follow_the_usual_rule(loop):
    """They are looked up by what they see, and made again when that is something else."""
    loop = replace(
        loop,
        story=load_story(
            {"story_name": "Tale",
             "scenes": [{"video_prompts": ["one", "two", "three"], "cut": [True, False, False]}]},
            quiet=True,
        ),
    )  # fmt: skip
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    scene = {"video_prompts": ["one", "two", "three"], "cut": [True, False, False]}
    other = {"story_name": "Tale", "scenes": [{**scene, "seed": [None, 7, None]}]}
    assert make(replace(loop, story=load_story(other, quiet=True)), manifest) == [2, 3]
    back = {**other, "scenes": [{**other["scenes"][0], "use_take": [None, first[1][:16], None]}]}
    again = replace(loop, story=load_story(back, quiet=True))
    assert make(again, manifest) == []
    assert keys(again, manifest) == first
    # A take that no result follows yet.
    third = {"story_name": "Tale", "scenes": [{**scene, "seed": [None, 8, 8]}]}
    assert make(replace(loop, story=load_story(third, quiet=True)), manifest) == [2, 3]
    mixed = {**third, "scenes": [{**third["scenes"][0], "use_take": [None, first[1][:16], None]}]}
    assert make(replace(loop, story=load_story(mixed, quiet=True)), manifest) == [3]


def test_a_named_take_that_is_gone_is_told_before_the_first_shot(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    story = tale(use_take=[None, "0123456789abcdef", None])
    gone = replace(loop, story=story)
    steps = list_steps(gone, manifest)
    assert steps[1].reason == ""
    assert steps[1].record is not None
    (line,) = lock_warnings(gone, steps)
    assert line.startswith("take 0123456789abcdef, which the script names for shot 2, is not among")
    assert missing_takes(loop.store, story.shots) == [line]
    assert missing_takes(loop.store, loop.story.shots) == []


def test_a_take_that_another_shot_names_stays_locked_where_it_is(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    manifest["locks"] = {"01_01": first[0], "r1": first[0]}
    for prompts in (("other", "two", "three"), (with_row("other", "r1"), "two", "three")):
        named = tale(prompts, lock=[True, False, False], use_take=[None, first[0][:16], None])
        both = replace(loop, story=named)
        steps = list_steps(both, manifest)
        assert [step.record.key for step in steps[:2]] == [first[0]] * 2
        assert [step.reason for step in steps[:2]] == ["locked", CHOSEN]
        locks = locks_of(named, steps, latest_results(manifest["shots"], named), manifest["locks"])
        assert locks["01_01"] == first[0]


def test_a_lock_holds_where_the_named_take_is_gone(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    manifest["locks"] = {"01_02": first[1]}
    named = tale(
        ("one", "other", "three"), lock=[False, True, False], use_take=[None, "ab" * 8, None]
    )
    steps = list_steps(replace(loop, story=named), manifest)
    assert (steps[1].record.key, steps[1].reason) == (first[1], "locked")
    results = latest_results(manifest["shots"], named, manifest["locks"])
    assert locks_of(named, steps, results, manifest["locks"])["01_02"] == first[1]
    settings = LoopSettings(start_shot=3)
    later = replace(loop, story=tale(seed=[None, 4, None], use_take=[None, "ab" * 8, None]))
    kept = list_steps(replace(later, settings=settings), manifest)
    assert [step.plan.shot.index for step in kept] == [0, 1, 2]
    assert kept[1].record.key == first[1]


def test_a_damaged_take_is_not_used(loop, caplog):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    key = keys(loop, manifest)[1]
    (loop.store.folder_of(key) / "shot.mp4").write_bytes(b"cut off")
    story = tale(use_take=[None, key[:16], None])
    assert find_take(loop.store, key[:16]) is None
    assert "damaged" in caplog.text
    (line,) = missing_takes(loop.store, story.shots)
    assert key[:16] in line


@pytest.mark.parametrize("name", ["", "abc", "..", "0" * 65, "G" * 16, "../../etc/pass", "*" * 12])
def test_only_the_beginning_of_a_key_names_a_take(loop, name):
    make(loop)
    assert find_key(loop.store, name) == ""


def test_a_name_of_two_takes_is_the_name_of_none(loop):
    for end in "ab":
        (loop.store.root / "shots" / "01" / ("01" * 31 + "0" + end)).mkdir(parents=True)
    assert find_key(loop.store, "01" * 31) == ""
    assert find_key(loop.store, "01" * 31 + "0a") == "01" * 31 + "0a"


def test_the_other_road_uses_named_takes_too(loop):
    """Begin Story and Next Shot."""
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    first = keys(loop, manifest)
    story = tale(seed=[5, 5, 5], use_take=[first[0][:16], None, None])
    state = LoopState(replace(loop, story=story, body=""), MemoryBank())
    step = state.next_step("body")
    assert (step.key, step.reason) == (first[0], CHOSEN)
    assert state.find("body").key == first[0]
    unchosen = LoopState(replace(loop, story=tale(seed=[5, 5, 5]), body=""), MemoryBank())
    assert unchosen.next_step("body").key != first[0]


# --- whose they are -------------------------------------------------------------------------------


def numbers(story, loop) -> list[list[str]]:
    """Prompts of the takes of each shot."""
    found = takes_of(story, read_takes(loop.store, "Tale"))
    return [sorted(take.prompt for take in takes) for takes in found]


def test_a_take_follows_its_row_through_edits_and_moves(loop):
    rows = [with_row("one", "r1"), with_row("two", "r2"), with_row("three", "r3")]
    make(replace(loop, story=tale(rows)))
    moved = [with_row("three", "r3"), with_row("one", "r1"), with_row("two, edited", "r2")]
    assert numbers(tale(moved), loop) == [["three"], ["one"], ["two"]]
    make(replace(loop, story=tale(moved)))
    assert numbers(tale(moved), loop) == [
        ["three", "three"], ["one", "one"], ["two", "two, edited"]
    ]  # fmt: skip
    removed = [with_row("two, edited", "r2")]
    assert numbers(tale(removed), loop) == [["two", "two, edited"]]


def test_of_copies_of_a_row_each_has_the_takes_of_its_prompt(loop):
    make(replace(loop, story=tale([with_row("one", "r1")])))
    make(replace(loop, story=tale([with_row("one", "r1"), with_row("new", "r1")])))
    assert numbers(tale([with_row("one", "r1"), with_row("new", "r1")]), loop) == [["one"], ["new"]]
    gone = tale([with_row("x", "r1"), with_row("y", "r1")])
    assert numbers(gone, loop) == [["new", "one"], []]


def test_takes_without_a_row_go_by_prompt_then_by_label(loop):
    make(loop)
    assert numbers(tale(("two", "@Mara", "one")), loop) == [["two"], [], ["one", "three"]]
    assert numbers(tale(("one", "edited", "three")), loop) == [["one"], ["two"], ["three"]]
    assert numbers(tale(("one", "one", "three")), loop) == [["one"], ["one", "two"], ["three"]]


def test_shots_of_equal_prompts_share_their_takes(loop):
    same = tale(("one", "one", "two"))
    make(replace(loop, story=same))
    first, second, third = numbers(same, loop)
    assert first == second == ["one", "one"]
    assert third == ["two"]


def test_a_take_that_the_script_names_is_among_its_shots(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    key = keys(loop, manifest)[0]
    named = tale(use_take=[None, None, key[:12]])
    assert numbers(named, loop) == [["one"], ["two"], ["one", "three"]]


def test_only_takes_of_the_story_are_listed_and_each_file_is_read_once(loop, monkeypatch):
    make(loop)
    other = load_story({"story_name": "Other", "scenes": [
        {"video_prompts": ["one"], "cut": [True]}]}, quiet=True)  # fmt: skip
    make(replace(loop, story=other))
    takes = read_takes(loop.store, "Tale")
    assert [take.facts["label"] for take in takes] == ["01_01", "01_02", "01_03"]
    assert all(take.size > 0 and take.frames == 3 for take in takes)
    assert len(read_takes(loop.store)) == 4

    def never(*_):
        raise AssertionError("a record was read again")

    monkeypatch.setattr("storymem.loop.takes.parse_json", never)
    assert read_takes(loop.store, "Tale") == takes


def test_records_that_are_no_takes_are_passed_over(loop):
    make(loop)
    first, second, third = (loop.store.folder_of(t.key) for t in read_takes(loop.store, "Tale"))
    (first / "record.json").write_text("{")
    (second / "record.json").write_text(json.dumps({"record": json.dumps({"facts": 3})}))
    (third / "shot.mp4").unlink()
    (loop.store.root / "shots" / "stray.txt").write_text("x")
    (loop.store.root / "shots" / "aa").mkdir(exist_ok=True)
    (loop.store.root / "shots" / "aa" / "not a key").mkdir()
    loop.store.root.joinpath("shots", "ab").mkdir(exist_ok=True)
    assert read_takes(loop.store, "Tale") == read_takes(ShotStore(loop.store.root / "no"), "Tale")


# --- what tells them apart ------------------------------------------------------------------------


def two_takes(loop, **changes):
    make(loop)
    (first,) = takes_of(loop.story, read_takes(loop.store, "Tale"))[1]
    make(replace(loop, **changes))
    story = changes.get("story", loop.story)
    takes = takes_of(story, read_takes(loop.store, "Tale"))[1]
    (other,) = (take for take in takes if take.key != first.key)
    return loop.store, other, first


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"story": tale(seed=[None, 7, None])}, [{"kind": "seed", "was": None, "now": 7}]),
        (
            {"story": tale(("one", "other", "three"))},
            [{"kind": "prompt", "was": "two", "now": "other"}],
        ),
        ({"story": tale(length=[None, 41, None])}, [{"kind": "length", "was": None, "now": 41}]),
        (
            {"story": tale(negative_prompt=[None, "rain", None])},
            [{"kind": "negative", "was": "", "now": "rain"}],
        ),
        (
            {"story": tale(lora_strength=[None, 0.5, None])},
            [{"kind": "strength", "was": None, "now": 0.5}],
        ),
        ({"body": "other body"}, [{"kind": "nodes", "lines": []}]),
    ],
)
def test_what_differs_between_two_takes(loop, changes, expected):
    assert differences(*two_takes(loop, **changes), BodyNames()) == expected


def test_what_the_nodes_had_is_told_by_name(loop):
    before, after = (
        json.dumps([{}, [["StoryMemM2VSampler", {"steps": n, "cfg": 1.0}, []]]]) for n in (20, 4)
    )
    found = differences(*two_takes(replace(loop, body=before), body=after), BodyNames())
    assert [entry["kind"] for entry in found] == ["nodes"]
    assert all(isinstance(line, str) for line in found[0]["lines"])


def test_another_memory_is_told_with_the_number_of_frames(loop):
    portraits = [
        start_bank([noise_image(seed, 8, 8) / 255], max_frames=3, sink=1) for seed in (1, 2)
    ]
    found = differences(
        *two_takes(replace(loop, bank=portraits[0]), bank=portraits[1]), BodyNames()
    )
    assert found == [{"kind": "memory", "count": 2}]


def test_a_take_differs_in_nothing_from_itself(loop):
    make(loop)
    take = read_takes(loop.store, "Tale")[0]
    assert differences(loop.store, take, take, BodyNames()) == []


def test_the_pictures_of_a_record(loop):
    portrait = noise_image(1, 8, 8)
    with_memory = replace(loop, bank=start_bank([portrait / 255], max_frames=3, sink=1))
    make(with_memory)
    take = read_takes(loop.store, "Tale")[0]
    (digest,) = held_pictures(loop.store, take.key)
    assert torch.equal(loop.store.read_picture(digest), portrait)
    shutil.rmtree(loop.store.folder_of(take.key))
    with pytest.raises(ValueError, match="does not say which pictures"):
        held_pictures(loop.store, take.key)
