"""``remember`` measured on the tiny model: what the scripts say, and that cases come in pairs."""

from __future__ import annotations

import torch

from storymem.script.reader import load_story
from storymem.tiny.lab import player, remembering


def test_scripts_weigh_the_one_who_returns_and_empty_shots_alone():
    stories, back = player.returning(2, shots=7, absent=2, seed=3, characters=2, first=3, alone=0.5)
    case = remembering.CASES[0]
    names = player.names(stories, 0)
    kind = int(back[0].any(0).nonzero())
    kinds = stories.cast[0].nonzero()[:, 0].tolist()
    who = names[kinds.index(kind)]
    there = [
        [names[i] for i, k in enumerate(kinds) if stories.visible[0, shot, k]] for shot in range(7)
    ]
    script = player.script_of(stories, 0, case)
    tale = load_story(remembering.with_weights(script, there, who), quiet=True)
    plain = load_story(script, quiet=True)
    assert [shot.prompt for shot in tale.shots] == [shot.prompt for shot in plain.shots]
    weights = [{entry.name: entry.weight for entry in shot.remember} for shot in tale.shots]
    assert [who in of for of in weights] == stories.visible[0, :, kind].tolist()
    assert [of.get("here") == 0 for of in weights] == [not here for here in there]


def test_every_case_is_played_with_and_without_at_equal_budget():
    cases = {case.name: case for case in remembering.CASES}
    assert len(cases) == len(remembering.CASES)
    for name, case in cases.items():
        if name.endswith(remembering.WITH):
            other = cases[name.removesuffix(remembering.WITH)]
            assert (case.max_frames, case.sink, case.policy) == (
                other.max_frames, other.sink, other.policy,
            )  # fmt: skip


def test_each_story_has_a_seed_of_its_own():
    assert player.seeds_of(3, 7) == [7, 1007, 2007]
    assert torch.tensor(player.seeds_of(64, 0)).unique().numel() == 64
