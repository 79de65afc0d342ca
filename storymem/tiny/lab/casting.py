"""Which frames of earlier passes a film's memory begins with: by the script's names and sharpness.

No judge and no model has a say, so that what is measured with it is what an artist gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...script.story import Story
from ...selection.scorers import SharpnessScorer
from .. import world

FIRST = "first"  # the middle frame of the first shot
SHARPEST = "sharpest"  # the sharpest of the shots' middle frames
SHARPEST_OF_ALL = "sharpest of all"  # of all frames of the shots
SHARPEST_SHOT = "sharpest shot"  # the middle frame of the shot whose frames are so in the mean
LAPLACIAN = "laplacian"  # the best of the middle frames as the pack's own sharpness scorer sees it
RULES = (FIRST, SHARPEST, SHARPEST_OF_ALL, SHARPEST_SHOT, LAPLACIAN)


@dataclass(frozen=True)
class Chosen:
    """A frame that memory begins with."""

    name: str  # of the character or the place
    shot: int
    image: torch.Tensor  # uint8 [H, W, 3]


def shots_of(tale: Story, name: str, others: Sequence[str]) -> list[int]:
    """Indices of the shots in which the script names somebody alone; where there are none, of
    those in company."""
    named = [shot.index for shot in tale.shots if name in shot.prompt]
    alone = [
        k for k in named if not any(o in tale.shots[k].prompt for o in others if o != name)
    ]  # fmt: skip
    return alone or named


def sharpness(frames: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring pixels, ``[T, H, W, 3]`` -> ``[T]``."""
    frames = frames.float()
    down = (frames[:, 1:] - frames[:, :-1]).abs().mean(dim=(1, 2, 3))
    across = (frames[:, :, 1:] - frames[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    return down + across


def best_frame(frames: torch.Tensor, rule: str) -> tuple[float, torch.Tensor]:
    """How good a shot ``uint8 [T, H, W, 3]`` is by a rule, and the frame that it gives."""
    middle = frames[len(frames) // 2]
    if rule == FIRST:
        return 0.0, middle
    if rule == LAPLACIAN:
        return float(SharpnessScorer().score(middle[None])[0]), middle
    values = sharpness(frames if rule in (SHARPEST_OF_ALL, SHARPEST_SHOT) else middle[None])
    if rule == SHARPEST_OF_ALL:
        at = int(values.argmax())
        return float(values[at]), frames[at]
    return float(values.mean()), middle


def choose(
    shown: Sequence[torch.Tensor], shots: Sequence[int], rule: str, *, each: int, name: str
) -> list[Chosen]:
    """The best frames of some shots, at most one of a shot; with equal worth the earlier.

    Args:
        shown: the frames of every shot of the pass, uint8 ``[T, H, W, 3]``.
        each: how many are taken at most.
    """
    found = [(*best_frame(shown[k], rule), k) for k in shots]
    found.sort(key=lambda one: -one[0])
    return [Chosen(name, k, image.contiguous()) for _, image, k in found[:each]]


def cast_frames(
    shown: Sequence[torch.Tensor],
    tale: Story,
    *,
    rule: str,
    each: int = 1,
    among: int = 0,
    places: bool = False,
) -> list[Chosen]:
    """The frames of everybody in a story, in the order of its cast, then those of its places.

    Args:
        shown: the frames of every shot of the pass, uint8 ``[T, H, W, 3]``.
        among: only so many of each one's shots are looked at; 0: all.
        places: also one frame of each place, where the script names nobody if it can be.
    """
    chosen = []
    for name in tale.cast:
        shots = shots_of(tale, name, tale.cast)
        chosen += choose(shown, shots[: among or None], rule, each=each, name=name)
    for place in world.PLACES if places else ():
        shots = [shot.index for shot in tale.shots if f" {place}," in f" {shot.prompt},"]
        empty = [k for k in shots if not any(n in tale.shots[k].prompt for n in tale.cast)]
        chosen += choose(shown, empty or shots, rule, each=1, name=place)
    return chosen
