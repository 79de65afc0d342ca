"""The options of ``python -m storymem run`` for a clip that the story begins from."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..headless.opening import read_clip
from ..loop.opening_clip import OpeningClip
from ..script.story import Story


def add_opening_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a clip that the story begins from."""
    add = parser.add_argument_group("a clip that the story begins from").add_argument
    add(
        "--opening",
        type=Path,
        metavar="CLIP",
        help="a video file; with [continue] in the script, its last frame or last five open shot 1",
    )
    add("--opening-remember", action="store_true",
        help="begin the memory with the clip's keyframes")  # fmt: skip
    add("--opening-in-film", action="store_true", help="put the clip at the film's head")


def opening_clip(options: argparse.Namespace, story: Story) -> OpeningClip | None:
    """The clip of the options; ``None`` for none.

    Raises:
        ValueError: for options that do not go together, and for a file that cannot be read.
    """
    if options.opening is None:
        for name in ("opening_remember", "opening_in_film"):
            if getattr(options, name):
                raise ValueError(f"--{name.replace('_', '-')} needs --opening with a video file")
        return None
    if options.opening_remember and options.memory == "off":
        raise ValueError("--memory off goes without --opening-remember, which is a memory")
    if options.start_image and not story.shots[0].cut:
        raise ValueError(
            "pass either --opening or --start-image: shot 1 continues from the clip, and cannot "
            "begin with a picture as well"
        )
    return read_clip(
        options.opening,
        is_remembered=options.opening_remember,
        is_in_film=options.opening_in_film,
    )
