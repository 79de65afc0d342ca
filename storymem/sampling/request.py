"""One shot as asked for: which frames begin it, how large and long it is, which seed it has.

Written once, for the nodes and for the headless runner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..memory.frame import MemoryFrame
from .conditioning import LATENT_CHANNELS, VAE_STRIDE, check_size, fit_size, latent_frames
from .continuity import ShotPlan, resolve_mode, take_overlap_frames

SIZE_RULES = ("exact", "memory_aspect")


@dataclass(frozen=True)
class ShotRequest:
    """One shot as asked for: what is remembered, what is given, how large, how long."""

    memory: tuple[MemoryFrame, ...]
    given: torch.Tensor | None  # [1 | 5, H, W, 3]: the shot's first frames
    width: int  # pixels
    height: int
    length: int  # pixel frames, given ones included
    seed: int

    @property
    def latent_shape(self) -> list[int]:
        """Of the shot alone, ``[1, 16, F, h, w]``."""
        frames = latent_frames(self.length)
        return [1, LATENT_CHANNELS, frames, self.height // VAE_STRIDE, self.width // VAE_STRIDE]

    @property
    def is_from_text(self) -> bool:
        """Whether nothing but the prompt says what the shot looks like."""
        return not self.memory and self.given is None


def request_shot(
    *,
    memory: Sequence[MemoryFrame],
    shot: ShotPlan | None,
    previous_frames: torch.Tensor | None,
    start_image: torch.Tensor | None,
    width: int,
    height: int,
    length: int,
    size_rule: str,
    seed: int,
    continuity: str = "auto",
) -> ShotRequest:
    """Check what a shot is made from, and settle mode, size, length and seed.

    Args:
        memory: the frames that the shot sees.
        shot: the shot of a story; its length, seed and continuity win, and a pass before the film
            has a size and a length of its own. ``None``: one by itself.
        previous_frames: ``[T, H, W, 3]``, the end of the shot before.
        start_image: ``[1, H, W, 3]``. One that is there for a whole story begins its first shot
            only, unless the shot has it for its own (``has_start``) or ``continuity`` is ``cut``.
        width: pixels, like ``height``; both keep their area under the size rule ``memory_aspect``,
            which takes the aspect of the first given frame, else of the first memory frame.
        length: pixel frames.
        size_rule: one of ``SIZE_RULES``.
        seed: base seed (see ``ShotPlan.seed``).

    Raises:
        ValueError: in the artist's words, for whatever does not fit together.
    """
    mode = resolve_mode(continuity, shot, has_previous=previous_frames is not None)
    given = take_overlap_frames(mode, previous_frames)
    continued = 0 if given is None else given.shape[0]
    if continued:
        _require_finite(given, "previous_frames")
        if start_image is not None and shot is None:
            raise ValueError(
                "start_image and previous_frames are both connected, and a shot begins with one of "
                "them; connect one, or set continuity to cut to begin with start_image"
            )
    elif start_image is not None and _begins_with_image(shot, continuity):
        given = _require_one_image(start_image)
    if shot is not None and shot.shot.length is not None:
        length = shot.shot.length
    if shot is not None and shot.draft is not None:
        width, height = shot.draft.size_of(width, height)
        length = shot.draft.length_of(length)
    check_size(width, height, length)
    if continued and length <= continued:
        raise ValueError(
            f"length is {length}, but the first {continued} frames repeat the previous shot and "
            f"come off afterwards, so nothing would be left; set length to {continued + 4} or more"
        )
    if size_rule == "memory_aspect" and (given is not None or memory):
        source = given[0] if given is not None else memory[0].image
        height, width = fit_size(source.shape[0], source.shape[1], width * height)
    seed = shot.seed(seed) if shot is not None else seed
    return ShotRequest(tuple(memory), given, width, height, length, seed)


def _begins_with_image(shot: ShotPlan | None, continuity: str) -> bool:
    """Whether a start image is this shot's: one that is there for the whole loop begins it only."""
    return shot is None or shot.shot.index == 0 or shot.has_start or continuity == "cut"


def _require_one_image(image: torch.Tensor) -> torch.Tensor:
    if image.shape[0] != 1:
        raise ValueError(
            f"start_image must be one picture, but it holds {image.shape[0]}; pick one, or connect "
            "a clip to previous_frames to continue it"
        )
    _require_finite(image, "start_image")
    return image


def _require_finite(images: torch.Tensor, name: str) -> None:
    if not images.isfinite().all():
        raise ValueError(
            f"{name} holds NaN or infinite pixels, which would spoil the whole shot; decode or "
            "load these frames again"
        )
