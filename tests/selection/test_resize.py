"""The resize of the selection: the released code's values, by integers, wherever frames lie."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch

from helpers.fakes import noise_image
from storymem.selection.preprocess import ShotFrames, resize_frame, selection_frame, smart_size


def formula_image(height: int, width: int) -> torch.Tensor:
    """The picture of the golden cases, ``uint8 [H, W, 3]``: no generator of numbers is in it."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.int64)
    return torch.from_numpy(
        ((y * y * 7 + x * x * 13 + y * x * 5 + c * 101) // 11 % 256).astype("u1")
    )


def test_every_golden_picture_is_resized_to_the_released_values(golden):
    """What the released extract_keyframe_indices showed its judge of these pictures."""
    cases = golden("selection_resize.json")
    assert len(cases) == 9
    for case in cases:
        small = selection_frame(formula_image(case["h"], case["w"]))
        assert list(small.shape) == [*case["size"], 3]
        assert small[:2, :2].tolist() == case["corner"]
        assert int(small.sum()) == case["sum"], case
        assert hashlib.sha256(small.numpy().tobytes()).hexdigest() == case["sha256"], case


def whole_weights(source: int, target: int) -> tuple[torch.Tensor, int]:
    """A triangle as wide as the step, in whole numbers below 2**15, and the bits they have."""
    step = source / target
    reach = max(step, 1.0)
    weights = torch.zeros(target, source, dtype=torch.float64)
    for row in range(target):
        centre = step * (row + 0.5)
        taps = range(
            max(int(centre - reach + 0.5), 0),
            min(int(centre + reach + 0.5), source),
        )
        heights = [max(0.0, 1 - abs(tap + 0.5 - centre) / reach) for tap in taps]
        for tap, height in zip(taps, heights, strict=True):
            weights[row, tap] = height / sum(heights)
    highest, bits = float(weights.max()), 0
    while bits < 22 and math.floor(highest * 2 ** (bits + 1) + 0.5) < 2**15:
        bits += 1
    return (weights * 2**bits + 0.5).floor(), bits


def resize_rows(pixels: torch.Tensor, target: int) -> torch.Tensor:
    """``[H, ...]`` in whole numbers, half a level up; float64 holds every sum exactly."""
    weights, bits = whole_weights(pixels.shape[0], target)
    sums = torch.einsum("ts,s...->t...", weights, pixels.double())
    return ((sums + 2 ** (bits - 1)) / 2**bits).floor().clamp(0, 255)


def resize_by_whole_numbers(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Width first, rounded to levels between the two, as the released code's kernel does."""
    narrow = resize_rows(image.transpose(0, 1), size[1]).transpose(0, 1)
    return resize_rows(narrow, size[0]).to(torch.uint8)


SIZES = [(480, 832), (100, 100), (333, 777), (48, 64), (28, 900), (336, 900), (900, 588)]


@pytest.mark.parametrize("size", SIZES)
def test_the_resize_is_a_triangle_in_whole_numbers(size):
    image = noise_image(3, *size)
    image[: size[0] // 2] = (image[: size[0] // 2] > 128).byte() * 255  # hard edges
    expected = resize_by_whole_numbers(image, smart_size(*size))
    assert torch.equal(resize_frame(image, smart_size(*size)), expected)


def test_the_values_do_not_depend_on_how_a_frame_lies_in_memory():
    image = noise_image(5, 90, 140)
    expected = resize_frame(image, (56, 84))
    planes = image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    within = torch.zeros(2, 180, 140, 4, dtype=torch.uint8)[1, ::2, :, :3]
    within[:] = image
    for frame in (planes, within):
        assert not frame.is_contiguous()
        assert torch.equal(resize_frame(frame, (56, 84)), expected)
    assert expected.is_contiguous()
    mirrored = resize_frame(image.flip(2), (56, 84)).flip(2)
    assert torch.equal(mirrored, expected), "each channel by itself"


def test_a_frame_of_the_right_size_is_not_touched():
    image = noise_image(6, 196, 196)
    assert selection_frame(image) is image


def test_frames_of_a_shot_are_resized_from_the_levels_that_a_film_would_hold():
    """The release reads its frames from the finished film, in eight bits."""
    levels = torch.stack([noise_image(i, 60, 80) for i in range(3)])
    off = torch.linspace(-0.49, 0.49, levels.numel()).view(levels.shape)  # of a level
    shot = ShotFrames(levels.float().add(off).div(255))
    for i, frame in enumerate(levels):
        assert torch.equal(shot.original(i), frame)
        assert torch.equal(shot.small(i), selection_frame(frame))
