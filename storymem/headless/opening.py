"""A clip that a headless story begins from: read from a video file, and remembered by keyframes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..files.hashing import digest_of
from ..files.json_text import parse_json
from ..files.messages import reason_of
from ..files.video import FRAME_RATE, open_video, read_info, to_pixels
from ..loop.opening_clip import OpeningClip
from ..loop.opening_memory import (
    choice_key,
    chosen_of,
    find_choice,
    keep_choice,
    remember_clip,
)
from ..loop.shot_store import TAIL_FRAMES, ShotStore
from ..memory.bank import MemoryBank
from ..memory.embedders import Embedder
from ..selection.keyframes import choose_keyframes
from ..selection.scorers import Scorer

LARGEST = 4 * 2**30  # bytes of frames: a minute and a half at 832x480


def read_clip(path: Path, *, is_remembered: bool = False, is_in_film: bool = False) -> OpeningClip:
    """The clip of a video file at the rate of shots, counted back from its very last frame.

    Raises:
        ValueError: for a file that cannot be read, or is too long to be kept as a whole.
    """
    import av

    if not path.is_file():
        raise ValueError(f"there is no video {path}; check the path (--opening)")
    read_info(path)
    is_whole = is_remembered or is_in_film
    try:
        with open_video(path) as container:
            rate = container.streams.video[0].average_rate or FRAME_RATE
            step = max(1e-6, float(rate) / FRAME_RATE)
            kept: deque[np.ndarray] = deque(maxlen=None if is_whole else _tail_of(step))
            size = 0
            for frame in container.decode(video=0):
                kept.append(to_pixels(frame))
                size += kept[-1].nbytes
                if is_whole and size > LARGEST:
                    raise ValueError(
                        f"{path} is too long to be remembered, or to stand in the film; cut it, or "
                        "pass --opening alone, of which the last frames are used"
                    )
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {reason_of(error)}") from error
    if not kept:
        raise ValueError(f"{path} holds no frame; pass another video with --opening")
    places = [len(kept) - 1 - i for i in _steps_back(len(kept), step)]
    if not is_whole:
        places = places[:TAIL_FRAMES]
    frames = np.stack([kept[i] for i in reversed(places)])
    return OpeningClip(torch.from_numpy(frames), is_remembered, is_in_film)


def remember_opening(
    clip: OpeningClip,
    bank: MemoryBank,
    store: ShotStore,
    body: str,
    judges: Callable[[], tuple[Embedder, Scorer | None]],
) -> MemoryBank:
    """``bank`` with a clip's keyframes, chosen as those of a shot are, once.

    Args:
        body: what makes the shots of the run (see ``describe_body``).
        judges: loads what looks at frames; asked for a clip that was never looked at.
    """
    made = parse_json(body)
    settings = {name: made["settings"][name] for name in ("threshold", "max_keyframes")}
    weights = {name: made["weights"][name] for name in ("clip", "laion")}
    how = digest_of([settings, weights, made["judges"], made["code"]])
    key = choice_key(clip, bank, how)
    chosen = find_choice(store, clip, key)
    if chosen is None:
        embedder, scorer = judges()
        found = choose_keyframes(clip.frames, embedder, scorer=scorer, bank=bank, **settings)
        if scorer is not None:
            scorer.release()
        chosen = chosen_of(found.frames)
        keep_choice(store, key, chosen)
    return remember_clip(bank, clip, chosen)


# --- inside ----------------------------------------------------------------------------------


def _steps_back(count: int, step: float) -> list[int]:
    """How many of a video's frames lie after each one that is taken, the last one first."""
    places, i = [], 0
    while (place := int(i * step + 0.5)) < count:
        places.append(place)
        i += 1
    return places


def _tail_of(step: float) -> int:
    """How many of a video's last frames hold those that a shot continues from."""
    return int((TAIL_FRAMES - 1) * step + 0.5) + 1
