"""What the released StoryMem code leaves in its results folder, read as a memory bank.

``02_01_keyframe0.jpg`` is the first keyframe of scene 2, shot 1; ``00_00`` are the reference
pictures that a story began with; ``last_frame.jpg`` and the like are the end of the latest shot.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from .frame import REFERENCE_SHOT

KEYFRAME = re.compile(
    r"(?P<scene>[0-9]{1,6})_(?P<shot>[0-9]{1,6})_keyframe(?P<frame>[0-9]{1,6})\.", re.I
)
SHOT_END = re.compile(  # and copies of it
    r"(last_frame|motion_frames?)[\s_0-9()-]*(copy[\s_0-9()-]*)?\.", re.IGNORECASE
)
REFERENCES = (0, 0)  # scene and shot of the pictures that a story began with
logger = logging.getLogger(__name__)


def keyframes_only(names: Sequence[str]) -> list[str]:
    """``names`` without the ends of shots, where there are keyframes of the released code."""
    if not any(map(KEYFRAME.match, names)):
        return list(names)
    for name in filter(SHOT_END.match, names):
        logger.info("StoryMem: %s is the end of a shot, not a keyframe: left out", name)
    return [name for name in names if not SHOT_END.match(name)]


def released_places(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Shot and frame of the released code's keyframes, by file name.

    Scenes and shots are counted through the whole story in the order of their numbers; a shot that
    left no keyframe is not known here and does not count.
    """
    found = {name: match for name in names if (match := KEYFRAME.match(name))}
    labels = {name: (int(m["scene"]), int(m["shot"])) for name, m in found.items()}
    shots = {label: i for i, label in enumerate(sorted(set(labels.values()) - {REFERENCES}))}
    shots[REFERENCES] = REFERENCE_SHOT
    return {name: (shots[labels[name]], int(match["frame"])) for name, match in found.items()}
