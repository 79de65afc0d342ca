"""The board of a story: of every shot its first, middle and last frame, its prompt, who is in it
and how long it is, on one picture or on pages to print."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ..files.disk import remove_unfinished, replacing
from ..files.messages import counted
from ..files.video import FRAME_RATE, open_video, read_info
from ..film.finished_story import watch
from ..film.library import read_story_script
from ..film.manifest import read_manifest
from ..film.passes import FILM, pass_of
from ..film.shot_status import FINISHED, shot_states
from ..script.reader import load_story
from ..script.story import Shot, Story
from .fonts import font_for, letters_without_font

BOARD, PRINT = "board.png", "board.pdf"
PAGE = (2339, 1654)  # pixels: A4 across at 200 dpi
DPI = 200
MARGIN, GAP = 90, 24  # of a page, in its pixels
PAGE_GRID = 3, 3  # shots beside and below each other on a page
PROMPT_LINES = 4
PAPER, INK, FAINT, EMPTY = (255, 255, 255), (24, 26, 30), (110, 114, 122), (226, 228, 232)
MORE = " ..."  # ends a prompt that is longer
SHEET_COLUMNS = ((12, 2), (48, 3))  # up to so many shots; more get the last one's and one more
SHEET_WIDTH = 1920
LARGEST_HEIGHT = 32_000  # pixels of one picture that others can still open
JPEG_QUALITY = 90  # of the frames in the PDF
WIDEST_FRAME = 320  # pixels that are kept of a frame's width: more than any cell shows
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoardShot:
    """One shot of a board. ``frames``: first, middle and last; none while it is not made."""

    number: int
    label: str
    prompt: str
    who: tuple[str, ...]
    begins: str  # "cut" or "continues"
    seconds: float  # 0 while it is not made
    is_current: bool  # False: what is shown was made from an earlier script
    frames: tuple[Image.Image, ...]
    is_damaged: bool = False  # it is made, but its video cannot be read


def save_board(folder: str | Path, target: str | Path | None = None) -> Path:
    """Draw the board of a story's folder: a film's, a draft's, or that of stills.

    Shots that are not made yet, and those whose video is damaged, stand there with their prompts.

    Args:
        target: what to write, a ``.png`` (one picture) or a ``.pdf`` (pages of A4 across);
            ``board.png`` in the folder when not given.

    Raises:
        ValueError: for a folder that is no story's, one whose script cannot be read, and a
            ``target`` of another kind.
        OSError: when ``target`` cannot be written.
    """
    folder = Path(folder)
    target = Path(target) if target else folder / BOARD
    kind = target.suffix.lower()
    if kind not in (".png", ".pdf"):
        raise ValueError(f"{target.name} is neither a .png nor a .pdf; name the board one of these")
    story = _story_of(folder)
    _warn_of_letters(story)
    pass_ = pass_of(folder)
    title = story.name if pass_ == FILM else f"{story.name} ({pass_})"
    remove_unfinished(target.parent)
    with replacing(target) as unfinished:
        if kind == ".png":
            draw_sheet(title, list(_shots(folder, story))).save(unfinished, "PNG")
        else:
            _save_pages(draw_pages(title, _shots(folder, story), len(story.shots)), unfinished)
    return target


def draw_sheet(title: str, shots: Sequence[BoardShot]) -> Image.Image:
    """All shots on one picture, ``RGB``; the more there are, the smaller each."""
    columns = next((n for most, n in SHEET_COLUMNS if len(shots) <= most), SHEET_COLUMNS[-1][1] + 1)
    while True:
        width = (SHEET_WIDTH - GAP) // columns - GAP
        cells = [_cell(shot, width, height=None) for shot in shots]
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        heights = [max(cell.height for cell in row) for row in rows]
        height = 3 * GAP + 40 + sum(heights) + GAP * len(rows)
        if height <= LARGEST_HEIGHT or columns >= 12:
            break
        columns += 1
    sheet = Image.new("RGB", (SHEET_WIDTH, height), PAPER)
    _heading(sheet, (GAP, GAP), title, _sums(shots), size=28)
    top = 2 * GAP + 40
    for row, tall in zip(rows, heights, strict=True):
        for i, cell in enumerate(row):
            sheet.paste(cell, (GAP + i * (width + GAP), top))
        top += tall + GAP
    return sheet


def draw_pages(title: str, shots: Iterator[BoardShot], count: int) -> Iterator[Image.Image]:
    """The board on pages, ``RGB``; ``count`` is how many shots there are."""
    columns, rows = PAGE_GRID
    on_page = columns * rows
    pages = max(1, -(-count // on_page))
    top = MARGIN + 70
    width = (PAGE[0] - 2 * MARGIN - (columns - 1) * GAP) // columns
    height = (PAGE[1] - top - MARGIN - (rows - 1) * GAP) // rows
    shots = iter(shots)
    for number in range(pages):
        page = Image.new("RGB", PAGE, PAPER)
        _heading(page, (MARGIN, MARGIN), title, f"{number + 1} / {pages}", size=34)
        for i in range(on_page):
            shot = next(shots, None)
            if shot is None:
                break
            left = MARGIN + i % columns * (width + GAP)
            page.paste(_cell(shot, width, height), (left, top + i // columns * (height + GAP)))
        yield page


# --- inside ----------------------------------------------------------------------------------


def _story_of(folder: Path) -> Story:
    script = read_story_script(folder) if folder.is_dir() else None
    if script is None:
        raise ValueError(
            f"{folder} holds no script of a story; pass a story's own folder, the one with "
            "story.json and shot_01_01.mp4"
        )
    name = read_manifest(folder).get("name") or folder.name
    return load_story(script, default_name=name, quiet=True)


def _shots(folder: Path, story: Story) -> Iterator[BoardShot]:
    for shot, found in zip(story.shots, shot_states(story, folder), strict=True):
        frames, seconds = (), 0.0
        try:
            frames, seconds = _frames(found.video) if found.video else (frames, seconds)
        except (ValueError, OSError, LookupError) as error:  # the others are shown all the same
            logger.warning("StoryMem: the board lacks shot %d: %s", shot.index + 1, error)
        yield BoardShot(
            shot.index + 1,
            shot.label,
            " ".join(shot.prompt.split()),
            tuple(story.who(shot)),
            _begins(shot),
            seconds,
            found.state in FINISHED,
            frames,
            is_damaged=bool(found.video) and not frames,
        )


def _begins(shot: Shot) -> str:
    return "cut" if shot.cut else "continues"


def _frames(video: Path) -> tuple[tuple[Image.Image, ...], float]:
    """First, middle and last frame of a video, as large as a board needs them, and its seconds.

    Raises:
        ValueError: for a video that is damaged or has no frame.
    """
    info = read_info(video)
    if not info.frames:
        raise ValueError(f"{video} is damaged: it has no frame; generate the shot again")
    last = info.frames - 1
    wanted = (0, last // 2, last)
    found = {n: _small(frame) for n, frame in watch(video, wanted.__contains__, last)}
    with open_video(video) as container:
        rate = container.streams.video[0].average_rate or FRAME_RATE
    return tuple(found[n] for n in wanted), info.frames / float(rate)


def _small(pixels: np.ndarray) -> Image.Image:
    """A frame ``uint8 [H, W, 3]``, no wider than it is shown: all of a film are held at once."""
    picture = Image.fromarray(pixels)
    height = round(picture.height * WIDEST_FRAME / picture.width)
    if picture.width <= WIDEST_FRAME:
        return picture
    return picture.resize((WIDEST_FRAME, max(1, height)), Image.Resampling.LANCZOS)


def _cell(shot: BoardShot, width: int, height: int | None) -> Image.Image:
    """A shot, ``width`` pixels wide; as high as it comes where no ``height`` is given."""
    size = max(13, width // 36)
    line = round(size * 1.35)
    thirds, shape = (width - 2 * (GAP // 4)) // 3, _shape(shot)
    tall = round(thirds / shape)
    font = font_for(shot.prompt, size)
    prompt = _wrapped(shot.prompt, width, font, PROMPT_LINES)
    lines = len(prompt) if height is None else PROMPT_LINES
    below = line * (lines + 2) + GAP
    if height is not None:
        tall = min(tall, max(line, height - below))
    cell = Image.new("RGB", (width, height or tall + below), PAPER)
    draw = ImageDraw.Draw(cell)
    for i in range(3):
        box = (i * (thirds + GAP // 4), 0)
        if shot.frames:
            picture = ImageOps.contain(shot.frames[i], (thirds, tall), Image.Resampling.LANCZOS)
            cell.paste(picture, (box[0] + (thirds - picture.width) // 2, 0))
        else:
            draw.rectangle((*box, box[0] + thirds - 1, tall - 1), fill=EMPTY)
    top = tall + GAP // 3
    head = f"{shot.number}   {_label(shot)}"
    draw.text((0, top), head, fill=INK, font=font_for(head, size))
    length = f"{shot.seconds:.1f} s" if shot.frames else "not made yet"
    length = "damaged, queue it again" if shot.is_damaged else length
    if shot.frames and not shot.is_current:
        length += ", from an earlier script"
    small = font_for(length, size)
    draw.text((width - draw.textlength(length, font=small), top), length, fill=FAINT, font=small)
    top += line
    if shot.who:
        who = ", ".join(shot.who)
        small = font_for(who, size)
        draw.text((0, top), _wrapped(who, width, small, 1)[0], fill=FAINT, font=small)
    top += line
    for text in prompt:
        draw.text((0, top), text, fill=INK, font=font)
        top += line
    return cell


def _label(shot: BoardShot) -> str:
    scene, number = (int(part) for part in shot.label.split("_"))
    return f"scene {scene}, shot {number}, {shot.begins}"


def _shape(shot: BoardShot) -> float:
    """Width over height of its frames."""
    return shot.frames[0].width / shot.frames[0].height if shot.frames else 832 / 480


def _wrapped(text: str, width: int, font, lines: int) -> list[str]:
    """``text`` in at most so many lines of so many pixels; what is left out is marked."""
    found: list[str] = []
    rest = text
    while rest and len(found) < lines:
        line, rest = _fitting(rest, width, font)
        found.append(line)
    if rest:
        short = found[-1]
        while short and font.getlength(short + MORE) > width:
            short = short[:-1]
        found[-1] = short.rstrip() + MORE
    return found


def _fitting(text: str, width: int, font) -> tuple[str, str]:
    """What of ``text`` fits into one line, at a blank where there is one, and the rest."""
    if font.getlength(text) <= width:
        return text, ""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    blank = text.rfind(" ", 0, low + 1)
    end = blank if blank > low // 2 else low
    return text[:end].rstrip(), text[end:].lstrip()


def _heading(picture: Image.Image, place: tuple[int, int], title: str, right: str, size: int):
    draw = ImageDraw.Draw(picture)
    far, font = font_for(right, size * 2 // 3), font_for(title, size)
    end = picture.width - place[0]
    length = draw.textlength(right, font=far)
    title = _wrapped(title, round(end - place[0] - length - GAP), font, 1)[0] if title else ""
    draw.text(place, title, fill=INK, font=font)
    draw.text((end - length, place[1]), right, fill=FAINT, font=far)


def _sums(shots: Sequence[BoardShot]) -> str:
    made = [shot for shot in shots if shot.frames]
    told = counted(len(shots), "shot")
    if len(made) < len(shots):
        told += f", {len(made)} made"
    return f"{told}, {sum(shot.seconds for shot in made):.0f} s"


def _warn_of_letters(story: Story) -> None:
    texts = [story.name, *(shot.prompt for shot in story.shots), *story.names]
    if lost := letters_without_font("".join(texts)):
        logger.warning(
            "StoryMem: no font here draws %s, so that the board shows boxes in place of such "
            "letters; install a font that has them, such as Noto Sans CJK",
            lost[:12],
        )


def _save_pages(pages: Iterator[Image.Image], target: Path) -> None:
    """One at a time: a page is ten megabytes."""
    for number, page in enumerate(pages):
        options = {"resolution": DPI, "quality": JPEG_QUALITY}
        page.save(target, "PDF", append=number > 0, **options)
