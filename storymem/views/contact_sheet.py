"""Pictures for the artist: why a selection chose what it chose, and what the memory bank holds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..files.messages import counted
from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.roles import UNSEEN, frame_roles, left_out_reasons, roles_refer_to, seen_reasons
from ..selection.keyframes import Keyframes

BACKGROUND, TEXT, FAINT = (24, 26, 30), (230, 230, 230), (110, 114, 122)
KEPT, REJECTED, SCORE = (90, 200, 120), (235, 95, 85), (240, 180, 70)
LINE, PINNED, CHOSEN = (100, 160, 250), (200, 130, 250), (70, 190, 190)
THUMBNAIL = (208, 128)  # width and height of the box a frame is fitted into
CAPTION_LINES = 6
MORE = " ..."  # ends a caption that is longer
GAP = 12
PLOT = (1120, 300)
NOTHING: Mapping[str, str] = {}
SEES = {  # by which shot the roles tell of
    "next": "the next shot sees {used} of {frames}",
    "this": "this shot sees {used} of {frames}, chosen by its prompt",
    "last": "the last shot saw {used} of {frames}; the next one's prompt chooses for that one",
    "open": "the next shot's prompt chooses {places} of {frames}",
}
MAX_SHEET_FRAMES = 200  # of each kind: a sheet of more is no longer looked at


def decision_picture(keyframes: Keyframes) -> torch.Tensor:
    """The decision as ``uint8 [H, W, 3]``: similarity, threshold and scores over the frames, and
    below them every keyframe and every frame that was turned down, with its reason."""
    decision = keyframes.decision
    canvas = _Canvas(PLOT[0] + 2 * GAP)
    if decision is None:
        canvas.heading("Keyframes (no selection was made)")
    else:
        canvas.heading(_headline(keyframes))
        _plot(canvas, keyframes)
    canvas.row(
        f"Kept: {len(keyframes.frames)}", _cells([(None, f) for f in keyframes.frames], KEPT)
    )
    rejected = [(None, frame) for frame in keyframes.rejected]
    canvas.row(f"Not kept: {len(rejected)}", _cells(rejected, REJECTED))
    return canvas.finish()


def contact_sheet(bank: MemoryBank) -> torch.Tensor:
    """The bank as ``uint8 [H, W, 3]``: opening frames, window, pinned, unseen and dropped."""
    canvas = _Canvas(PLOT[0] + 2 * GAP)
    _bank_rows(canvas, bank)
    return canvas.finish()


def story_sheet(
    shots: Iterable[tuple[str, Sequence[np.ndarray]]], bank: MemoryBank | None = None
) -> torch.Tensor:
    """A story as ``uint8 [H, W, 3]``: a strip of frames for every shot, then its memory.

    Args:
        shots: of each a title and frames ``uint8 [H, W, 3]``; five of them fill a strip.
    """
    canvas = _Canvas(PLOT[0] + 2 * GAP)
    for title, frames in shots:
        canvas.heading(title)
        canvas.strip_of([Image.fromarray(np.ascontiguousarray(frame)) for frame in frames])
    if bank is not None:
        _bank_rows(canvas, bank)
    return canvas.finish()


def _bank_rows(canvas: _Canvas, bank: MemoryBank) -> None:
    tell, roles = roles_refer_to(bank), frame_roles(bank)
    counts = {"used": sum(role not in UNSEEN for role in roles), "all": len(bank)}
    counts["places"], counts["frames"] = bank.max_frames, counted(counts["all"], "frame")
    if bank.policy == "entities_only":
        counts["places"] = f"at most {min(bank.max_frames, len(bank))}"
    chosen = "chosen by Choose Memory" if bank.scored else f"policy {bank.policy}"
    canvas.heading(
        f"Memory bank: {SEES[tell].format(**counts)} (max_frames {bank.max_frames}, "
        f"opening_frames {bank.sink}, {chosen}); {len(bank.dropped)} dropped"
    )
    shot = "this shot" if tell == "this" else f"the {'last' if tell == 'last' else 'next'} shot"
    always = ", always seen" if tell == "next" or bank.policy == "relevant" else ""
    pinned = "always seen"
    if bank.policy == "entities_only":
        pinned = "seen unless the shot names only others"
    told = seen_or_not(bank)
    for name, title, colour in (
        ("sink", f"Opening frames, the memory's first{always}", KEPT),
        ("pinned", f"Pinned, {pinned}", PINNED),
        ("window", "Window, the most recent frames", LINE),
        ("seen", f"Seen by {shot}, chosen by its prompt", CHOSEN),
        ("open", "The next shot's prompt decides", FAINT),
        ("waiting", f"In the bank, but not seen by {shot}", FAINT),
    ):
        found = [(i, frame) for i, frame in enumerate(bank.frames) if roles[i] == name]
        if found or name in ("sink", "pinned", "window", "waiting"):
            canvas.row(f"{title}: {len(found)}", _cells(found, colour, told))
    canvas.row(f"Dropped: {len(bank.dropped)}", _cells(enumerate(bank.dropped), REJECTED))


def seen_or_not(bank: MemoryBank) -> dict[str, str]:
    """Why a shot sees a frame, or why that was left out, by digest."""
    told = {digest: f"seen: {why}" for digest, why in seen_reasons(bank).items()}
    left_out = left_out_reasons(bank)
    for frame in bank.frames:
        if frame.digest in left_out:
            unseen = "pinned, but not seen" if frame.pinned else "not seen"
            told[frame.digest] = f"{unseen}: {left_out[frame.digest]}"
    return told


def caption(frame: MemoryFrame) -> str:
    """What a frame is, in a few short lines."""
    parts = [f"{frame.place}, pinned" if frame.pinned else frame.place]
    if frame.name:
        parts.append(frame.name)
    if frame.score is not None and frame.scorer not in frame.why.split():
        parts.append(f"{frame.scorer or 'score'} {frame.score:.2f}")
    if frame.why:
        parts.append(frame.why)
    return "\n".join(parts)


def _headline(keyframes: Keyframes) -> str:
    decision = keyframes.decision
    text = f"{counted(len(decision.indices), 'keyframe')} of {counted(decision.count, 'frame')}"
    text += f", {len(keyframes.frames)} kept"
    text += f"; {decision.embedder} similarity below {decision.threshold:.2f}"
    if decision.passes > 1:
        text += f" (asked for {decision.asked_threshold:.2f}, lowered in {decision.passes} passes)"
    if decision.scorer:
        text += f"; {decision.scorer} at least {decision.score_threshold:g}"
    return text


def _plot(canvas: _Canvas, keyframes: Keyframes) -> None:
    """Similarity to the keyframe before (line), the threshold, and scores (points, own scale)."""
    decision = keyframes.decision
    width, height = PLOT
    left, right, top, bottom = 44, width - 52, 12, height - 26
    picture = Image.new("RGB", PLOT, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    font = _font(12)
    low = min([0.5, decision.threshold, *decision.similarity.values()])
    low = np.floor(low * 10) / 10

    def x(frame: int) -> float:
        return left + (right - left) * frame / max(1, decision.count - 1)

    def y(similarity: float) -> float:
        return bottom - (bottom - top) * (min(similarity, 1.0) - low) / max(1.0 - low, 1e-9)

    for tick in np.linspace(low, 1.0, 6):
        draw.line([(left, y(tick)), (right, y(tick))], fill=(48, 51, 58))
        draw.text((4, y(tick) - 7), f"{tick:.2f}", fill=FAINT, font=font)
    for frame in _ticks(decision.count):
        draw.text((x(frame) - 6, bottom + 8), str(frame), fill=FAINT, font=font)
    draw.line(
        [(left, y(decision.threshold)), (right, y(decision.threshold))], fill=REJECTED, width=2
    )
    points = [(x(i), y(s)) for i, s in sorted(decision.similarity.items())]
    if len(points) > 1:
        draw.line(points, fill=LINE, width=2)
    kept = {frame.frame for frame in keyframes.frames}
    for index in decision.indices:
        colour = KEPT if index in kept else REJECTED
        draw.line([(x(index), top), (x(index), bottom)], fill=colour, width=2)
    _plot_scores(draw, decision, x, top, bottom, right, font)
    canvas.picture(picture)
    legend = [
        (LINE, "similarity to the last keyframe"),
        (REJECTED, "threshold, or known to the bank"),
    ]
    legend.append((KEPT, "keyframe kept"))
    if decision.scores:
        legend.append((SCORE, f"{decision.scorer} score (right scale; hollow: not good enough)"))
    canvas.legend(legend)


def _plot_scores(draw, decision, x, top, bottom, right, font) -> None:
    if not decision.scores:
        return
    values = [*decision.scores.values(), decision.score_threshold]
    low, high = min(values), max(values)
    span = max(high - low, 1e-9)

    def y(score: float) -> float:
        return bottom - 8 - (bottom - top - 16) * (score - low) / span

    limit = y(decision.score_threshold)
    for start in range(44, right, 12):  # dashes: another scale than the solid lines
        draw.line([(start, limit), (min(start + 6, right), limit)], fill=SCORE)
    for value in {low, high, decision.score_threshold}:
        draw.text((right + 6, y(value) - 7), f"{value:.2f}", fill=SCORE, font=font)
    for index, score in decision.scores.items():
        box = [x(index) - 3, y(score) - 3, x(index) + 3, y(score) + 3]
        good = not score < decision.score_threshold
        draw.ellipse(box, outline=SCORE, fill=SCORE if good else None)


def _ticks(count: int) -> Iterable[int]:
    step = max(1, round((count - 1) / 10))
    return range(0, count, step)


def _cells(
    frames: Iterable[tuple[int | None, MemoryFrame]],
    colour,
    told: Mapping[str, str] = NOTHING,
) -> list[tuple[Image.Image, str, tuple]]:
    """Thumbnails with captions and numbers from 1; of very many frames the first and the last."""
    shown = list(frames)
    if len(shown) > MAX_SHEET_FRAMES:
        half = MAX_SHEET_FRAMES // 2
        shown = [*shown[:half], *shown[-half:]]
    cells = []
    for index, frame in shown:
        picture = Image.fromarray(frame.image.numpy())
        thumbnail = ImageOps.contain(picture, THUMBNAIL, Image.Resampling.BILINEAR)
        number = "" if index is None else f"{index + 1}: "
        text = number + caption(frame)
        if frame.digest in told:
            text += f"\n{told[frame.digest]}"
        cells.append((thumbnail, text, PINNED if frame.pinned else colour))
    return cells


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


class _Canvas:
    """Rows of text and pictures, one under the other; grows as it is filled."""

    def __init__(self, width: int):
        self.width = width
        self.strips: list[Image.Image] = []

    def _strip(self, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        strip = Image.new("RGB", (self.width, height), BACKGROUND)
        self.strips.append(strip)
        return strip, ImageDraw.Draw(strip)

    def heading(self, text: str) -> None:
        lines = _wrap(text, 130, self.width - 2 * GAP, _font(15))
        _, draw = self._strip(GAP + 20 * len(lines))
        draw.multiline_text((GAP, GAP), "\n".join(lines), fill=TEXT, font=_font(15), spacing=5)

    def picture(self, picture: Image.Image) -> None:
        strip, _ = self._strip(picture.height + GAP)
        strip.paste(picture, (GAP, GAP))

    def strip_of(self, pictures: Sequence[Image.Image]) -> None:
        """Pictures side by side, without captions."""
        width, height = THUMBNAIL
        strip, _ = self._strip(height + GAP // 2)
        for column, picture in enumerate(pictures[: self.width // (width + GAP)]):
            shown = ImageOps.contain(picture, THUMBNAIL, Image.Resampling.BILINEAR)
            left = GAP + column * (width + GAP)
            strip.paste(shown, (left + (width - shown.width) // 2, (height - shown.height) // 2))

    def legend(self, entries: Iterable[tuple[tuple, str]]) -> None:
        _, draw = self._strip(24)
        left = GAP + 44
        for colour, text in entries:
            draw.rectangle([left, 7, left + 14, 17], fill=colour)
            draw.text((left + 20, 4), text, fill=TEXT, font=_font(12))
            left += 44 + draw.textlength(text, font=_font(12))

    def row(self, title: str, cells: Sequence[tuple[Image.Image, str, tuple]]) -> None:
        _, draw = self._strip(GAP + 22)
        draw.text((GAP, GAP), title, fill=TEXT if cells else FAINT, font=_font(14))
        box_width, box_height = THUMBNAIL
        columns = max(1, (self.width - GAP) // (box_width + GAP))
        for start in range(0, len(cells), columns):
            strip, draw = self._strip(GAP + box_height + 15 * CAPTION_LINES + 8)
            for column, (thumbnail, text, colour) in enumerate(cells[start : start + columns]):
                left = GAP + column * (box_width + GAP)
                draw.rectangle(
                    [left - 2, GAP - 2, left + box_width + 1, GAP + box_height + 1], colour
                )
                draw.rectangle([left, GAP, left + box_width - 1, GAP + box_height - 1], BACKGROUND)
                offset = (
                    left + (box_width - thumbnail.width) // 2,
                    GAP + (box_height - thumbnail.height) // 2,
                )
                strip.paste(thumbnail, offset)
                font = _font(11)
                lines = _wrap(text, 36, box_width - font.getlength(MORE), font)
                if len(lines) > CAPTION_LINES:
                    lines = [*lines[: CAPTION_LINES - 1], lines[CAPTION_LINES - 1] + MORE]
                draw.multiline_text(
                    (left, GAP + box_height + 5),
                    "\n".join(lines),
                    fill=TEXT,
                    font=font,
                    spacing=3,
                )

    def finish(self) -> torch.Tensor:
        height = sum(strip.height for strip in self.strips) + GAP
        sheet = Image.new("RGB", (self.width, height), BACKGROUND)
        top = 0
        for strip in self.strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        return torch.from_numpy(np.array(sheet))


def _wrap(text: str, columns: int, width: float, font) -> list[str]:
    """Lines of at most ``columns`` characters and ``width`` pixels; words that fit stay whole."""
    lines = []
    for line in text.splitlines():
        for part in textwrap.wrap(line, columns) or [""]:
            while font.getlength(part) > width:  # wide letters, or a script without blanks
                fits = (n for n in range(len(part) - 1, 1, -1) if font.getlength(part[:n]) <= width)
                end = next(fits, 1)
                lines.append(part[:end])
                part = part[end:]
            lines.append(part)
    return lines
