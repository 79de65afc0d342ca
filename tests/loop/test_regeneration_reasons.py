"""Why a shot is made again, reason by reason: what its record says against what it is now."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.loop.cache_keys import READS_DIALOGUE, READS_RECONSTRUCT
from storymem.loop.changed_inputs import BodyNames
from storymem.loop.plan import Loop, LoopSettings, Step
from storymem.loop.regeneration import (
    UNTOLD,
    UNTOLD_BODY,
    Regeneration,
    find_regenerations,
    regeneration_lines,
)
from storymem.memory.bank import MemoryBank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.sampling.continuity import ShotPlan
from storymem.script.dialogue import read_dialogue
from storymem.script.story import Shot, Story

OLD, NOW = "ab" * 32, "cd" * 32  # keys
SHOT = Shot(1, 1, 2, "@Mara sits.", False, 5, 13, "rain", lora_strength=0.5)
START = MemoryFrame(noise_image(1), pinned=True)
BANK = MemoryBank((START,), max_frames=4, sink=1)
FACTS = {  # of the very shot that is asked for
    "prompt": "Mara is tall.\nMara sits.", "shot_prompt": "@Mara sits.", "negative": "rain",
    "mode": "mi2v", "seed": 5, "shot": 1, "own": "own", "previous": "", "length": 13,
    "lora_strength": 0.5, "body": digest_of("body"), "pictures": [], "start": [START.digest],
    "memory": {"max_frames": 4, "sink": 1, "policy": "window", "embedder": "",
               "clicks": digest_of([[], [], [], []]), "pins": digest_of([START.digest])},
}  # fmt: skip


class Store:
    """What a store knows of one earlier shot and of what made it."""

    def __init__(self, facts, bodies):
        self.facts, self.bodies, self.asked = facts, bodies, []

    def find_facts(self, key):
        return self.facts if key == OLD else None

    def find_body(self, digest):
        self.asked.append(digest)
        return self.bodies.get(digest)


def loop_with(facts=FACTS, *, bodies=(), **changes) -> Loop:
    story = Story("Sea", (replace(SHOT, index=0), SHOT), character="Mara is tall.")
    loop = Loop(story, LoopSettings(), BANK, "body", Store(facts, dict(bodies)))
    return replace(loop, **changes)


def step_of(own="other", shot=SHOT, **fields) -> Step:
    plan = ShotPlan(shot, "Sea", "Mara is tall.\nMara sits.", "mi2v")
    return Step(plan, own, key=NOW, earlier={"key": OLD}, **fields)


def why(facts: dict, step=None, **changes) -> tuple[str, ...]:
    """Reasons for one shot whose record says ``facts``; () when nothing is told."""
    loop = loop_with({**FACTS, **facts}, **changes)
    found = find_regenerations(loop, [step or step_of()])
    assert all(one.shots == (2,) for one in found)
    return found[0].reasons if found else ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"negative": "snow"}, "its negative prompt changed from 'snow' to 'rain'"),
        ({"negative": None}, "its negative prompt changed from nothing to 'rain'"),
        ({"seed": 0}, "its own seed changed from 0 to 5"),
        ({"seed": None}, "its own seed changed from nothing to 5"),
        ({"mode": "m2v"}, "how it begins changed from 'a cut' to 'last_frame'"),
        ({"mode": "mm2v"}, "how it begins changed from 'last_five_frames' to 'last_frame'"),
        ({"shot": 0}, "its place in the story changed from 1 to 2"),
        ({"length": 17}, "its length changed from 17 to 13"),
        ({"length": None}, "its length changed from nothing to 13"),
        (
            {"story": "Lake"},
            "the title (without one, the script's file name) changed from 'Lake' to 'Sea'",
        ),
        ({"lora_strength": 1.0}, "its lora_strength changed from 1.0 to 0.5"),
        ({"pictures": ["x"]}, "its reference images or its start image changed"),
        ({"text": "plain"}, "parentheses in its text are read as weights now"),
        (
            {"prompt": "Mara is old.\nMara sits."},
            "the character description changed from 'Mara is old.' to 'Mara is tall.'",
        ),
        ({"shot_prompt": "Mara rows."}, "its prompt changed from 'Mara rows.' to '@Mara sits.'"),
        ({}, UNTOLD),
    ],
)
def test_each_part_of_a_shot_is_told_with_both_values(facts, reason):
    assert why(facts) == (reason,)


@pytest.mark.parametrize(
    ("mark", "facts", "reason"),
    [
        (READS_DIALOGUE, {"dialogue": "Stay."}, "its dialogue changed from 'Stay.' to 'Go.'"),
        (READS_DIALOGUE, {"reconstruct": "[Person A] tall"}, UNTOLD),
        (
            READS_RECONSTRUCT,
            {"reconstruct": "[Person A] tall"},
            "everybody's looks (reconstruct_target) changed from '[Person A] tall' to "
            "'[Person A] old'",
        ),
        (READS_RECONSTRUCT, {}, UNTOLD),
    ],
)
def test_a_text_that_nodes_read_beside_the_prompt_is_told(mark, facts, reason):
    body = f'["body", "{mark}"]'
    story = Story("Sea", (SHOT,), character="Mara is tall.", reconstruct="[Person A] old")
    step = step_of(shot=replace(SHOT, dialogue=read_dialogue("Go.")))
    assert why({**facts, "body": digest_of(body)}, step, body=body, story=story) == (reason,)


def test_what_stayed_is_not_told():
    assert why({"story": "Sea"}) == (UNTOLD,)
    assert why({"story": "Lake", "own": "other"}) == why({"own": "other"})
    assert why({"story": 5}) == (UNTOLD,)
    assert why({"shot_prompt": "Mara sits."}) == (UNTOLD,)  # the same without its mark
    assert why({"negative": ""}, step_of(shot=replace(SHOT, negative=None))) == (UNTOLD,)
    everything = {"seed": 0, "length": 17, "lora_strength": 1.0}
    assert why(everything) == (
        "its own seed changed from 0 to 5",
        "its length changed from 17 to 13",
        "its lora_strength changed from 1.0 to 0.5",
    )


def test_a_prompt_of_which_the_record_says_the_whole_alone():
    whole = {name: value for name, value in FACTS.items() if name != "shot_prompt"}
    loop = loop_with({**whole, "prompt": "Mara is old.\nMara sits."})
    (found,) = find_regenerations(loop, [step_of()])
    assert found.reasons == (
        "the character description changed from 'Mara is old.' to 'Mara is tall.'",
    )
    assert not found.is_edited
    loop = loop_with({name: value for name, value in whole.items() if name != "prompt"})
    assert find_regenerations(loop, [step_of()])[0].reasons == (UNTOLD,)


def test_words_that_the_artist_edited_are_marked_as_such():
    for told, is_edited in (("Mara rows.", True), ("@Mara sits.", False), ("Mara sits.", True)):
        loop = loop_with({**FACTS, "shot_prompt": told})
        assert find_regenerations(loop, [step_of()])[0].is_edited is is_edited


def test_parentheses_of_films_of_before():
    weighed = step_of(shot=replace(SHOT, negative="(rain)"))
    old = {"negative": "(rain)"}
    assert why(old, weighed, reads_weights=True) == (
        "parentheses in its text are read as text now",
    )
    before = {name: value for name, value in FACTS.items() if name != "memory"} | old
    found = find_regenerations(loop_with(before, reads_weights=True), [weighed])
    assert found[0].reasons == ("parentheses in its text were weights and are text now",)
    found = find_regenerations(loop_with(before), [weighed])
    assert found[0].reasons == (UNTOLD,)
    same = replace(weighed, own="own")
    found = find_regenerations(loop_with(before, reads_weights=True), [same])
    assert found[0].reasons == ("what it sees of the shots before it changed",)


# --- what a shot sees ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({"max_frames": 9}, ["max_frames of the memory bank changed from 9 to 4"]),
        ({"sink": 0}, ["opening_frames of the memory bank changed from 0 to 1"]),
        ({"policy": "relevant"}, ["policy of the memory bank changed from 'relevant' to 'window'"]),
        ({"embedder": "clip 1"}, ["embedder of the memory bank changed from 'clip 1' to ''"]),
        ({"clicks": "x"}, ["what was kept, dropped or pinned in the memory gallery changed"]),
        ({"pins": "x"}, ["which pictures of the memory bank are pinned changed"]),
        (
            {"sink": 0, "max_frames": 9, "pins": 1},
            [
                "max_frames of the memory bank changed from 9 to 4",
                "opening_frames of the memory bank changed from 0 to 1",
                "which pictures of the memory bank are pinned changed",
            ],
        ),
        ({}, ["what it sees of the shots before it changed"]),
    ],
)
def test_settings_of_the_memory(facts, reasons):
    """Told of a shot that is the same by itself; of another one they are not the reason."""
    memory = {"memory": {**FACTS["memory"], **facts}}
    assert why(memory, step_of("own")) == tuple(reasons)
    assert why(memory, step_of("other")) == (UNTOLD,)


def test_the_pictures_that_the_story_starts_from():
    changed = {"start": ["x"]}
    assert why(changed, step_of("own")) == ("the reference pictures of the memory bank changed",)
    added = {**changed, "memory": {**FACTS["memory"], "pins": "other"}}  # and pinned, as they are
    assert why(added, step_of("own")) == ("the reference pictures of the memory bank changed",)
    clicked = BANK.with_edits(BankEdits(drop=(START.digest,)))
    facts = {"memory": {**FACTS["memory"], "clicks": "other"}}
    # Dropped by a click, it is still one that the story starts from.
    reasons = why(facts, step_of("own"), bank=clicked)
    assert reasons[0] == "what was kept, dropped or pinned in the memory gallery changed"
    assert "the reference pictures of the memory bank changed" not in reasons


def test_the_shot_before():
    before = step_of("own")
    before.key = "ef" * 32
    after = step_of("own", before=before)
    assert why({"previous": "another"}, after) == (
        "the shot before it was made again, and it sees that",
    )
    assert why({"previous": "ef" * 32}, after) == ("what it sees of the shots before it changed",)
    memory = {"memory": {**FACTS["memory"], "sink": 0}}
    assert why({"previous": "another", **memory}, after) == (
        "opening_frames of the memory bank changed from 0 to 1",
    )


@pytest.mark.parametrize("name", ["start", "previous", "memory"])
def test_what_a_record_of_an_earlier_version_does_not_say_is_no_reason(name):
    facts = {key: value for key, value in FACTS.items() if key != name}
    (found,) = find_regenerations(loop_with(facts), [step_of("own")])
    assert found.reasons == ("what it sees of the shots before it changed",)


# --- which shots --------------------------------------------------------------------------------


def test_only_shots_that_are_made_although_they_were_finished_are_told():
    loop = loop_with({**FACTS, "seed": 0})
    told = find_regenerations(loop, [step_of()])
    assert [one.shots for one in told] == [(2,)]
    finished = replace(step_of(), record=SimpleNamespace())
    undecided = step_of(has_earlier=True)
    undecided.key = ""
    unknown = replace(step_of(), earlier={})
    lost = replace(step_of(), earlier={"key": NOW * 2})
    damaged = replace(step_of(), key=OLD)
    for step in (finished, undecided, unknown, lost, damaged):
        assert find_regenerations(loop, [step]) == []
    assert len(find_regenerations(loop, [finished, unknown, lost, step_of(), undecided])) == 1


def test_a_take_that_is_asked_for_is_told_when_something_else_changed():
    redo = {"settings": LoopSettings(redo=(1,))}
    assert why({}, **redo) == ()
    assert why({"seed": 0}, **redo) == ()
    assert why({"length": 17}, **redo) == ("its length changed from 17 to 13",)
    assert why({"seed": 0}, settings=LoopSettings(redo=(0,))) == (
        "its own seed changed from 0 to 5",
    )


def test_shots_of_the_same_reasons_stand_in_one_line():
    steps = [step_of(shot=replace(SHOT, index=i)) for i in (0, 1, 2, 4)]
    steps[1] = step_of("own", shot=replace(SHOT, index=1))
    facts = {name: value for name, value in FACTS.items() if name not in ("shot", "body")}
    found = find_regenerations(loop_with({**facts, "length": 17}), steps)
    assert [one.shots for one in found] == [(1, 3, 5), (2,)]
    assert found[0].reasons == ("its length changed from 17 to 13", UNTOLD_BODY)
    assert found[1].reasons[0] == "its length changed from 17 to 13"


# --- the nodes that made it ---------------------------------------------------------------------


def made_at(width: int) -> str:
    """What makes the shots of a headless run."""
    groups: dict = {name: {} for name in ("recipe", "judges", "weights", "code")}
    return json.dumps({"settings": {"width": width}, **groups})


BEFORE, AFTER = made_at(832), made_at(480)


def test_another_body_is_told_by_what_changed_in_it():
    was = {"body": digest_of(BEFORE)}
    known = [(digest_of(BEFORE), BEFORE)]
    assert why(was, bodies=known, body=AFTER) == ("width changed from 832 to 480",)
    assert why(was, body=AFTER) == (UNTOLD_BODY,)  # an earlier version did not keep it
    assert why(was, step_of("own"), bodies=known, body=AFTER) == (
        "what it sees of the shots before it changed",
    )
    assert why({"seed": 0, **was}, bodies=known, body=AFTER) == (
        "its own seed changed from 0 to 5",
        "width changed from 832 to 480",
    )
    same = [(digest_of("body"), "odd")]
    assert why({"body": digest_of("odd")}, bodies=[(digest_of("odd"), "odd")]) == (UNTOLD_BODY,)
    assert why({}, bodies=same) == (UNTOLD,)


def test_a_body_is_read_once_for_all_shots():
    loop = loop_with({**FACTS, "body": digest_of(BEFORE)}, body=AFTER)
    steps = [step_of(shot=replace(SHOT, index=i)) for i in range(9)]
    find_regenerations(loop, steps, BodyNames())
    assert loop.store.asked == [digest_of(BEFORE)]


def test_nodes_are_named_as_the_artist_calls_them():
    graph = '[{}, "[[[0, 0], [0, 1]], [[\\"A\\", \\"\\", {\\"steps\\": %d}]], []]"]'
    bodies = [graph % 4, graph % 8]
    loop = loop_with(
        {**FACTS, "body": digest_of(bodies[0])}, bodies=[(digest_of(bodies[0]), bodies[0])],
        body=bodies[1],
    )  # fmt: skip
    for names, name in ((BodyNames(("'My node'",)), "'My node'"), (None, "'A'")):
        (found,) = find_regenerations(loop, [step_of()], names)
        assert found.reasons == (f"steps of {name} changed from 4 to 8",)


# --- in words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shots", "reasons", "text"),
    [
        ((2,), ("a",), "shot 2 is regenerated because a"),
        ((2, 3), ("a", "b"), "shots 2-3 are regenerated because a and b"),
        ((3, 1), ("a", "b", "c"), "shots 1, 3 are regenerated because a, b and c"),
        (
            (1, 2, 3, 5, 7, 8),
            ("a", "b", "c", "d"),
            "shots 1-3, 5, 7-8 are regenerated because a, b, c and 1 more change",
        ),
        ((9,), tuple("abcdef"), "shot 9 is regenerated because a, b, c and 3 more changes"),
        (
            (1, 3, 5, 7, 9, 11, 13),
            ("a",),
            "shots 1, 3, 5, 7, 9 and 2 more are regenerated because a",
        ),
    ],
)
def test_a_regeneration_in_words(shots, reasons, text):
    assert str(Regeneration(shots, reasons)) == text


def test_a_reason_is_short_however_long_its_values_are():
    long = "sea " * 400
    (reason,) = why({"shot_prompt": long + "calm"})
    assert len(reason) <= 300
    names = BodyNames(("'" + "n" * 500 + "'",))
    graph = '[{}, "[[[0, 0], [0, 1]], [[\\"A\\", \\"\\", {\\"steps\\": %d}]], []]"]'
    loop = loop_with(
        {**FACTS, "body": digest_of(graph % 4)}, bodies=[(digest_of(graph % 4), graph % 4)],
        body=graph % 8,
    )  # fmt: skip
    (found,) = find_regenerations(loop, [step_of()], names)
    assert len(found.reasons[0]) == 300


def chain(*kinds: str) -> list[Step]:
    """Steps one after another: ``made`` anew, ``open`` until the one before is made, ``done``."""
    steps: list[Step] = []
    for index, kind in enumerate(kinds):
        step = step_of(shot=replace(SHOT, index=index), before=steps[-1] if steps else None)
        step.has_earlier, step.key = kind == "open", "" if kind == "open" else NOW
        step.record = SimpleNamespace() if kind == "done" else None
        steps.append(step)
    return steps


def test_lines_say_which_shots_may_follow():
    steps = chain("made", "open", "open", "made", "open", "done", "made")
    found = [Regeneration((1,), ("a",)), Regeneration((4, 7), ("b",))]
    assert regeneration_lines(found, steps) == [
        "shot 1 is regenerated because a; shots 2-3 follow if what they see changes",
        "shots 4, 7 are regenerated because b; shot 5 follows if what it sees changes",
    ]
    assert regeneration_lines(found, steps[:1]) == [
        "shot 1 is regenerated because a",
        "shots 4, 7 are regenerated because b",
    ]
    assert regeneration_lines([], steps) == []


def test_there_are_few_lines_however_many_reasons_there_are():
    steps = chain("made", "made", "made", "made", "made", "open")
    found = [Regeneration((i,), (f"r{i}",)) for i in range(1, 5)]
    assert regeneration_lines(found, steps) == [
        f"shot {i} is regenerated because r{i}" for i in range(1, 5)
    ]
    found.append(Regeneration((5, 6), ("r5",)))
    lines = regeneration_lines(found, steps)
    assert lines[:4] == [f"shot {i} is regenerated because r{i}" for i in range(1, 5)]
    assert lines[4:] == ["2 more are regenerated for other reasons"]
    found.append(Regeneration((7,), ("r6",)))
    assert regeneration_lines(found, steps)[4:] == ["3 more are regenerated for other reasons"]
