"""A font that has the letters of a text: the host's own, or one that the system brings."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

# By file name, as Windows, macOS and Linux bring them; Pillow looks where the system keeps fonts.
SYSTEM_FONTS = (
    "msyh.ttc",
    "simsun.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "segoeui.ttf",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
)
MISSING = "\U0010fffd"  # a letter that no font draws, so that each shows its sign for that
MOST_LETTERS = 4000  # of a text that are looked for


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font that draws every letter of ``text``, ``size`` pixels high; where none does,
    the one that draws most."""
    letters = frozenset(letter for letter in text[:MOST_LETTERS] if not letter.isspace())
    best, fewest = _default(size), None
    for name in (None, *SYSTEM_FONTS):
        font = _default(size) if name is None else _system(name, size)
        if font is None:
            continue
        lacking = sum(not _draws(name, letter) for letter in letters)
        if not lacking:
            return font
        if fewest is None or lacking < fewest:
            best, fewest = font, lacking
    return best


def letters_without_font(text: str) -> str:
    """The letters of ``text`` that no font here draws, each once, in their order."""
    lost = dict.fromkeys(letter for letter in text if not letter.isspace())
    names = [None, *(name for name in SYSTEM_FONTS if _system(name, 16))]
    return "".join(letter for letter in lost if not any(_draws(name, letter) for name in names))


@lru_cache(maxsize=64)
def _default(size: int):
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _system(name: str, size: int):
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=65536)
def _draws(name: str | None, letter: str) -> bool:
    font = _default(16) if name is None else _system(name, 16)
    return bytes(font.getmask(letter)) != bytes(font.getmask(MISSING))
