"""Inputs that leave a shot as it would be without them, so that a new input regenerates no film.

A shot's key holds the inputs of every node that makes it. A workflow that was saved before an input
existed lacks it; saved again, it has the input at its neutral value. Both are one key: an input at
its neutral value is left out. That value is what the node computed before the input existed, and
stays what it is when the default that a fresh node shows becomes another one.
"""

from __future__ import annotations

from collections.abc import Mapping

# Node id, or class of the headless runner's settings -> input -> value that changes nothing.
NEUTRAL: dict[str, dict[str, object]] = {
    "StoryMemBeginStory": {
        "negative": "",
        "pass": "film",
        "remember_opening": False,
        "opening_in_film": False,
    },
    "StoryMemChooseMemory": {"size_rule": "exact"},
    "StoryMemEvaluateStory": {"aesthetic_every": 1, "partial": False},
    "StoryMemJoinStory": {
        "fps": 16.0,
        "prompt_subtitles": False,
        "codec": "h264",
        "timeline": "none",
    },
    "StoryMemKeyframeSelect": {"known_threshold": 0.9, "selection": "semantic"},
    "StoryMemLoadEmbedder": {"activation": "auto"},
    "StoryMemLoadLoRA": {"scale": "auto"},
    "StoryMemLoadMemoryBank": {"policy": "window"},
    "StoryMemLoadScorer": {"precision": "bf16"},
    "StoryMemLoadStory": {"character": "", "prompt_weights": False},
    "StoryMemM2VGuider": {"cfg_low": 0.0, "boundary": 0.9},
    "StoryMemM2VModelPatch": {
        "rope_shift": 5,
        "memory_refresh": "exact",
        "refresh_steps": "",
        "method": "auto",
    },
    "StoryMemM2VConditioning": {"method": "auto", "expert": "high"},
    "StoryMemM2VSampler": {
        "cfg_low": 0.0,
        "shift": 4.0,
        "boundary": 0.9,
        "denoise": 1.0,
        "rope_shift": 5,
        "memory_refresh": "exact",
        "refresh_steps": "",
        "method": "auto",
        "cfg_cut": 0.0,
    },
    "StoryMemMemoryBank": {"edits": "", "policy": "window", "reference_names": ""},
    "StoryMemRehearsal": {
        "folder": "",
        "frames_per_name": 1,
        "rule": "sharpest",
        "named_again": False,
        "places": "",
        "filename_prefix": "storymem",
        "edits": "",
    },
    "StoryMemRemember": {"pin": False},
    "StoryMemShotLoopClose": {
        "fps": 16.0,
        "crf": 17,
        "transition": "none",
        "fade_frames": 8,
        "subtitles": True,
        "prompt_subtitles": False,
        "codec": "h264",
        "timeline": "none",
    },
    "StoryMemShotLoopOpen": {
        "negative": "",
        "start_shot": 1,
        "end_shot": 0,
        "preview": False,
        "redo_shots": "",
        "redo_take": 1,
        "after_redo": "recompute",
        "pass": "film",
        "rehearsals": 0,
        "remember_opening": False,
        "opening_in_film": False,
    },
    "StoryMemStoryShots": {"first_frame": 0, "overlap": False},
    "StoryMemTinyTextEncoder": {"negative_prompt": ""},
    "StoryMemWriteStory": {"answer": "", "temperature": 0.7, "max_length": 0},
    "Shot": {
        "take": "",
        "remember": (),
        "promote": (),
        "end_image": "",
        "loras": (),
        "audio": "",
        "dialogue": (),
        "subtitle": "",
    },
    "ShotPlan": {"draft": None, "end": None, "begin": 0},
    "RunSettings": {"method": "auto", "reconstruct": "", "selection": "semantic"},
    "Recipe": {
        "scheduler": "simple",
        "denoise": 1.0,
        "memory_refresh": "exact",
        "refresh_steps": "",
        "cfg_cut": 0.0,
    },
    "SelectionModels": {},
}
# Inputs that show in no pixel, whatever their value.
OF_SOUND = frozenset(
    ("audio", "audio_gain", "audio_fade_in", "audio_fade_out", "shot_audio", "shot_audio_gain")
)
NEVER_COUNT: dict[str, frozenset[str]] = {
    "StoryMemStoryShots": frozenset({"frame_count"}),
    "StoryMemFinishShot": frozenset({"shot_audio", "codec"}),
    "StoryMemJoinStory": OF_SOUND - {"shot_audio"},
    "StoryMemShotLoopClose": OF_SOUND,
    "StoryMemEvaluateStory": frozenset({"download"}),
    "StoryMemLoadEmbedder": frozenset({"download"}),
    "StoryMemLoadScorer": frozenset({"download"}),
}


def inputs_that_count(kind: str, inputs: Mapping[str, object]) -> dict[str, object]:
    """Those of ``inputs`` that may change a shot, in their order.

    Args:
        kind: a node's id, or the name of a class in ``NEUTRAL``; all inputs of others count.
    """
    neutral, never = NEUTRAL.get(kind, {}), NEVER_COUNT.get(kind, frozenset())
    return {
        name: value
        for name, value in inputs.items()
        if name not in never and not (name in neutral and _is_same(value, neutral[name]))
    }


def _is_same(value: object, neutral: object) -> bool:
    """Whether two values are one; pages write ``4`` for ``4.0``, and ``1`` is not ``True``."""
    return isinstance(value, bool) == isinstance(neutral, bool) and value == neutral
