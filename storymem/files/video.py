"""Video files: writing frames as they come, joining without re-encoding, cross-fades, subtitles.

Everything streams: no function holds more than the frames of one fade in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .frame_colours import LIMITED_RANGE, to_rgb
from .messages import reason_of

FRAME_RATE = 16  # frames per second that Wan 2.2 was trained with
# Of videos that are read, by their ending; whatever has another one is an mp4.
FORMATS = {".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
DEFAULT_CRF = 17  # x264 constant quality: visually lossless
# The same frames must give the same file, or a resumed story would differ from an undisturbed one.
# x264's macroblock tree reads memory that it never wrote (measured: other bytes with another
# MALLOC_PERTURB_), and the number of threads decides how frames are split.
REPEATABLE = {"preset": "veryfast", "x264-params": "mbtree=0"}
ENCODER_THREADS = 4  # on any machine
# Numbers of Rec. ITU-T H.273. Without them players guess by the size of the picture, and swscale
# computes BT.601.
BT709 = 1  # as matrix, primaries and transfer
logger = logging.getLogger(__name__)


class VideoInfo(NamedTuple):
    """What a video file says about its frames: how many, their size in pixels, how encoded.

    ``extradata`` is what a decoder must know before the first packet.
    """

    frames: int
    width: int
    height: int
    codec: str
    pixel_format: str | None  # None: the file does not tell
    extradata: bytes
    delay: int  # frames by which decoding runs ahead of showing; one frame alone has none
    matrix: int  # of its colours, in numbers of H.273, like the next two
    primaries: int
    curve: int

    def joins(self, other: VideoInfo) -> bool:
        """Whether packets of both can stand in one stream."""
        return self[1:6] == other[1:6]


def as_rate(fps: float) -> Fraction:
    """Frames per second as a fraction.

    Raises:
        ValueError: outside 1 ... 240.
    """
    if not 1 <= fps <= 240:
        raise ValueError(f"fps must be between 1 and 240, but it is {fps}")
    return Fraction(fps).limit_denominator(1001)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    fps: float = FRAME_RATE,
    crf: int = DEFAULT_CRF,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Encode ``uint8 [H, W, 3]`` frames as H.264 in an mp4 file; the number of frames written.

    Colours are BT.709 in limited range, and tagged so. Sizes that are not even have no 4:2:0
    form; those are written as 4:4:4.

    Raises:
        ValueError: without a frame, or when frames differ in size.
        OSError: when the file cannot be written (disk full and the like).
    """
    import av

    rate = as_rate(fps)
    written, stream, size = 0, None, None
    with open_for_writing(path, metadata) as container:
        for pixels in frames:
            if stream is None:
                size = pixels.shape
                stream = _add_stream(container, size[1], size[0], rate, crf)
            elif pixels.shape != size:
                raise ValueError(
                    f"frame {written} is {pixels.shape[1]}x{pixels.shape[0]}, but the frames "
                    f"before it are {size[1]}x{size[0]}; all frames of a shot must have one size"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace="ITU709")
            frame.color_range = LIMITED_RANGE
            frame.pts, frame.time_base = written, 1 / rate
            container.mux(stream.encode(frame))
            written += 1
        if stream is None:
            raise ValueError("there is no frame to write")
        container.mux(stream.encode(None))
    return written


@contextmanager
def open_for_writing(path: str | Path, metadata: Mapping[str, str] | None, container: str = "mp4"):
    """A container with the tags that ComfyUI reads graphs from.

    Args:
        container: FFmpeg's name of its format.

    Raises:
        OSError: when it cannot be written.
    """
    import av

    tags = {"movflags": "use_metadata_tags+faststart"} if container in ("mp4", "mov") else {}
    container = av.open(str(path), "w", format=container, options=tags)
    try:
        for key, value in (metadata or {}).items():
            container.metadata[key] = value
        yield container
        container.close()
    except BaseException as error:
        with suppress(av.error.FFmpegError):  # the first error is the one to tell
            container.close()
        if isinstance(error, av.error.FFmpegError) and not isinstance(error, OSError):
            raise OSError(f"{path} could not be written as a video: {reason_of(error)}") from error
        raise


def open_video(path: str | Path):
    """A video file opened as what its ending says, and as nothing else.

    FFmpeg knows formats that name other files and addresses to play; none of these is a video.

    Raises:
        ValueError, OSError: PyAV's own, when it is none.
    """
    import av

    return av.open(str(path), format=FORMATS.get(Path(path).suffix.lower(), "mp4"))


def read_info(path: str | Path) -> VideoInfo:
    """Size, codec and the number of frames, counted from the packets (nothing is decoded).

    Raises:
        ValueError: when it is not a readable video.
    """
    import av

    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            times = [packet.dts or 0 for packet in container.demux(stream) if packet.size]
            ahead = -min(times, default=0) * stream.time_base  # in seconds
            rate = stream.average_rate or 0
            pixels = context.format  # where it is unknown, PyAV 17.1.0 dies of context.pix_fmt
            return VideoInfo(
                len(times),
                context.width,
                context.height,
                context.name,
                pixels.name if pixels else None,
                bytes(context.extradata or b""),
                round(max(0, ahead * rate)),
                int(context.colorspace),
                int(context.color_primaries),
                int(context.color_trc),
            )
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {reason_of(error)}") from error


def is_bt709(path: str | Path) -> bool:
    """Whether a video says so of its colours; no for one that cannot be read, which joining tells.

    Only the beginning of the file is read.
    """
    import av

    try:
        with open_video(path) as container:
            return int(container.streams.video[0].codec_context.colorspace) == BT709
    except (av.error.FFmpegError, OSError, IndexError):
        return False


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Decode ``uint8 [H, W, 3]`` frames one by one."""
    with open_video(path) as container:
        for frame in container.decode(video=0):
            yield to_pixels(frame)


def to_pixels(frame, size: tuple[int, int] | None = None) -> np.ndarray:
    """A decoded frame as players show it, sRGB, turned as its file says: ``uint8 [H, W, 3]``.

    Args:
        size: (height, width) to scale it to; ``None`` leaves it as it is.
    """
    turns = quarter_turns(frame)
    if size is not None:
        height, width = size[::-1] if turns % 2 else size
        if (frame.height, frame.width) != (height, width):
            frame = frame.reformat(width=width, height=height, interpolation="LANCZOS")
    pixels = to_rgb(frame)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def quarter_turns(frame) -> int:
    """By how many quarter turns, counterclockwise, players turn a decoded frame: 0 ... 3."""
    return round(frame.rotation / 90) % 4


def join_videos(
    paths: Sequence[str | Path],
    target: str | Path,
    *,
    fps: float = FRAME_RATE,
    crf: int = DEFAULT_CRF,
    fades: Sequence[int] = (),
    metadata: Mapping[str, str] | None = None,
) -> bool:
    """Join shots into one file; whether the packets were copied (``False``: re-encoded).

    Packets are copied when all shots have the same size and encoding, are tagged as BT.709 and
    nothing fades. Films of earlier versions are BT.601 without tags. Otherwise
    frames are decoded and encoded one by one; shots of another size are scaled to the first one's.

    Args:
        fades: for each shot, how many frames of it cross-fade with the end of the one before it.

    Raises:
        ValueError: without a video, or when one cannot be read.
    """
    if not paths:
        raise ValueError("there is no finished shot to join")
    infos = [read_info(path) for path in paths]
    if not any(fades) and all(info.joins(infos[0]) and info.matrix == BT709 for info in infos):
        delay = max(info.delay for info in infos)
        _copy_packets(paths, target, as_rate(fps), delay, metadata)
        return True
    if any((info.width, info.height) != (infos[0].width, infos[0].height) for info in infos):
        logger.warning(
            "the shots differ in size: all are scaled to %dx%d, the size of the first one",
            infos[0].width,
            infos[0].height,
        )
    size = (infos[0].height, infos[0].width)
    fades = list(fades) or [0] * len(paths)
    frames = _faded([_sized(path, size) for path in paths], [info.frames for info in infos], fades)
    write_video(target, frames, fps=fps, crf=crf, metadata=metadata)
    return False


def copy_video(path: str | Path, target: str | Path, *, fps: float) -> None:
    """One shot at another frame rate, its packets as they are.

    Raises:
        ValueError: when it cannot be read.
    """
    _copy_packets([path], target, as_rate(fps), read_info(path).delay, None)


def clip_fades(counts: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Fades that fit: a frame belongs to one fade at most, and the first shot has none before
    it."""
    fades = [0] * len(counts)
    for i in range(1, len(counts)):
        free_before = counts[i - 1] - fades[i - 1]
        fades[i] = max(0, min(wanted[i], free_before - 1, counts[i] - 1))
    return fades


def subtitles_text(entries: Sequence[tuple[int, int, str]], *, fps: float = FRAME_RATE) -> str:
    """What an SRT file holds. ``entries``: first frame, frame after the last, text."""
    rate = as_rate(fps)

    def clock(frame: int) -> str:
        ms = round(frame * 1000 / rate)
        return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"

    blocks = []
    for number, (first, last, text) in enumerate(entries, 1):
        lines = [line.strip() for line in text.replace("-->", "->").splitlines() if line.strip()]
        blocks.append("\n".join([str(number), f"{clock(first)} --> {clock(last)}", *lines]) + "\n")
    return "\n".join(blocks)


# --- inside ----------------------------------------------------------------------------------


def _add_stream(container, width: int, height: int, rate: Fraction, crf: int):
    even = width % 2 == 0 and height % 2 == 0
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), **REPEATABLE})
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p" if even else "yuv444p"
    stream.codec_context.time_base = 1 / rate
    stream.codec_context.thread_count = ENCODER_THREADS
    stream.codec_context.colorspace = BT709
    stream.codec_context.color_primaries = BT709
    stream.codec_context.color_trc = BT709
    stream.codec_context.color_range = LIMITED_RANGE
    return stream


def _copy_packets(paths, target, rate: Fraction, delay: int, metadata) -> None:
    """Packets one after another; all are decoded ``delay`` frames ahead, as the longest needs."""

    with open_for_writing(target, metadata) as container:
        out, start = None, 0
        for path in paths:
            with open_video(path) as source:
                stream = source.streams.video[0]
                if out is None:
                    out = container.add_stream_from_template(stream)
                    out.time_base = 1 / rate
                source_rate = stream.average_rate
                count = 0
                for packet in source.demux(stream):
                    if not packet.size:
                        continue  # the flush packet
                    # Times become frame numbers, so that any fps fits without re-encoding.
                    pts = round(packet.pts * packet.time_base * source_rate)
                    packet.time_base = 1 / rate
                    packet.pts, packet.dts = start + pts, start + count - delay
                    packet.duration = 1
                    packet.stream = out
                    container.mux(packet)
                    count += 1
                start += count


def _sized(path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    with open_video(path) as container:
        for frame in container.decode(video=0):
            yield to_pixels(frame, size)


def _faded(
    clips: list[Iterator[np.ndarray]], counts: list[int], fades: list[int]
) -> Iterator[np.ndarray]:
    """Frames of all clips, the end of each blended linearly into the beginning of the next."""
    fades = [*clip_fades(counts, fades), 0]
    tail: list[np.ndarray] = []
    for i, clip in enumerate(clips):
        keep_from = counts[i] - fades[i + 1]
        kept: list[np.ndarray] = []
        for number, pixels in enumerate(clip):
            if number < len(tail):
                weight = (number + 1) / (len(tail) + 1)
                mixed = tail[number] * (1 - weight) + pixels * weight
                pixels = mixed.round().astype(np.uint8)
            if number < keep_from:
                yield pixels
            else:
                kept.append(pixels)
        tail = kept
