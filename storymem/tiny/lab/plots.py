"""Plots and pictures of an evaluation, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .statistics import widest

BACKGROUND, INK, FAINT, LINE = (255, 255, 255), (30, 32, 36), (150, 154, 160), (225, 227, 230)
COLOURS = ((40, 110, 190), (220, 120, 40), (70, 150, 80), (180, 70, 130), (120, 100, 190))
LABELS = 300  # pixels left of the bars
SCALE = 2  # a story's pictures are drawn larger


def _font(size: int):
    return ImageFont.load_default(size)


def save_bars(
    path: Path, title: str, rows: Sequence[tuple[str, float, tuple[float, float]]]
) -> None:
    """Horizontal bars of rates from 0 to 1, each with its interval: (words, rate, interval)."""
    width, height = 980, 60 + 30 * len(rows)
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((12, 8), title, fill=INK, font=_font(16))
    left, right = LABELS, width - 90

    def x(value: float) -> float:
        return left + (right - left) * value

    for tick in range(0, 11, 2):
        draw.line([(x(tick / 10), 40), (x(tick / 10), height - 20)], fill=LINE)
        draw.text((x(tick / 10) - 8, height - 18), f"{tick / 10:g}", fill=FAINT, font=_font(12))
    for row, (words, value, (low, high)) in enumerate(rows):
        top = 44 + 30 * row
        draw.text((12, top + 2), words, fill=INK, font=_font(13))
        draw.rectangle([left, top, x(value), top + 18], fill=COLOURS[0])
        draw.line([(x(low), top + 9), (x(high), top + 9)], fill=INK, width=2)
        for end in (low, high):
            draw.line([(x(end), top + 4), (x(end), top + 14)], fill=INK, width=2)
        draw.text((right + 10, top + 2), f"{value:.3f}", fill=INK, font=_font(13))
    picture.save(path)


def save_lines(
    path: Path, title: str, lines: dict[str, Sequence[dict]], ticks: Sequence[str] = ()
) -> None:
    """Rates by shot, or by ``ticks``, each line with its intervals."""
    width, height = 980, 420
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((12, 8), title, fill=INK, font=_font(16))
    left, right, top, bottom = 50, width - 240, 44, height - 40
    longest = max(len(values) for values in lines.values())

    def at(shot: int, value: float) -> tuple[float, float]:
        across = left + (right - left) * shot / max(1, longest - 1)
        return across, bottom - (bottom - top) * value

    for tick in range(0, 11, 2):
        draw.line([at(0, tick / 10), at(longest - 1, tick / 10)], fill=LINE)
        draw.text((14, at(0, tick / 10)[1] - 7), f"{tick / 10:.1f}", fill=FAINT, font=_font(12))
    for shot in range(longest):
        words = ticks[shot] if ticks else str(shot + 1)
        draw.text((at(shot, 0)[0] - 4, bottom + 8), words, fill=FAINT, font=_font(12))
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        shown = [(k, value) for k, value in enumerate(values) if value["count"]]
        draw.line([at(k, value["rate"]) for k, value in shown], fill=colour, width=3)
        for k, value in shown:
            low, high = widest(value)
            shift = 3 * number
            (across, one), (_, other) = at(k, low), at(k, high)
            draw.line([(across + shift, one), (across + shift, other)], fill=colour, width=1)
        draw.text((right + 24, top + 22 * number), name, fill=colour, font=_font(13))
    picture.save(path)


def save_story(path: Path, rows: Sequence[tuple[str, Sequence[torch.Tensor]]]) -> None:
    """Rows of frames ``uint8 [H, W, 3]``, one frame a shot, each row with its words above."""
    side = 96 * SCALE
    columns = max(len(frames) for _, frames in rows)
    picture = Image.new("RGB", (columns * (side + 4) + 8, len(rows) * (side + 26) + 8), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for row, (words, frames) in enumerate(rows):
        top = 4 + row * (side + 26)
        draw.text((6, top), words, fill=INK, font=_font(14))
        for column, frame in enumerate(frames):
            tile = Image.fromarray(np.ascontiguousarray(frame.numpy()))
            tile = tile.resize((side, side), Image.Resampling.NEAREST)
            picture.paste(tile, (4 + column * (side + 4), top + 20))
    picture.save(path, optimize=True)
