"""Keyframe selection (see :mod:`storymem.selection`)."""

from .selection.algorithm import KeyframeSelection, drop_known, select_keyframes
from .selection.keyframes import choose_keyframes

__all__ = ["KeyframeSelection", "choose_keyframes", "drop_known", "select_keyframes"]
