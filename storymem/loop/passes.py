"""The passes of a film: the film itself, and what is made before it to look at or to learn from.

A draft is the whole story with few steps; stills are one picture a shot. Their settings travel in
the loop (``LoopSettings.draft``) and in each shot's plan. ``None`` is the film: it changes no key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ..files.messages import shown
from ..sampling.draft import Draft
from ..script.story import Story

FILM = "film"
DRAFT_FACT = "draft"  # in a record: what its pass set; a film's has none
PASSES = (FILM, "draft", "stills")  # what an artist chooses from
MOST_REHEARSALS = 3
FURTHER_DRAFTS = ("draft2", "draft3")  # of a story that is rehearsed more than once
ALL_PASSES = (*PASSES[:2], *FURTHER_DRAFTS, *PASSES[2:])
DRAFT = Draft()  # what Draft Settings shows when it is new
# A still is one latent frame, so that the film's own steps cost little already.
STILLS = Draft("stills", steps=0, cfg=0.0, size=1.0)
MAX_STEPS = 10_000
MAX_CFG = 100.0
LEAST_SIZE = 0.1  # of the film's width and height
MAX_MEMORY = 100  # frames


def find_pass(name: str, settings: Draft | None = None) -> Draft | None:
    """The settings of a pass by its name: those given, else the library's own; ``None`` for the
    film.

    Raises:
        ValueError: for a pass that there is not, and for settings that none can have.
    """
    if name not in PASSES:
        raise ValueError(f"pass must be one of {', '.join(PASSES)}, but it is {shown(name)}")
    if name == FILM:
        return None
    preset = STILLS if name == STILLS.name else DRAFT
    return preset if settings is None else check_draft(replace(settings, name=name))


def rehearsal_draft(number: int, settings: Draft | None = None) -> Draft:
    """The settings of a rehearsal's draft, the first of which is the pass ``draft`` itself.

    Args:
        number: 1 to ``MOST_REHEARSALS``.
    """
    return replace(find_pass("draft", settings), name=ALL_PASSES[number])


def check_rehearsals(count: int, story: Story) -> int:
    """How many rehearsals there are.

    Raises:
        ValueError: for more than there can be, and for a script that names nobody.
    """
    if not 0 <= count <= MOST_REHEARSALS:
        raise ValueError(f"rehearsals must be 0 to {MOST_REHEARSALS}, but it is {count}")
    if count and not story.names:
        raise ValueError(
            f"rehearsals is {count}, but the script names nobody, so no frame can be chosen for "
            "anybody: list who is in it under cast, write @Mara where Mara is meant, or set "
            "rehearsals to 0"
        )
    return count


def pass_name(draft: Draft | None) -> str:
    """What a pass is called, the film's included."""
    return draft.name if draft else FILM


def pass_of_facts(facts: object) -> str:
    """Which pass a record says that its shot is of; anybody may have written it."""
    told = facts.get(DRAFT_FACT) if isinstance(facts, Mapping) else None
    name = told.get("name") if isinstance(told, Mapping) else FILM
    return name if name in ALL_PASSES else FILM


def check_draft(draft: Draft) -> Draft:
    """The settings of a pass, when they can be.

    Raises:
        ValueError: in the artist's words, for those that cannot.
    """
    if draft.name not in ALL_PASSES[1:]:
        names = ", ".join(ALL_PASSES[1:])
        raise ValueError(f"a draft's pass must be one of {names}, but it is {shown(draft.name)}")
    if not 0 <= draft.steps <= MAX_STEPS:
        raise ValueError(
            f"steps of the draft must be 1 to {MAX_STEPS}, or 0 for the film's own, but it is "
            f"{draft.steps}"
        )
    if not (math.isfinite(draft.cfg) and 0 <= draft.cfg <= MAX_CFG):
        raise ValueError(
            f"cfg of the draft must be 0 (the film's own) to {MAX_CFG:g}, but it is {draft.cfg:g}"
        )
    if not LEAST_SIZE <= draft.size <= 1:
        raise ValueError(
            f"size of the draft must be {LEAST_SIZE:g} to 1, a share of the film's width and "
            f"height, but it is {draft.size:g}"
        )
    if not 0 <= draft.max_frames <= MAX_MEMORY:
        raise ValueError(
            f"max_frames of the draft must be 1 to {MAX_MEMORY}, or 0 for as many as the film's "
            f"shots see, but it is {draft.max_frames}"
        )
    return draft
