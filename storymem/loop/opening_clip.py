"""A clip that a story begins from: what its first shot is given of it, and who it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..files.images import to_uint8
from ..files.messages import counted
from ..memory.picture import Picture
from .shot_store import TAIL_FRAMES


@dataclass(frozen=True, eq=False)
class OpeningClip:
    """A clip of somebody else's making. Its last frames are for the first shot what the last frames
    of the shot before are for every other one."""

    frames: torch.Tensor  # uint8 [n, H, W, 3]
    is_remembered: bool = False  # whether its keyframes begin the memory
    is_in_film: bool = False  # whether it stands at the film's head

    @classmethod
    def of_images(cls, images: torch.Tensor, **settings: bool) -> OpeningClip:
        """From float ``[n, H, W, 3 or 4]`` in [0, 1]; what nothing needs is let go.

        Raises:
            ValueError: for no frames, or pixels that are no numbers.
        """
        if not len(images):
            raise ValueError("opening_frames holds no frame; connect a clip, or nothing")
        if not any(settings.values()):  # no more than its last frames is used
            images = images[-TAIL_FRAMES:]
        frames = torch.empty((*images.shape[:3], 3), dtype=torch.uint8)
        for frame, image in zip(frames, images, strict=True):  # long clips are large as floats
            frame.copy_(to_uint8(image, "opening_frames"))
        return cls(frames, **settings)

    @property
    def is_whole_needed(self) -> bool:
        """Whether more of it than its last frames is used."""
        return self.is_remembered or self.is_in_film

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all frames and their size."""
        size = "x".join(map(str, self.frames.shape))
        digest = hashlib.sha256(f"{size}:".encode())
        for frame in self.frames:
            digest.update(np.ascontiguousarray(frame.numpy()))
        return digest.hexdigest()

    def last(self, count: int) -> torch.Tensor:
        """The frames that a shot continues from, ``uint8 [count, H, W, 3]``.

        Raises:
            ValueError: when there are fewer.
        """
        if len(self.frames) < count:
            raise ValueError(
                f"shot 1 continues from the last {count} frames of the clip that the story begins "
                f"from, but opening_frames holds {counted(len(self.frames), 'frame')}; give a "
                "longer clip, or choose last_frame"
            )
        return self.frames[-count:]

    def digests(self, count: int) -> list[str]:
        """Who the frames of ``last`` are, in order."""
        return [Picture(frame).digest for frame in self.last(count)]
