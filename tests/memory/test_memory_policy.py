"""Memory that listens to the prompt: what is chosen, and why."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.memory.policies import (
    POLICIES,
    Choice,
    choose_entities,
    choose_entities_only,
    choose_relevant,
)


def unlike(i, j):
    return 0.0


def reference_mmr(relevance, similar, max_frames, sink, pinned, weight):
    """A plain rewriting: score every candidate against every chosen frame, every time."""
    count = len(relevance)
    chosen = list(dict.fromkeys([*sorted(pinned)[:max_frames], *range(min(sink, count))]))
    chosen = chosen[:max_frames]
    rest = [i for i in range(count) if i not in chosen]
    low, high = (
        (min(relevance[i] for i in rest), max(relevance[i] for i in rest)) if rest else (0, 0)
    )
    while rest and len(chosen) < max_frames:
        table = []
        for i in rest:
            related = (relevance[i] - low) / (high - low) if high > low else 0
            near = max([similar[i, j] for j in chosen], default=0)
            table.append((np.round((1 - weight) * related - weight * near, 6), i))
        best = max(table)[1]
        chosen.append(best)
        rest.remove(best)
    return tuple(sorted(chosen))


def test_the_most_related_frames_fill_the_places_after_the_sink():
    choice = choose_relevant([0.1, 0.1, 0.9, 0.2, 0.8, 0.3], unlike, max_frames=4, sink=2)
    assert choice.indices == (0, 1, 2, 4)
    assert choice.reasons[4] == "related to the prompt (0.80)"
    assert choice.reasons[0].startswith("sink")


def test_the_newest_of_equals_wins():
    assert choose_relevant([0.5] * 8, unlike, max_frames=3, sink=1).indices == (0, 6, 7)


def test_scores_that_differ_by_rounding_alone_are_equal():
    """Else another processor's last digits would choose another frame."""
    relevance = [0.0, 1.0 + 2e-7, 1.0, 0.5]
    assert choose_relevant(relevance, unlike, max_frames=1, sink=0).indices == (2,)
    relevance[1] = 1.0 + 2e-5
    assert choose_relevant(relevance, unlike, max_frames=1, sink=0).indices == (1,)


def test_how_related_a_frame_is_counts_among_those_that_wait():
    """A sink frame of another world does not make the others all alike."""
    near = lambda i, j: 0.9 if {i, j} == {0, 2} else 0.0  # noqa: E731
    choice = choose_relevant([-100.0, 0.0, 1.0], near, max_frames=2, sink=1)
    assert choice.indices == (0, 2)


def test_the_policies_are_those_of_saved_workflows_and_a_choice_stays_as_it_is():
    assert POLICIES == ("window", "relevant", "entities", "entities_only")
    choice = Choice((1, 2))
    assert choice.reasons == choice.left_out == {}
    with pytest.raises(FrozenInstanceError):
        choice.indices = (3,)


def test_twins_give_way_to_something_new():
    """Frames 3 and 4 look the same; the second of them loses to a frame a little less related."""
    same = lambda i, j: 0.99 if {i, j} == {3, 4} else 0.0  # noqa: E731
    relevance = [0.0, 0.0, 0.75, 1.0, 0.99]
    assert choose_relevant(relevance, same, max_frames=2, sink=0).indices == (2, 3)
    assert choose_relevant(relevance, same, max_frames=2, sink=0, diversity=0.0).indices == (3, 4)


def test_choices_equal_a_plain_rewriting():
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, max_frames, sink = rng.integers(0, 25), int(rng.integers(0, 11)), rng.integers(0, 5)
        vectors = rng.normal(size=(count, 4))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
        similar = vectors @ vectors.T
        relevance = rng.uniform(0.15, 0.35, count).tolist()
        pinned = rng.choice(count, min(count, 2), replace=False).tolist() if count else []
        choice = choose_relevant(
            relevance, lambda i, j, s=similar: s[i, j], max_frames=max_frames, sink=int(sink),
            pinned=pinned,
        )  # fmt: skip
        assert choice.indices == reference_mmr(
            relevance, similar, max_frames, int(sink), pinned, 0.3
        )


def shown(text: str) -> list[list[str]]:
    return [[{"m": "Mara", "p": "Pip", "b": "Bo"}[c] for c in part] for part in text.split(".")]


def test_someone_who_returns_is_seen_again():
    """Pip was in shots 2 and 3 only; the paper's window has lost him by now."""
    bank = shown("m.m.m.p.p" + ".m" * 9)
    choice = choose_entities(bank, ["Pip"], max_frames=6, sink=3)
    assert choice.indices == (0, 1, 2, 3, 4, 13)
    assert choice.reasons[4] == "shows Pip"
    assert choice.reasons[13] == "recent"


def test_everybody_who_appears_gets_one_before_anybody_gets_two():
    bank = shown("m.p.b" + ".m" * 20)
    choice = choose_entities(bank, ["Mara", "Pip", "Bo"], max_frames=3, sink=3)
    assert choice.indices == (1, 2, 22)
    choice = choose_entities(bank, ["Mara", "Pip", "Bo"], max_frames=2, sink=3)
    assert choice.indices == (1, 22)


def test_a_frame_of_one_alone_comes_before_a_newer_one_of_many():
    bank = shown("m.p.mp.mp.m")
    assert 1 in choose_entities(bank, ["Pip"], max_frames=1, sink=0).indices


def test_one_frame_that_shows_two_serves_both_on_the_first_turn():
    bank = shown("m.m.mp.m.m")
    choice = choose_entities(bank, ["Pip", "Mara"], max_frames=1, sink=0)
    assert choice.indices == (2,)


def test_nobody_named_gives_the_papers_window():
    from storymem.memory.policies import window

    for count in range(20):
        bank = [[] for _ in range(count)]
        choice = choose_entities(bank, [], max_frames=7, sink=3)
        assert choice.indices == window(count, max_frames=7, sink=3)


def test_places_and_pins_hold_for_any_story():
    rng = random.Random(1)
    names = ["Mara", "Pip", "Bo", "Zoe"]
    for _ in range(300):
        count, max_frames, sink = rng.randrange(30), rng.randrange(11), rng.randrange(5)
        bank = [rng.sample(names, rng.randrange(3)) for _ in range(count)]
        wanted = rng.sample(names, rng.randrange(4))
        pinned = rng.sample(range(count), min(count, max_frames, 2))
        choice = choose_entities(bank, wanted, max_frames=max_frames, sink=sink, pinned=pinned)
        assert len(choice.indices) == min(count, max_frames)
        assert set(pinned) <= set(choice.indices)
        assert list(choice.indices) == sorted(set(choice.indices))
        assert set(choice.reasons) == set(choice.indices)
        here = [n for n in wanted if any(n in frame for frame in bank)]
        if len(here) + len(pinned) <= max_frames:
            for name in here:
                assert any(name in bank[i] for i in choice.indices)


def reference_turns(shown, wanted, max_frames, sink, pinned):
    """A plain rewriting of the rule: who appears, in turns, then the sink, then the newest."""
    reasons = dict.fromkeys(sorted(pinned)[:max_frames], "pinned")
    for_others = max_frames - min(sink, len(shown))
    for name in wanted:
        theirs = [i for i, names in enumerate(shown) if name in names]
        if theirs and not reasons.keys() & set(theirs) and len(reasons) < max_frames:
            alone = [i for i in theirs if set(shown[i]) == {name}]
            reasons[(alone or theirs)[-1]] = f"shows {name}"
    is_over = False
    while not is_over:
        is_over = True
        for name in wanted:
            left = [i for i, names in enumerate(shown) if name in names and i not in reasons]
            if left and len(reasons) < for_others:
                reasons[left[-1]] = f"shows {name}"
                is_over = False
    sinks = dict.fromkeys(range(min(sink, len(shown))), "sink: one of the first frames")
    newest = dict.fromkeys(reversed(range(len(shown))), "recent")
    for i, reason in [*sinks.items(), *newest.items()]:
        if len(reasons) < max_frames:
            reasons.setdefault(i, reason)
    return reasons


def test_turns_equal_a_plain_rewriting_with_the_reason_of_each():
    rng = random.Random(2)
    names = ["Mara", "Pip", "Bo", "Zoe"]
    for _ in range(400):
        count, max_frames, sink = rng.randrange(16), rng.randrange(9), rng.randrange(5)
        bank = [rng.sample(names, rng.choice([0, 1, 1, 2, 3])) for _ in range(count)]
        wanted = rng.sample(names, rng.randrange(4))
        pinned = rng.sample(range(count), min(count, rng.randrange(4)))
        choice = choose_entities(bank, wanted, max_frames=max_frames, sink=sink, pinned=pinned)
        expected = reference_turns(bank, wanted, max_frames, sink, pinned)
        assert choice.reasons == expected
        assert choice.indices == tuple(sorted(expected))
        assert list(choice.reasons) == list(choice.indices)


def test_names_are_the_same_in_any_case():
    bank = [["MARA"], ["Pip"], ["Stra\u00dfe"]]
    assert choose_entities(bank, ["mara"], max_frames=1, sink=0).indices == (0,)
    assert choose_entities(bank, ["STRASSE"], max_frames=1, sink=0).indices == (2,)


def test_why_each_frame_is_seen_under_relevant():
    choice = choose_relevant([0.5, 0.25, 0.125], unlike, max_frames=3, sink=1, pinned=[1])
    assert choice.reasons == {
        0: "sink: one of the first frames",
        1: "pinned",
        2: "related to the prompt (0.12)",
    }


@pytest.mark.parametrize("max_frames", [0, 1])
def test_small_budgets(max_frames):
    assert len(choose_relevant([0.1, 0.2], unlike, max_frames=max_frames, sink=3).indices) == (
        max_frames
    )


# --- without those who are not in the shot -------------------------------------------------------


def test_a_frame_that_shows_only_others_is_left_out_though_places_stay_empty():
    choice = choose_entities_only(shown("m.p.pb.m"), ["Mara"], max_frames=4, sink=0)
    assert choice.reasons == {0: "shows Mara", 3: "shows Mara"}
    assert choice.indices == (0, 3)
    assert choice.left_out == {
        1: "shows nobody in the shot, only Pip",
        2: "shows nobody in the shot, only Pip, Bo",
    }


def test_a_pin_does_not_keep_a_frame_that_shows_only_others():
    choice = choose_entities_only(shown("m.p.b.m.m"), ["Mara"], max_frames=3, sink=1, pinned=[0, 1])
    assert choice.reasons == {0: "pinned", 3: "recent", 4: "shows Mara"}
    assert sorted(choice.left_out) == [1, 2]


def test_frames_in_which_nobody_is_known_stay_candidates():
    choice = choose_entities_only(shown(".p..m."), ["Mara"], max_frames=9, sink=1)
    assert choice.reasons == {
        0: "sink: one of the first frames",
        2: "recent",
        3: "shows Mara",
        4: "recent",
    }


def test_a_frame_of_two_stays_when_one_of_them_is_in_the_shot():
    choice = choose_entities_only(shown("mp.p.b"), ["Mara"], max_frames=3, sink=0)
    assert (choice.indices, sorted(choice.left_out)) == ((0,), [1, 2])


def test_the_sink_is_of_the_frames_that_remain():
    choice = choose_entities_only(shown("p.b..m.m."), ["Mara"], max_frames=2, sink=1)
    assert choice.reasons == {2: "sink: one of the first frames", 4: "shows Mara"}


def test_everybody_else_leaves_a_shot_without_memory():
    choice = choose_entities_only(shown("p.b"), ["Mara"], max_frames=3, sink=1, pinned=[0])
    assert (choice.indices, choice.reasons, sorted(choice.left_out)) == ((), {}, [0, 1])


def test_names_of_those_left_out_are_the_same_in_any_case():
    choice = choose_entities_only([["MARA"], ["PIP"]], ["mara"], max_frames=2, sink=0)
    assert (choice.indices, list(choice.left_out)) == ((0,), [1])


NAMES = ("Mara", "Pip", "Bo", "Zoe")
SOME = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)


@st.composite
def memories(draw):
    bank = draw(st.lists(SOME, max_size=14))
    pinned = draw(st.sets(st.sampled_from(range(len(bank))), max_size=4)) if bank else set()
    places = {"max_frames": draw(st.integers(0, 8)), "sink": draw(st.integers(0, 5))}
    return bank, sorted(pinned), places


@settings(max_examples=200, deadline=None)
@given(memories(), SOME)
def test_what_remains_is_chosen_as_if_the_others_were_not_in_the_bank(memory, wanted):
    bank, pinned, places = memory
    choice = choose_entities_only(bank, wanted, pinned=pinned, **places)
    is_of_others = [bool(wanted and names) and not set(names) & set(wanted) for names in bank]
    assert list(choice.left_out) == [i for i, is_other in enumerate(is_of_others) if is_other]
    kept = [i for i, is_other in enumerate(is_of_others) if not is_other]
    expected = choose_entities(
        [bank[i] for i in kept],
        wanted,
        pinned=[kept.index(i) for i in pinned if i in kept],
        **places,
    )
    assert choice.indices == tuple(kept[i] for i in expected.indices)
    assert choice.reasons == {kept[i]: why for i, why in expected.reasons.items()}
    assert list(choice.reasons) == list(choice.indices)


@settings(max_examples=100, deadline=None)
@given(memories())
def test_a_shot_that_names_nobody_sees_what_it_sees_under_entities(memory):
    bank, pinned, places = memory
    assert choose_entities_only(bank, [], pinned=pinned, **places) == choose_entities(
        bank, [], pinned=pinned, **places
    )
