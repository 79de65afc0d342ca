"""Scorers: each on a scale of its own, labelled, cached per frame, batched, and asked only once."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.fakes import LabelEmbedder, LabelScorer, label_frames, noise_image
from storymem.memory.frame import MemoryFrame
from storymem.models.clip_vision import ClipShape, cropped
from storymem.models.laion import LaionScorer, load_head
from storymem.selection.keyframes import (
    Keyframes,
    choose_keyframes,
    filter_keyframes,
    images_as_keyframes,
)
from storymem.selection.preprocess import selection_frame
from storymem.selection.scorers import DEFAULT_THRESHOLDS, SharpnessScorer, filter_frames

L14 = ClipShape(1024, 24, 14, 224, 768)


def smooth_scene(height=480, width=832) -> torch.Tensor:
    """A drawn scene, ``uint8 [H, W, 3]``: gradients, discs with edges, a striped floor."""
    y = torch.arange(height)[:, None] / height
    x = torch.arange(width)[None] / width
    sky = torch.stack([0.3 + 0.5 * y + 0 * x, 0.5 + 0.3 * y + 0 * x, 0.9 - 0.2 * y + 0 * x], -1)
    for cx, cy, r, colour in ((0.3, 0.5, 0.2, (0.9, 0.4, 0.2)), (0.7, 0.4, 0.1, (0.2, 0.7, 0.3))):
        sky[((x - cx) * width / height) ** 2 + (y - cy) ** 2 < r * r] = torch.tensor(colour)
    floor = (y > 0.75) & ((x * 40).long() % 2 == 0)
    sky[floor.expand(height, width)] = 0.2
    return (sky * 255).round().to(torch.uint8)


def blurred(image: torch.Tensor, radius: int) -> torch.Tensor:
    pixels = image.permute(2, 0, 1)[None].float()
    for _ in range(3):
        pixels = F.avg_pool2d(F.pad(pixels, [radius] * 4, "replicate"), 2 * radius + 1, 1)
    return pixels[0].permute(1, 2, 0).round().to(torch.uint8)


# --- sharpness ---


def test_an_even_frame_has_no_sharpness():
    for value in (0, 127, 255):
        frames = torch.full((1, 30, 40, 3), value, dtype=torch.uint8)
        assert SharpnessScorer().score(frames) == [0.0]


def test_blur_falls_below_the_threshold_and_a_clear_picture_stays_above():
    scorer = SharpnessScorer()
    scene = smooth_scene()
    clear = scorer.score(selection_frame(scene)[None])[0]
    soft = scorer.score(selection_frame(blurred(scene, 12))[None])[0]
    assert scorer.is_good(clear)
    assert not scorer.is_good(soft)
    assert clear > 5 * soft


def test_the_sharpness_of_a_single_bright_pixel_is_what_the_formula_says():
    frame = torch.zeros(1, 5, 5, 3, dtype=torch.uint8)
    frame[0, 2, 2] = 255  # the Laplacian is -4 there and 1 at its four neighbours, of 9 places
    assert SharpnessScorer().score(frame)[0] == pytest.approx(100 * ((16 + 4) / 9) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2)])
def test_the_smallest_frames_can_be_scored_once_they_are_resized(size):
    frame = selection_frame(noise_image(0, *size))
    assert SharpnessScorer().score(frame[None])[0] >= 0


# --- thresholds and labels ---


def test_every_scorer_has_a_threshold_of_its_own():
    assert DEFAULT_THRESHOLDS == {"hpsv3": 3.0, "laion": 5.0, "sharpness": 1.0}
    assert SharpnessScorer().threshold == 1.0
    assert SharpnessScorer(2.5).threshold == 2.5


def test_a_score_at_the_threshold_is_good_and_just_below_it_is_bad():
    scorer = LabelScorer({}, threshold=3.0)
    assert scorer.is_good(3.0)
    assert not scorer.is_good(2.999)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold of sharpness must be a number"):
        SharpnessScorer(threshold)


def test_a_score_that_is_no_number_is_an_error_that_names_the_scorer():
    with pytest.raises(ValueError, match="labels gave a score that is not finite"):
        LabelScorer({0: float("nan")}).score(label_frames([0]))


# --- the filter ---


def test_the_filter_splits_frames_and_says_why():
    frames = [MemoryFrame(image, frame=i) for i, image in enumerate(label_frames([0, 1, 2]))]
    result = filter_frames(frames, LabelScorer({0: 5.0, 1: 2.0, 2: 3.0}))
    assert [frame.frame for frame in result.kept] == [0, 2]
    (bad,) = result.rejected
    assert (bad.score, bad.scorer) == (2.0, "labels")
    assert bad.reason == "labels 2.00, below 3"


def test_a_score_of_the_same_scorer_is_used_again_and_that_of_another_is_not():
    image = label_frames([1])[0]
    frames = [
        MemoryFrame(image, frame=0, score=9.0, scorer="labels"),
        MemoryFrame(image, frame=1, score=9.0, scorer="hpsv3"),
    ]
    scorer = LabelScorer({1: 1.0})
    result = filter_frames(frames, scorer)
    assert scorer.scored == 1
    assert [frame.frame for frame in result.kept] == [0]
    assert (result.rejected[0].score, result.rejected[0].scorer) == (1.0, "labels")


def test_frames_are_scored_in_batches_of_one_size():
    frames = [MemoryFrame(image) for image in label_frames([0] * 11)]
    frames += [MemoryFrame(image) for image in label_frames([0] * 3, 100, 300)]
    scorer = LabelScorer({0: 5.0})
    assert len(filter_frames(frames, scorer).kept) == 14
    assert (scorer.scored, scorer.calls) == (14, 3)


def test_the_filter_can_be_given_another_threshold():
    frames = [MemoryFrame(label_frames([0])[0])]
    scorer = LabelScorer({0: 5.0})
    assert filter_frames(frames, scorer, threshold=6.0).kept == ()
    assert scorer.threshold == 3.0
    with pytest.raises(ValueError, match="must be a number"):
        filter_frames(frames, scorer, threshold=float("nan"))


def test_no_frames_is_nothing_to_filter():
    assert filter_frames([], LabelScorer({})).kept == ()


def test_keyframes_scored_in_selection_are_not_scored_again_by_the_filter():
    scorer = LabelScorer({0: 5.0, 1: 4.0})
    shot = label_frames([0, 0, 0, 1]).float() / 255
    keyframes = choose_keyframes(shot, LabelEmbedder(), scorer=scorer)
    before = scorer.scored
    result = filter_frames(keyframes.frames, scorer, threshold=4.5)
    assert scorer.scored == before
    filtered = filter_keyframes(keyframes, result)
    assert [frame.frame for frame in filtered.frames] == [0]
    assert [frame.frame for frame in filtered.rejected] == [3]
    assert filtered.decision is keyframes.decision


def test_when_all_keyframes_are_bad_it_is_said_aloud(caplog):
    keyframes = images_as_keyframes(label_frames([0, 1]))
    with caplog.at_level(logging.WARNING):
        result = filter_frames(keyframes.frames, LabelScorer({0: 1.0, 1: 2.0}))
        filtered = filter_keyframes(keyframes, result)
    assert filtered.frames == ()
    assert "none of the 2 keyframes is good enough" in caplog.text
    assert isinstance(filtered, Keyframes)


# --- LAION ---


def published_mlp(*, relu: bool) -> torch.nn.Sequential:
    """The predictor's own shape: with dropout (and ReLU) between its layers."""
    torch.manual_seed(3)
    sizes, layers = [768, 1024, 128, 64, 16, 1], []
    for number, (a, b) in enumerate(pairwise(sizes)):
        layers.append(torch.nn.Linear(a, b))
        if b != 1:
            layers += [torch.nn.ReLU()] if relu else []
            layers += [torch.nn.Dropout(0.1)] if number < 3 else []
    return torch.nn.Sequential(*layers).eval()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("prefix", ["layers.", "model.layers.", ""])
def test_the_published_mlp_heads_are_read(tmp_path, relu, prefix):
    theirs = published_mlp(relu=relu)
    path = tmp_path / "head.pth"
    torch.save({f"{prefix}{k}": v for k, v in theirs.state_dict().items()}, path)
    features = torch.randn(5, 768)
    with torch.inference_mode():
        assert torch.equal(load_head(path)(features), theirs(features))


def test_the_linear_head_is_read(tmp_path):
    theirs = torch.nn.Linear(768, 1)
    save_file(theirs.state_dict(), tmp_path / "sa_0_4_vit_l_14_linear.safetensors")
    features = torch.randn(5, 768)
    with torch.inference_mode():
        found = load_head(tmp_path / "sa_0_4_vit_l_14_linear.safetensors")(features)
        assert torch.equal(found, theirs(features))


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.zeros(3, 768)},
        {"0.weight": torch.zeros(64, 768), "2.weight": torch.zeros(1, 32)},
        {"conv.weight": torch.zeros(1, 2, 3, 3)},
        {"bias": torch.zeros(1)},
    ],
)
def test_a_file_that_is_no_head_is_named(tmp_path, state):
    save_file(state, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match=r"lora\.safetensors is not a LAION aesthetic head"):
        load_head(tmp_path / "lora.safetensors")


def test_the_laion_score_is_the_head_on_the_normalised_features_of_the_cropped_frame():
    seen = []

    def encode(pixels):
        seen.append(pixels)
        return 40 * torch.ones(len(pixels), 768)

    head = torch.nn.Sequential(torch.nn.Linear(768, 1))
    torch.nn.init.constant_(head[0].weight, 0.5)
    torch.nn.init.constant_(head[0].bias, 0.25)
    frames = torch.stack([noise_image(i, 336, 588) for i in range(3)])
    with torch.inference_mode():
        scores = LaionScorer(encode, L14, head).score(frames)
    assert scores == pytest.approx([0.5 * 768**0.5 + 0.25] * 3, rel=1e-5)
    assert torch.equal(seen[0], cropped(frames, 224))


def test_a_head_for_another_clip_is_refused():
    head = torch.nn.Sequential(torch.nn.Linear(512, 1))
    with pytest.raises(ValueError, match="takes 512 features, but CLIP ViT-L/14 gives 768"):
        LaionScorer(lambda pixels: pixels, L14, head)
