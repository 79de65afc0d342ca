"""``python -m storymem export``: a finished story's timeline for editing programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..film.timeline_files import KINDS, export_timeline
from .listing import tell


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem export`` to its parser."""
    parser.add_argument("folder", type=Path, help="folder of a story: the one with shot_01_01.mp4")
    parser.add_argument(
        "--to",
        choices=KINDS[1:],
        default=KINDS[1],
        help="otio: OpenTimelineIO; fcpxml: DaVinci Resolve and Final Cut Pro; edl: CMX 3600, at "
        "24 frames per second and above (default: %(default)s)",
    )
    parser.add_argument(
        "--film",
        default="",
        metavar="FILE",
        help="the story video, where parts of the story have films of their own (default: the one "
        "that was made last)",
    )


def run(options: argparse.Namespace) -> int:
    """The command: 0 when it is done, 2 when nothing could be done."""
    return tell(options, _lines)


def _lines(options: argparse.Namespace) -> list[str]:
    return [str(export_timeline(options.folder, options.to, options.film))]
