"""The value that everything here works on: samples, and how many of them make a second.

Cut at frames by cumulative rounding: where frame ``n`` begins is rounded once from the film's
beginning, never added up from rounded lengths, so that after any number of shots a sound is at
most half a sample from its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from ..files.video import as_rate

FILM_RATE = 48_000  # samples per second of films; what video files usually have
FILM_CHANNELS = 2
SLOWEST, FASTEST = 1_000, 768_000  # samples per second that a sound may have
QUIETEST_DB = -60.0  # a gain of this or less is silence


@dataclass(frozen=True)
class Sound:
    """Samples ``float32 [channels, samples]``, full scale at -1 and 1, ``rate`` of them a second.

    Raises:
        ValueError: for samples of another shape or kind, for ones that are no finite numbers, and
            for a rate outside 1000 ... 768000.
    """

    samples: np.ndarray
    rate: int

    def __post_init__(self):
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 2:
            shape = getattr(samples, "shape", type(samples).__name__)
            raise ValueError(f"a sound is float32 [channels, samples], but this one is {shape}")
        if not samples.shape[0]:
            raise ValueError("a sound needs a channel, but this one has none")
        if not SLOWEST <= self.rate <= FASTEST or int(self.rate) != self.rate:
            raise ValueError(
                f"a sound has {SLOWEST} to {FASTEST} whole samples a second, not {self.rate}"
            )
        if not np.isfinite(samples).all():
            raise ValueError("the sound has samples that are no finite numbers")
        samples.setflags(write=False)

    @property
    def channels(self) -> int:
        return self.samples.shape[0]

    @property
    def length(self) -> int:
        """How many samples a channel has."""
        return self.samples.shape[1]

    @property
    def seconds(self) -> float:
        return self.length / self.rate

    @property
    def peak(self) -> float:
        """The largest deflection; 1 is full scale."""
        return float(np.abs(self.samples).max(initial=0.0))

    @cached_property
    def digest(self) -> str:
        """The same for equal samples at an equal rate."""
        head = f"{self.rate} {self.channels} ".encode()
        return sha256(head + np.ascontiguousarray(self.samples).tobytes()).hexdigest()

    def cut(self, first: int, length: int) -> Sound:
        """``length`` samples from sample ``first`` on; silence where there are none."""
        kept = self.samples[:, max(0, first) : max(0, first + length)]
        before = min(length, max(0, -first))
        padding = ((0, 0), (before, length - before - kept.shape[1]))
        return Sound(np.pad(kept, padding) if any(padding[1]) else kept, self.rate)

    def cut_frames(self, first: int, frames: int, fps: float) -> Sound:
        """What is heard while ``frames`` frames from frame ``first`` on are seen."""
        begin = samples_of_frames(first, fps, self.rate)
        end = samples_of_frames(first + frames, fps, self.rate)
        return self.cut(begin, end - begin)

    def gained(self, decibels: float) -> Sound:
        """Louder or quieter; 0 leaves it as it is, -60 and below is silence."""
        if decibels == 0:
            return self
        return Sound(self.samples * factor_of(decibels), self.rate)

    def faded(self, begin: int, end: int) -> Sound:
        """With a fade in over the first ``begin`` samples and a fade out over the last ``end``.

        Where both together are longer than the sound, both are applied.
        """
        begin, end = (min(max(0, n), self.length) for n in (begin, end))
        if not begin and not end:
            return self
        samples = self.samples.copy()
        if begin:
            samples[:, :begin] *= rising(begin)
        if end:
            samples[:, self.length - end :] *= rising(end)[::-1]
        return Sound(samples, self.rate)

    def limited(self) -> Sound:
        """With what goes over full scale cut off."""
        if self.peak <= 1:
            return self
        return Sound(self.samples.clip(-1, 1), self.rate)


def silence(length: int, *, rate: int = FILM_RATE, channels: int = FILM_CHANNELS) -> Sound:
    """``length`` samples of nothing."""
    return Sound(np.zeros((channels, length), np.float32), rate)


def samples_of_frames(frames: int, fps: float, rate: int = FILM_RATE) -> int:
    """At which sample frame number ``frames`` begins, from 0; rounded to the nearest.

    Raises:
        ValueError: for an fps outside 1 ... 240.
    """
    fraction = as_rate(fps)
    # Whole numbers throughout: no float is exact for an hour at 30000/1001 frames a second.
    return (2 * frames * rate * fraction.denominator + fraction.numerator) // (
        2 * fraction.numerator
    )


def factor_of(decibels: float) -> np.float32:
    """By what samples are multiplied for a gain."""
    return np.float32(0 if decibels <= QUIETEST_DB else 10 ** (decibels / 20))


def rising(length: int) -> np.ndarray:
    """``float32 [length]`` from just above 0 to just below 1: a sine's quarter, so that two sounds
    that cross with it keep their power (the sum of squares is 1)."""
    steps = (np.arange(length, dtype=np.float64) + 0.5) / max(1, length)
    return np.sin(steps * (np.pi / 2)).astype(np.float32)


def mix(sounds: Sequence[Sound]) -> Sound:
    """All at once, from their beginnings; as long as the longest.

    Raises:
        ValueError: without a sound, and for sounds that differ in rate or channels.
    """
    if not sounds:
        raise ValueError("there is no sound to mix")
    kinds = {(sound.rate, sound.channels) for sound in sounds}
    if len(kinds) > 1:
        raise ValueError(f"sounds of different rates or channels cannot be mixed: {sorted(kinds)}")
    samples = np.zeros((sounds[0].channels, max(sound.length for sound in sounds)), np.float32)
    for sound in sounds:
        samples[:, : sound.length] += sound.samples
    return Sound(samples, sounds[0].rate)


def follow(sounds: Sequence[Sound]) -> Sound:
    """One after another.

    Raises:
        ValueError: without a sound, and for sounds that differ in rate or channels.
    """
    if not sounds:
        raise ValueError("there is no sound to put one after another")
    if len({(sound.rate, sound.channels) for sound in sounds}) > 1:
        raise ValueError("sounds of different rates or channels cannot follow on each other")
    return Sound(np.concatenate([sound.samples for sound in sounds], 1), sounds[0].rate)
