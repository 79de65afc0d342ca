"""A stand-in for a text encoder: hashed words in five slots. It understands the story world only.

Slots: the character on the left, the one on the right, place, camera, framing. Each word gives a
vector drawn from its hash; a character's name and action are added up in one slot, so that an
action belongs to its name. Each slot adds a vector of its own, because Wan's cross-attention has no
word order. Whoever a prompt names first stands on the left: without that, a model has to guess a
side for each of two, and may guess the same one twice. Words that the world does not know are
passed over.
"""

from __future__ import annotations

import hashlib
import re

import torch

from . import world

SLOTS = ("left", "right", "place", "camera", "framing")
WORDS = ("name", "action", "name 2", "action 2", "place", "camera", "framing")  # of a prompt
SLOT_OF = (0, 0, 1, 1, 2, 3, 4)  # of each of them
WORDS_IN_A_SLOT = 2
WIDTH = 4096  # as Wan's text encoder
SLOT_STRENGTH = 0.7
KIND_OF = {name.lower(): kind for kind, names in enumerate(world.NAMES) for name in names}
VOCABULARY = (
    *sorted(KIND_OF),
    *world.ACTIONS,
    *world.PLACES,
    *world.CAMERAS,
    *world.SAID_FRAMINGS,
)


def hashed_vector(text: str) -> torch.Tensor:
    """The same unit-variance float32 [4096] for the same text, everywhere."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def parse(prompt: str) -> list[str | None]:
    """The prompt's word for each of ``WORDS``, None where it says nothing."""
    words: list[str | None] = [None] * len(WORDS)
    at = 0
    for word in re.findall(r"[a-z]+", prompt.lower()):
        if word in KIND_OF:
            at = 0 if words[0] is None else 2
            words[at] = word
        elif word in world.ACTIONS:
            words[at + 1] = word
        elif word in world.PLACES:
            words[4] = word
        elif word in world.CAMERAS:
            words[5] = word
        elif word in VOCABULARY:
            words[6] = word
    return words


def tokens(prompt: str) -> list[list[int]]:
    """Rows of ``vectors`` for each slot, [5, 2]; row 0 is the empty word."""
    rows: list[list[int]] = [[] for _ in SLOTS]
    for slot, word in zip(SLOT_OF, parse(prompt), strict=True):
        rows[slot].append(0 if word is None else 1 + VOCABULARY.index(word))
    return [row + [0] * (WORDS_IN_A_SLOT - len(row)) for row in rows]


def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """The words' vectors [1 + words, 4096], row 0 empty, and the slots' [5, 4096]."""
    words = [torch.zeros(WIDTH), *(hashed_vector(f"word {word}") for word in VOCABULARY)]
    slots = [SLOT_STRENGTH * hashed_vector(f"slot {slot}") for slot in SLOTS]
    return torch.stack(words), torch.stack(slots)


def embed(rows: torch.Tensor, words: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """``tokens`` of prompts (int64 [..., 5, 2]) by ``vectors``: float32 [..., 5, 4096]."""
    return words[rows].sum(-2) + slots


def encode(prompt: str) -> torch.Tensor:
    """float32 [5, 4096]; an empty prompt gives the slots alone, as training without text does."""
    slots = [SLOT_STRENGTH * hashed_vector(f"slot {slot}") for slot in SLOTS]
    for slot, word in zip(SLOT_OF, parse(prompt), strict=True):
        if word is not None:
            slots[slot] = slots[slot] + hashed_vector(f"word {word}")
    return torch.stack(slots)
