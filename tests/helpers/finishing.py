"""The graph of storymem_finish for the host tests and the benchmark."""

from __future__ import annotations


def finishing(folder: str, *, prefix="loop", at_once=0, scale=2.0, **closed) -> dict:
    """Story Shots -> Open -> Story Shots -> Upscale Image By -> Close."""
    scaled = {"image": ["shots", 0], "upscale_method": "bicubic", "scale_by": scale}
    ends = {"flow": ["open", 0], "frames": ["scale", 0], "bank": ["open", 2], "fps": ["all", 1]}
    return {
        "all": {
            "class_type": "StoryMemStoryShots",
            "inputs": {"folder": folder, "index": 0, "frame_count": 0},
        },
        "open": {
            "class_type": "StoryMemShotLoopOpen",
            "inputs": {"story": ["all", 4], "continuity": "cut", "filename_prefix": prefix},
        },
        "shots": {
            "class_type": "StoryMemStoryShots",
            "inputs": {"folder": ["all", 5], "index": ["open", 6], "frame_count": at_once},
        },
        "scale": {"class_type": "ImageScaleBy", "inputs": scaled},
        "close": {"class_type": "StoryMemShotLoopClose", "inputs": {**ends, **closed}},
    }
