"""The sounds of shots as one film's: at cuts without clicks, along cross-fades of the pictures.

Everything streams: no more than one shot's sound is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .sound import FILM_CHANNELS, FILM_RATE, Sound, rising, samples_of_frames

SEAM_SECONDS = 0.004  # of fade on both sides of a cut: too short to hear, too long to click


def join_sounds(
    counts: Sequence[int],
    fades: Sequence[int],
    sound_of: Callable[[int], Sound | None],
    *,
    fps: float,
) -> Iterator[Sound]:
    """A film's sound in parts, each following on the one before; together as long as its frames.

    Args:
        counts: frames of each shot.
        fades: for each shot, how many of its frames cross-fade with the end of the one before it,
            as ``clip_fades`` gives them.
        sound_of: the sound of shot ``i`` from its first frame in the film on, 48 kHz in stereo;
            ``None`` is silence. What goes beyond the shot is not heard.
    """
    tail, start = np.zeros((FILM_CHANNELS, 0), np.float32), 0
    fades = [*fades, 0]
    seam = round(SEAM_SECONDS * FILM_RATE)
    for i, count in enumerate(counts):
        begin, end = (samples_of_frames(n, fps) for n in (start, start + count))
        start += count - fades[i + 1]
        samples = np.zeros((FILM_CHANNELS, end - begin), np.float32)
        if (sound := sound_of(i)) is not None:
            samples = sound.cut(0, end - begin).samples.copy()
        if i and not fades[i]:
            _fade(samples, min(seam, samples.shape[1]), is_in=True)
        if i + 1 < len(counts) and not fades[i + 1]:
            _fade(samples, min(seam, samples.shape[1]), is_in=False)
        _fade(samples, tail.shape[1], is_in=True)
        samples[:, : tail.shape[1]] += tail
        kept = samples_of_frames(start, fps) - begin if i + 1 < len(counts) else end - begin
        tail = samples[:, kept:].copy()
        _fade(tail, tail.shape[1], is_in=False)
        yield Sound(samples[:, :kept].copy(), FILM_RATE)


def _fade(samples: np.ndarray, length: int, *, is_in: bool) -> None:
    if length and is_in:
        samples[:, :length] *= rising(length)
    elif length:
        samples[:, samples.shape[1] - length :] *= rising(length)[::-1]
