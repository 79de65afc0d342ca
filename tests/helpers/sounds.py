"""Sounds that tests can measure: clicks at known samples, tones, noise."""

from collections.abc import Sequence

import numpy as np

from storymem.sound.sound import Sound

CLICK = 0.9  # level of a click; what is below half of it is none


def click_track(places: Sequence[int], length: int, *, rate=48_000, channels=2, width=1) -> Sound:
    """Silence with a click of ``width`` samples from each of ``places`` on."""
    samples = np.zeros((channels, length), np.float32)
    for place in places:
        samples[:, place : place + width] = CLICK
    return Sound(samples, rate)


def clicks_in(sound: Sound, *, above: float = CLICK / 3, apart: int = 200) -> list[int]:
    """At which samples the loudest of each click is."""
    level = np.abs(sound.samples).max(0)
    loud = np.flatnonzero(level > above)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > apart) + 1) if len(loud) else []
    return [int(group[level[group].argmax()]) for group in groups]


def tone(length: int, *, rate=48_000, channels=2, level=0.5, hertz=440.0) -> Sound:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(length) / rate)
    return Sound(np.tile(wave.astype(np.float32), (channels, 1)), rate)


def noise(length: int, *, rate=48_000, channels=2, level=0.3, seed=0) -> Sound:
    random = np.random.default_rng(seed)
    return Sound(
        (random.standard_normal((channels, length)) * level).clip(-1, 1).astype(np.float32), rate
    )
