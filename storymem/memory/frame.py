"""One frame of the memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..files.images import to_uint8
from .picture import Picture

REFERENCE_SHOT = -1  # shot index of images that come from the artist, not from a shot


@dataclass(frozen=True, eq=False)
class MemoryFrame:
    """One keyframe with its provenance.

    ``picture`` may be given as pixels, ``uint8 [H, W, 3]`` on the CPU: eight bits, so that a frame
    on a wire and the same frame read back from a PNG are the same frame, and a resumed story equals
    an undisturbed one.
    """

    picture: Picture
    story: str = ""
    shot: int = REFERENCE_SHOT  # global shot index, 0-based
    frame: int = 0  # frame index in the shot, after repeated frames were taken off
    score: float | None = None
    scorer: str = ""  # which scorer gave the score: scores of two scorers are never compared
    similarity: float | None = None  # cosine to the keyframe before it in the same shot
    reason: str = ""  # why it was kept (or dropped), in the artist's words
    pinned: bool = False
    name: str = ""  # the artist's own label, may be empty
    prompt: str = ""  # of the shot that it is from, which may have moved or changed since
    edited: str = ""  # what a click did to it: pin, unpin, drop or keep (see BankEdits)
    # Pixel frames from the story's begin, as made: those that repeat the shot before count again.
    moment: int | None = None  # None: not known, or from outside the story
    pool: str = ""  # of which expert's memory, where each has its own: high or low; empty: of both

    def __post_init__(self) -> None:
        if not isinstance(self.picture, Picture):
            object.__setattr__(self, "picture", Picture(self.picture))

    @classmethod
    def from_pixels(cls, pixels: torch.Tensor, **provenance) -> MemoryFrame:
        """Build a frame from float pixels ``[H, W, 3]`` in [0, 1] (values outside are clamped)."""
        if pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise ValueError(f"an image must be [H, W, 3], but it is {list(pixels.shape)}")
        return cls(to_uint8(pixels, "an image for the memory bank"), **provenance)

    @property
    def image(self) -> torch.Tensor:
        """``uint8 [H, W, 3]`` on the CPU; read from disk where it is not in memory."""
        return self.picture.pixels

    def pixels(self) -> torch.Tensor:
        """Float32 ``[H, W, 3]`` in [0, 1]."""
        return self.image.float() / 255

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels and their size: who the image is, whatever its provenance."""
        return self.picture.digest

    @property
    def order(self) -> tuple[int, int]:
        """Sorts frames as they appear in the story (paper 3.2), reference images first."""
        return (self.shot, self.frame)

    @property
    def is_reference(self) -> bool:
        """Whether it comes from the artist: for the whole story, or for one shot by the script,
        whose references stand before what the shot itself left."""
        return self.shot == REFERENCE_SHOT or self.frame < 0

    @property
    def place(self) -> str:
        """Where it is from, in the artist's words; shots count from 1, frames from 0."""
        if self.shot == REFERENCE_SHOT:
            return f"reference {self.frame + 1}"
        if self.is_reference:
            return f"reference of shot {self.shot + 1}"
        return f"shot {self.shot + 1}, frame {self.frame}"

    @property
    def why(self) -> str:
        """Why it is in the bank or not: a click's word counts before the selection's."""
        return {"drop": "dropped by hand", "keep": "kept by hand"}.get(self.edited, self.reason)
