"""What a selection says of its choice: settings that reach it, reasons, and what is only logged."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError

import pytest
import torch

from helpers.fakes import LabelEmbedder, LabelScorer, label_frames, noise_image
from storymem.memory.bank import MemoryBank
from storymem.memory.embedders import BATCH, Embedder
from storymem.memory.frame import MemoryFrame
from storymem.selection.algorithm import select_keyframes
from storymem.selection.keyframes import (
    Keyframes,
    choose_keyframes,
    filter_keyframes,
    images_as_keyframes,
)
from storymem.selection.preprocess import ShotFrames
from storymem.selection.scorers import Filtered, Scorer, filter_frames


class AngleEmbedder(Embedder):
    """The red of a flat frame as an angle in degrees: cosines as asked for."""

    name = "angles"

    def __init__(self):
        super().__init__()
        self.batches: list[int] = []

    def _embed(self, frames):
        self.batches.append(len(frames))
        angles = torch.deg2rad(frames[:, 0, 0, 0].double())
        return torch.stack([angles.cos(), angles.sin()], dim=-1)


def turned(*degrees: int) -> torch.Tensor:
    """Flat frames ``uint8 [N, 48, 64, 3]``, each so many degrees round."""
    frames = torch.zeros(len(degrees), 48, 64, 3, dtype=torch.uint8)
    frames[..., 0] = torch.tensor(degrees, dtype=torch.uint8)[:, None, None]
    return frames


def chosen(degrees, **settings) -> list[int]:
    found = choose_keyframes(turned(*degrees), AngleEmbedder(), **settings)
    return [frame.frame for frame in found.frames]


def test_the_settings_decide():
    """cos 20 is 0.94, cos 40 is 0.77, cos 60 is 0.5."""
    degrees = (0, 0, 20, 40, 60, 100)
    assert chosen(degrees) == [0, 3, 5]
    assert chosen(degrees, threshold=0.7) == [0, 4]
    assert chosen(degrees, threshold=0.95, max_keyframes=2) == [0, 4]
    assert chosen(degrees, threshold=0.4) == [0, 5]
    bank = MemoryBank((MemoryFrame(turned(120)[0], shot=0),))
    assert chosen((0, 0, 100), bank=bank) == [0]
    assert chosen((0, 0, 100), bank=bank, known_threshold=0.95) == [0, 2]


def test_the_decision_says_what_was_seen_and_asked_for():
    bank = MemoryBank(
        (MemoryFrame(turned(200)[0], shot=0), MemoryFrame(turned(110)[0], shot=1, frame=7))
    )
    found = choose_keyframes(
        turned(0, 0, 30, 60, 90, 120),
        AngleEmbedder(),
        bank=bank,
        story="Tale",
        shot=4,
        threshold=0.95,
        max_keyframes=2,
    )
    decision = found.decision
    assert (decision.count, decision.asked_threshold, decision.embedder) == (6, 0.95, "angles")
    # While 60 degrees count as new there are three or more.
    assert decision.indices == (0, 4)
    assert decision.threshold == pytest.approx(0.5)
    assert decision.passes == 46
    assert decision.similarity == pytest.approx({2: 0.8660, 3: 0.5, 4: 0.0, 5: 0.8660}, abs=1e-3)
    assert decision.known == pytest.approx({0: -0.3420, 4: 0.9397}, abs=1e-3)
    assert (decision.scores, decision.scorer, decision.score_threshold) == ({}, "", None)
    (kept,), (known,) = found.frames, found.rejected
    assert (kept.story, kept.shot, kept.frame, kept.similarity) == ("Tale", 4, 0, None)
    assert (kept.score, kept.scorer, kept.reason) == (None, "", "first frame of the shot")
    assert known.reason == ("already in the bank: similarity 0.940 to shot 2, frame 7, above 0.9")
    assert found.describe().splitlines() == [
        "kept shot 5, frame 0: first frame of the shot",
        f"not kept shot 5, frame 4: {known.reason}",
    ]


def test_a_keyframe_says_how_far_it_is_from_the_one_before_and_what_it_scores():
    found = choose_keyframes(
        label_frames([0, 0, 1]), LabelEmbedder(), scorer=LabelScorer({0: 5.0, 1: 3.5})
    )
    assert [frame.reason for frame in found.frames] == [
        "first good frame of the shot, labels 5.00",
        "similarity 0.000 to the last keyframe, below 0.90, labels 3.50",
    ]
    assert found.decision.scores == {0: 5.0, 2: 3.5}
    assert (found.decision.scorer, found.decision.score_threshold) == ("labels", 3.0)


def test_a_choice_stays_as_it_is():
    found = choose_keyframes(turned(0, 0, 90), AngleEmbedder())
    for value, name in (
        (found, "frames"),
        (found.decision, "indices"),
        (select_keyframes(3, lambda i, j: 0.0, lambda i: True), "threshold"),
        (Filtered((), ()), "kept"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, ())


def test_nothing_chosen_is_said():
    assert Keyframes().describe() == "no keyframes"


def test_of_many_frames_that_fail_the_best_four_are_listed_in_the_order_of_the_shot():
    scores = {0: 0.5, 1: 2.0, 2: 1.0, 3: 2.5, 4: 0.1, 5: 1.5}
    found = choose_keyframes(
        label_frames([0, 1, 2, 3, 4, 5]), LabelEmbedder(), scorer=LabelScorer(scores)
    )
    assert [frame.frame for frame in found.rejected] == [1, 2, 3, 5]
    assert [frame.reason for frame in found.rejected][:2] == [
        "labels 2.00, below 3",
        "labels 1.00, below 3",
    ]


def test_frames_turned_down_for_either_reason_are_listed_in_the_order_of_the_shot():
    bank = MemoryBank((MemoryFrame(label_frames([2])[0], shot=0),))
    scorer = LabelScorer({0: 5.0, 1: 1.0, 2: 5.0, 3: 0.5})
    found = choose_keyframes(
        label_frames([0, 0, 1, 2, 3]), LabelEmbedder(), scorer=scorer, bank=bank, shot=1
    )
    assert [frame.frame for frame in found.frames] == [0]
    assert [frame.frame for frame in found.rejected] == [2, 3, 4]


def test_frames_are_embedded_together_up_to_a_batch():
    embedder = AngleEmbedder()
    choose_keyframes(turned(*range(BATCH + 12)), embedder)
    assert embedder.batches[0] == BATCH
    assert sum(embedder.batches) == BATCH + 11


@pytest.mark.parametrize(
    ("degrees", "settings", "said"),
    [
        ((0, 0, 90), {}, "shot 3: 2 keyframes of 3 frames (frames 0, 2)"),
        ((0,), {}, "shot 3: 1 keyframe of 1 frame (frame 0)"),
        (
            (0, 0, 20, 40),
            {"threshold": 0.95, "max_keyframes": 1},
            "shot 3: 1 keyframe of 4 frames (frame 0; threshold 0.76 after 20 passes)",
        ),
    ],
)
def test_the_log_says_in_a_line_what_is_remembered(caplog, degrees, settings, said):
    with caplog.at_level(logging.INFO):
        choose_keyframes(turned(*degrees), AngleEmbedder(), shot=2, **settings)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        f"StoryMem: {said}"
    ]


def test_the_log_says_why_a_shot_adds_nothing(caplog):
    bank = MemoryBank((MemoryFrame(turned(5)[0], shot=0),))
    with caplog.at_level(logging.INFO):
        choose_keyframes(turned(0, 0), AngleEmbedder(), bank=bank, shot=2)
    assert "0 keyframes of 2 frames (frame 0: already in the bank" in caplog.text


def test_a_pass_with_too_many_keyframes_asks_no_further():
    asked, scored = [], []
    select_keyframes(
        50,
        lambda i, j: asked.append((i, j)) or 0.895,
        lambda i: not scored.append(i),
        max_keyframes=1,
    )
    assert scored == [0, 2]
    assert asked == [(0, j) for j in range(2, 50)], "the others when the threshold has fallen"


@pytest.mark.parametrize("first", range(6))
def test_only_the_first_good_frame_and_those_after_it_are_looked_at(first):
    """And after frame 0 not frame 1, which the method passes over."""
    embedder = AngleEmbedder()
    scorer = LabelScorer(dict.fromkeys(range(8), 5.0) | {7: 1.0})
    images = turned(*[7 * 30 + 20] * first, *[20] * (6 - first))
    decision = choose_keyframes(images, embedder, scorer=scorer).decision
    later = range(max(2, first + 1), 6)
    assert decision.indices == (first,)
    assert decision.similarity == pytest.approx(dict.fromkeys(later, 1.0))
    assert sum(embedder.batches) == (1 + len(later) if later else 0)


def test_a_frame_that_nobody_looks_at_may_not_hold_nan_either():
    images, embedder = turned(0, 0, 90).float() / 255, AngleEmbedder()
    images[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="frame 1 holds NaN"):
        choose_keyframes(images, embedder)
    assert embedder.batches == [], "before anything is measured"


def test_similarities_are_computed_in_double_precision():
    """The threshold falls by steps: with single precision's digits, another pass might end it."""
    degrees, embedder = (3, 0, 41, 77, 113), AngleEmbedder()
    found = choose_keyframes(turned(*degrees), embedder, threshold=-1.0).decision
    first, *others = embedder.embed(turned(*degrees)).tolist()
    for i in (2, 3, 4):
        exact = sum(a * b for a, b in zip(first, others[i - 1], strict=True))
        assert found.similarity[i] == pytest.approx(exact, rel=1e-13)


class LosingOfShot(AngleEmbedder):
    def embed(self, frames):
        return super().embed(frames)[1:]


class LosingOfBank(AngleEmbedder):
    def embed_each(self, frames):
        return super().embed_each(frames)[1:]


@pytest.mark.parametrize("embedder", [LosingOfShot(), LosingOfBank()])
def test_an_embedder_that_loses_a_vector_is_an_error(embedder):
    """Else a frame would be known by the looks of the next one."""
    bank = MemoryBank(tuple(MemoryFrame(image, shot=0) for image in turned(45, 46)))
    with pytest.raises(ValueError, match="shorter"):
        choose_keyframes(turned(0, 0, 90), embedder, bank=bank, shot=1)


class Handed(AngleEmbedder):
    """Notes how many frames it is handed at once."""

    def embed(self, frames):
        self.handed = [*getattr(self, "handed", []), len(frames)]
        return super().embed(frames)


def test_no_more_than_a_batch_of_frames_is_copied_at_once():
    embedder = Handed()
    choose_keyframes(turned(*[0] * (2 * BATCH + 3)), embedder)
    assert embedder.handed == [BATCH, BATCH, 2]


def test_a_bank_without_frames_and_a_shot_without_keyframes_are_compared_with_nothing():
    images, scorer = label_frames([0, 0, 1]), LabelScorer({0: 1.0, 1: 2.0})
    known = MemoryBank((MemoryFrame(images[0], shot=0),))
    new = choose_keyframes(images, LabelEmbedder(), bank=MemoryBank())
    assert ([frame.frame for frame in new.frames], new.decision.known) == ([0, 2], {})
    none = choose_keyframes(images, LabelEmbedder(), scorer=scorer, bank=known, shot=1)
    assert (none.frames, none.decision.known) == ((), {})
    assert [frame.frame for frame in none.rejected] == [0, 1, 2]


def test_of_twins_in_the_bank_the_first_is_named():
    images = turned(0, 90, 0)
    bank = MemoryBank(tuple(MemoryFrame(image, shot=i) for i, image in enumerate(images)))
    found = choose_keyframes(turned(90, 90), AngleEmbedder(), bank=bank, shot=5)
    assert found.rejected[0].reason.endswith("similarity 1.000 to shot 2, frame 0, above 0.9")
    found = choose_keyframes(turned(0, 0), AngleEmbedder(), bank=bank, shot=5)
    assert found.rejected[0].reason.endswith("similarity 1.000 to shot 1, frame 0, above 0.9")


def test_without_other_words_frames_are_of_the_first_shot_of_a_story_without_a_name():
    (frame,) = choose_keyframes(turned(0, 0), AngleEmbedder()).frames
    assert (frame.story, frame.shot, frame.place) == ("", 0, "shot 1, frame 0")


def test_what_holds_pictures_is_compared_by_itself_and_may_stand_in_a_set():
    first, second = (choose_keyframes(turned(0, 0), AngleEmbedder()) for _ in range(2))
    assert len({first, second, first, Keyframes(), Keyframes()}) == 4
    assert len({first.decision, second.decision, first.decision}) == 2
    assert Filtered((), ()) != Filtered((), ())


def test_the_level_of_the_packs_log_counts_for_what_a_selection_says(caplog):
    logging.getLogger("storymem").setLevel(logging.ERROR)
    with caplog.at_level(logging.DEBUG):
        choose_keyframes(turned(0, 0), AngleEmbedder())
        choose_keyframes(label_frames([0]), LabelEmbedder(), scorer=LabelScorer({0: 1.0}))
    assert caplog.records == []


# --- frames of a shot ----------------------------------------------------------------------------


def test_pictures_are_keyframes_of_their_place():
    images = torch.stack([noise_image(i) for i in range(3)])
    found = images_as_keyframes(images, story="Tale", shot=4)
    assert [(f.story, f.shot, f.frame) for f in found.frames] == [("Tale", 4, i) for i in range(3)]
    assert all(torch.equal(f.image, images[i]) for i, f in enumerate(found.frames))
    assert not any(frame.pinned for frame in found.frames)
    assert all(frame.pinned for frame in found.pinned())
    alone = images_as_keyframes(images[:1]).frames[0]
    assert (alone.story, alone.shot) == ("", 0)


def test_a_filter_adds_to_what_was_turned_down_and_warns_when_nothing_is_left(caplog):
    frames = tuple(MemoryFrame(noise_image(i), shot=0, frame=i) for i in range(4))
    before = Keyframes(frames[1:3], (frames[3],))
    some = filter_keyframes(before, Filtered((frames[1],), (frames[2],)))
    assert [f.frame for f in some.frames] == [1]
    assert [f.frame for f in some.rejected] == [2, 3]
    assert caplog.records == []
    none = filter_keyframes(before, Filtered((), frames[1:3]))
    assert [f.frame for f in none.rejected] == [1, 2, 3]
    assert "none of the 2 keyframes is good enough" in caplog.text
    caplog.clear()
    filter_keyframes(Keyframes(), Filtered((), ()))
    assert caplog.records == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [3, 4])
def test_frames_of_any_kind_of_image_are_taken(dtype, channels):
    images = torch.ones(2, 5, 7, channels, dtype=dtype)
    if dtype == torch.uint8:
        images *= 255
    frames = ShotFrames(images)
    assert len(frames) == 2
    assert frames.original(1).tolist() == [[[255] * 3] * 7] * 5
    assert frames.small(1).shape == (*frames.size, 3)
    assert frames.small(1) is frames.small(1), "resized once"
    frames.check()


@pytest.mark.parametrize("frame", [0, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_frame_that_holds_no_numbers_is_named(frame, value):
    images = torch.rand(4, 8, 8, 3)
    images[frame:, 7, 7, 2] = value
    with pytest.raises(ValueError, match=f"frame {frame} holds NaN or infinite"):
        ShotFrames(images).check()


# --- scorers -------------------------------------------------------------------------------------


class Counting(Scorer):
    name = "counting"

    def __init__(self, threshold=0.0, release=None):
        super().__init__(threshold, release)
        self.batches: list[int] = []

    def _score(self, frames):
        self.batches.append(len(frames))
        return frames[:, 0, 0, 0].double()


def test_scores_are_in_the_order_of_the_frames_and_eight_are_scored_at_once():
    scorer = Counting()
    assert scorer.score(turned(*range(19))) == [float(i) for i in range(19)]
    assert scorer.batches == [8, 8, 3]


def test_a_model_gives_back_its_device_when_asked():
    told = []
    Counting(release=lambda: told.append(1)).release()
    Counting().release()
    assert told == [1]


def test_a_frame_that_names_a_scorer_but_no_score_is_scored():
    frame = MemoryFrame(turned(6)[0], scorer="counting")
    assert filter_frames([frame], Counting()).kept[0].score == 6.0


def test_a_kept_frame_says_its_score_after_its_reason_and_a_rejected_one_alone():
    frames = [
        MemoryFrame(image, frame=i, reason=reason)
        for i, (image, reason) in enumerate(zip(turned(4, 5, 9), ("a", "b", ""), strict=True))
    ]
    result = filter_frames(frames, Counting(), threshold=5)
    assert [f.reason for f in result.kept] == [
        "b; counting 5.00, at least 5",
        "counting 9.00, at least 5",
    ]
    assert [f.reason for f in result.rejected] == ["counting 4.00, below 5"]
    assert [(f.score, f.scorer) for f in result.kept] == [(5.0, "counting"), (9.0, "counting")]
    with pytest.raises(ValueError, match="the threshold must be a number, not nan"):
        filter_frames(frames, Counting(), threshold=float("nan"))
