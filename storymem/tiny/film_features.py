"""Measures stories of the tiny world, in columns of their own: ``--features tiny_world``.

Nothing is learned and no weights are needed: the judge finds out who is in a clip and how they
look, a stand-in for CLIP reads the place. The vector of a clip says which kinds of characters are
seen, where, and the look of each; that of a prompt says kinds and place, since prompts tell no
looks. None of it means anything for other pictures, nor compares with the paper's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..metrics.scores import FilmFeatures, mean, unit
from . import world
from .stand_in import StandIn

KINDS, PLACES = len(world.KINDS), len(world.PLACES) + 1  # the studio is the last place
LOOK = sum(world.LOOK_COUNTS)  # numbers that say one character's look
SEEN = 0.25  # of a clip's frames: who is in fewer is not in it
NOBODY: tuple[int, ...] = ()


class TinyWorld(FilmFeatures):
    """What the judge sees in a clip, as a unit vector: kinds, places, looks by kind."""

    name = "the tiny world's judge"
    prefix = "tiny_world_"
    measures = ("single_shot", "overall", "identity")

    def __init__(self, device: torch.device | str = "cpu"):
        self._eyes = StandIn(device)

    def video(self, frames):
        pixels = torch.from_numpy(np.stack(frames)).to(self._eyes.judge.device)
        who = self._eyes.look_at(pixels)
        kinds = (who[:, :KINDS].mean(0) >= SEEN).cpu()
        places = torch.eye(PLACES)[who[:, KINDS:].sum(0).argmax().cpu()]
        looks = torch.zeros(KINDS, LOOK)
        in_view = who[None, :, :KINDS].bool().transpose(1, 2)  # somebody may enter or leave
        how = {"in_view": in_view, "judged": None}
        seen = self._eyes.judge.identify(pixels[None].float() / 255, kinds[None], **how)[0]
        for kind in kinds.nonzero()[:, 0].tolist():
            looks[kind] = _in_numbers(seen[kind].tolist())
        return unit(torch.cat([kinds.float(), places, looks.flatten()])[None], self.name)[0]

    def texts(self, texts):
        rows = torch.stack([self._eyes.embed_text(text) for text in texts])
        return unit(torch.nn.functional.pad(rows, (0, KINDS * LOOK)), self.name)

    def of_story(self, prompts, clips):
        return {"identity": mean(keeps_look(prompts, clips))}


def keeps_look(prompts: Sequence[str], clips: np.ndarray) -> list[bool]:
    """For every later appearance of a character that the prompts name: whether it is seen with the
    look that it had when it was first named. Who is not seen keeps no look.

    Args:
        clips: vectors of ``TinyWorld.video``, [shots, D].
    """
    first: dict[int, tuple[int, ...]] = {}
    found = []
    for prompt, clip in zip(prompts, clips, strict=True):
        for kind in StandIn.kinds_named(prompt):
            look = look_of(clip, kind)
            if kind in first:
                found.append(look != NOBODY and look == first[kind])
            first.setdefault(kind, look)
    return found


def look_of(clip: np.ndarray, kind: int) -> tuple[int, ...]:
    """Hue, pattern, shape and accessory that a clip's vector says; ``NOBODY`` when not seen."""
    start = KINDS + PLACES + kind * LOOK
    block = clip[start : start + LOOK]
    if not block.any():
        return NOBODY
    ends = np.cumsum(world.LOOK_COUNTS)[:-1]
    return tuple(int(part.argmax()) for part in np.split(block, ends))


def _in_numbers(look: Sequence[int]) -> torch.Tensor:
    """One of each attribute's values is set, and the whole has length 1."""
    parts = [torch.eye(n)[i] for n, i in zip(world.LOOK_COUNTS, look, strict=True)]
    return torch.cat(parts) / len(parts) ** 0.5
