"""What the page shows of the memory that a finished shot was made with."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.seen import seen_by
from ..loop.shot_memory import with_names
from ..loop.shot_record import DamagedError
from ..loop.shot_store import ShotStore
from ..memory.policies import POLICIES
from ..script.story import Shot, Story
from .bank import view_bank

WINDOW = POLICIES[0]
MAX_PROMPT = 120  # characters, to tell shots apart


def view_shots(story: Story, keys: Sequence[str]) -> list[dict]:
    """The shots of a story, and the record (empty: none) that each is shown by."""
    return [_view_shot(shot, key) for shot, key in zip(story.shots, keys, strict=True)]


def view_seen(store: ShotStore, story: Story, key: str) -> dict | None:
    """What the shot of a record saw.

    As :func:`storymem.views.bank.view_bank` with ``tell`` ``shot``; ``position`` is a frame's place
    among those that the sampler got (that its expert got, where each has a memory of its own), from
    1, and 0 when it was not seen; ``is_sure`` whether the record itself says which were. ``None``
    for a record that is missing or damaged.
    """
    record = store.find(key)
    try:
        seen = seen_by(store, record) if record else None
    except DamagedError:
        seen = None
    if seen is None:
        return None
    bank = with_names(seen.bank, story)
    shown = view_bank(bank)
    order = {id(f): i for part in reversed(bank.memories()) for i, f in enumerate(part, 1)}
    places = {index + 1: order[id(bank.frames[index])] for index in bank.used_indices()}
    in_view = "window" if bank.policy == WINDOW and not bank.scored else "seen"
    for frame in shown["frames"]:
        frame["position"] = places.get(frame["number"], 0)
        if not frame["position"]:
            frame["role"] = "waiting"  # a pin that came later shows, too
        elif frame["role"] in ("seen", "waiting"):
            frame["role"] = in_view
    return {**shown, "tell": "shot", "is_sure": seen.is_sure}


def _view_shot(shot: Shot, key: str) -> dict:
    return {
        "label": shot.label,
        "row": shot.row,
        "lock": shot.lock,
        "prompt": " ".join(shot.prompt.split())[:MAX_PROMPT],
        "record": key,
    }
