"""Memento's memory in the loop: each expert's pool, what goes for good, what records tell of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.loop.begin import bank_after, begin_shot, load_result
from storymem.loop.memory_choice import (
    CHOOSES,
    EXPERTS,
    describe_choice,
    has_to_score,
    keep_chosen,
    places_in,
    pools_of,
)
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.seen import seen_by
from storymem.loop.shot_memory import whole_pool
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps, lock_warnings
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.memory.roles import frame_roles, roles_refer_to
from storymem.sampling.continuity import ShotPlan
from storymem.script.reader import load_story
from storymem.selection.keyframe_query import QueryScores
from storymem.views.bank import view_bank
from storymem.views.seen import view_seen

PROMPTS = [f"shot {i}" for i in range(4)]
CANDIDATES = 8


def frame(number: int, **fields) -> MemoryFrame:
    """Frame ``number`` of a story of shots of eight frames, ten pixel frames apart."""
    fields = {"shot": number // 8, "frame": number % 8, "moment": 10 * number} | fields
    return MemoryFrame(noise_image(number, 8, 8), story="Tale", **fields)


def bank_of(count: int, **settings) -> MemoryBank:
    return MemoryBank(tuple(frame(i) for i in range(count)), **{"max_frames": 10, **settings})


def plan(index: int = 2, begin: int = 160) -> ShotPlan:
    scene = {"video_prompts": PROMPTS, "cut": [True] * 4}
    story = load_story({"story_name": "Tale", "scenes": [scene]})
    return ShotPlan(story.shots[index], "Tale", "p", begin=begin)


def scores(count: int, favourites=(), around=()) -> QueryScores:
    """Local scores are high for ``favourites``, global ones for ``around``; else old ones win."""

    def of(liked):
        return tuple(100.0 if i in liked else 0.0 - i for i in range(count))

    return QueryScores(of(favourites), of(around))


def numbers(frames) -> list[int]:
    return [8 * f.shot + f.frame for f in frames]


def test_experts_choose_from_the_same_bank_each_for_itself():
    bank = bank_of(16)
    pools = pools_of(bank, plan())
    assert all(has_to_score(bank, pool) for pool in pools.values())
    # 160 // 4 = 40; 10 * i // 4 - 40
    assert pools["high"].positions == tuple(10 * i // 4 - 40 for i in range(16))
    found = keep_chosen(bank, plan(), pools, {
        "high": scores(16, favourites=[3, 10, 11, 12, 13, 14], around=[15, 0]),
        "low": scores(16, favourites=[3, 4, 5, 6, 7, 8], around=[15, 0]),
    })  # fmt: skip
    high, low = found.memories()
    assert numbers(high) == [0, 3, 10, 11, 12, 13, 14, 15]
    assert numbers(low) == [0, 3, 4, 5, 6, 7, 8, 15]
    pools = dict(zip(numbers(found.frames), (f.pool for f in found.frames), strict=True))
    assert (pools[0], pools[3], pools[4], pools[10]) == ("", "", "low", "high")
    assert numbers(found.dropped) == [1, 2, 9]
    assert found.dropped[0].reason == (
        "not chosen for shot 3 (high: left out, local -1.000 (8 of 16), global -1.000 (3 of 16); "
        "low: left out, local -1.000 (8 of 16), global -1.000 (3 of 16))"
    )
    assert found.scored[frame(10).digest].startswith("high: local, local 100.000 (1 of 16), global")
    assert "; low: left out, local" in found.scored[frame(10).digest]
    assert "low: global, local" in found.scored[frame(15).digest]
    assert [f.digest for f in bank.frames] == [frame(i).digest for i in range(16)]  # as it was


def test_what_an_expert_lost_it_never_gets_back():
    bank = replace(bank_of(10), frames=tuple(frame(i, pool="high" if i < 2 else "low" if i < 4
                                                   else "") for i in range(10)))  # fmt: skip
    pools = pools_of(bank, plan())
    assert numbers(pools["high"].frames) == [0, 1, *range(4, 10)]
    assert numbers(pools["low"].frames) == list(range(2, 10))
    found = keep_chosen(bank, plan(), pools, {})  # eight each: both are used whole
    assert [f.pool for f in found.frames] == [f.pool for f in bank.frames]
    assert found.scored[frame(0).digest] == "high: whole"
    assert found.scored[frame(5).digest] == "high: whole; low: whole"
    assert found.dropped == ()


def test_a_pool_of_eight_is_used_whole_and_an_empty_one_stays_empty():
    bank = bank_of(8)
    assert not any(has_to_score(bank, pool) for pool in pools_of(bank, plan()).values())
    assert numbers(keep_chosen(bank, plan(), pools_of(bank, plan()), {}).used()) == list(range(8))
    empty = MemoryBank()
    assert keep_chosen(empty, plan(), pools_of(empty, plan()), {}) is empty


def test_pinned_frames_are_in_both_pools_and_never_go():
    frames = [frame(i, pinned=i in (1, 9), pool="low" if i == 9 else "") for i in range(12)]
    bank = MemoryBank(tuple(frames), max_frames=10)
    pools = pools_of(bank, plan())
    found = keep_chosen(bank, plan(), pools, {e: scores(12, [2, 3, 4, 5, 6, 7]) for e in EXPERTS})
    assert [numbers(part) for part in found.memories()] == [[0, 1, 2, 3, 4, 5, 6, 9]] * 2
    assert found.frames[1].pinned
    assert "pinned" in found.scored[frame(9).digest]
    too_many = replace(bank, max_frames=1)
    with pytest.raises(ValueError, match="2 frames are pinned but only max_frames = 1"):
        keep_chosen(too_many, plan(), pools, {e: scores(12) for e in EXPERTS})


def test_a_shot_never_sees_more_than_max_frames_however_many_are_pinned():
    """Pins leave the global places free: seven of them and two others are more than eight."""
    frames = tuple(frame(i, pinned=i < 7) for i in range(12))
    for max_frames, count in ((10, 9), (8, 8), (7, 7)):
        bank = MemoryBank(frames, max_frames=max_frames)
        asked = {e: scores(12, [11], [8, 10]) for e in EXPERTS}
        found = keep_chosen(bank, plan(), pools_of(bank, plan()), asked)
        wanted = [*range(7), 8, 10][:count]
        assert [numbers(part) for part in found.memories()] == [wanted] * 2
        assert whole_pool(bank, load_story("a cat")).sampled_frames == count


def test_a_shot_that_sees_nothing_is_told_as_such():
    memory = whole_pool(MemoryBank((frame(0), frame(1)), max_frames=0), load_story("a cat"))
    assert (memory.frames, memory.sampled_frames) == ((), 0)
    assert len(memory.digests()[1]) == 2  # new keyframes are still compared with all


def test_what_was_chosen_is_seen_whole_after_edits_of_it():
    """Edit Memory Bank behind Choose Memory: no window over what both experts chose."""
    bank, pools = bank_of(16), pools_of(bank_of(16), plan())
    asked = {"high": scores(16, range(6), [6, 7]), "low": scores(16, range(8, 14), [14, 15])}
    found = keep_chosen(bank, plan(), pools, asked)
    assert len(found.frames) == 16 > found.max_frames
    assert [numbers(part) for part in found.edit().memories()] == [[*range(8)], [*range(8, 16)]]
    edited = found.edit(pin=[1], forget=[4])
    assert [numbers(part) for part in edited.memories()] == [[0, 1, 2, 3, 5, 6, 7], [*range(8, 16)]]
    assert frame(4).digest not in edited.scored
    back = edited.edit(restore=[0])
    assert [4 in numbers(part) for part in back.memories()] == [True, False]
    assert back.scored[frame(4).digest] == "kept by hand"
    assert back.remember([frame(17)]).choice is None  # the next shot's is another choice


def test_both_experts_get_the_same_number_of_frames():
    """A click took two frames from one of them: the other gives up its global choices."""
    bank = replace(bank_of(12), frames=tuple(frame(i, pool="high" if i > 5 else "")
                                             for i in range(12)))  # fmt: skip
    pools = pools_of(bank, plan())
    found = keep_chosen(bank, plan(), pools, {"high": scores(12, range(6, 12), around=[0, 1])})
    high, low = found.memories()
    assert numbers(low) == list(range(6))
    assert numbers(high) == list(range(6, 12))


@pytest.mark.parametrize(("most", "kept"), [(10, 8), (8, 8), (7, 7), (3, 3)])
def test_a_bank_of_fewer_places_keeps_as_many(most, kept):
    bank = bank_of(16, max_frames=most)
    pools = pools_of(bank, plan())
    found = keep_chosen(bank, plan(), pools, {e: scores(16) for e in EXPERTS})
    assert places_in(bank) == kept
    assert [len(part) for part in found.memories()] == [kept, kept]


def test_memory_that_is_off_stays_off_and_loses_nothing():
    bank = bank_of(12, max_frames=0)
    assert keep_chosen(bank, plan(), pools_of(bank, plan()), {}) is bank
    assert bank.memories() == ((), ())


def test_one_model_has_one_pool():
    bank = bank_of(16)
    pools = pools_of(bank, None, ("high",))
    assert pools["high"].positions[-1] == -1  # right after the newest frame
    found = keep_chosen(bank, None, pools, {"high": scores(16)})
    assert {f.pool for f in found.frames} == {""}
    assert found.memories()[0] == found.memories()[1]
    assert found.dropped[0].reason.startswith("not chosen (high: left out, local -8.000 (9 of 16)")


def test_the_report_has_a_line_for_each_frame_of_the_pool():
    bank = bank_of(10)
    found = keep_chosen(bank, plan(), pools_of(bank, plan()), {e: scores(10) for e in EXPERTS})
    lines = describe_choice(found, bank).splitlines()
    assert lines[0] == (
        "8 of 10 frames of the pool stay: 8 for the high-noise expert, 8 for the low-noise expert"
    )
    assert lines[1].startswith("kept 1: shot 1, frame 0: high: local, local 0.000 (1 of 10), glob")
    assert lines[9].startswith("gone 9: shot 2, frame 0: high: left out, local -8.000 (9 of 10)")
    assert len(lines) == 11


def test_the_gallery_tells_who_chose_and_what_came_since():
    bank = bank_of(10)
    found = keep_chosen(bank, plan(), pools_of(bank, plan()), {
        "high": scores(10, range(4, 10)), "low": scores(10, range(3, 9)),
    })  # fmt: skip
    assert roles_refer_to(found) == "this"
    assert set(frame_roles(found)) == {"seen"}
    shown = {one["number"]: one for one in view_bank(found)["frames"]}
    assert shown[len(shown)]["pool"] == "high"  # frame 9
    assert "pool" not in shown[1]
    assert shown[1]["seen"].startswith("high: global")
    later = found.remember([frame(20), frame(21)])
    assert roles_refer_to(later) == "last"
    assert frame_roles(later)[-3:] == ("seen", "open", "open")


def test_the_page_reads_what_the_experts_said():
    """``scored.js`` words them: its patterns are JavaScript's, which Python reads as well."""
    page = Path(__file__).parents[2] / "web" / "js" / "gallery" / "scored.js"
    source = page.read_text("utf-8")
    score = re.search(r'const SCORE = "(.+)";', source)[1].replace("\\\\", "\\")
    expert = re.search(r"const EXPERT = new RegExp\(`(.+)`\);", source)[1]
    expert = re.compile(expert.replace("${SCORE}", score))
    gone = re.compile(re.search(r"const GONE = /(.+)/;", source)[1])
    frames = [frame(i, pool="high" if i < 2 else "", pinned=i == 4) for i in range(14)]
    bank = MemoryBank(tuple(frames), max_frames=10)
    pools = pools_of(bank, plan())
    for local, begin in ((scores(14), plan()), (QueryScores((-0.5,) * 14, None), None)):
        asked = {"high": local, "low": QueryScores(local.local[:12], None)}
        found = keep_chosen(bank, begin, pools, asked)
        assert found.dropped
        told = [f.reason for f in found.dropped]
        assert all(map(gone.match, told))
        told = [gone.match(one)[2] for one in told] + list(found.choice.reasons.values())
        parts = [part for one in told for part in one.split("; ")]
        assert [part for part in parts if not expert.match(part)] == []
    whole = bank_of(8)
    found = keep_chosen(whole, plan(), pools_of(whole, plan()), {})
    assert all(expert.match(part) for part in found.scored[frame(0).digest].split("; "))


# --- in a loop -----------------------------------------------------------------------------------


class Memento:
    """A run of the library's loop in which every shot leaves eight candidates."""

    def __init__(self, root, edits=None, body=f'["{CHOOSES}"]', locked=False):
        scene = {"video_prompts": PROMPTS, "cut": [True] * 4}
        scene |= {"lock": [False, False, True, False]} if locked else {}
        bank = start_bank(max_frames=10)
        bank = bank.with_edits(edits) if edits else bank
        story = load_story({"story_name": "Tale", "scenes": [scene]})
        self.loop = Loop(story, LoopSettings(), bank, body, ShotStore(root), {})
        self.saw, self.made, self.banks, self.steps = [], 0, [], []

    def run(self):
        before = None
        self.steps = list_steps(self.loop, {})
        for step in self.steps:
            if step.record is None:
                begun = begin_shot(self.loop, step, before)
                step.begin(begun)
            if step.record is None:
                self.made += 1
                self._make(step, begun.bank)
            before = load_result(self.loop, step.record)
            self.banks.append(before.bank)
        return self

    def _make(self, step, bank):
        plan = replace(step.plan)
        pools = pools_of(bank, plan)
        asked = {e: liking(p.frames, e) for e, p in pools.items() if has_to_score(bank, p)}
        bank = keep_chosen(bank, plan, pools, asked)
        self.saw.append([[f.digest for f in part] for part in bank.memories()])
        index = plan.shot.index
        kept = [
            MemoryFrame(noise_image(1000 * index + i, 8, 8), shot=index, frame=i, story="Tale")
            for i in range(CANDIDATES)
        ]
        frames = torch.rand(4, 8, 8, 3, generator=torch.Generator().manual_seed(index))
        step.record, _ = finish_shot(self.loop, step, frames, bank.remember(kept), crf=30)


def liking(frames, expert: str) -> QueryScores:
    """Scores by the picture alone, others for each expert."""

    def of(what):
        return tuple(int(digest_of([f.digest, expert, what])[:6], 16) / 1e6 for f in frames)

    return QueryScores(of("local"), of("global"))


def chosen_by_hand(pool: list[MemoryFrame], expert: str) -> list[MemoryFrame]:
    """The release's rule, written once more: six by local scores, two others by global ones."""
    if len(pool) <= 8:
        return pool
    asked = liking(pool, expert)
    local = sorted(range(len(pool)), key=lambda i: -asked.local[i])[:6]
    rest = [i for i in range(len(pool)) if i not in local]
    rest = sorted(rest, key=lambda i: -asked.whole_story[i])[:2]
    return [pool[i] for i in sorted([*local, *rest])]


def test_pools_travel_with_the_story_as_in_the_release(tmp_path):
    run = Memento(tmp_path).run()
    assert run.made == 4
    pools = {expert: [] for expert in EXPERTS}
    for index, saw in enumerate(run.saw):
        for expert, got in zip(EXPERTS, saw, strict=True):
            pools[expert] = chosen_by_hand(pools[expert], expert)
            assert got == [f.digest for f in pools[expert]], (index, expert)
            pools[expert] = pools[expert] + [
                MemoryFrame(noise_image(1000 * index + i, 8, 8)) for i in range(CANDIDATES)
            ]
    assert run.saw[3][0] != run.saw[3][1]  # or nothing was told apart
    again = Memento(tmp_path).run()
    assert again.made == 0
    assert [len(bank.frames) for bank in again.banks] == [len(bank.frames) for bank in run.banks]
    assert [f.pool for f in again.banks[3].frames] == [f.pool for f in run.banks[3].frames]


def test_a_shots_record_tells_what_each_expert_saw(tmp_path):
    run = Memento(tmp_path).run()
    step = run.steps[2]
    seen = seen_by(run.loop.store, step.record)
    assert seen.is_sure
    high, low = seen.bank.memories()
    assert [f.digest for f in high] == run.saw[2][0]
    assert [f.digest for f in low] == run.saw[2][1]
    shown = view_seen(run.loop.store, run.loop.story, step.record.key)
    roles = {one["role"] for one in shown["frames"]}
    assert roles == {"seen", "waiting"}  # what went stands among them, with its scores
    places = {one["digest"]: one["position"] for one in shown["frames"] if one["position"]}
    for frame in (*high, *low):
        expert = run.saw[2][frame.pool == "low"]
        assert places[frame.digest] == expert.index(frame.digest) + 1
    assert max(places.values()) == 8
    gone = next(one for one in shown["frames"] if one["role"] == "waiting")
    assert gone["left_out"].startswith("high: left out, local ")
    assert len(shown["frames"]) == len(run.banks[1].frames)
    after = bank_after(run.loop, step)
    assert roles_refer_to(after) == "last"
    assert frame_roles(after)[-CANDIDATES:] == ("open",) * CANDIDATES


def test_a_pin_and_a_pool_are_in_the_key_of_a_shot_that_chooses(tmp_path):
    run = Memento(tmp_path).run()
    unloved = next(f for f in run.banks[2].dropped if f.shot == 0)
    pinned = Memento(tmp_path, BankEdits(pin=(unloved.digest,))).run()
    assert pinned.made == 3  # all that began with it
    assert all(unloved.digest in saw[0] and unloved.digest in saw[1] for saw in pinned.saw)
    plain = Memento(tmp_path / "other", body="body")
    begun = begin_shot(plain.loop, list_steps(plain.loop, {})[0], None)
    assert len(begun.memory.digests()) == 2  # keys of other loops are as they were


def test_a_frame_that_is_kept_by_hand_comes_back_to_both_pools(tmp_path):
    run = Memento(tmp_path).run()
    gone = run.banks[2].dropped[0]
    edits = BankEdits(keep=(gone.digest,))
    kept = Memento(tmp_path, edits).run()
    frames = {f.digest: f for f in kept.banks[3].frames}
    assert frames[gone.digest].edited == "keep"
    assert frames[gone.digest].pool == ""


def test_a_locked_shot_is_not_said_to_miss_what_it_did_not_choose(tmp_path):
    Memento(tmp_path).run()
    locked = Memento(tmp_path, locked=True).run()
    assert locked.made == 0
    assert lock_warnings(locked.loop, locked.steps) == []
