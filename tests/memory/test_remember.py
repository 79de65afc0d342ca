"""``remember`` in a script: what is kept longer, what gives way first, and that nothing else
changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.fakes import noise_image
from storymem.loop.cache_keys import own_key
from storymem.loop.plan import Loop, LoopSettings, plan_shot
from storymem.loop.shot_memory import shot_memory, with_names
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.memory.policies import (
    POLICIES,
    choose_entities,
    choose_relevant,
    choose_remembered,
    window,
)
from storymem.memory.roles import frame_roles, left_out_reasons, roles_refer_to
from storymem.memory.weights import heavy_and_light, weights_of
from storymem.script.reader import load_story

CAST = ["Mara", "Pip"]


def story(prompts, remember=None):
    shots = [
        {"prompt": prompt, "cut": True, "remember": (remember or {}).get(i)}
        for i, prompt in enumerate(prompts)
    ]
    return load_story({"story_name": "Sea", "cast": CAST, "scenes": [{"video_prompts": shots}]})


def bank_of(tale, count, **settings) -> MemoryBank:
    frames = tuple(
        MemoryFrame(noise_image(i, 4, 4), story="Sea", shot=i, prompt=tale.shots[i].prompt)
        for i in range(count)
    )
    return MemoryBank(frames, **{"max_frames": 4, "sink": 1, **settings})


PROMPTS = [f"A street, take {i}." for i in range(9)]


def test_the_window_keeps_what_weighs_much_and_lets_weight_0_go_first():
    tale = story(PROMPTS, {2: {"Mara": 3}, 7: {"Pip": 0}})
    memory = shot_memory(bank_of(tale, 8), tale, tale.shots[8])
    assert memory.indices == (0, 2, 5, 6)
    assert memory.reasons == {
        0: "sink: one of the first frames",
        2: "kept for Mara, weight 3",
        5: "recent",
        6: "recent",
    }
    assert left_out_reasons(memory.bank) == {
        memory.bank.frames[7].digest: "weight 0 gives way first"
    }
    assert frame_roles(memory.bank) == (
        "sink", "waiting", "seen", "waiting", "waiting", "seen", "seen", "waiting",
    )  # fmt: skip


def test_after_the_shot_the_gallery_tells_of_it_and_not_of_the_plain_window():
    tale = story(PROMPTS, {2: {"Mara": 3}})
    seen = shot_memory(bank_of(tale, 8), tale, tale.shots[8]).bank
    after = with_names(replace(seen, choice=None), tale)
    assert roles_refer_to(after) == "last"
    assert frame_roles(after)[2] == "seen"
    assert roles_refer_to(with_names(bank_of(tale, 8), story(PROMPTS))) == "next"


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "relevant"])
@pytest.mark.parametrize("remember", [None, {2: {"Mara": 1}, 3: {"Pip": 1}}])
def test_without_it_or_with_neutral_weights_every_policy_is_what_it_was(policy, remember):
    tale = story(["Mara walks.", "Pip barks."] * 5)
    bank = bank_of(tale, 9, policy=policy)
    was = shot_memory(bank, tale, tale.shots[9])
    same = story(["Mara walks.", "Pip barks."] * 5, remember)
    now = shot_memory(bank, same, same.shots[9])
    assert (now.indices, now.reasons) == (was.indices, was.reasons)
    assert now.bank.seen == was.bank.seen


def test_a_shot_has_the_key_that_it_had_whatever_is_to_be_remembered(tmp_path):
    loop = Loop(story(PROMPTS), LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path))
    told = replace(loop, story=story(PROMPTS, {0: {"Mara": 3}}))
    for of in (loop, told):
        plan = plan_shot(of.story, of.settings, of.story.shots[0], has_previous=False)
        assert own_key(of, plan) == own_key(
            loop, plan_shot(loop.story, loop.settings, loop.story.shots[0], has_previous=False)
        )


def test_a_frame_weighs_what_the_script_says_now_wherever_its_shot_stands():
    tale = story(PROMPTS, {2: {"Mara": 3}})
    bank = bank_of(tale, 4)
    moved = story([PROMPTS[2], *PROMPTS[:2], *PROMPTS[3:]], {0: {"Mara": 3}})
    assert [bool(of) for of in weights_of(bank, moved)] == [False, False, True, False]
    edited = story([*PROMPTS[:2], "Another street.", *PROMPTS[3:]], {2: {"Mara": 0}})
    assert weights_of(bank, edited)[2] == {"Mara": 0}
    assert heavy_and_light(bank, story(PROMPTS)) == {}
    other = replace(bank, frames=tuple(replace(f, story="Land") for f in bank.frames))
    assert heavy_and_light(other, tale) == {}


def test_frames_for_many_take_turns_and_leave_a_third_to_the_latest():
    subjects = [{}] + [{"Mara": 3}] * 4 + [{"Pip": 2}] * 4 + [{}] * 6
    choice = choose_remembered(subjects, max_frames=9, sink=1)
    assert [i for i in choice.indices if 1 <= i <= 4] == [1, 2, 3, 4]
    assert [i for i in choice.indices if 5 <= i <= 8] == [8]
    assert [i for i in choice.indices if i > 8] == [12, 13, 14]


def test_a_frame_for_one_alone_is_kept_before_one_for_two():
    subjects = [{}, {"Mara": 3}, {"Mara": 3, "Pip": 3}, {}, {}, {}, {}, {}]
    choice = choose_remembered(subjects, max_frames=3, sink=0)
    assert choice.reasons[1] == "kept for Mara, weight 3"


@pytest.mark.parametrize("count", range(0, 14))
def test_neutral_frames_leave_the_paper_s_window(count):
    choice = choose_remembered([{}] * count, max_frames=5, sink=2)
    assert choice.indices == window(count, max_frames=5, sink=2)


def test_pins_come_before_weights():
    choice = choose_remembered([{"Mara": 0}, {"Pip": 3}, {}, {}], max_frames=1, sink=0, pinned=(0,))
    assert choice.reasons == {0: "pinned"}


def test_of_those_who_appear_the_weightiest_have_the_first_place_and_more_of_them():
    shown = [["Mara"], ["Pip"], ["Mara"], ["Pip"], ["Mara"], ["Pip"]]
    subjects = [{"Mara": 3}, {"Pip": 0}, {"Mara": 3}, {}, {"Mara": 1}, {}]
    wanted = ["Pip", "Mara"]
    one = choose_entities(shown, wanted, max_frames=1, sink=0, subjects=subjects)
    assert one.reasons == {2: "shows Mara, weight 3"}
    four = choose_entities(shown, wanted, max_frames=4, sink=0, subjects=subjects)
    assert four.indices == (0, 2, 4, 5) or four.indices == (0, 2, 3, 5)
    assert 1 not in four.indices
    assert four.left_out == {1: "weight 0 gives way first"}


def test_somebody_of_weight_0_gets_one_frame_where_there_is_room():
    shown = [["Pip"], ["Pip"], ["Mara"], ["Mara"], ["Mara"]]
    subjects = [{"Pip": 0}, {"Pip": 0}, {}, {}, {}]
    choice = choose_entities(shown, ["Pip", "Mara"], max_frames=4, sink=0, subjects=subjects)
    assert choice.indices == (1, 2, 3, 4)


def test_relevance_and_weight_are_counted_together():
    relevance = [0.5, 0.5, 0.6, 0.9]

    def similarity(i, j):
        return float(i == j)

    def chosen(subjects):
        return choose_relevant(
            relevance, similarity, max_frames=2, sink=0, subjects=subjects
        ).indices

    assert chosen([{}, {}, {}, {}]) == (2, 3)
    assert chosen([{"Mara": 3}, {}, {}, {}]) == (0, 3)
    assert chosen([{}, {}, {}, {"Mara": 0}]) == (1, 2)
