"""``python -m storymem sheet``: a finished story on one picture."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..views.story_sheet import SHEET, save_story_sheet
from .exit_codes import DONE, REFUSED

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem sheet`` to its parser."""
    parser.add_argument("folder", type=Path, help="folder of a story: the one with shot_01_01.mp4")
    parser.add_argument("--to", type=Path, help=f"picture to write; default: {SHEET} in the folder")


def run(options: argparse.Namespace) -> int:
    """``python -m storymem sheet``: 0 when the sheet was drawn, 2 when there is nothing to draw."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.INFO)
    try:
        logger.info("contact sheet: %s", save_story_sheet(options.folder, options.to))
    except OSError as error:
        target = options.to or options.folder
        logger.error("error: the sheet cannot be written to %s: %s", target, error.strerror)
        return REFUSED
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    return DONE
