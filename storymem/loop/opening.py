"""How a story begins: with a cut, or from a clip. Checked, and told, before the first shot."""

from __future__ import annotations

from dataclasses import replace

from .plan import Loop, plan_in

NO_EFFECT = (
    "opening_frames has no effect: shot 1 does not continue from the clip, which is neither "
    "remembered nor in the film; begin shot 1 with [continue] (and no start image), or take the "
    "clip away"
)


def with_opening(loop: Loop) -> Loop:
    """A loop that is known to begin as its script says, with what the artist should know of that.

    Raises:
        ValueError: for a first shot that continues from nothing, and for a clip that is too short.
    """
    first, clip = loop.story.shots[0], loop.opening
    if clip is None:
        if not first.cut:
            raise ValueError(
                f"the first shot of the story (scene {first.scene}) continues from a shot before "
                "it, but there is none: set its cut to true (plain text: remove [continue]), or "
                "give the clip that the story begins from to opening_frames"
            )
        return loop
    wanted = plan_in(loop, first, has_previous=False).overlap_frames
    if wanted:
        clip.last(wanted)
    elif not clip.is_whole_needed:
        return replace(loop, notes=(*loop.notes, NO_EFFECT))
    return loop
