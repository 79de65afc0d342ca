"""Colour of a continued shot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from storymem.sampling.colour_match import from_lab, lab_statistics, match_overlap_frames, to_lab


def lab_reference(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of sRGB in [0, 1], D65, in float64 from the standard's equations."""
    rgb = rgb.astype(np.float64)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def clip(seed: int, frames: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 24, 32, 3, generator=generator) * 0.5 + 0.25


def drift(frames: torch.Tensor) -> torch.Tensor:
    """Darker, flatter and a little greener, as a second trip through a VAE might leave it."""
    lab = to_lab(frames)
    centre = lab.mean((0, 1, 2))
    return from_lab((lab - centre) * 0.9 + centre + torch.tensor([-4.0, -3.0, 1.5]))


def test_lab_equals_the_standards_equations():
    pixels = torch.rand(5, 6, 7, 3, generator=torch.Generator().manual_seed(0))
    # kornia rounds the matrix to six digits: 0.01 of 100 units
    np.testing.assert_allclose(to_lab(pixels).numpy(), lab_reference(pixels.numpy()), atol=0.02)
    torch.testing.assert_close(from_lab(to_lab(pixels)), pixels, atol=2e-4, rtol=0)


@pytest.mark.parametrize("repeated", [1, 5])
def test_drift_comes_off_the_whole_shot(repeated):
    truth = clip(1, 12)
    previous, shot = truth[:8], drift(truth[8 - repeated :])
    matched = match_overlap_frames(shot, previous, repeated)
    error = (matched - truth[8 - repeated :]).abs().mean()
    before = (shot - truth[8 - repeated :]).abs().mean()
    assert error < before / 10


def test_only_the_repeated_frames_say_how_far_the_colour_moved():
    """A shot that goes into a dark room stays dark."""
    truth = clip(2, 12)
    shot = truth[7:].clone()
    shot[1:] *= 0.3
    torch.testing.assert_close(match_overlap_frames(shot, truth[:8], 1), shot, atol=1e-3, rtol=0)


def test_the_last_frames_are_matched_and_not_the_first():
    truth = clip(3, 12)
    previous = torch.cat([truth[:5] * 0.2, truth[5:8]])
    shot = truth[7:]
    torch.testing.assert_close(match_overlap_frames(shot, previous, 1), shot, atol=1e-3, rtol=0)


def test_strength_goes_from_nothing_to_all():
    truth = clip(4, 6)
    shot = drift(truth)
    assert match_overlap_frames(shot, truth, 1, strength=0.0) is shot
    wanted, _ = lab_statistics(truth[-1:])
    shot_mean, _ = lab_statistics(shot[:1])
    half = match_overlap_frames(shot, truth, 1, strength=0.5)
    mean, _ = lab_statistics(half[:1])
    torch.testing.assert_close(mean, (wanted + shot_mean) / 2, atol=0.15, rtol=0)


def test_a_flat_picture_is_moved_and_not_stretched():
    shot, previous = torch.full((3, 8, 8, 3), 0.4), torch.full((3, 8, 8, 3), 0.5)
    torch.testing.assert_close(
        match_overlap_frames(shot, previous, 1), torch.full((3, 8, 8, 3), 0.5), atol=1e-3, rtol=0
    )
    noisy = clip(5, 3)
    matched = match_overlap_frames(shot, noisy, 1)
    assert matched.std((0, 1, 2)).max() < 1e-4


def test_sizes_may_differ_and_inputs_stay_as_they_are():
    shot, previous = clip(6), torch.rand(2, 10, 12, 3)
    kept = shot.clone()
    matched = match_overlap_frames(shot, previous, 1)
    assert matched.shape == shot.shape
    assert torch.equal(shot, kept)


def test_a_cut_is_left_alone():
    shot = clip(7)
    assert match_overlap_frames(shot, clip(8), 0) is shot


@pytest.mark.parametrize(("frames", "previous"), [(3, 8), (8, 3)])
def test_too_few_frames_are_told(frames, previous):
    with pytest.raises(ValueError, match="repeats 5 frames"):
        match_overlap_frames(clip(9, frames), clip(10, previous), 5)


def test_a_strength_out_of_range_is_told():
    with pytest.raises(ValueError, match="between 0 and 1"):
        match_overlap_frames(clip(9), clip(10), 1, strength=1.5)
