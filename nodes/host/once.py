"""Warnings that every shot of a loop would repeat, told once in each run."""

from __future__ import annotations

import logging

from .executor import running_prompt_id

_told_in: dict[str, str] = {}  # a warning -> the run in which it was told last


def warn_once_per_run(logger: logging.Logger, text: str) -> None:
    """Log a warning, unless this run of the graph has said the same already."""
    run = running_prompt_id()
    if run and _told_in.get(text) == run:
        return
    _told_in[text] = run
    logger.warning("StoryMem: %s", text)
