"""Sounds between the host and the library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...storymem.sound.sound import Sound, follow


def to_sound(audio: object, name: str) -> Sound:
    """The host's AUDIO as a sound: ``waveform`` float ``[1, channels, samples]`` in -1 ... 1, at
    ``sample_rate``.

    Args:
        name: of the input, for messages.

    Raises:
        ValueError: when it is no AUDIO, holds several at once, or is not finite.
    """
    waveform, rate = _parts_of(audio)
    if waveform is None or waveform.ndim != 3 or not rate:
        shape = list(waveform.shape) if waveform is not None else type(audio).__name__
        raise ValueError(
            f"{name} must be an AUDIO [1, channels, samples] and its sample rate, but it is {shape}"
        )
    if waveform.shape[0] != 1:
        raise ValueError(
            f"{name} holds {waveform.shape[0]} sounds at once; give it one, such as one of a batch"
        )
    if not waveform.is_floating_point():
        raise ValueError(f"{name} must hold floating point samples, not {waveform.dtype}")
    samples = np.ascontiguousarray(waveform[0].detach().to("cpu", torch.float32).numpy()).copy()
    try:
        return Sound(samples, rate)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def join_sound_parts(parts: Sequence[object], name: str) -> Sound | None:
    """A sound that came as a list, one part after another; ``None`` when nothing came.

    Raises:
        ValueError: as ``to_sound``, and for parts that differ in rate or channels.
    """
    sounds = [to_sound(part, name) for part in parts if part is not None]
    sounds = [sound for sound in sounds if sound.length]
    try:
        return follow(sounds) if sounds else None
    except ValueError as error:
        raise ValueError(f"{name} came as a list of parts: {error}") from error


def _parts_of(audio: object) -> tuple[torch.Tensor | None, int]:
    try:
        waveform, rate = audio["waveform"], int(audio["sample_rate"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, 0
    return (waveform if isinstance(waveform, torch.Tensor) else None), rate
