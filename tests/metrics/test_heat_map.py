"""The heat map of a story's shots, against a plain drawing of it."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from storymem.metrics.report import as_png, heat_map

STOPS = [(0, (8, 12, 48)), (0.5, (160, 44, 96)), (0.8, (240, 150, 60)), (1, (255, 250, 205))]


def colour(value: float) -> list[int]:
    """Between the two stops beside it, each channel by itself."""
    value = min(max(value, 0.0), 1.0)
    for (low, dark), (high, bright) in pairwise(STOPS):
        if value <= high:
            part = (value - low) / (high - low)
            return [round(d + (b - d) * part) for d, b in zip(dark, bright, strict=True)]
    raise AssertionError


def drawn(similarity: np.ndarray, labels: list[str]) -> np.ndarray:
    """Cells of 96 pixels at most and 768 together; labels while a cell has 12, numbers while 36."""
    count = len(labels)
    cell = max(3, min(96, 768 // count))
    margin = 58 if cell >= 12 else 0
    picture = Image.new("RGB", (margin + count * cell,) * 2, (24, 24, 24))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for i in range(count):
        for j in range(count):
            x, y = margin + j * cell, margin + i * cell
            fill = tuple(colour(float(similarity[i, j])))
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=fill)
    for i, label in enumerate(labels if margin else []):
        middle = margin + i * cell + cell // 2
        draw.text((52, middle), label[:9], font=font, fill=(230, 230, 230), anchor="rm")
        above = Image.new("RGB", (58, 12), (24, 24, 24))
        ImageDraw.Draw(above).text((4, 6), label[:9], font=font, fill=(230, 230, 230), anchor="lm")
        picture.paste(above.rotate(90, expand=True), (middle - 6, 0))
    for i in range(count if cell >= 36 else 0):
        for j in range(count):
            value = float(similarity[i, j])
            centre = (margin + j * cell + cell // 2, margin + i * cell + cell // 2)
            ink = (0, 0, 0) if value > 0.6 else (240, 240, 240)
            draw.text(centre, f"{value:.2f}", font=font, fill=ink, anchor="mm")
    return np.asarray(picture)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 21, 22, 64, 65])
def test_a_heat_map_is_as_a_plain_drawing_of_it(count):
    similarity = np.random.default_rng(count).uniform(-0.2, 1.2, (count, count))
    labels = [f"{i:02d}_{i:02d}_abcdefg" for i in range(1, count + 1)]
    assert np.array_equal(heat_map(similarity, labels), drawn(similarity, labels))


def test_a_png_is_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Image.open(io.BytesIO(as_png(picture))) as read:
        assert read.format == "PNG"
        assert np.array_equal(np.asarray(read), picture)


def test_a_heat_map_is_dark_for_0_and_bright_for_1_with_stops_between():
    values = np.array([[0.0, 0.5], [0.8, 1.0]])
    picture = heat_map(values, ["01_01", "01_02"])
    assert picture.shape == (58 + 2 * 96, 58 + 2 * 96, 3)
    at = [tuple(picture[58 + 96 * i + 2, 58 + 96 * j + 2].tolist()) for i in (0, 1) for j in (0, 1)]
    assert at == [(8, 12, 48), (160, 44, 96), (240, 150, 60), (255, 250, 205)]
    beyond = heat_map(np.array([[-3.0, 0.25], [0.9, 7.0]]), ["a", "b"])
    assert tuple(beyond[60, 60]) == (8, 12, 48)
    assert tuple(beyond[60, 156]) == (84, 28, 72)
    assert tuple(beyond[156, 156]) == (255, 250, 205)


@pytest.mark.parametrize(
    ("count", "cell", "margin"),
    [(8, 96, 58), (9, 85, 58), (64, 12, 58), (65, 11, 0), (256, 3, 0), (300, 3, 0)],
)
def test_a_heat_map_has_labels_while_they_can_be_read(count, cell, margin):
    picture = heat_map(np.zeros((count, count)), [str(i) for i in range(count)])
    assert picture.shape == (margin + count * cell,) * 2 + (3,)
    assert (
        bool((picture[:, :margin] > 150).any())
        == bool((picture[:margin] > 150).any())
        == bool(margin)
    )


@pytest.mark.parametrize(("count", "written"), [(21, True), (22, False)])
def test_numbers_stand_in_cells_of_36_pixels(count, written):
    picture = heat_map(np.zeros((count, count)), [str(i) for i in range(count)])
    cells = picture[58:, 58:]
    assert cells.shape[0] // count == (36 if written else 34)
    assert bool((cells > 180).any()) is written


def test_a_cells_number_is_dark_on_bright_and_bright_on_dark():
    picture = heat_map(np.array([[0.6, 0.61], [0.2, 1.0]]), ["a", "b"])

    def inks(i, j):
        cell = picture[58 + 96 * i : 154 + 96 * i, 58 + 96 * j : 154 + 96 * j].reshape(-1, 3)
        return bool((cell > 180).all(-1).any()), bool((cell < 60).all(-1).any())

    assert inks(0, 0) == inks(1, 0) == (True, False)
    assert inks(0, 1) == (False, True)
    assert inks(1, 1) == (True, True)  # the bright one is the cell itself
