"""Which memory model a shot is sampled with: StoryMem, or Memento, its sibling on the same base."""

from __future__ import annotations

import logging

STORYMEM, MEMENTO = "storymem", "memento"
METHODS = ("auto", STORYMEM, MEMENTO)  # auto: what the LoRA on the model says
logger = logging.getLogger(__name__)


def choose_method(choice: str, of_model: str) -> str:
    """The method of a shot: the artist's choice, else that of the model's LoRA.

    Raises:
        ValueError: for a choice that is none of ``METHODS``.
    """
    if choice not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but it is {choice!r}")
    return of_model if choice == METHODS[0] else choice


def choose_told(choice: str, of_model: str) -> str:
    """``choose_method``, with a line in the log where the two differ."""
    method = choose_method(choice, of_model)
    if method != of_model:
        logger.info(
            "method is %s, though the LoRA on the model is not of it: memory stands as %s has it",
            method,
            method,
        )
    return method
