"""How a shot begins: after a cut (M2V), from the last frame (MI2V) or the last five (MM2V) (paper 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .story import Shot

Mode = Literal["m2v", "mi2v", "mm2v"]
GIVEN_FRAMES: dict[str, int] = {"m2v": 0, "mi2v": 1, "mm2v": 5}  # released code: 1 and 5 frames


@dataclass(frozen=True)
class ShotPlan:
    """A shot with what the loop decided for it. It travels on ``STORYMEM_SHOT`` wires."""

    shot: Shot
    story: str  # story name
    prompt: str  # character description included
    mode: Mode = "m2v"

    @property
    def given_frames(self) -> int:
        """Frames of the previous shot that go in, and that come off after decoding."""
        return GIVEN_FRAMES[self.mode]

    def seed(self, base: int) -> int:
        """The shot's own seed, else base + global shot index (the released one restarts per scene)."""
        return self.shot.seed if self.shot.seed is not None else (base + self.shot.index) % 2**64


def choose_mode(shot: Shot, continuity: str, *, has_previous: bool) -> Mode:
    """M2V after a cut, else MI2V or MM2V by the artist's choice (the shot's own choice wins)."""
    if shot.cut or not has_previous:
        return "m2v"
    return "mm2v" if (shot.continuity or continuity) == "last_five_frames" else "mi2v"
