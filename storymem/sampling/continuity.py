"""How a shot begins: after a cut (M2V), from the last frame (MI2V) or five (MM2V) (paper 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..memory.picture import Picture
from ..script.continuity import CONTINUED, MODE_OF_CONTINUITY, Mode
from ..script.story import Shot
from .draft import Draft

LOOP_CONTINUITY = (*CONTINUED, "cut")  # cut: shots know nothing of each other's frames
CONTINUITY_CHOICES = ("auto", *MODE_OF_CONTINUITY)  # of one sampled shot
OVERLAP_FRAMES: dict[str, int] = {"m2v": 0, "mi2v": 1, "mm2v": 5}  # released code: 1 and 5 frames


@dataclass(frozen=True)
class ShotPlan:
    """A shot with what the loop decided for it. It travels on ``STORYMEM_SHOT`` wires."""

    shot: Shot
    story: str  # story name
    prompt: str  # character description included
    mode: Mode = "m2v"
    has_start: bool = False  # whether it begins from a picture of its own
    draft: Draft | None = None  # what the pass before the film sets; None: the film
    # The picture that it ends with, if it has one; compared by the loop's key alone.
    end: Picture | None = field(default=None, compare=False, repr=False)
    # When its first frame happens: pixel frames from the story's begin, as made (repeated frames
    # of continued shots count again). Where memory stands in real time; no part of any key.
    begin: int = field(default=0, compare=False, repr=False)

    @property
    def overlap_frames(self) -> int:
        """Frames of the previous shot that go in, and that come off after decoding."""
        return OVERLAP_FRAMES[self.mode]

    def seed(self, base: int) -> int:
        """The shot's own seed, else base + global shot index (released: restarts per scene)."""
        return self.shot.seed if self.shot.seed is not None else (base + self.shot.index) % 2**64


def choose_mode(shot: Shot, continuity: str, *, has_previous: bool) -> Mode:
    """M2V after a cut, else MI2V or MM2V by the artist's choice (the shot's own choice wins, but
    ``cut`` makes every shot one)."""
    if shot.cut or not has_previous or continuity == "cut":
        return "m2v"
    return "mm2v" if (shot.continuity or continuity) == "last_five_frames" else "mi2v"


def resolve_mode(continuity: str, plan: ShotPlan | None, *, has_previous: bool) -> Mode:
    """The mode of one sampled shot: what the shot says on ``auto``, else the artist's choice.

    Raises:
        ValueError: when the choice contradicts the shot (the loop takes frames off by what the shot
            says), or when it continues from a shot of which no frames are connected.
    """
    if continuity not in CONTINUITY_CHOICES:
        raise ValueError(
            f"continuity must be one of {', '.join(CONTINUITY_CHOICES)}, but it is {continuity!r}"
        )
    if continuity == "auto":
        mode = plan.mode if plan else ("mi2v" if has_previous else "m2v")
    else:
        mode = MODE_OF_CONTINUITY[continuity]
        if plan and mode != plan.mode:
            raise ValueError(
                f"continuity is {continuity}, but shot {plan.shot.label} of the script is planned "
                f"as {plan.mode}, and the loop takes repeated frames off by that; set continuity "
                "to auto, or change the shot in the script or on Shot Loop Open"
            )
    if mode != "m2v" and not has_previous:
        raise ValueError(
            f"this shot continues the previous one ({mode}), but previous_frames is not connected; "
            "connect the previous shot's frames, or set continuity to cut"
        )
    return mode


def take_overlap_frames(mode: Mode, previous_frames: torch.Tensor | None) -> torch.Tensor | None:
    """The last 1 (MI2V) or 5 (MM2V) frames of the previous shot; None after a cut."""
    count = OVERLAP_FRAMES[mode]
    if count == 0:
        return None
    available = 0 if previous_frames is None else previous_frames.shape[0]
    if available < count:
        raise ValueError(
            f"continuing with {mode} needs the last {count} frames of the previous shot, but "
            f"previous_frames holds {available}; pass more frames or choose last_frame"
        )
    return previous_frames[-count:]
