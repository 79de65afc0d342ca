"""Videos for editing programs: written with all their bits, joined from a frame on.

Frames stay in the codec's own values between two files: nothing is rounded to eight bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .codecs import Codec, to_planes
from .frame_colours import LIMITED_RANGE
from .video import (
    BT709,
    DEFAULT_CRF,
    ENCODER_THREADS,
    FRAME_RATE,
    as_rate,
    clip_fades,
    open_for_writing,
    open_video,
    read_info,
    to_pixels,
)

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]  # Y', Cb, Cr


@dataclass(frozen=True)
class Part:
    """A video for the film, from frame ``first`` on."""

    path: Path
    first: int = 0


def write_master(
    path: str | Path,
    frames: Iterable[np.ndarray | Planes],
    codec: Codec,
    *,
    fps: float = FRAME_RATE,
    crf: int = DEFAULT_CRF,
    metadata: Mapping[str, str] | None = None,
    keyframe: int = 0,
) -> int:
    """Encode frames ``[H, W, 3]``, ``uint8`` or float in [0, 1]; the number of frames written.

    Args:
        crf: quality of H.264 and H.265; the others have one of their own.
        keyframe: a frame from which on the video can be copied.

    Raises:
        ValueError: without a frame, or when frames differ in size.
        OSError: when the file cannot be written.
    """
    import av

    rate, written, stream = as_rate(fps), 0, None
    with open_for_writing(path, metadata, codec.container) as container:
        for pixels in frames:
            height, width = (pixels[0] if isinstance(pixels, tuple) else pixels).shape[:2]
            if stream is None:
                codec = codec.fit(width, height)
                stream = _add_stream(container, codec, width, height, rate, crf)
            elif (height, width) != (stream.height, stream.width):
                raise ValueError(
                    f"frame {written} is {width}x{height}, but the frames before it are "
                    f"{stream.width}x{stream.height}; all frames of a shot must have one size"
                )
            planes = pixels if isinstance(pixels, tuple) else to_planes(pixels, codec)
            frame = _frame_of(planes, codec)
            frame.pts, frame.time_base = written, 1 / rate
            if written == keyframe and not codec.is_intra:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
            written += 1
        if stream is None:
            raise ValueError("there is no frame to write")
        container.mux(stream.encode(None))
    return written


def join_masters(
    parts: Sequence[Part],
    target: str | Path,
    codec: Codec,
    *,
    fps: float = FRAME_RATE,
    crf: int = DEFAULT_CRF,
    fades: Sequence[int] = (),
    metadata: Mapping[str, str] | None = None,
) -> bool:
    """Join videos into one file of ``codec``; whether the packets were copied.

    Args:
        parts: videos of that codec, or of any other, which are encoded in it.
        fades: for each, how many of its frames cross-fade with the end of the one before it.

    Raises:
        ValueError: without a video, or when one cannot be read.
    """
    if not parts:
        raise ValueError("there is no finished shot to join")
    infos = [read_info(part.path) for part in parts]
    codec = codec.fit(infos[0].width, infos[0].height)
    are_ours = all(_is_of(info, codec) and info.joins(infos[0]) for info in infos)
    if are_ours and not any(fades):
        _copy_parts(parts, target, codec, fps, metadata)
        return True
    counts = [info.frames - part.first for info, part in zip(infos, parts, strict=True)]
    size = (infos[0].height, infos[0].width)
    clips = [_planes_from(part, codec, size) for part in parts]
    frames = _faded(clips, counts, list(fades) or [0] * len(parts))
    write_master(target, frames, codec, fps=fps, crf=crf, metadata=metadata)
    return False


# --- inside ----------------------------------------------------------------------------------


def _add_stream(container, codec: Codec, width: int, height: int, rate, crf: int):
    options = {**codec.options, **({"crf": str(crf)} if codec.has_crf else {})}
    stream = container.add_stream(codec.encoder, rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, codec.pixel_format
    context = stream.codec_context
    context.time_base = 1 / rate
    context.thread_count = ENCODER_THREADS
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED_RANGE
    if codec.tag:
        context.codec_tag = codec.tag
    return stream


def _frame_of(planes: Planes, codec: Codec):
    import av

    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, codec.pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        line = plane.line_size // values.itemsize
        padded = np.zeros((plane.height, line), values.dtype)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    frame.color_range, frame.colorspace = LIMITED_RANGE, BT709
    return frame


def _is_of(info, codec: Codec) -> bool:
    """Whether a video is one of the codec, as ``write_master`` makes them."""
    return (
        info.pixel_format == codec.pixel_format
        and info.codec == ("hevc" if codec.name == "h265" else codec.name)
        and info.matrix == BT709
        and info.delay == 0
    )


def _copy_parts(parts: Sequence[Part], target, codec: Codec, fps: float, metadata) -> None:
    rate = as_rate(fps)
    with open_for_writing(target, metadata, codec.container) as container:
        out, start = None, 0
        for part in parts:
            with open_video(part.path) as source:
                stream = source.streams.video[0]
                if out is None:
                    out = container.add_stream_from_template(stream)
                    out.time_base = 1 / rate
                    if codec.tag:
                        out.codec_context.codec_tag = codec.tag
                count = 0
                for packet in source.demux(stream):
                    if not packet.size:
                        continue  # the flush packet
                    count += 1
                    if count <= part.first:
                        continue
                    packet.time_base = 1 / rate
                    packet.pts = packet.dts = start + count - 1 - part.first
                    packet.duration = 1
                    packet.stream = out
                    container.mux(packet)
                start += count - part.first


def _planes_from(part: Part, codec: Codec, size: tuple[int, int]) -> Iterator[Planes]:
    with open_video(part.path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number < part.first:
                continue
            is_native = frame.format.name == codec.pixel_format
            is_native = is_native and (frame.height, frame.width) == size
            if is_native and int(frame.colorspace) == BT709:
                yield tuple(_plane_of(plane, codec) for plane in frame.planes)
            else:
                yield to_planes(to_pixels(frame, size), codec)


def _plane_of(plane, codec: Codec) -> np.ndarray:
    kind = np.uint8 if codec.bits == 8 else np.uint16
    values = np.frombuffer(plane, kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
    return values[: plane.height, : plane.width].copy()


def _faded(clips: list[Iterator[Planes]], counts: list[int], fades: list[int]) -> Iterator[Planes]:
    """Frames of all clips, the end of each blended linearly into the beginning of the next."""
    fades = [*clip_fades(counts, fades), 0]
    tail: list[Planes] = []
    for i, clip in enumerate(clips):
        keep_from = counts[i] - fades[i + 1]
        kept: list[Planes] = []
        for number, planes in enumerate(clip):
            if number < len(tail):
                weight = (number + 1) / (len(tail) + 1)
                planes = tuple(
                    np.rint(old * (1 - weight) + new * weight).astype(new.dtype)
                    for old, new in zip(tail[number], planes, strict=True)
                )
            if number < keep_from:
                yield planes
            else:
                kept.append(planes)
        tail = kept
