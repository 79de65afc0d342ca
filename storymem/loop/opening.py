"""How a story begins: with a cut, or from a clip. Checked, and told, before the first shot."""

from __future__ import annotations

from dataclasses import replace

from ..script.story import Story
from .opening_clip import OpeningClip
from .plan import Loop, plan_in

NO_EFFECT = (
    "the clip that the story begins from has no effect: shot 1 does not continue from it, and it "
    "is neither remembered nor in the film; begin shot 1 with [continue] (and no start image), or "
    "take the clip away"
)


def with_opening(loop: Loop) -> Loop:
    """A loop that is known to begin as its script says, with what the artist should know of that.

    Raises:
        ValueError: for a first shot that continues from nothing, and for a clip that is too short.
    """
    clip = loop.opening
    check_first_shot(loop.story, clip)
    if clip is None:
        return loop
    wanted = plan_in(loop, loop.story.shots[0], has_previous=False).overlap_frames
    if wanted:
        clip.last(wanted)
    elif not clip.is_whole_needed:
        return replace(loop, notes=(*loop.notes, NO_EFFECT))
    return loop


def check_first_shot(story: Story, clip: OpeningClip | None) -> None:
    """Raise ValueError for a first shot that continues while there is no clip."""
    first = story.shots[0]
    if clip is None and not first.cut:
        raise ValueError(
            f"the first shot of the story (scene {first.scene}) continues from a shot before it, "
            "but there is none: set its cut to true (plain text: remove [continue]), or give the "
            "clip that the story begins from to opening_frames"
        )
