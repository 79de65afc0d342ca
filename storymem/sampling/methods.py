"""Which memory model a shot is sampled with: StoryMem, or Memento, its sibling on the same base."""

from __future__ import annotations

STORYMEM, MEMENTO = "storymem", "memento"
METHODS = ("auto", STORYMEM, MEMENTO)  # auto: what the LoRA on the model says


def choose_method(choice: str, of_model: str) -> str:
    """The method of a shot: the artist's choice, else that of the model's LoRA.

    Raises:
        ValueError: for a choice that is none of ``METHODS``.
    """
    if choice not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but it is {choice!r}")
    return of_model if choice == METHODS[0] else choice
