"""Sound files, by PyAV: read whatever it decodes, written without loss, resampled."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files.messages import reason_of
from .sound import FILM_CHANNELS, FILM_RATE, Sound

# FFmpeg knows formats that name other files and addresses to play; none of these does.
FORMATS = {
    ".wav": "wav",
    ".flac": "flac",
    ".mp3": "mp3",
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "ogg",
    ".aac": "aac",
    ".aif": "aiff",
    ".aiff": "aiff",
    ".aifc": "aiff",
    ".wma": "asf",
    ".m4a": "mp4",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mp4",
    ".mkv": "matroska",
    ".mka": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
}
LONGEST_MINUTES = 240  # of a sound that is read: 5.5 GB at 48 kHz in stereo
SOUND_ENDINGS = tuple(FORMATS)


class SoundInfo(NamedTuple):
    """What a sound file says of itself; ``seconds`` is 0 where it does not say."""

    seconds: float
    rate: int
    channels: int
    codec: str


def is_sound_name(name: str) -> bool:
    """Whether a file's name says that a sound may be in it."""
    return Path(name).suffix.lower() in FORMATS


def has_sound(path: str | Path, ending: str = "") -> bool:
    """Whether a video or sound file has a sound track; no for one that cannot be read.

    Args:
        ending: what the file is, such as ``.mp4``, where its name has another ending.
    """
    import av

    try:
        with _open(path, ending) as container:
            return bool(container.streams.audio)
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def read_sound_info(path: str | Path) -> SoundInfo:
    """How long a sound file is and what it holds, from its head alone where that says it.

    Raises:
        ValueError: when it is no sound file that can be read.
    """
    import av

    try:
        with _open(path) as container:
            stream = _stream_of(container, path)
            context = stream.codec_context
            seconds = 0.0
            if stream.duration is not None:
                seconds = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                seconds = container.duration / av.time_base
            return SoundInfo(seconds, context.sample_rate, context.channels, context.name)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a sound: {reason_of(error)}") from error


def read_sound(path: str | Path, ending: str = "") -> Sound:
    """The first sound track of a file, from the beginning that players play, at its own rate.

    More than two channels are mixed down to two.

    Args:
        ending: what the file is, such as ``.mp4``, where its name has another ending.

    Raises:
        ValueError: when it is no sound file, holds none, or is longer than four hours.
    """
    parts = [*_decoded(path, ending)]
    start, rate = parts.pop()
    if not parts:
        raise ValueError(f"{path} has a sound track without a single sample")
    sound = Sound(np.concatenate(parts, 1), rate)
    return sound.cut(-start, sound.length + start) if start > 0 else sound


def check_sound(path: str | Path) -> None:
    """Decode a file to its end as ``read_sound`` does, and keep nothing of it: what is damaged
    further on is not seen in a file's head.

    Raises:
        ValueError: as ``read_sound``.
    """
    parts = _decoded(path)
    if not isinstance(next(parts), np.ndarray):
        raise ValueError(f"{path} has a sound track without a single sample")
    for _ in parts:
        pass


def write_sound(path: str | Path, sound: Sound) -> None:
    """Write a WAV file of floats, whatever the ending of ``path``: every sample as it is.

    Equal sounds give equal bytes.

    Raises:
        OSError: when the file cannot be written.
    """
    import av

    try:
        with av.open(str(path), "w", format="wav", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("pcm_f32le", rate=sound.rate)
            stream.layout = _layout(sound.channels)
            block = sound.rate  # of one second
            for first in range(0, sound.length, block):
                samples = sound.samples[:, first : first + block]
                packed = np.ascontiguousarray(samples.T.reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(packed, "flt", stream.layout.name)
                frame.sample_rate, frame.pts = sound.rate, first
                frame.time_base = Fraction(1, sound.rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OSError(f"{path} could not be written as a sound: {reason_of(error)}") from error


def resampled(sound: Sound, rate: int = FILM_RATE) -> Sound:
    """At another rate: as long in seconds, to one sample."""
    import av

    if rate == sound.rate or not sound.length:
        return Sound(sound.samples, rate)
    layout = _layout(sound.channels)
    resampler = av.AudioResampler("fltp", layout, rate)
    parts = []
    for first in range(0, sound.length, sound.rate):
        block = np.ascontiguousarray(sound.samples[:, first : first + sound.rate])
        frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
        frame.sample_rate, frame.pts = sound.rate, None
        parts += [part.to_ndarray() for part in resampler.resample(frame)]
    parts += [part.to_ndarray() for part in resampler.resample(None)]
    wanted = round(Fraction(sound.length * rate, sound.rate))
    parts.append(np.zeros((sound.channels, 0), np.float32))  # of a few samples nothing may come
    return Sound(np.concatenate(parts, 1).astype(np.float32, copy=False), rate).cut(0, wanted)


def for_film(sound: Sound) -> Sound:
    """As films are: 48 kHz in stereo. One channel is heard on both sides at its own level."""
    if sound.channels > FILM_CHANNELS:
        sound = _mixed_down(sound)
    if sound.channels < FILM_CHANNELS:
        sound = Sound(np.repeat(sound.samples, FILM_CHANNELS, 0), sound.rate)
    return resampled(sound)


# --- inside ----------------------------------------------------------------------------------


def _decoded(path, ending: str = "") -> Iterator[np.ndarray | tuple[int, int]]:
    """A track's samples ``float32 [channels, samples]`` in parts; at last the samples of silence
    before them, and how many make a second."""
    import av

    length, start, resampler = 0, 0, None
    try:
        with _open(path, ending) as container:
            stream = _stream_of(container, path)
            rate = stream.codec_context.sample_rate
            most = LONGEST_MINUTES * 60 * rate
            is_many = stream.codec_context.channels > FILM_CHANNELS
            layout = "stereo" if is_many else stream.codec_context.layout.name
            for frame in container.decode(stream):
                if resampler is None:
                    start = _start_of(frame, rate)
                    resampler = av.AudioResampler("fltp", layout, rate)
                frame.pts = None  # gaps in a file's times are no silence
                for part in resampler.resample(frame):
                    yield _finite(part.to_ndarray(), path)
                    length += part.samples
                if length > most:
                    raise ValueError(
                        f"{path} is longer than {LONGEST_MINUTES} minutes, more than a film's "
                        "sound can be"
                    )
            for part in resampler.resample(None) if resampler else ():
                yield _finite(part.to_ndarray(), path)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a sound: {reason_of(error)}") from error
    yield start, rate


def _finite(samples: np.ndarray, path) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} has samples that are no finite numbers")
    return samples.astype(np.float32, copy=False)


def _open(path, ending: str = ""):
    import av

    form = FORMATS.get((ending or Path(path).suffix).lower())
    if form is None:
        raise ValueError(
            f"{path} is no sound file that can be read by its ending; these can: "
            f"{', '.join(sorted(FORMATS))}"
        )
    return av.open(str(path), format=form)


def _stream_of(container, path):
    if not container.streams.audio:
        raise ValueError(f"{path} has no sound track")
    return container.streams.audio[0]


def _start_of(frame, rate: int) -> int:
    """Samples of silence before a track's first frame: it may begin after its pictures."""
    if frame.pts is None or not frame.time_base:
        return 0
    begin = round(frame.pts * frame.time_base * rate)
    return begin if 0 < begin <= LONGEST_MINUTES * 60 * rate else 0


def _layout(channels: int) -> str:
    names = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    if channels not in names:
        raise ValueError(f"a sound has 1 to 8 channels, but this one has {channels}")
    return names[channels]


def _mixed_down(sound: Sound) -> Sound:
    import av

    layout = _layout(sound.channels)
    resampler = av.AudioResampler("fltp", "stereo", sound.rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.samples), "fltp", layout)
    frame.sample_rate, frame.pts = sound.rate, None
    parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
    return Sound(np.concatenate(parts, 1).astype(np.float32, copy=False), sound.rate)
