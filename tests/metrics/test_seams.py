"""How visible a seam is."""

from __future__ import annotations

import itertools
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from storymem.files.video import read_frames, write_video
from storymem.metrics import seams
from storymem.metrics.seams import Seam, measure_films, measure_seam

pytestmark = pytest.mark.slow

cv2 = pytest.importorskip("cv2")


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


def test_motion_figures_equal_a_plain_rewriting():
    before, after = film(0, 6), film(9, 5)
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (*before, *after)]
    flows = [estimator.calc(a, b, None) for a, b in itertools.pairwise(grey)]
    jumps = [np.sqrt(((b - a) ** 2).sum(-1)).mean() for a, b in itertools.pairwise(flows)]
    seam = measure_seam(before, after)
    assert seam.flow_jump == pytest.approx((jumps[4] + jumps[5]) / 2, rel=1e-4)
    assert seam.usual_flow_jump == pytest.approx(np.median([*jumps[:4], *jumps[6:]]), rel=1e-4)


def test_a_second_on_each_side_is_looked_at_and_no_more():
    """Half the steps are slow and half are fast, so that any step more or less moves the median."""
    before, after = film(0, 16, speed=1), film(0, 16, speed=4)
    other = film(0, 1, seed=5)
    seam = measure_seam(before, after)
    assert measure_seam([*other * 3, *before], [*after, *other * 3]) == seam
    assert measure_seam([*other, *before[1:]], after) != seam
    assert measure_seam(before, [*after[:-1], after[-2]]) != seam


def test_three_frames_on_each_side_are_enough():
    assert measure_seam(film(0, 3), film(3, 3)).pixel_ratio == pytest.approx(1.0, abs=0.1)
    for before, after in ((film(0, 2), film(2, 3)), (film(0, 3), film(3, 2))):
        with pytest.raises(ValueError, match=f"there are {len(before)} and {len(after)}$"):
            measure_seam(before, after)


def test_a_ratio_needs_a_step_to_compare_with():
    assert Seam(0.5, 0.001, 3.0, 0.02) == Seam(0.5, seams.MIN_STEP, 3.0, seams.MIN_FLOW)
    assert Seam(0.5, 0.001, 3.0, 0.02).pixel_ratio is None
    assert Seam(0.5, 0.001, 3.0, 0.02).flow_ratio is None
    assert Seam(0.5, 0.002, 3.0, 0.03).pixel_ratio == 250
    assert Seam(0.5, 0.002, 3.0, 0.03).flow_ratio == pytest.approx(100)
    with pytest.raises(FrozenInstanceError):
        Seam(0.5, 0.002, 3.0, 0.03).pixel_step = 1.0


@pytest.mark.parametrize(
    ("size", "measured"),
    [
        ((96, 128), (96, 128)),  # never enlarged
        ((256, 144), (256, 144)),
        ((480, 832), (148, 256)),
        ((832, 480), (256, 148)),
        ((1, 1000), (1, 256)),
        ((1000, 1), (256, 1)),
    ],
)
def test_motion_is_measured_at_256_pixels(size, measured):
    frame = np.zeros((*size, 3), np.uint8)
    assert seams._small(frame, frame.shape).shape == (*measured, 3)


def test_a_large_frame_is_made_small_by_the_mean_of_its_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (512, 256, 3)).astype(np.uint8)
    means = frame.reshape(256, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(seams._small(frame, frame.shape) - means).max() <= 1


def test_without_opencv_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        ImportError, match=r"measuring seams needs OpenCV: .*opencv-python-headless"
    ):
        measure_seam(film(0, 3), film(3, 3))


def test_films_give_their_last_and_first_second(tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"]
    for path, start, count in zip(paths, (0, 20, 45), (20, 25, 4), strict=True):
        write_video(path, film(start, count))
    a, b, c = (list(read_frames(path)) for path in paths)
    assert measure_films(paths) == [measure_seam(a, b), measure_seam(b, c)]
    assert measure_films(paths[:1]) == measure_films([]) == []


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
    paths = []
    for i, frames in enumerate((film(0, 10), film(10, 10), film(0, 10, seed=3))):
        paths.append(tmp_path / f"{i}.mp4")
        write_video(paths[-1], frames)
    smooth, cut = measure_films(paths)
    assert smooth.pixel_ratio == pytest.approx(1.0, abs=0.15)
    assert cut.pixel_ratio > 4
