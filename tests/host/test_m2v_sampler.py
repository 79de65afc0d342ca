"""M2V Sampler in a real host: every kind of shot, both roads, seeds, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from m2v_helpers import M2V, rel_l2

WIDTH, HEIGHT, LENGTH, FRAMES = 48, 32, 9, 3


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def test_memory_only_shot_gives_the_shot_without_its_memory(m2v):
    latent = m2v.sample(bank=m2v.bank(3))
    assert list(latent.shape) == [1, 16, FRAMES, HEIGHT // 8, WIDTH // 8]
    assert latent.isfinite().all()


@pytest.mark.parametrize(("continuity", "count"), [("last_frame", 1), ("last_five_frames", 5)])
def test_a_shot_continues_from_the_previous_frames(m2v, continuity, count):
    previous = m2v.images(6)
    latent = m2v.sample(bank=m2v.bank(2), previous_frames=previous, continuity=continuity)
    only_needed = m2v.sample(
        bank=m2v.bank(2), previous_frames=previous[-count:], continuity=continuity
    )
    assert torch.equal(latent, only_needed)
    assert rel_l2(latent, m2v.sample(bank=m2v.bank(2))) > 1e-3
