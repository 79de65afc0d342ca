"""Keyframe selection: the method's exact cases, how little it asks for, and odd frames."""

from __future__ import annotations

import logging

import pytest
import torch

from helpers.fakes import LabelEmbedder, LabelScorer, label_frames, noise_image
from storymem.files.images import to_uint8
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.selection.algorithm import drop_known, select_keyframes
from storymem.selection.keyframes import choose_keyframes
from storymem.selection.preprocess import ShotFrames, in_batches, smart_size


def golden_cases(golden):
    return golden("keyframes.json")["cases"]


def cosine(a, b) -> float:
    a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    return float(a @ b / (a.norm() * b.norm()))


class Case:
    """A golden case as callables that count what they are asked."""

    def __init__(self, case: dict):
        self.case, self.asked_pairs, self.asked_scores = case, [], []
        self.n = case["n"]

    def similarity(self, i: int, j: int) -> float:
        self.asked_pairs.append((i, j))
        if "sim" in self.case:
            return self.case["sim"][i][j]
        return cosine(self.case["embeddings"][i], self.case["embeddings"][j])

    def good(self, i: int) -> bool:
        self.asked_scores.append(i)
        return self.case["scores"][i] >= 3.0

    def bank_similarity(self, i: int):
        if "bank_sim" in self.case:
            return self.case["bank_sim"][i]
        return [cosine(self.case["embeddings"][i], known) for known in self.case["bank"]]


def plain_reading(case: Case) -> tuple[list[int], float, int]:
    """The method as the paper's text says it, nothing cached, for comparison."""
    threshold, passes = 0.9, 0
    while True:
        passes += 1
        chosen: list[int] = []
        for i in range(case.n):
            if not chosen:
                if case.good(i):
                    chosen.append(i)
            elif i >= 2 and case.similarity(chosen[-1], i) < threshold and case.good(i):
                chosen.append(i)
        if len(chosen) <= 3:
            return chosen, threshold, passes
        threshold -= 0.01


def test_every_golden_case_selects_the_same_frames_threshold_and_passes(golden):
    for raw in golden_cases(golden):
        case = Case(raw)
        found = select_keyframes(case.n, case.similarity, case.good)
        expected = raw["expect"]
        assert list(found.indices) == expected["keyframes"], raw["kind"]
        assert found.threshold == expected["threshold"], raw["kind"]  # the same float64
        assert found.passes == expected["passes"], raw["kind"]


def test_every_golden_case_keeps_the_same_frames_against_the_bank(golden):
    for raw in golden_cases(golden):
        case = Case(raw)
        indices = tuple(raw["expect"]["keyframes"])
        kept = drop_known(indices, case.bank_similarity)
        assert list(kept) == [saved["frame"] for saved in raw["expect"]["saved"]], raw["kind"]


def test_the_plain_reading_of_the_method_agrees_with_the_golden_cases(golden):
    for raw in golden_cases(golden):
        chosen, threshold, passes = plain_reading(Case(raw))
        expected = raw["expect"]
        assert (chosen, threshold, passes) == (
            expected["keyframes"],
            expected["threshold"],
            expected["passes"],
        )


def test_nothing_is_asked_twice_and_no_more_than_the_method_asks(golden):
    for raw in golden_cases(golden):
        case, plain = Case(raw), Case(raw)
        select_keyframes(case.n, case.similarity, case.good)
        plain_reading(plain)
        assert len(set(case.asked_pairs)) == len(case.asked_pairs)
        assert len(set(case.asked_scores)) == len(case.asked_scores)
        assert set(case.asked_pairs) <= set(plain.asked_pairs)
        assert set(case.asked_scores) <= set(plain.asked_scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_keyframes": 0}, "max_keyframes"),
        ({"threshold": float("-inf")}, "threshold"),
        ({"step": float("inf")}, "step"),
        ({"step": 0.0}, "step"),
        ({"step": -0.01}, "step"),
        ({"threshold": float("nan")}, "threshold"),
    ],
)
def test_settings_that_cannot_end_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        select_keyframes(9, lambda i, j: 0.0, lambda i: True, **settings)


def test_a_shot_cannot_have_fewer_than_no_frames():
    with pytest.raises(ValueError, match="count must be 0 or more"):
        select_keyframes(-1, lambda i, j: 0.0, lambda i: True)


@pytest.mark.parametrize("value", [1.0, -1.0, 1.01, -1.01])
def test_a_cosine_may_be_rounded_a_little_beyond_one(value):
    assert select_keyframes(3, lambda i, j: value, lambda i: True).passes == 1


@pytest.mark.parametrize("value", [1.02, -1.02])
def test_a_cosine_beyond_rounding_is_none(value):
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        select_keyframes(3, lambda i, j: value, lambda i: True)


def test_without_other_settings_the_values_are_those_of_the_release():
    """Below 0.9 is new, above 0.9 is known, three of a shot are kept, steps are of 0.01."""
    alike = {0.9: (0,), 0.8999: (0, 2)}
    for value, indices in alike.items():
        assert select_keyframes(3, lambda i, j, v=value: v, lambda i: True).indices == indices
    assert drop_known([4], lambda i: [0.9]) == (4,)
    assert drop_known([4], lambda i: [0.2, 0.9001]) == ()
    busy = select_keyframes(9, lambda i, j: 0.855, lambda i: True)
    assert (busy.indices, busy.passes) == ((0,), 6)
    assert busy.threshold == 0.9 - 0.01 - 0.01 - 0.01 - 0.01 - 0.01
    three = select_keyframes(9, lambda i, j: 0.5 if j in (4, 6) else 1.0, lambda i: True)
    assert (three.indices, three.passes) == ((0, 4, 6), 1)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), -2.0])
def test_a_similarity_that_is_no_cosine_is_an_error_and_no_endless_search(value):
    with pytest.raises(ValueError, match="cosine"):
        select_keyframes(9, lambda i, j: value, lambda i: True)


@pytest.mark.parametrize(("count", "expected"), [(0, ()), (1, (0,)), (2, (0,)), (3, (0, 2))])
def test_the_shortest_shots(count, expected):
    assert select_keyframes(count, lambda i, j: 0.1, lambda i: True).indices == expected


def test_one_keyframe_can_be_asked_for():
    found = select_keyframes(30, lambda i, j: 0.5, lambda i: True, max_keyframes=1)
    assert found.indices == (0,)
    assert found.threshold == pytest.approx(0.5)


# --- sizes and pixels ---


def test_every_golden_size_for_selection(golden):
    for case in golden("smart_resize.json"):
        assert list(smart_size(case["h"], case["w"])) == case["keyframe"]


def test_every_golden_size_for_hpsv3(golden):
    for case in golden("smart_resize.json"):
        for key, (height, width) in (
            ("hpsv3_after", case["keyframe"]),
            ("hpsv3_direct", (case["h"], case["w"])),
        ):
            found = smart_size(height, width, min_pixels=200_704, max_pixels=200_704)
            assert list(found) == case[key], (key, case)


def test_a_frame_longer_than_two_hundred_times_its_width_is_refused():
    with pytest.raises(ValueError, match="200 times"):
        smart_size(1, 201)


@pytest.mark.parametrize("size", [(0, 9), (9, 0), (-1, 9)])
def test_a_frame_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match=f"must have pixels, but it is {size[1]}x{size[0]}"):
        smart_size(*size)


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [[0]]), (2, [[0, 1]]), (5, [[0, 1], [2, 3], [4]])]
)
def test_batches_are_full_but_for_the_last(count, batches):
    assert list(in_batches(range(count), 2)) == batches


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (7, 1400), (2, 31), (4000, 20)])
def test_odd_sizes_get_at_least_one_patch(size):
    rows, columns = smart_size(*size)
    assert rows >= 28
    assert columns >= 28
    assert rows % 28 == columns % 28 == 0


def test_hdr_pixels_are_clamped_and_half_precision_is_read():
    frame = torch.tensor([[[-0.3, 0.5, 12.1]]])
    assert to_uint8(frame, "a frame").tolist() == [[[0, 128, 255]]]
    assert to_uint8(frame.half(), "a frame").tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("brightest", [255.0, 65535.0, 20.0])
def test_pixels_on_another_scale_are_refused_and_never_white(brightest):
    frame = torch.zeros(4, 4, 3)
    frame[2, 2, 1] = brightest
    with pytest.raises(ValueError, match=rf"a frame holds values up to {brightest:.5g}, but 1.0"):
        to_uint8(frame, "a frame")


def test_dark_levels_and_pixels_below_black_are_refused_too():
    """The brightest of a dark frame in 0 ... 255 may be as a highlight's, but all are whole."""
    dark = torch.randint(0, 9, (4, 4, 3), generator=torch.Generator().manual_seed(0)).float()
    with pytest.raises(ValueError, match=r"a frame holds values up to 8, but 1\.0 is white"):
        to_uint8(dark, "a frame")
    with pytest.raises(ValueError, match=r"a frame holds values down to -1, but 0\.0 is black"):
        to_uint8(-torch.eye(4)[..., None].repeat(1, 1, 3), "a frame")
    assert to_uint8(torch.eye(4)[..., None].repeat(1, 1, 3), "a frame").unique().tolist() == [
        0,
        255,
    ]


def test_eight_bit_frames_pass_unchanged():
    images = torch.stack([noise_image(0), noise_image(1)])
    original, second = ShotFrames(images).original(1), images[1].clone()
    images.fill_(0)
    assert torch.equal(original, second), "and apart from the batch"


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(8, 8, 3),
        torch.zeros(2, 8, 8, 1),
        torch.zeros(0, 8, 8, 3),
        torch.zeros(2, 0, 8, 3),
    ],
)
def test_what_is_not_a_batch_of_images_is_refused(images):
    with pytest.raises(ValueError, match="frames must be"):
        ShotFrames(images)


def test_whole_numbers_that_are_not_bytes_are_refused():
    with pytest.raises(ValueError, match="int64"):
        ShotFrames(torch.zeros(2, 8, 8, 3, dtype=torch.long))


# --- a shot ---


def shot(labels) -> torch.Tensor:
    """A shot whose frames are flat colours, one per label, that LabelEmbedder tells apart."""
    return label_frames(labels).float() / 255


def test_a_shot_keeps_the_original_size_and_full_provenance():
    found = choose_keyframes(
        shot([0, 0, 0, 1, 1, 2]),
        LabelEmbedder(),
        scorer=LabelScorer({0: 5.0, 1: 6.0, 2: 1.0}),
        story="Tale",
        shot=4,
    )
    first, second = found.frames
    assert (first.story, first.shot, first.frame, first.similarity) == ("Tale", 4, 0, None)
    assert (first.score, first.scorer, second.score) == (5.0, "labels", 6.0)
    assert (second.frame, second.similarity) == (3, pytest.approx(0.0))
    assert "first good frame" in first.reason
    assert "below 0.90" in second.reason
    assert list(first.image.shape) == [48, 64, 3]
    assert torch.equal(second.image, label_frames([1])[0])
    (turned_down,) = found.rejected
    assert (turned_down.frame, turned_down.score) == (5, 1.0)
    assert "labels 1.00, below 3" in turned_down.reason


def test_a_frame_that_fails_the_gate_does_not_become_the_anchor():
    # 0 good, 1 bad, then 0 again: were the bad frame an anchor, frame 4 would be chosen.
    found = choose_keyframes(
        shot([0, 0, 0, 1, 0]), LabelEmbedder(), scorer=LabelScorer({0: 5.0, 1: 1.0})
    )
    assert [frame.frame for frame in found.frames] == [0]
    assert found.decision.similarity[4] == pytest.approx(1.0)


def test_only_frames_that_the_algorithm_asks_for_are_scored():
    scorer = LabelScorer({0: 5.0, 1: 5.0})
    choose_keyframes(shot([0] * 10 + [1] * 10), LabelEmbedder(), scorer=scorer)
    assert scorer.scored == 2
    embedder = LabelEmbedder()
    choose_keyframes(shot([0] * 20), embedder, scorer=LabelScorer({0: 1.0}))
    assert embedder.embedded == 0, "a shot without a good frame needs no similarity"


def test_every_frame_is_embedded_once_at_most():
    embedder = LabelEmbedder()
    choose_keyframes(shot([i % 7 for i in range(40)]), embedder)
    assert embedder.embedded == 39  # frame 1 is never looked at


def test_a_shot_of_bad_frames_gives_no_keyframes_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        found = choose_keyframes(
            shot([0, 1, 0, 1]), LabelEmbedder(), scorer=LabelScorer({0: 1.0, 1: 2.5}), shot=6
        )
    assert found.frames == ()
    assert "none of the 4 frames of shot 7" in caplog.text
    assert "frame 1, has labels 2.50, below the threshold of 3" in caplog.text
    assert [frame.frame for frame in found.rejected] == [0, 1, 2, 3]


def test_keyframes_that_the_whole_bank_knows_are_dropped_with_the_reason():
    known = tuple(
        MemoryFrame(image, shot=i, frame=0) for i, image in enumerate(label_frames([5, 1, 6, 7]))
    )
    bank = MemoryBank(known, max_frames=1, sink=0)  # the twin is outside the window
    found = choose_keyframes(shot([0, 0, 1, 2]), LabelEmbedder(), bank=bank, shot=9)
    assert [frame.frame for frame in found.frames] == [0, 3]
    (dropped,) = found.rejected
    assert dropped.frame == 2
    assert "already in the bank: similarity 1.000 to shot 2, frame 0" in dropped.reason
    assert found.decision.known == {
        0: pytest.approx(0.0),
        2: pytest.approx(1.0),
        3: pytest.approx(0.0),
    }


def test_bank_frames_are_embedded_once_over_many_shots():
    embedder = LabelEmbedder()
    bank = MemoryBank(tuple(MemoryFrame(image, shot=0) for image in label_frames([5, 6, 7])))
    counts = []
    for _ in range(3):
        before = embedder.embedded
        choose_keyframes(shot([0] * 5), embedder, bank=bank, shot=1)
        counts.append(embedder.embedded - before)
    assert counts == [4 + 1 + 3, 4, 4]  # frames 0 and 2-4; the keyframe in full size; the bank


def test_the_bank_is_compared_at_full_size_and_the_shot_at_the_smaller_one():
    embedder = LabelEmbedder()
    bank = MemoryBank((MemoryFrame(noise_image(0, 100, 200), shot=0),))
    choose_keyframes(torch.rand(3, 480, 832, 3), embedder, bank=bank, shot=1)
    assert embedder.sizes == {(336, 588), (480, 832), (100, 200)}


@pytest.mark.parametrize("count", [1, 2, 3, 81, 241])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_shot_of_one_even_colour_has_one_keyframe(count, value):
    from storymem.memory.embedders import LayoutEmbedder

    found = choose_keyframes(torch.full((count, 16, 16, 3), value), LayoutEmbedder())
    assert [frame.frame for frame in found.frames] == [0]


def test_a_frame_with_nan_is_named():
    images = torch.rand(9, 32, 32, 3)
    images[6, 3, 3, 1] = float("nan")
    with pytest.raises(ValueError, match="frame 6 holds NaN"):
        choose_keyframes(images, LabelEmbedder())


def test_nan_in_the_alpha_channel_is_nobodys_business():
    images = torch.cat([shot([0, 1, 2]), torch.full((3, 48, 64, 1), float("nan"))], dim=-1)
    assert len(choose_keyframes(images, LabelEmbedder()).frames) == 2


def test_the_input_is_not_changed():
    images = torch.rand(5, 32, 32, 3) * 1.8 - 0.4
    before = images.clone()
    choose_keyframes(images, LabelEmbedder())
    assert torch.equal(images, before)
