"""The embedder that needs no weights, and the vectors of bank frames that are kept."""

from __future__ import annotations

import pytest
import torch

from helpers.fakes import LabelEmbedder, label_frames, noise_image
from storymem.memory import embedders
from storymem.memory.embedders import LayoutEmbedder
from storymem.memory.frame import MemoryFrame
from storymem.selection.algorithm import SIMILARITY_THRESHOLD
from storymem.tiny.demo import KEYFRAME_THRESHOLD


def similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    vectors = LayoutEmbedder().embed_each([MemoryFrame(one), MemoryFrame(other)])
    return float(vectors[0] @ vectors[1])


def blocks(seed: int, height=96, width=160) -> torch.Tensor:
    """A picture of coarse coloured blocks."""
    coarse = noise_image(seed, height // 8, width // 8)
    return coarse.repeat_interleave(8, 0).repeat_interleave(8, 1)


def test_vectors_are_unit_long_and_the_same_picture_is_the_same_vector():
    vectors = LayoutEmbedder().embed(torch.stack([blocks(0), blocks(1), blocks(0)]))
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3))
    assert torch.equal(vectors[0], vectors[2])
    assert similarity(blocks(0), blocks(0)) == pytest.approx(1.0, abs=1e-5)


def test_small_motion_noise_and_light_stay_above_the_threshold_and_a_cut_falls_below():
    scene = blocks(0)
    noise = torch.randint(-6, 7, scene.shape, generator=torch.Generator().manual_seed(1))
    assert similarity(scene, scene.roll(3, 1)) > 0.9
    assert similarity(scene, (scene.int() + noise).clamp(0, 255).to(torch.uint8)) > 0.97
    assert similarity(scene, (scene.float() * 0.97).to(torch.uint8)) > 0.9
    assert similarity(scene, blocks(1)) < 0.9
    assert similarity(scene, scene.flip(1)) < 0.9


def test_a_picture_in_another_size_is_the_same_picture():
    large = blocks(0).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert similarity(blocks(0), large) > 0.97


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255])
def test_even_frames_have_a_vector(value):
    even = torch.full((20, 30, 3), value, dtype=torch.uint8)
    assert similarity(even, even) == pytest.approx(1.0, abs=1e-5)
    assert similarity(even, blocks(0)) < 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (3, 2)])
def test_the_smallest_frames_have_a_vector(size):
    assert similarity(noise_image(0, *size), noise_image(0, *size)) == pytest.approx(1.0, abs=1e-5)


def test_the_threshold_note_says_what_point_nine_is_for():
    assert "0.9 is calibrated for CLIP ViT-B/32" in LayoutEmbedder().threshold_note(0.9)
    assert embedders.METHODS_THRESHOLD == SIMILARITY_THRESHOLD


def test_a_threshold_that_somebody_chose_needs_no_note():
    assert LayoutEmbedder().threshold_note(KEYFRAME_THRESHOLD) == ""
    assert LayoutEmbedder().threshold_note(0.85) == ""


def test_vectors_of_bank_frames_are_kept_by_content_and_bounded(monkeypatch):
    monkeypatch.setattr(embedders, "CACHED_VECTORS", 3)
    embedder = LabelEmbedder()
    frames = [MemoryFrame(image, shot=i) for i, image in enumerate(label_frames([0, 1, 2, 0]))]
    vectors = embedder.embed_each(frames)
    assert embedder.embedded == 3, "frames of the same content are embedded once"
    assert torch.equal(vectors[0], vectors[3])
    embedder.embed_each([MemoryFrame(label_frames([5])[0])])
    assert len(embedder._cache) == 3
    embedder.embed_each(frames[2:])
    assert embedder.embedded == 4, "the frame that was asked for longest ago was forgotten"
    assert embedder.embed_each(frames[1:2]).shape == (1, 8)
    assert embedder.embedded == 5


def test_more_bank_frames_than_are_kept_still_have_vectors(monkeypatch):
    monkeypatch.setattr(embedders, "CACHED_VECTORS", 2)
    frames = [MemoryFrame(image) for image in label_frames(range(8))]
    assert LabelEmbedder().embed_each(frames).shape == (8, 8)
