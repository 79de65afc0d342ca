"""The selection of keyframes as pure arithmetic (paper 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SIMILARITY_THRESHOLD = 0.9  # released selection, calibrated on CLIP ViT-B/32
THRESHOLD_STEP = 0.01  # released selection
MAX_KEYFRAMES_PER_SHOT = 3  # paper's released selection
KNOWN_THRESHOLD = 0.9  # released selection: above this a keyframe is already in the bank


@dataclass(frozen=True)
class KeyframeSelection:
    """Chosen frames, the threshold that chose them, and how many passes it took to find it."""

    indices: tuple[int, ...]
    threshold: float
    passes: int


def select_keyframes(
    count: int,
    similarity: Callable[[int, int], float],
    good: Callable[[int], bool],
    *,
    threshold: float = SIMILARITY_THRESHOLD,
    step: float = THRESHOLD_STEP,
    max_keyframes: int = MAX_KEYFRAMES_PER_SHOT,
) -> KeyframeSelection:
    """Choose keyframes of a shot of ``count`` frames.

    The first good frame is a keyframe. Then, from frame 2 on, a frame whose similarity to the last
    keyframe is strictly below the threshold and that is good becomes the next one, and the anchor.
    When more than ``max_keyframes`` result, the threshold falls by ``step`` and all starts again.

    ``similarity(anchor, i)`` and ``good(i)`` are called once per pair and frame, and only when the
    outcome depends on them: a pass ends as soon as it has too many keyframes, which changes no
    result and spares the scorer.

    Raises:
        ValueError: for settings that cannot end, and for a similarity that is no cosine.
    """
    if count < 0 or max_keyframes < 1:
        raise ValueError(
            f"count must be 0 or more and max_keyframes 1 or more, not {count} and {max_keyframes}"
        )
    if not (math.isfinite(threshold) and math.isfinite(step) and step > 0):
        raise ValueError(
            f"threshold must be a number and step above 0, but they are {threshold} and {step}"
        )
    known: dict[tuple[int, int], float] = {}
    verdicts: dict[int, bool] = {}

    def is_good(i: int) -> bool:
        if i not in verdicts:
            verdicts[i] = bool(good(i))
        return verdicts[i]

    def cosine(anchor: int, i: int) -> float:
        if (anchor, i) not in known:
            value = float(similarity(anchor, i))
            if not -1.01 <= value <= 1.01:  # else the falling threshold might never end the search
                raise ValueError(
                    f"the similarity of frames {anchor} and {i} is {value}, but a cosine lies "
                    "between -1 and 1"
                )
            known[anchor, i] = value
        return known[anchor, i]

    first = next((i for i in range(count) if is_good(i)), None)
    if first is None:
        return KeyframeSelection((), threshold, 1)
    passes = 0
    while True:
        passes += 1
        chosen = [first]
        for i in range(max(2, first + 1), count):
            if cosine(chosen[-1], i) < threshold and is_good(i):
                chosen.append(i)
                if len(chosen) > max_keyframes:
                    break
        if len(chosen) <= max_keyframes:
            return KeyframeSelection(tuple(chosen), threshold, passes)
        threshold -= step  # in float64, accumulated: 0.9 - 0.01 - 0.01 is not 0.88


def drop_known(
    indices: Iterable[int],
    bank_similarity: Callable[[int], Iterable[float]],
    *,
    threshold: float = KNOWN_THRESHOLD,
) -> tuple[int, ...]:
    """Those ``indices`` that are not strictly more similar than ``threshold`` to any bank frame.

    ``bank_similarity(i)`` gives the similarity of frame ``i`` to every frame of the whole bank.
    New keyframes are not compared with each other.
    """
    return tuple(i for i in indices if not any(s > threshold for s in bank_similarity(i)))
