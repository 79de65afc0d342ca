"""The options of ``python -m storymem run`` for a rehearsal: the film's opening memory out of a
finished pass."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..film.rehearsal import MOST_FRAMES_PER_NAME, RULES, parse_places, rehearse
from ..loop.shot_store import ShotStore
from ..memory.bank import MemoryBank
from ..script.story import Story

logger = logging.getLogger(__name__)


def add_rehearsal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a rehearsal."""
    group = parser.add_argument_group("a rehearsal: the opening memory, from a finished draft")
    add = group.add_argument
    add(
        "--rehearsal",
        type=Path,
        metavar="FOLDER",
        help="the finished draft of the same story "
        "(the --out of a run with --pass draft), whose frames of the cast the film begins with",
    )
    add(
        "--rehearsal-frames",
        type=int,
        default=1,
        metavar="N",
        help=f"how many frames of each name of the cast, 1 to {MOST_FRAMES_PER_NAME}",
    )
    add(
        "--rehearsal-rule",
        default=RULES[0],
        choices=RULES,
        help="which of the shots that show somebody alone: that with the sharpest middle frame, "
        "with the sharpest of all, or the first",
    )
    add("--rehearsal-places", default="", metavar="PLACES", help="places to remember too, "
        "as the prompts call them, separated by commas")  # fmt: skip


def opening_bank(
    options: argparse.Namespace, story: Story, bank: MemoryBank, store: ShotStore | None = None
) -> MemoryBank:
    """``bank`` with the frames of the rehearsal, if there is one; what is to be known is logged.

    Args:
        store: where the records of the pass lie, for files that are missing.

    Raises:
        ValueError: for a folder that is no finished pass of the story, and that of the pass itself.
    """
    if options.rehearsal is None:
        return bank
    if options.memory == "off":
        raise ValueError("--memory off goes without --rehearsal, which is a memory")
    if options.rehearsal.resolve() == options.out.resolve():
        raise ValueError(
            f"--rehearsal {options.rehearsal} is what is to be made itself, so what it gives "
            "changes with every shot; name the folder of another pass, such as that of the draft"
        )
    found = rehearse(
        options.rehearsal,
        story,
        store=store,
        frames_per_name=options.rehearsal_frames,
        rule=options.rehearsal_rule,
        places=parse_places(options.rehearsal_places),
        bank=bank,
    )
    for note in found.notes:
        logger.warning("%s", note)
    for frame in found.bank.frames:
        if frame.reason.startswith("from "):
            logger.info("%s: %s", frame.name, frame.reason)
    return found.bank
