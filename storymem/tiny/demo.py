"""The demo story on the tiny model: its script, its characters' portraits, its recipe."""

from __future__ import annotations

import torch

from . import picture, text, world

SCRIPT = """[title: Bomo and Fipi]
[cast: Bomo, Fipi]
Bomo sways, Fipi hops, meadow, still
---
Bomo jumps, beach, panleft
---
[continue]
Bomo advances, beach, zoom
---
Fipi circles, city, still
---
Fipi jumps, Bomo shakes, snow, panright
---
[continue]
[continuity: last_five_frames]
Fipi stands, Bomo hops, snow, still
---
Bomo circles, forest, still
---
Bomo jumps, Fipi sways, night, still
"""
LOOKS = ("yellow belly circle hat", "blue stripe triangle cone")  # of the big one, the small one
SIZE, LENGTH = world.SIZE, world.FRAMES
MAX_MEMORY_FRAMES = 6  # of the 10 that the tiny model was trained with: enough for two characters
KEYFRAME_THRESHOLD = 0.95  # of the no-weights embedder: little moves in these small pictures
# How a shot is sampled: as in training, without guidance.
RECIPE = {
    "steps": 20,
    "cfg": 1.0,
    "shift": 3.0,
    "sampler": "euler",
    "scheduler": "simple",
    "rope_shift": 5,
}
SEED = 2


def parse_look(words: str) -> torch.Tensor:
    """``"yellow belly circle hat"`` as int64 [4]: hue, pattern, shape, accessory, in any order.

    Raises:
        ValueError: for a word that is none of them, or one attribute said twice or not at all.
    """
    found: dict[str, int] = {}
    for word in words.lower().replace(",", " ").split():
        place = next((a for a, values in world.ATTRIBUTES.items() if word in values), None)
        if place is None or place in found:
            raise ValueError(f"a look has one word of each of {_choices()}, but it is {words!r}")
        found[place] = world.ATTRIBUTES[place].index(word)
    if len(found) < len(world.ATTRIBUTES):
        raise ValueError(f"a look needs one word of each of {_choices()}, but it is {words!r}")
    return torch.tensor([found[attribute] for attribute in world.ATTRIBUTES])


def _choices() -> str:
    return "; ".join(", ".join(values) for values in world.ATTRIBUTES.values())


def portrait(kind: str, look: torch.Tensor) -> torch.Tensor:
    """A character alone before a plain backdrop, float32 [96, 96, 3] in 0 ... 1.

    Args:
        kind: one of ``world.KINDS``.
        look: int64 [4].
    """
    return picture.render(world.portraits(look[None], world.KINDS.index(kind)))[0, 0]


def portraits(looks=LOOKS) -> list[torch.Tensor]:
    """The reference pictures of a story: the big character's, then the small one's."""
    return [
        portrait(kind, parse_look(look)) for kind, look in zip(world.KINDS, looks, strict=False)
    ]


def explain(prompt: str) -> str:
    """What the tiny text encoder makes of a prompt, word by word, for people."""
    told = zip(text.WORDS, text.parse(prompt), strict=True)
    return ", ".join(f"{part}: {word}" for part, word in told if word) or "nothing"
