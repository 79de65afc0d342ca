"""A film's own track, under the sounds of its shots: cut or padded to the film, faded, mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .sound import FILM_RATE, Sound


def lay_track(
    track: Sound, length: int, *, gain: float = 0.0, fade_in: float = 0.0, fade_out: float = 0.0
) -> Sound:
    """``track`` as long as a film: ``length`` samples, silent after its end.

    Args:
        track: 48 kHz in stereo, like the film.
        gain: in decibels.
        fade_in: seconds from the film's beginning.
        fade_out: seconds up to the end of what is heard of it: of the film, or of the track where
            that ends earlier.
    """
    heard = track.cut(0, min(length, track.length)).gained(gain)
    begin, end = (round(seconds * FILM_RATE) for seconds in (fade_in, fade_out))
    return heard.faded(begin, end).cut(0, length)


def mix_under(parts: Iterable[Sound], track: Sound | None) -> Iterator[Sound]:
    """``parts`` that follow on each other, with ``track`` under them from the first on."""
    start = 0
    for part in parts:
        if track is not None:
            part = Sound(part.samples + track.cut(start, part.length).samples, part.rate)
        start += part.length
        yield part


class Meter:
    """Passes parts on with what is over full scale cut off, and knows how loud they were."""

    def __init__(self, parts: Iterable[Sound]):
        self._parts = parts
        self.peak = 0.0  # before it was cut off; 1 is full scale
        self.loudest = 0.0  # seconds from the beginning to the peak

    def __iter__(self) -> Iterator[Sound]:
        start = 0
        for part in self._parts:
            if part.peak > self.peak:
                self.peak = part.peak
                place = int(np.abs(part.samples).max(0).argmax())
                self.loudest = (start + place) / part.rate
            start += part.length
            yield part.limited()

    @property
    def over(self) -> float:
        """Decibels over full scale; 0 when nothing was cut off."""
        return max(0.0, 20 * float(np.log10(max(self.peak, 1.0))))
