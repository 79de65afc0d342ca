"""Memento in the host's Wan: identity frame, split attention, memory on its flow, real time.

One evaluation through the nodes and the host's own guider against an independent float64 Wan.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from helpers.m2v_helpers import M2V, rel_l2
from helpers.memento_shot import (
    BEGIN,
    FRAMES,
    MOMENTS,
    TEXTS,
    evaluate,
    expected,
    padded,
    parts_of,
    patched,
)
from helpers.wan_reference import Split, WanReference

BOUND = 1e-5
TOLD_APART = 20 * BOUND


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture(scope="module")
def reference(host):
    return WanReference(
        load_file(host.base / "models" / "diffusion_models" / "tiny_i2v_high.safetensors")
    )


@pytest.mark.parametrize(
    ("memory", "has_identity"), [(0, True), *((m, i) for m in (1, 3, 8) for i in (True, False))]
)
def test_an_evaluation_equals_the_equations(m2v, reference, memory, has_identity):
    parts = parts_of(m2v, memory, has_identity=has_identity)
    assert parts.layout.positions == tuple(
        max(-512, min(-1, moment // 4 - BEGIN // 4)) for moment in sorted(MOMENTS[-memory:])
    ) * bool(memory)
    ours = evaluate(patched(m2v, parts.layout), parts)
    assert rel_l2(ours, expected(reference, parts)) < BOUND


class SeenByShot(Split):
    """The identity frame stands in the shot's group too."""

    def groups(self, frames):
        return super().groups(frames) | torch.tensor([[False], [True]])


class NotAveraged(Split):
    """Memory is what the second pass makes of it."""

    def combine(self, results, groups):
        is_second = groups[1].double()[:, None]
        return results[0] * (1 - is_second) + results[1] * is_second


class TextReadByShot(Split):
    """Shot and memory read the identity text, and the identity frame the prompt."""

    def reads_identity_text(self, frames):
        return ~super().reads_identity_text(frames)


def test_wrong_equations_are_told_apart(m2v, reference):
    parts = parts_of(m2v, 3)
    ours = evaluate(patched(m2v, parts.layout), parts)
    positions = parts.layout.with_shot(FRAMES)
    assert positions.tolist() == [-512, -10, -5, -1, 0, 1, 2]
    moved = {
        name: torch.cat([positions[:1], torch.tensor(memory).float(), positions[4:]])
        for name, memory in {
            "not in order of time": [-1.0, -5.0, -10.0],
            "the difference divided, not each time": [(m - BEGIN) // 4 for m in MOMENTS[-3:]],
            "rounded towards zero": [-((BEGIN - m) // 4) for m in MOMENTS[-3:]],
            "StoryMem's": [-15.0, -10.0, -5.0],
        }.items()
    }
    wrong = {
        **{name: {"positions": value} for name, value in moved.items()},
        "the identity frame at 0": {"positions": positions.clamp(min=-1)},
        "identity seen by the shot": {"split": SeenByShot},
        "no mean of both passes": {"split": NotAveraged},
        "identity text read by the shot": {"split": TextReadByShot},
        "memory not kept on its flow": {"is_kept": False},
        "the identity text without its padding": {
            "texts": {"identity_positive": TEXTS["identity_positive"][0][0]}
        },
        "the empty text in both passes": {
            "texts": {"identity_positive": padded(TEXTS["identity_negative"], "identity")}
        },
    }
    for name, change in wrong.items():
        assert rel_l2(ours, expected(reference, parts, **change)) > TOLD_APART, name
