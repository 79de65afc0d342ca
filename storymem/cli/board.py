"""``python -m storymem board``: a story's shots with their prompts, to look at and to print."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..views.board import BOARD, PRINT, save_board
from .exit_codes import DONE, REFUSED

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem board`` to its parser."""
    parser.add_argument("folder", type=Path, help="folder of a story or a draft: with story.json")
    parser.add_argument(
        "--to", type=Path, help=f".png or .pdf to write; default: {BOARD} and {PRINT} in the folder"
    )


def run(options: argparse.Namespace) -> int:
    """``python -m storymem board``: 0 when it was drawn, 2 when there is nothing to draw."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.INFO)
    targets = [options.to] if options.to else [options.folder / name for name in (BOARD, PRINT)]
    for target in targets:
        try:
            logger.info("board: %s", save_board(options.folder, target))
        except OSError as error:
            logger.error("error: the board cannot be written to %s: %s", target, error.strerror)
            return REFUSED
        except ValueError as error:
            logger.error("error: %s", error)
            return REFUSED
    return DONE
