"""Sound beside the pictures of a video file; the pictures' packets are copied as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..files.video import as_rate, open_for_writing, open_video, read_info
from .sound import FILM_RATE, Sound

BITS_PER_SECOND = 192_000  # of AAC in stereo: transparent to most ears
AAC_FRAME = 1024  # samples that AAC encodes at once


def put_sound(
    video: str | Path,
    target: str | Path,
    parts: Iterable[Sound],
    *,
    fps: float,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the pictures of ``video`` with a sound track as an mp4 file.

    Equal pictures and sounds give equal bytes.

    Args:
        parts: 48 kHz in stereo, each following on the one before.
        fps: at which the pictures are shown; their packets do not change.

    Raises:
        ValueError: when the video cannot be read.
        OSError: when the file cannot be written.
    """
    rate = as_rate(fps)
    delay = read_info(video).delay
    with open_for_writing(target, metadata) as container, open_video(video) as source:
        pictures = container.add_stream_from_template(source.streams.video[0])
        pictures.time_base = 1 / rate
        sound = container.add_stream("aac", rate=FILM_RATE)
        sound.layout = "stereo"
        sound.bit_rate = BITS_PER_SECOND
        heard = _Encoder(container, sound, parts)
        for packet, seconds in _picture_packets(source, pictures, rate, delay):
            heard.go_on_to(seconds)
            container.mux(packet)
        heard.finish()


def copy_packets(video: str | Path) -> list[bytes]:
    """The pictures of a video file as they are encoded, one packet each: equal lists are equal
    pictures."""
    with open_video(video) as source:
        return [bytes(packet) for packet in source.demux(source.streams.video[0]) if packet.size]


# --- inside ----------------------------------------------------------------------------------


def _picture_packets(source, out, rate: Fraction, delay: int) -> Iterator[tuple]:
    """Packets with their times at ``rate``, and the second at which each is decoded."""
    stream = source.streams.video[0]
    source_rate, count = stream.average_rate, 0
    for packet in source.demux(stream):
        if not packet.size:
            continue  # the flush packet
        # Times become frame numbers, so that any fps fits without re-encoding.
        pts = round(packet.pts * packet.time_base * source_rate)
        packet.time_base = 1 / rate
        packet.pts, packet.dts = pts, count - delay
        packet.duration = 1
        packet.stream = out
        yield packet, max(0.0, float((count - delay) / rate))
        count += 1


class _Encoder:
    """Encodes sound as far as the pictures are, so that players find both in one place."""

    def __init__(self, container, stream, parts: Iterable[Sound]):
        self._container, self._stream = container, stream
        self._blocks = _in_blocks(parts)
        self._written, self._is_done = 0, False

    def go_on_to(self, seconds: float) -> None:
        while not self._is_done and self._written <= seconds * FILM_RATE:
            self._one()

    def finish(self) -> None:
        while not self._is_done:
            self._one()
        self._container.mux(self._stream.encode(None))

    def _one(self) -> None:
        import av

        block = next(self._blocks, None)
        if block is None:
            self._is_done = True
            return
        frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
        frame.sample_rate, frame.pts = FILM_RATE, self._written
        frame.time_base = Fraction(1, FILM_RATE)
        self._container.mux(self._stream.encode(frame))
        self._written += block.shape[1]


def _in_blocks(parts: Iterable[Sound]) -> Iterator[np.ndarray]:
    """All samples in blocks of what AAC encodes at once, whatever the parts' lengths; the last one
    may be shorter."""
    held: list[np.ndarray] = []
    length = 0
    for part in parts:
        held.append(part.samples)
        length += part.length
        if length >= AAC_FRAME:
            joined = np.concatenate(held, 1)
            whole = length - length % AAC_FRAME
            for first in range(0, whole, AAC_FRAME):
                yield np.ascontiguousarray(joined[:, first : first + AAC_FRAME])
            held, length = [joined[:, whole:]], length - whole
    if length:
        yield np.ascontiguousarray(np.concatenate(held, 1))
