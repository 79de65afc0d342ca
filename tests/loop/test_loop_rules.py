"""Small rules of the loop: which shots are worked on, what a body may hand over, what is told
before the first shot is made."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.loop.begin import bank_after, begin_shot, load_result
from storymem.loop.cache_keys import telling_facts
from storymem.loop.changed_inputs import BodyNames
from storymem.loop.plan import Loop, LoopSettings, Step, plan_shot
from storymem.loop.reuse import describe_result
from storymem.loop.run_memory import (
    bank_at_start,
    bank_of_run,
    begin_memory,
    pin_facts,
    with_settings,
)
from storymem.loop.shot_memory import (
    ROOM_FOR_ALL,
    shot_memory,
    with_names,
    with_prompt,
)
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import (
    finish_shot,
    join_parts,
    list_steps,
    lock_warnings,
    only_bank,
    summarise_steps,
)
from storymem.loop.state import LoopState
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture
from storymem.sampling.continuity import ShotPlan
from storymem.script.reader import load_story
from storymem.script.story import Shot, Story


def tale(count=4, cuts=None, **fields) -> Story:
    cuts = cuts or [True] + [False] * (count - 1)
    prompts = fields.pop("prompts", [f"Mara walks {i + 1}." for i in range(count)])
    scene = {"video_prompts": prompts, "cut": cuts, **fields}
    return load_story({"story_name": "Tale", "scenes": [scene]})


def frame(seed: int, **fields) -> MemoryFrame:
    return MemoryFrame(noise_image(seed, 4, 4), **fields)


def digests(frames) -> list[str]:
    return [one.digest for one in frames]


@pytest.fixture
def loop(tmp_path):
    return Loop(tale(), LoopSettings(), MemoryBank(max_frames=3, sink=1), "b", ShotStore(tmp_path))


def make(loop, manifest=None, count=99) -> list[int]:
    """Make what is to be made: numbers of the shots."""
    manifest, made, before = manifest if manifest is not None else {"shots": {}}, [], None
    for step in list_steps(loop, manifest)[:count]:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            shot = step.plan.shot
            bank = begun.bank.remember([frame(100 + shot.index, shot=shot.index, story="Tale")])
            frames = torch.rand(7, 8, 8, 3, generator=torch.Generator().manual_seed(shot.index))
            step.record, step.result = finish_shot(loop, step, frames, bank, crf=30)
            made.append(shot.index + 1)
        before = step.result or load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return made


# --- which shots ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "preview", "expected"),
    [
        (1, 0, False, [0, 1, 2, 3]),
        (2, 0, False, [1, 2, 3]),
        (4, 0, False, [3]),
        (4, 4, False, [3]),
        (1, 1, False, [0]),
        (2, 3, False, [1, 2]),
        (1, 0, True, [0]),
        (3, 4, True, [2]),
    ],
)
def test_the_part_to_work_on(start, end, preview, expected):
    settings = LoopSettings(start_shot=start, end_shot=end, preview=preview)
    assert list(settings.range(tale())) == expected


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (0, 0, "start_shot is 0, but the story has shots 1 to 4"),
        (5, 0, "start_shot is 5, but the story has shots 1 to 4"),
        (2, 1, r"end_shot is 1, but it must be between start_shot \(2\) and .* last shot \(4\)"),
        (1, 5, r"end_shot is 5, but it must be between"),
        (1, -1, r"end_shot is -1, but it must be between"),
    ],
)
def test_a_part_that_the_story_does_not_have_is_told(start, end, words):
    with pytest.raises(ValueError, match=words):
        LoopSettings(start_shot=start, end_shot=end).range(tale())


def test_shots_before_the_part_are_never_made(loop):
    part = replace(loop, settings=LoopSettings(start_shot=3))
    steps = list_steps(part, {})
    assert [step.label for step in steps] == ["01_03", "01_04"]
    assert [step.plan.mode for step in steps] == ["m2v", "mi2v"]  # nothing to continue from
    assert steps[0].before is None
    assert steps[1].before is steps[0]
    make(loop, count=1)
    assert [s.label for s in list_steps(part, {})] == ["01_01", "01_03", "01_04"]
    assert list_steps(part, {})[1].plan.mode == "m2v"
    make(loop, count=2)
    steps = list_steps(part, {})
    assert [(s.label, s.plan.mode) for s in steps] == [
        ("01_01", "m2v"), ("01_02", "mi2v"), ("01_03", "mi2v"), ("01_04", "mi2v"),
    ]  # fmt: skip


def test_an_older_result_before_the_part_is_kept_and_says_why(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    other = replace(loop, body="others", settings=LoopSettings(start_shot=3))
    steps = list_steps(other, manifest)
    assert [step.reason for step in steps] == ["kept: it is before start_shot"] * 2 + [""] * 2
    assert [step.record is None for step in steps] == [False, False, True, True]
    later = replace(loop, settings=LoopSettings(redo=(0,), keep_later=True))
    steps = list_steps(later, manifest)
    kept = "kept: only shots before it changed"
    assert [step.reason for step in steps] == ["", kept, "", ""]  # these see the same
    assert make(later, manifest) == [1]


def test_continuity_is_one_of_those_that_the_loop_knows(loop):
    settings = LoopSettings(continuity="auto")
    with pytest.raises(ValueError, match=r"continuity must be one of .*, but it is 'auto'"):
        plan_shot(loop.story, settings, loop.story.shots[0], has_previous=True)


def test_a_shot_with_a_picture_of_its_own_begins_with_it(loop):
    shot = loop.story.shots[1]
    plans = [
        plan_shot(loop.story, loop.settings, shot, has_previous=previous, has_start=start)
        for previous, start in ((True, False), (True, True), (False, False), (False, True))
    ]
    assert [(p.mode, p.has_start) for p in plans] == [
        ("mi2v", False), ("m2v", True), ("m2v", False), ("m2v", True),
    ]  # fmt: skip
    assert [(p.story, p.prompt) for p in plans] == [("Tale", "Mara walks 2.")] * 4


# --- what a body hands over -----------------------------------------------------------------------


def test_a_shot_may_come_in_parts():
    shot = tale().shots[0]
    one, two = torch.rand(2, 4, 6, 3), torch.rand(3, 4, 6, 3)
    assert torch.equal(join_parts([one, two], shot), torch.cat([one, two]))
    assert join_parts([one], shot) is one or torch.equal(join_parts([one], shot), one)
    see_through = torch.cat([one, torch.zeros(2, 4, 6, 1)], dim=-1)
    assert torch.equal(join_parts([see_through, two], shot)[:2], torch.ones(2, 4, 6, 3))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([torch.rand(2, 4, 6, 3), torch.rand(2, 6, 4, 3)], r"a list of 2 parts .* \(6x4, 4x6\)"),
        ([torch.rand(4, 6, 3)], r"shot 1 .* came as \[4, 6, 3\], but Shot Loop Close needs"),
        ([torch.rand(1, 4, 6, 2)], r"came as \[1, 4, 6, 2\]"),
        ([torch.rand(1, 4, 6, 3), "x"], "came as str"),
        ([None], "came as NoneType"),
    ],
)
def test_parts_that_are_no_frames_of_one_size_are_told(parts, words):
    with pytest.raises(ValueError, match=words):
        join_parts(parts, tale().shots[0])


def test_a_shot_has_one_memory():
    shot, bank = tale().shots[1], MemoryBank()
    assert only_bank([bank, bank], shot) is bank
    with pytest.raises(ValueError, match=r"shot 2 .* came with a list of 3 memory banks"):
        only_bank([bank, bank, MemoryBank()], shot)


def test_frames_that_only_repeat_the_shot_before_are_told(loop):
    first, second = list_steps(loop, {})[:2]
    first.begin(begin_shot(loop, first, None))
    with pytest.raises(ValueError, match=r"shot 2 .* has 1 frame, of which 1 repeat"):
        finish_shot(loop, second, torch.rand(1, 8, 8, 3), MemoryBank(), crf=30)
    with pytest.raises(ValueError, match=r"shot 1 .* has 0 frames, of which 0 repeat"):
        finish_shot(loop, first, torch.rand(0, 8, 8, 3), MemoryBank(), crf=30)


def test_a_finished_shot_is_written_down_with_all_that_it_was_made_of(loop):
    make(loop, count=1)
    first, step = list_steps(loop, {})[:2]
    begun = begin_shot(loop, step, load_result(loop, first.record))
    step.begin(begun)
    frames = torch.rand(4, 8, 8, 3)
    own = frame(9, shot=1, story="Tale")
    record, result = finish_shot(loop, step, frames, begun.bank.remember([own]), crf=30)
    assert record.frames == 3
    assert torch.equal(result.tail, frames[1:].mul(255).round().to(torch.uint8))
    assert dict(record.facts) == {
        "story": "Tale", "label": "01_02", "shot": 1, "prompt": "Mara walks 2.",
        "shot_prompt": "Mara walks 2.", "negative": "", "mode": "mi2v", "seed": None,
        "own": step.own, "previous": first.record.key, "body": digest_of("b"),
        "saw": list(step.saw),
        **telling_facts(loop, step.plan),
    }  # fmt: skip
    assert [f.prompt for f in result.bank.frames] == ["Mara walks 1.", "Mara walks 2."]
    assert loop.store.find_body(digest_of("b")) == "b"


def test_a_shot_that_is_too_short_to_continue_from_is_told(loop):
    five = replace(loop, settings=LoopSettings(continuity="last_five_frames"))
    first, second = list_steps(five, {})[:2]
    first.begin(begin_shot(five, first, None))
    first.record, result = finish_shot(five, first, torch.rand(4, 8, 8, 3), MemoryBank(), crf=30)
    with pytest.raises(ValueError, match=r"shot 2 .* the last 5 frames .* has only 4"):
        begin_shot(five, second, result)
    begun = begin_shot(loop, list_steps(loop, {})[1], result)
    assert torch.equal(begun.given, result.tail[-1:].float() / 255)


def test_a_shot_that_sees_what_it_saw_is_found_when_its_turn_comes(loop):
    """The shot before is made anew and comes out the same: nothing after it is made again."""
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    of_cuts = ([True, False, True, False], [True] * 4, [True, False, False, False])
    for seed, cuts in enumerate(of_cuts):
        loop = replace(loop, story=tale(cuts=cuts))
        make(loop, manifest)
        edited = replace(loop, story=tale(cuts=cuts, seed=[seed, None, None, None]))
        steps = list_steps(edited, manifest)
        assert [step.is_undecided for step in steps] == [False, True, True, True]
        assert make(edited, manifest) == [1]


def test_a_shot_whose_pictures_are_lost_is_not_found_when_its_turn_comes(loop, caplog):
    with_memory = replace(loop, bank=start_bank([torch.rand(4, 4, 3)], max_frames=3, sink=1))
    make(with_memory)
    steps = list_steps(with_memory, {})
    before = load_result(with_memory, steps[0].record)
    found = begin_shot(with_memory, replace(steps[1], key="", record=None), before)
    assert found.record == steps[1].record
    assert found.key == steps[1].key
    expected = digests([*found.bank.frames, frame(101)])
    assert digests(found.result.bank.frames) == expected
    cast = replace(with_memory, story=replace(loop.story, cast=("Mara",)))
    shown = begin_shot(cast, steps[1], before).bank.shows
    assert shown[frame(100).digest] == ("Mara",)
    cut = replace(steps[1], plan=replace(steps[1].plan, mode="m2v"), key="", record=None)
    assert begin_shot(with_memory, cut, before).given is None
    known = begin_shot(with_memory, steps[1], before)  # the list has looked already
    assert (known.key, known.record, known.result) == (steps[1].key, None, None)
    (loop.store.root / "pictures" / frame(101).digest[:2] / f"{frame(101).digest}.png").unlink()
    fresh = replace(with_memory, store=ShotStore(loop.store.root))
    lost = begin_shot(fresh, replace(steps[1], key="", record=None), before)
    assert (lost.key, lost.record, lost.result) == (steps[1].key, None, None)
    assert "shot 2 (scene 1, shot 2: 'Mara walks 2.') is regenerated" in caplog.text


def test_a_finished_shot_hands_on_its_memory_with_the_settings_of_this_run(loop):
    a = noise_image(1, 4, 4).float() / 255
    make(replace(loop, bank=start_bank([a], max_frames=3, sink=1)))
    other = replace(loop, bank=start_bank([a], max_frames=5, sink=0, pinned=False, names=["Mara"]))
    step = list_steps(other, {})[1]
    result = load_result(other, step.record)
    for bank in (result.bank, bank_after(other, step)):
        assert (bank.max_frames, bank.sink) == (5, 0)
        assert (bank.frames[0].name, bank.frames[0].pinned) == ("Mara", False)
    kept = replace(step, result=replace(result, bank=MemoryBank(max_frames=9)))
    assert bank_after(other, kept).max_frames == 5
    assert len(bank_after(other, kept)) == 0


def test_a_step_of_a_long_story_is_told_and_compared_by_itself():
    plan, step = ShotPlan(Shot(0, 1, 1, "p", True), "Tale", "p"), None
    for _ in range(3000):
        step = Step(plan, "own", step)
    assert len(repr(step)) < 1000
    assert step == Step(plan, "own", None, earlier={"key": "k"})
    assert step != Step(plan, "other", step.before)


def test_a_shot_with_a_start_image_begins_with_it_on_one_wire_as_in_a_loop(loop):
    pictures = {1: noise_image(5, 8, 8)}
    make(loop)
    with_start = replace(loop, start_images=pictures)
    first = list_steps(loop, {})[0]
    state = LoopState(with_start, load_result(loop, first.record).bank, (first,))
    step, listed = state.next_step("b"), list_steps(with_start, {})[1]
    assert (step.plan, step.own, step.key) == (listed.plan, listed.own, listed.key)
    assert step.plan.mode == "m2v"
    assert step.key != LoopState(loop, state.bank, (first,)).next_step("b").key


# --- what is told ---------------------------------------------------------------------------------


def test_a_run_is_summed_up(loop):
    manifest: dict = {"shots": {}}
    assert summarise_steps(list_steps(loop, {})) == "4 shots to make"
    make(loop, manifest)
    assert summarise_steps(list_steps(loop, manifest)) == "nothing to make, 4 shots finished"
    edited = replace(loop, story=tale(prompts=["Mara walks 1.", "x", "Mara walks 3.", "y"]))
    line = "2 shots to make, 1 shot that depends on shot 2, 1 shot finished"
    assert summarise_steps(list_steps(edited, manifest)) == line


def test_a_lock_before_which_the_memory_changed_is_told(loop):
    manifest: dict = {"shots": {}}
    with_memory = replace(loop, bank=start_bank([torch.rand(4, 4, 3)], max_frames=3, sink=1))
    locks = tale(5, lock=[None, True, None, None, None])
    make(replace(with_memory, story=locks), manifest)

    def warned(**changes) -> list[str]:
        changed = replace(with_memory, **{"story": locks, **changes})
        return lock_warnings(changed, list_steps(changed, manifest))

    assert warned() == []
    other = start_bank([torch.rand(4, 4, 3)], max_frames=3, sink=1)
    assert warned(bank=other) == [
        "shot 2 is locked, and the shots after it see the memory as it was when it was made: "
        "reference pictures and keyframes that have changed since then are not seen; unlock it "
        "to bring those in"
    ]
    prompts = [f"Mara walks {i}." for i in (1, 2, "and runs", 4, 5)]
    both = tale(5, prompts=prompts, lock=[None, True, None, True, None])
    (line,) = warned(bank=other, story=both)
    assert line.startswith("shots 2, 4 are locked, and the shots after them see the memory as it")
    assert "when they were made" in line
    assert line.endswith("unlock them to bring those in")
    # After the last shot nothing sees it, and a story without memory has nothing to miss.
    assert warned(bank=other, story=tale(5, lock=[None] * 4 + [True])) == []
    assert warned(bank=other, story=tale(5, lock=[True] * 5)) == []
    narrower = replace(with_memory.bank, max_frames=1)
    assert warned(bank=narrower) == []


def test_many_locked_shots_are_told_in_a_short_line(loop):
    manifest: dict = {"shots": {}}
    with_memory = replace(loop, bank=start_bank([torch.rand(4, 4, 3)], max_frames=3, sink=1))
    make(replace(with_memory, story=tale(14)), manifest)
    prompts = [f"Mara walks {i + 1}." if i % 2 else f"new {i}" for i in range(14)]
    locked = tale(14, prompts=prompts, lock=[i % 2 == 1 for i in range(14)])
    edited = replace(with_memory, story=locked)
    (line,) = lock_warnings(edited, list_steps(edited, manifest))
    assert line.startswith("shots 2, 4, 6, 8, 10 and 1 more are locked")


def test_a_result_of_another_shot_is_no_earlier_one_of_a_shot_in_its_place(loop):
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    before = dict(manifest["shots"])
    prompts = ["A gull.", *(f"Mara walks {i + 1}." for i in range(3))]
    steps = list_steps(replace(loop, story=tale(prompts=prompts)), manifest)
    earlier = [step.earlier for step in steps]
    assert earlier == [{}, before["01_01"], before["01_02"], before["01_03"]]
    edited = replace(loop, story=tale(prompts=["A gull.", *prompts[2:], "Mara walks 4."]))
    assert list_steps(edited, manifest)[0].earlier == before["01_01"]  # edited in its place
    assert list_steps(edited, {"shots": {"01_01": "odd"}})[0].earlier == {}


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_the_first_shot_whose_pictures_are_lost_is_made_again(loop, caplog, lost):
    """Those after it hold the same pictures, which are whole again then."""
    manifest: dict = {"shots": {}}
    make(loop, manifest)
    picture = frame(100 + lost - 1).digest
    (loop.store.root / "pictures" / picture[:2] / f"{picture}.png").unlink()
    fresh = replace(loop, store=ShotStore(loop.store.root))
    prompts = [f"Mara walks {i + 1}." for i in range(3)]
    edited = replace(fresh, story=tale(prompts=[*prompts, "Mara runs."]))
    steps = list_steps(edited, manifest)
    assert steps[lost - 1].record is None
    assert all(step.record is not None for step in steps[: lost - 1])
    assert f"shot {lost} (scene 1, shot {lost}: 'Mara walks {lost}.') is regenerated, its" in (
        caplog.text
    )
    assert make(edited, manifest) == [lost, 4]
    assert make(edited, manifest) == []


# --- what a shot sees -----------------------------------------------------------------------------


def test_a_shots_own_pictures_stand_before_its_keyframes(loop):
    story = tale(reference_images=[None, ["a.png", "b.png"], None, None])
    pictures = {name: noise_image(i, 4, 4) for i, name in enumerate(("a.png", "b.png"))}
    loop = replace(loop, story=story, references=pictures)
    start = MemoryBank((frame(7, shot=0), frame(8, shot=1, frame=0)))
    bank = bank_at_start(loop, story.shots[1], start)
    assert [(f.order, f.name) for f in bank.frames] == [
        ((0, 0), ""), ((1, -2), "a.png"), ((1, -1), "b.png"), ((1, 0), ""),
    ]  # fmt: skip
    added = bank.frames[1]
    assert (added.story, added.reason) == ("Tale", "reference image of shot 2")
    assert digests(bank.frames[1:3]) == [Picture(pixels).digest for pixels in pictures.values()]
    assert bank_at_start(loop, story.shots[0], start) is start
    # What the memory holds already is not added once more.
    again = bank_at_start(loop, story.shots[1], MemoryBank((frame(0, shot=-1),)))
    assert [(f.order, f.name) for f in again.frames] == [((-1, 0), ""), ((1, -1), "b.png")]


def test_settings_are_those_of_this_run(loop):
    kept, click = frame(3, shot=0), frame(4, shot=1)
    run = replace(
        loop,
        bank=MemoryBank(
            max_frames=5, sink=2, policy="entities", embedder="clip",
            edits=BankEdits(pin=(kept.digest,)),
        ),
    )  # fmt: skip
    earlier = MemoryBank((kept, click), max_frames=9, sink=0, policy="entities", seen={"a": "why"})
    bank = with_settings(run, earlier)
    settings = (bank.max_frames, bank.sink, bank.policy, bank.embedder)
    assert settings == (5, 2, "entities", "clip")
    assert [f.pinned for f in bank.frames] == [True, False]
    assert bank.seen == {"a": "why"}
    # What was seen is told under the policy that chose it alone.
    assert with_settings(loop, earlier).seen == {}
    assert with_settings(loop, replace(earlier, policy="window")).seen == {}
    assert with_settings(run, replace(earlier, policy="relevant")).seen == {}


def test_what_the_start_says_of_its_pictures_is_told_anew(loop):
    """Names and pins of the first pictures may have changed since a shot was made."""
    a, b = frame(1, name="Mara", pinned=True, reason="new"), frame(2, frame=1)
    own = frame(5, shot=0, name="kept", pinned=False)
    run = replace(loop, bank=MemoryBank((a, b)))
    earlier = MemoryBank((frame(1), replace(b, pinned=True), own))
    bank = bank_of_run(run, earlier, {})
    assert [(f.name, f.pinned, f.reason) for f in bank.frames] == [
        ("Mara", True, "new"), ("", False, ""), ("kept", False, ""),
    ]  # fmt: skip
    in_loop = {"pins_in_loop": {b.digest: True, a.digest: False}}
    assert [f.pinned for f in bank_of_run(run, earlier, in_loop).frames] == [False, True, False]
    assert [f.pinned for f in bank_of_run(run, earlier, {"pins_in_loop": 5}).frames] == [
        True, False, False,
    ]  # fmt: skip


def test_a_shot_that_made_a_picture_of_the_start_once_more_keeps_its_own(loop):
    run = replace(loop, bank=MemoryBank((frame(1, name="Mara"),)))
    earlier = MemoryBank((frame(1), frame(1, shot=2, name="of shot 3")))
    bank = bank_of_run(run, earlier, {})
    assert [(f.order, f.name) for f in bank.frames] == [((-1, 0), "Mara"), ((2, 0), "of shot 3")]
    alone = bank_of_run(run, MemoryBank((frame(1, shot=2, name="x"),)), {})
    assert [(f.order, f.name) for f in alone.frames] == [((-1, 0), "Mara")]


def test_reference_images_have_the_names_that_they_have_now(loop):
    story = tale(reference_images=[["new.png"], None, None, None])
    run = replace(loop, story=story, references={"new.png": noise_image(6, 4, 4)})
    named = [
        frame(6, shot=0, frame=-1, name="old.png"),
        frame(6, shot=1, frame=-1, name="of another shot"),
        frame(6, shot=0, frame=0, name="a keyframe"),
        frame(7, shot=0, frame=-2, name="gone.png"),
        frame(6, shot=9, frame=-1, name="of a shot that is gone"),
    ]
    found = {f.order: f.name for f in bank_of_run(run, MemoryBank(tuple(named)), {}).frames}
    assert found == {
        (0, -1): "new.png", (1, -1): "of another shot", (0, 0): "a keyframe", (0, -2): "gone.png",
        (9, -1): "of a shot that is gone",
    }  # fmt: skip


def test_pins_that_a_node_of_the_loop_set_are_written_down(loop):
    a, b = frame(1, pinned=True), frame(2, frame=1)
    run = replace(loop, bank=MemoryBank((a, b)))
    own = frame(3, shot=0, pinned=True)
    assert pin_facts(run, MemoryBank((a, b, own))) == {}
    turned = MemoryBank((replace(a, pinned=False), replace(b, pinned=True), own))
    assert pin_facts(run, turned) == {"pins_in_loop": {a.digest: False, b.digest: True}}
    clicked = MemoryBank((a, b)).with_edits(BankEdits(pin=(b.digest,), unpin=(a.digest,)))
    assert pin_facts(run, clicked) == {}  # a click is undone, and no node's


def test_reasons_of_the_window_are_told(loop):
    frames = tuple(frame(i, shot=i, pinned=i == 2) for i in range(6))
    memory = shot_memory(MemoryBank(frames, max_frames=4, sink=1), loop.story, loop.story.shots[0])
    assert memory.indices == (0, 2, 4, 5)
    assert memory.reasons == {
        0: "sink: one of the first frames", 2: "pinned", 4: "recent", 5: "recent",
    }  # fmt: skip
    assert digests(memory.frames) == digests([frames[0], frames[2], frames[4], frames[5]])
    assert memory.digests() == [digests(memory.frames), digests(frames)]
    narrow = shot_memory(
        MemoryBank(frames[:2], max_frames=1, sink=9), loop.story, loop.story.shots[0]
    )
    assert narrow.reasons == {0: "sink: one of the first frames"}


@pytest.mark.parametrize("count", [3, 4])
def test_another_policy_chooses_as_soon_as_there_are_more_frames_than_places(loop, count):
    frames = tuple(frame(i, shot=i, name="Mara" if i == 1 else "") for i in range(count))
    bank = MemoryBank(frames, max_frames=3, sink=1, policy="entities", seen={"x": "before"})
    memory = shot_memory(bank, loop.story, loop.story.shots[0])
    assert len(memory.indices) == 3
    assert memory.bank.seen == {frames[i].digest: why for i, why in memory.reasons.items()}
    assert digests(memory.bank.used()) == digests(memory.frames)
    room = {frames[i].digest: ROOM_FOR_ALL for i in range(3)}
    assert (memory.bank.seen == room) is (count == 3)
    assert (memory.bank.choice is None) is (count == 3)
    window = shot_memory(replace(bank, policy="window"), loop.story, loop.story.shots[0])
    assert window.bank.seen == {}


class Closeness:
    """An embedder to which every picture is as close to a prompt as it is told."""

    def __init__(self, close: dict[str, float]):
        self.close = close
        self.texts: list[str] = []

    def embed_text(self, text):
        self.texts.append(text)
        return torch.tensor([1.0, 0.0])

    def embed_each(self, frames):
        values = [self.close[one.digest] for one in frames]
        return torch.tensor([[value, (1 - value**2) ** 0.5] for value in values])

    def release(self):
        pass


def test_the_policy_relevant_asks_the_runs_own_embedder(loop):
    frames = tuple(frame(i, shot=i) for i in range(5))
    close = dict(zip(digests(frames), (0.0, 0.1, 0.9, 0.2, 0.3), strict=True))
    bank = MemoryBank(frames, max_frames=2, sink=1, policy="relevant", embedder="clip")
    run = replace(loop, bank=replace(bank, frames=()), embedder=Closeness(close))
    memory = begin_memory(run, loop.story.shots[1], bank)
    assert memory.indices == (0, 2)
    assert run.embedder.texts == ["Mara walks 2."]
    with pytest.raises(ValueError, match="policy is relevant, but it has no embedder"):
        begin_memory(replace(run, embedder=None), loop.story.shots[1], bank)


def test_a_frame_knows_the_prompt_that_its_shot_had(loop):
    mine = frame(1, shot=1, story="Tale")
    frames = (
        mine, frame(2, shot=1, story="Else"), frame(3, shot=2, story="Tale"),
        frame(4, shot=1, story="Tale", prompt="as it was"),
    )  # fmt: skip
    bank = with_prompt(MemoryBank(frames, dropped=(mine,)), loop.story, loop.story.shots[1])
    assert [f.prompt for f in bank.frames] == ["Mara walks 2.", "", "", "as it was"]
    assert [f.prompt for f in bank.dropped] == ["Mara walks 2."]
    named = with_names(
        MemoryBank((frame(5, name="Mara.png"),)), replace(loop.story, cast=("Mara",))
    )
    assert list(named.shows.values()) == [("Mara",)]


def test_the_bank_after_a_shot_says_what_the_shot_saw(loop):
    entities = replace(loop, bank=MemoryBank(max_frames=3, sink=1, policy="entities"))
    make(entities)
    step = list_steps(entities, {})[2]
    assert step.seen == dict.fromkeys(step.seen, ROOM_FOR_ALL)
    assert len(step.seen) == 2
    assert bank_after(entities, step).seen == step.seen
    held = replace(step, reason="locked", seen={"x": "never"})
    assert bank_after(entities, held).seen != held.seen
    assert bank_after(entities, held).seen == step.seen
    assert bank_after(entities, replace(step, seen=None)).seen == step.seen
    assert bank_after(entities, replace(step, seen={"x": "now"})).seen == {"x": "now"}


# --- the loop on one wire -------------------------------------------------------------------------


def state_of(loop, **fields) -> LoopState:
    return LoopState(replace(loop, body=""), loop.bank, **fields)


def finish(state: LoopState, body="b") -> LoopState:
    plan, bank, _ = state.begin()
    frames = torch.rand(7, 8, 8, 3, generator=torch.Generator().manual_seed(plan.shot.index))
    return state.finish(body, frames, bank, crf=30)


def test_a_state_goes_from_shot_to_shot_and_ends(loop):
    state = state_of(loop)
    for number in range(1, 5):
        assert not state.is_done
        plan, _, given = state.begin()
        assert (plan.shot.index + 1, given is None) == (number, number == 1)
        before, state = state, finish(state)
        assert len(before.steps) == number - 1  # a state is never changed
    assert state.is_done
    assert [step.label for step in state.steps] == ["01_01", "01_02", "01_03", "01_04"]
    assert [step.result for step in state.steps] == [None] * 4
    with pytest.raises(ValueError, match="all 4 shots of 'Tale' are finished"):
        state.next_step()


def test_a_state_finds_what_was_made_by_the_same_nodes_alone(loop):
    made = finish(state_of(loop))
    state = state_of(loop)
    assert state.find("other") is None
    record = state.find("b")
    assert record == made.steps[0].record
    again = state.reuse("b", record)
    assert [step.record for step in again.steps] == [record]
    assert again.next_step("b").key == made.next_step("b").key
    assert again.next_step("b").before is again.steps[0]
    assert digests(again.bank.frames) == digests(made.bank.frames)


def test_a_locked_shot_of_a_state_is_taken_whatever_made_it(loop):
    made = finish(state_of(loop))
    key = made.steps[0].record.key
    locked = replace(loop, story=tale(lock=[True, None, None, None]))
    state = state_of(locked, locked={0: key})
    step = state.next_step("other")
    assert (step.key, step.reason) == (key, "locked")
    assert state.find("other") == made.steps[0].record
    assert state.next_step("b").reason == ""  # it is the very same
    assert state_of(locked).next_step("other").reason == ""
    assert state_of(loop, locked={0: key}).next_step("other").reason == ""
    assert state_of(locked, locked={0: "ef" * 32}).next_step("other").reason == ""


def test_a_state_makes_again_what_lost_a_picture(loop, caplog):
    with_memory = replace(loop, bank=start_bank([torch.rand(4, 4, 3)]))
    made = finish(state_of(with_memory))
    assert state_of(with_memory).find("b") is not None
    (picture,) = loop.store.root.glob("pictures/*/*.png")
    picture.unlink()
    fresh = replace(with_memory, store=ShotStore(loop.store.root))
    assert state_of(fresh).find("b") is None
    assert "a finished shot is regenerated" in caplog.text
    assert made.steps[0].record is not None


def test_a_state_says_why_a_shot_is_made_again(loop):
    made = finish(state_of(loop))
    longer = replace(loop, story=tale(length=[17, None, None, None]))
    state = state_of(longer, locked={0: made.steps[0].record.key})
    (found,) = state.regenerations("b", BodyNames())
    assert str(found) == "shot 1 is regenerated because its length changed from nothing to 17"
    assert state_of(longer).regenerations("b", BodyNames()) == []


def test_a_state_names_the_nodes_that_changed_as_the_artist_calls_them(loop):
    def nodes(steps: int) -> str:
        lines = [["Sampler", "", {"steps": steps}]]
        return json.dumps([{}, json.dumps([[[0, 0], [0, 1]], lines, []])])

    made = finish(state_of(loop), nodes(4))
    state = state_of(loop, locked={0: made.steps[0].record.key})
    (found,) = state.regenerations(nodes(8), BodyNames(("'My sampler'",)))
    assert str(found) == ("shot 1 is regenerated because steps of 'My sampler' changed from 4 to 8")


def test_a_step_knows_what_it_waits_for():
    plan = ShotPlan(Shot(0, 1, 1, "p", True), "Tale", "p")
    made = Step(plan, "own", key="k")
    first = Step(plan, "own", made, has_earlier=True)
    second = Step(plan, "own", first, has_earlier=True)
    never_made = Step(plan, "own", first)
    assert [s.is_undecided for s in (made, first, second, never_made)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert (first.depends_on, second.depends_on) == (made, made)
    assert (made.depends_on, never_made.depends_on) == (None, None)
    assert (made.previous, first.previous, second.previous) == ("", "k", "")
    assert made.label == "01_01"
