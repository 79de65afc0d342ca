"""How a shot goes on from the one before it, in the words of scripts and inputs (paper 3.3)."""

from __future__ import annotations

from typing import Literal

Mode = Literal["m2v", "mi2v", "mm2v"]
MODE_OF_CONTINUITY: dict[str, Mode] = {
    "cut": "m2v",
    "last_frame": "mi2v",
    "last_five_frames": "mm2v",
}
# What a shot that is no cut may ask for; the first is the default.
CONTINUED = tuple(words for words, mode in MODE_OF_CONTINUITY.items() if mode != "m2v")
