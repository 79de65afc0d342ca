"""A stand-in for a text encoder: hashed words in six slots. It understands the story world only.

Slots: name, action, name, action, place, camera. Each word gives a vector drawn from its hash;
each slot adds a vector of its own, because Wan's cross-attention has no word order and could not
tell else which action belongs to which name. Words that the world does not know are passed over.
"""

from __future__ import annotations

import hashlib
import re

import torch

from . import world

SLOTS = ("name", "action", "name 2", "action 2", "place", "camera")
WIDTH = 4096  # as Wan's text encoder
SLOT_STRENGTH = 0.7
_NAMES = {name.lower(): kind for kind, names in enumerate(world.NAMES) for name in names}
VOCABULARY = (
    *sorted(_NAMES),
    *world.ACTIONS,
    *world.PLACES,
    *world.CAMERAS,
)


def hashed_vector(text: str) -> torch.Tensor:
    """The same unit-variance float32 [4096] for the same text, everywhere."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def parse(prompt: str) -> list[str | None]:
    """The word in each of the six slots, None where the prompt says nothing.

    Two characters come in the order of their kinds, whoever the prompt names first: training has
    seen no other order, and the model draws noise at one that it does not know.
    """
    slots: list[str | None] = [None] * len(SLOTS)
    at = 0
    for word in re.findall(r"[a-z]+", prompt.lower()):
        if word in _NAMES:
            at = 0 if slots[0] is None else 2
            slots[at] = word
        elif word in world.ACTIONS:
            slots[at + 1] = word
        elif word in world.PLACES:
            slots[4] = word
        elif word in world.CAMERAS:
            slots[5] = word
    if slots[0] and slots[2] and _NAMES[slots[2]] < _NAMES[slots[0]]:
        slots[:4] = [*slots[2:4], *slots[:2]]
    return slots


def tokens(prompt: str) -> list[int]:
    """Row of ``vectors`` for each slot; row 0 is the empty word."""
    return [0 if word is None else 1 + VOCABULARY.index(word) for word in parse(prompt)]


def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """The words' vectors [1 + words, 4096], row 0 empty, and the slots' [6, 4096]."""
    words = [torch.zeros(WIDTH), *(hashed_vector(f"word {word}") for word in VOCABULARY)]
    slots = [SLOT_STRENGTH * hashed_vector(f"slot {slot}") for slot in SLOTS]
    return torch.stack(words), torch.stack(slots)


def encode(prompt: str) -> torch.Tensor:
    """float32 [6, 4096]; an empty prompt gives the slots alone, as training without text does."""
    slots = [SLOT_STRENGTH * hashed_vector(f"slot {slot}") for slot in SLOTS]
    for at, word in enumerate(parse(prompt)):
        if word is not None:
            slots[at] = slots[at] + hashed_vector(f"word {word}")
    return torch.stack(slots)
