"""One shot as asked for: which frames begin it, how large and long it is, which seed it has.

Written once, for the nodes and for the headless runner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..memory.frame import MemoryFrame
from ..script.continuity import Mode
from .conditioning import (
    LATENT_CHANNELS,
    TIME_STRIDE,
    VAE_STRIDE,
    check_size,
    fit_size,
    latent_frames,
)
from .continuity import ShotPlan, resolve_mode, take_overlap_frames

SIZE_RULES = ("exact", "memory_aspect")
SHORTEST_WITH_END = TIME_STRIDE + 1  # pixel frames: two latent frames, the first and the last


@dataclass(frozen=True)
class ShotRequest:
    """One shot as asked for: what is remembered, what is given, how large, how long."""

    memory: tuple[MemoryFrame, ...]
    given: torch.Tensor | None  # [1 | 5, H, W, 3]: the shot's first frames
    width: int  # pixels
    height: int
    length: int  # pixel frames, given ones included
    seed: int
    end: torch.Tensor | None = None  # [1, H, W, 3]: the shot's last frame
    memory_low: tuple[MemoryFrame, ...] | None = None  # of the low-noise expert, if it has its own
    mode: Mode = "m2v"  # how it begins

    @property
    def is_cut(self) -> bool:
        """Whether it begins with a cut, and not with frames of the shot before."""
        return self.mode == "m2v"

    @property
    def latent_shape(self) -> list[int]:
        """Of the shot alone, ``[1, 16, F, h, w]``."""
        frames = latent_frames(self.length)
        return [1, LATENT_CHANNELS, frames, self.height // VAE_STRIDE, self.width // VAE_STRIDE]

    @property
    def is_from_text(self) -> bool:
        """Whether nothing but the prompt says what the shot looks like."""
        return not self.memory and self.given is None and self.end is None


def memory_size(
    memory: Sequence[MemoryFrame],
    shot: ShotPlan | None,
    *,
    width: int,
    height: int,
    size_rule: str,
) -> tuple[int, int]:
    """``(width, height)`` at which a shot's memory is encoded, where nothing else of it is known.

    As ``request_shot`` has it. Under ``memory_aspect`` a shot that continues has the aspect of the
    one before it, which is that of the newest frame of the story.

    Raises:
        ValueError: for a size that no shot can have.
    """
    if shot is not None and shot.draft is not None:
        width, height = shot.draft.size_of(width, height)
    check_size(width, height, 1)
    if size_rule == "memory_aspect" and memory:
        own = [frame for frame in memory if not frame.is_reference]
        continues = shot is not None and shot.overlap_frames and own
        source = (own[-1] if continues else memory[0]).image
        height, width = fit_size(source.shape[0], source.shape[1], width * height)
    return width, height


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
    end_image: torch.Tensor | None = None,
    memory_low: Sequence[MemoryFrame] | None = None,
) -> ShotRequest:
    """Check what a shot is made from, and settle mode, size, length and seed.

    Args:
        memory: the frames that the shot sees.
        memory_low: those that the low-noise expert sees, where it has a memory of its own.
        shot: the shot of a story; its length, seed and continuity win, and a pass before the film
            has a size and a length of its own. ``None``: one by itself.
        previous_frames: ``[T, H, W, 3]``, the end of the shot before.
        start_image: ``[1, H, W, 3]``. One that is there for a whole story begins its first shot
            only, unless the shot has it for its own (``has_start``) or ``continuity`` is ``cut``.
        width: pixels, like ``height``; both keep their area under the size rule ``memory_aspect``,
            which takes the aspect of the first given frame, else of the last one, else of the first
            memory frame.
        length: pixel frames.
        size_rule: one of ``SIZE_RULES``.
        seed: base seed (see ``ShotPlan.seed``).
        end_image: ``[1, H, W, 3]``, the last frame of a shot that brings none of its own
            (``ShotPlan.end``). A still has no last frame, and ignores it.

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
        given = _require_one_image(start_image, "start_image")
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
    end = end_frame(shot, end_image, length)
    if size_rule == "memory_aspect" and (given is not None or end is not None or memory):
        frames = given if given is not None else end
        source = frames[0] if frames is not None else memory[0].image
        height, width = fit_size(source.shape[0], source.shape[1], width * height)
    seed = shot.seed(seed) if shot is not None else seed
    memory, memory_low = of_one_length(tuple(memory), memory_low and tuple(memory_low))
    return ShotRequest(
        memory, given, width, height, length, seed, end, memory_low=memory_low, mode=mode
    )


def of_one_length(
    high: tuple[MemoryFrame, ...], low: tuple[MemoryFrame, ...] | None
) -> tuple[tuple[MemoryFrame, ...], tuple[MemoryFrame, ...] | None]:
    """The memories of both experts, the longer one without its oldest frames: one run samples both,
    and what stands before the shot must be as long. Pinned frames stay."""
    if low is None or low == high:
        return high, None
    count = min(len(high), len(low))
    return _newest(high, count), _newest(low, count)


def _newest(frames: tuple[MemoryFrame, ...], count: int) -> tuple[MemoryFrame, ...]:
    by_age = sorted(range(len(frames)), key=lambda i: (frames[i].pinned, i))
    kept = set(by_age[len(frames) - count :])
    return tuple(frame for i, frame in enumerate(frames) if i in kept)


def end_frame(
    shot: ShotPlan | None, end_image: torch.Tensor | None, length: int
) -> torch.Tensor | None:
    """The last frame of a shot as it was asked for, float ``[1, H, W, 3]``; ``None`` for none.

    Args:
        shot: one with a last frame of its own has that; a still has none.
        end_image: ``[1, H, W, 3]``, of shots without.
        length: pixel frames.

    Raises:
        ValueError: for a length of one frame, which is the first, and for more pictures than one.
    """
    if shot is not None and shot.draft is not None and shot.draft.is_stills:
        return None
    if shot is not None and shot.end is not None:
        end_image = shot.end.pixels[None].float() / 255
    if end_image is None:
        return None
    if length < SHORTEST_WITH_END:
        raise ValueError(too_short_to_end(length))
    return _require_one_image(end_image, "end_image")


def too_short_to_end(length: int) -> str:
    """What an artist is told of a shot with a last frame of its own that has no room for it."""
    return (
        f"length is {length}, but a shot that ends with a picture (end_image) needs at least "
        f"{SHORTEST_WITH_END} frames: with {length} the last frame is the first; set length to "
        f"{SHORTEST_WITH_END} or more, or take end_image away"
    )


def _begins_with_image(shot: ShotPlan | None, continuity: str) -> bool:
    """Whether a start image is this shot's: one that is there for the whole loop begins it only."""
    return shot is None or shot.shot.index == 0 or shot.has_start or continuity == "cut"


def _require_one_image(image: torch.Tensor, name: str) -> torch.Tensor:
    if image.shape[0] != 1:
        instead = ", or connect a clip to previous_frames to continue it"
        raise ValueError(
            f"{name} must be one picture, but it holds {image.shape[0]}; pick one"
            f"{instead if name == 'start_image' else ''}"
        )
    _require_finite(image, name)
    return image


def _require_finite(images: torch.Tensor, name: str) -> None:
    if not images.isfinite().all():
        raise ValueError(
            f"{name} holds NaN or infinite pixels, which would spoil the whole shot; decode or "
            "load these frames again"
        )
