"""Stories in which somebody returns, and what stands in for CLIP there."""

from __future__ import annotations

import pytest
import torch

from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.tiny import picture, staging, stand_in, world
from storymem.tiny.lab import measures, player, returns


@pytest.mark.parametrize("cast", returns.CASTS)
def test_the_one_who_returns_is_there_once_before_the_absence(cast):
    stories, back = player.returning(
        8, shots=14, absent=8, seed=3, characters=cast, first=3, alone=0.5
    )
    who = back.any(1)
    assert (who.sum(1) == 1).all()
    for s in range(8):
        kind = int(who[s].nonzero())
        there = stories.visible[s, :, kind].nonzero()[:, 0].tolist()
        assert there == [3, 12, 13]
        assert back[s, :, kind].nonzero()[:, 0].tolist() == [12, 13]
    assert (stories.visible.sum(-1) <= world.ON_STAGE).all()
    assert not (stories.visible & ~stories.cast[:, None]).any()
    others = (stories.visible & ~who[:, None]).sum(-1)[:, :3]
    assert set(others.unique().tolist()) == {1: {0}, 2: {1}, 3: {1, 2}}[cast]


def test_joined_stories_are_the_parts_in_order():
    parts = [player.returning(2, shots=5, absent=2, seed=c, characters=c)[0] for c in (1, 3)]
    whole = player.join(parts)
    assert [whole.prompt(s, 3) for s in range(4)] == [
        part.prompt(s, 3) for part in parts for s in range(2)
    ]
    assert len(whole.scenes) == 20
    assert whole.cast.sum(1).tolist() == [1, 1, 3, 3]


def test_the_script_names_its_cast_so_that_the_policy_knows_them():
    stories, _ = player.returning(3, shots=4, absent=1, seed=5, characters=3)
    tale = player.tell(stories, 1, returns.CASES[0])
    assert tale.cast == player.names(stories, 1)
    assert len(tale.cast) == 3
    assert all(any(name in shot.prompt for name in tale.cast) for shot in tale.shots)


def test_the_sink_leaves_room_at_every_budget():
    for budget, sink in ((3, 1), (4, 1), (6, 2), (8, 2), (10, 3)):
        assert returns.sink_of(budget) == sink
    for case in returns.CASES:
        assert case.sink < case.max_frames


def test_memory_shows_those_of_a_frames_shot_and_a_portraits_own():
    stories, _ = player.returning(1, shots=3, absent=1, seed=1, characters=3)
    picture_ = torch.zeros(8, 8, 3, dtype=torch.uint8)
    face = MemoryFrame(picture_, shot=-1, frame=1)
    seen = MemoryFrame(picture_, shot=0)
    there = player.Played([], [], [[(), (face,), (face, seen)]], [])
    shows = measures.memory_shows(there, stories)[0]
    assert not shows[0].any()
    assert shows[1].tolist() == [False, True, False]
    assert torch.equal(shows[2], stories.visible[0, 0] | shows[1])


def test_the_bank_shows_those_of_its_frames_in_later_shots_only():
    stories, _ = player.returning(1, shots=3, absent=1, seed=1, characters=3)
    seen = MemoryFrame(torch.zeros(8, 8, 3, dtype=torch.uint8), shot=1)
    shows = measures.bank_shows(player.Played([], [], [], [MemoryBank((seen,))]), stories)[0]
    assert not shows[:2].any()
    assert torch.equal(shows[2], stories.visible[0, 1])


# --- what stands in for CLIP ---------------------------------------------------------------------


@pytest.mark.slow
def test_the_stand_in_sees_who_is_there_and_where_and_reads_it_in_prompts():
    stories = staging.sample_stories(12, shots=2, seed=8)
    scenes = stories.scenes
    whole = (scenes.in_view() | ~scenes.visible[..., None])[..., 8].all(1)
    whole &= scenes.framing != 0  # in wide shots it misses some: 5 of 60
    frames = picture.render(scenes.at(torch.full((24, 1), 8)))[:, 0]
    frames = (frames * 255).round().to(torch.uint8)
    embedder = stand_in.StandIn()
    seen = embedder.embed_each([MemoryFrame(frame) for frame in frames])
    numbers = whole.nonzero()[:, 0].tolist()
    assert len(numbers) >= 8
    for number in numbers:
        prompt = stories.prompt(*divmod(number, 2))
        assert seen[number] @ embedder.embed_text(prompt) == pytest.approx(1, abs=1e-5)
    told = embedder.embed_text("Bomo jumps, beach, still")
    assert torch.equal(told, embedder.embed_text("Rumbo hops, beach, zoom"))  # names of one kind
    assert told @ embedder.embed_text("Fipi jumps, beach, still") == pytest.approx(0.5)
