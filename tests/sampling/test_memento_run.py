"""The recorded runs of Memento's released code: its loop written anew, and our parts, equal it."""

from __future__ import annotations

import pytest
import torch

from helpers import memento_run as run
from helpers import released_run
from helpers.m2v_helpers import rel_l2
from helpers.unipc_reference import released_loop
from helpers.wan_reference import Split, WanReference
from storymem.sampling.memory_layout import MemoryLayout, memento_layout

BOUND = 1e-5
NEARLY = 1e-4  # the share of clean memory that the release mixes into its noise
CASE = {case.name: case for case in run.CASES}


@pytest.fixture(scope="module")
def references():
    """The experts in float64."""
    return dict(zip(("high", "low"), map(WanReference, released_run.experts("i2v")), strict=True))


def layout_of(case, level):
    """Ours."""
    moments = case.moments(level)
    seen = [moments[i] for i in case.order(level)]
    return memento_layout(seen, case.begin, has_identity=case.has_identity)


def split_of(case, kind=Split):
    return kind(case.memory_frames, int(case.has_identity)) if case.is_split else None


def written_anew(
    references, case, *, split=None, layout=None, noise_kept=True, condition=None, identity=None
):
    """Latents of all frames at the end; what is given replaces the case's own, by keyword.

    ``noise_kept``: as in the release, whose first step overwrites the noise in place, so that what
    it sets memory to later holds a thousandth of the clean memory more. False: the noise that it
    drew, as we have it. ``None``: memory is never set back onto its flow.
    """
    split = split or split_of(case)
    noise = run.noise(case).double()
    memory = slice(int(case.has_identity), case.before)
    texts = {"positive": "identity", "negative": "empty"} | (identity or {})
    from_which = {}

    def predict(x, t, name):
        level, prompt = name.split()
        known = (condition or run.condition)(case, level).double()
        clean = known[:, 4:, memory]
        if noise_kept is not None:
            start = from_which.get("noise", noise[:, :, memory])
            x = x.clone()
            x[:, :, memory] = clean + t / 1000 * (start - clean)
            if noise_kept and prompt == "negative":  # the step's second pass
                from_which.setdefault("noise", x[:, :, memory].clone())
        positions = (layout or layout_of)(case, level).with_shot(run.FRAMES)
        return references[level](
            torch.cat([x, known], dim=1), float(t), run.text(prompt), positions, split=split,
            identity_text=run.text(texts[prompt]) if case.has_identity else None,
        )  # fmt: skip

    found, timesteps, experts = released_loop(
        predict, noise, steps=case.steps, shift=run.SHIFT, boundary=run.BOUNDARY, cfg=case.cfg,
        cfg_low=0,
    )  # fmt: skip
    assert timesteps == run.timesteps(case)
    assert experts == run.experts(case)
    return found


def apart(case, found) -> float:
    """Of shot or identity frame, whichever is farther from what was recorded."""
    shot = rel_l2(run.latents(case), found[:, :, case.before :])
    if not case.has_identity:
        return shot
    return max(shot, rel_l2(run.identity_latents(case), found[:, :, :1]))


@pytest.mark.parametrize("case", run.CASES, ids=str)
def test_the_loop_written_anew_is_the_recorded_run(references, case, record_property):
    found = written_anew(references, case)
    record_property("rel_l2", apart(case, found))
    assert apart(case, found) < BOUND


@pytest.mark.parametrize("level", ["high", "low"])
@pytest.mark.parametrize("case", run.CASES, ids=str)
def test_our_positions_are_those_that_the_release_hands_over(case, level):
    positions = layout_of(case, level).with_shot(run.FRAMES)
    assert positions.tolist() == run.recorded_positions(case, level)


def test_noise_that_is_not_overwritten_gives_nearly_the_same(references):
    """A difference that we keep: memory's noise is the one that was drawn, in every step."""
    found = written_anew(references, CASE["one"], noise_kept=False)
    assert BOUND < apart(CASE["one"], found) < NEARLY


def test_what_is_read_otherwise_is_another_shot(references):
    case = CASE["one"]
    wrong = {
        "memory that the sampler carries along": {"noise_kept": None},
        "the identity text's place taken by the prompt": {
            "identity": {"positive": "positive", "negative": "negative"}
        },
        "StoryMem's positions": {"layout": lambda *_: MemoryLayout((-5,), has_identity=True)},
        "an identity frame that is known": {"condition": with_known_identity},
    }
    for name, change in wrong.items():
        assert apart(case, written_anew(references, case, **change)) > 100 * NEARLY, name


def with_known_identity(case, level):
    condition = run.condition(case, level)
    condition[:, :4, 0] = 1
    return condition


def test_without_an_identity_frame_the_release_depends_on_how_many_cards_it_has():
    """Ours is that of several cards, which its scripts use: self-attention as ever."""
    one, several = (run.latents(CASE[name]) for name in ("three-one-card", "three-plain"))
    assert rel_l2(one, several) > 0.01
