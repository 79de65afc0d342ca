"""How visible a seam is."""

from __future__ import annotations

import numpy as np
import pytest

from storymem.metrics.seams import measure_films, measure_seam

pytest.importorskip("cv2")


def film(start: int, count: int, *, speed: float = 2.0, seed: int = 0, light: float = 1.0):
    """A smooth texture that slides to the right by ``speed`` pixels a frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:128].astype(np.float64)
    waves = [(rng.uniform(0.05, 0.25, 2), rng.uniform(0, 6.28, 3)) for _ in range(12)]
    frames = []
    for i in range(start, start + count):
        shifted = x - speed * i
        picture = sum(
            np.sin(k[0] * shifted + k[1] * y + p[:, None, None]) for k, p in waves
        )  # [3, H, W]
        picture = (picture / 12 * 0.8 + 0.5).clip(0, 1) * light
        frames.append((picture.transpose(1, 2, 0) * 255).round().astype(np.uint8))
    return frames


def test_a_shot_that_goes_on_has_a_seam_like_any_step():
    seam = measure_seam(film(0, 12), film(12, 12))
    assert seam.pixel_ratio == pytest.approx(1.0, abs=0.1)
    assert seam.flow_ratio is None or seam.flow_ratio < 2.0


def test_a_cut_is_far_above():
    seam = measure_seam(film(0, 12), film(0, 12, seed=1))
    assert seam.pixel_ratio > 4
    assert seam.flow_jump > 1.0


def test_a_repeated_frame_shows_in_both_figures():
    """One frame too few taken off: the picture stops for a step."""
    seam = measure_seam(film(0, 12), film(11, 12))
    assert seam.pixel_ratio < 0.1
    assert seam.flow_jump == pytest.approx(2.0, rel=0.3)


def test_a_skipped_frame_shows_in_both_figures():
    seam = measure_seam(film(0, 12), film(13, 12))
    assert seam.pixel_ratio > 1.6
    assert seam.flow_jump == pytest.approx(2.0, rel=0.3)


def test_a_colour_jump_shows_in_pixels_and_little_in_motion():
    seam = measure_seam(film(0, 12), film(12, 12, light=0.85))
    assert seam.pixel_ratio > 1.3
    assert seam.flow_jump < 1.0


def test_pixel_figures_equal_a_plain_rewriting():
    before, after = film(0, 6), film(9, 6)
    frames = np.stack([*before, *after]).astype(np.float64) / 255
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    seam = measure_seam(before, after)
    assert seam.pixel_step == pytest.approx(steps[5], rel=1e-6)
    assert seam.usual_pixel_step == pytest.approx(np.median(np.delete(steps, 5)), rel=1e-6)


def test_a_still_has_no_ratio():
    still = film(0, 1) * 5
    seam = measure_seam(still, still)
    assert seam.pixel_ratio is None
    assert seam.flow_ratio is None


def test_shots_of_two_sizes_are_compared_at_one():
    large = [np.kron(frame, np.ones((4, 4, 1), np.uint8)) for frame in film(6, 6)]
    seam = measure_seam(film(0, 6), [frame[::2, ::2] for frame in large])
    assert seam.pixel_ratio == pytest.approx(1.0, abs=0.2)


def test_too_few_frames_are_told():
    with pytest.raises(ValueError, match="three frames"):
        measure_seam(film(0, 2), film(2, 5))


def test_films_are_measured_in_order(tmp_path):
    from storymem.files.video import write_video

    paths = []
    for i, frames in enumerate((film(0, 10), film(10, 10), film(0, 10, seed=3))):
        paths.append(tmp_path / f"{i}.mp4")
        write_video(paths[-1], frames)
    smooth, cut = measure_films(paths)
    assert smooth.pixel_ratio == pytest.approx(1.0, abs=0.15)
    assert cut.pixel_ratio > 4
