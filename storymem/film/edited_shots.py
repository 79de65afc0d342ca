"""Shot files that an artist edited, such as a graded ``shot_01_01.mp4``: how they are told from
damage, and how they fit into the film and before the shot that continues from them.

A file is an edit when it differs from what was written there, plays to its end, and is newer than
what was written. Its frames are counted at the rate of the file that it took the place of, so that
an edit exported at another rate keeps its length in seconds.
"""

from __future__ import annotations

import hashlib
import os
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ..files.hashing import checksum
from ..files.video import (
    FRAME_RATE,
    VideoInfo,
    open_video,
    quarter_turns,
    read_info,
    to_pixels,
)
from ..loop.shot_store import TAIL_FRAMES, ShotStore
from ..memory.frame import MemoryFrame

BUSY_SECONDS = 2  # a file that changed this recently may be in the middle of being exported
PATIENCE = 6  # seconds to wait for the end of an export
LONGEST_SECONDS = 3600  # of one shot; longer times come from a damaged file
TOLERANCE = 0.25  # of a frame's duration: how far times may be off, as containers round them


class Look(Enum):
    """What a visible shot file is."""

    MISSING = "missing"
    OURS = "ours"  # as it was written
    EDITED = "edited"
    BUSY = "busy"  # does not play to its end, and goes on changing: it is being exported
    CUT_OFF = "cut off"  # newer than what was written, but does not play to its end
    UNKNOWN = "unknown"  # nobody knows what was written there, if anything was
    DAMAGED = "damaged"  # older than what was written, empty, or no file at all


@dataclass(frozen=True)
class Written:
    """What was written to a visible file."""

    key: str  # of the record that it shows
    sha256: str
    time: int  # its modification time, nanoseconds since 1970
    fps: float
    edited: str = ""  # SHA-256 of the edit that was last seen there
    # Digests of that edit's last frames: another decoder must not regenerate what follows.
    tail: tuple[str, ...] = ()
    sound: str = ""  # what it was written to sound like (``FilmSound.mark``); empty: without sound

    def with_edit(self, sha256: str, tail: tuple[str, ...] = ()) -> Written:
        if sha256 == self.edited and not tail:
            return self
        return replace(self, edited=sha256, tail=tail)


@dataclass(frozen=True)
class Edit:
    """A file that an artist put in the place of a shot's own."""

    path: Path
    written: Written
    sha256: str
    info: VideoInfo
    times: tuple[float, ...]  # seconds at which its frames are shown
    end: float  # seconds, when the last frame ends
    is_turned: bool = False  # players show it upside down or on its side, as phones film

    @property
    def key(self) -> str:
        """Of the record that it was made over."""
        return self.written.key

    @cached_property
    def places(self) -> list[int]:
        """For each frame at the rate of the file that was replaced, the number of the edit's
        frame that is shown in its middle."""
        first, fps = self.times[0], self.written.fps
        count = max(1, round((self.end - first) * fps))
        return [max(0, bisect_right(self.times, first + (i + 0.5) / fps) - 1) for i in range(count)]

    @property
    def frames(self) -> int:
        """Frames at the rate of the file that was replaced."""
        return len(self.places)

    @property
    def rate(self) -> float:
        """Its own frames per second."""
        return len(self.times) / (self.end - self.times[0])

    def joins(self, other: VideoInfo) -> bool:
        """Whether its packets can stand beside those of ``other`` as they are."""
        fps = self.written.fps
        is_steady = all(abs(t * fps - i) < TOLERANCE for i, t in enumerate(self.times))
        is_whole = self.places == list(range(len(self.times)))
        # Cutters that copy keep the packets before the cut, and say that they are not shown.
        is_all_shown = self.info.frames == len(self.times)
        is_plain = is_steady and is_whole and is_all_shown and not self.is_turned
        return is_plain and self.info.joins(other)

    def fitted(self, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Its frames as ``places`` counts them, ``uint8 [H, W, 3]`` of ``size`` (height, width)."""
        repeats = np.bincount(self.places, minlength=len(self.times)).tolist()
        for frame, times in zip(_decode(self.path), repeats, strict=False):
            if times:
                pixels = to_pixels(frame, size)
                for _ in range(times):
                    yield pixels

    def tail(self, size: tuple[int, int]) -> list[np.ndarray]:
        """Its last frames, at most ``TAIL_FRAMES``, as ``fitted`` gives them."""
        wanted = self.places[-TAIL_FRAMES:]
        kept = {
            number: to_pixels(frame, size)
            for number, frame in enumerate(_decode(self.path))
            if number in wanted
        }
        return [kept[number] for number in wanted]


def examine(path: Path, written: Written | None) -> tuple[Look, Edit | None]:
    """What the file at ``path`` is, and the edit that it holds, if it is one.

    A link is none: it may lead anywhere. A file that is being exported is waited for, for seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        look, edit = _look_once(path, written)
        if look is not Look.BUSY or time.monotonic() > deadline:
            return look, edit
        time.sleep(BUSY_SECONDS / 4)


def plays(path: Path, written: Written) -> bool:
    """Whether a file of any age is a film that plays to its end."""
    if path.is_symlink() or not path.is_file():
        return False
    return _read(path, written, "") is not None


def written_from(path: Path, record_video: Path, otherwise: int) -> Written:
    """What was written to a visible file of a record, where nothing tells, without the key.

    Args:
        otherwise: the time from which on a file that shows something else is an edit, nanoseconds.
    """
    known = checksum(record_video)
    try:
        status = path.stat()
        digest = checksum(path)
        if digest == known:
            return Written("", known, status.st_mtime_ns, FRAME_RATE)
        if _packets(path) == _packets(record_video):  # copied at another frame rate
            with open_video(path) as container:
                rate = float(container.streams.video[0].average_rate or FRAME_RATE)
            return Written("", digest, status.st_mtime_ns, rate)
    except (OSError, ValueError, IndexError):
        pass
    return Written("", known, otherwise, FRAME_RATE)


def keep_tail(edit: Edit, store: ShotStore) -> tuple[str, ...]:
    """Put the last frames of an edit into the store, in the size of its record; their digests."""
    size = (edit.info.height, edit.info.width)
    if record := store.find(edit.key):
        info = read_info(record.video)
        size = (info.height, info.width)
    frames = [MemoryFrame(torch.from_numpy(pixels)) for pixels in edit.tail(size)]
    store.keep_pictures(frames)
    return tuple(frame.digest for frame in frames)


# --- inside ----------------------------------------------------------------------------------


def _look_once(path: Path, written: Written | None) -> tuple[Look, Edit | None]:
    if not os.path.lexists(path):
        return Look.MISSING, None
    if path.is_symlink() or not path.is_file():
        return Look.DAMAGED, None
    status = path.stat()
    if written is None:
        return (Look.UNKNOWN if status.st_size else Look.DAMAGED), None
    digest = checksum(path)
    if digest == written.sha256:
        return Look.OURS, None
    is_newer = status.st_mtime_ns > written.time
    if not (is_newer or digest == written.edited):
        return Look.DAMAGED, None
    if edit := _read(path, written, digest):
        return Look.EDITED, edit
    if abs(time.time() - status.st_mtime) < BUSY_SECONDS:
        return Look.BUSY, None
    return (Look.CUT_OFF if status.st_size else Look.DAMAGED), None


def _read(path: Path, written: Written, digest: str) -> Edit | None:
    """The edit in a file; ``None`` when it does not play to its end."""
    import av

    if not _is_complete(path):
        return None
    times: list[float] = []
    end, is_whole, is_turned = 0.0, True, False
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or written.fps)
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return None
                for frame in packet.decode():
                    # The first ones may be so called by a decoder that joins in between.
                    is_whole = not frame.is_corrupt
                    is_turned = is_turned or quarter_turns(frame) > 0
                    shown = frame.time if frame.time is not None else len(times) / rate
                    times.append(float(shown))
                    length = (frame.duration or 0) * float(frame.time_base or 0)
                    end = shown + (length or 1 / rate)
        info = read_info(path)
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        return None
    is_in_order = all(a < b for a, b in pairwise(times))
    if not (times and is_whole and is_in_order) or not times[0] < end < times[0] + LONGEST_SECONDS:
        return None
    return Edit(path, written, digest, info, tuple(times), end, is_turned)


def _is_complete(path: Path) -> bool:
    """Whether every box of an mp4 file is there in full: a demuxer passes over a lost end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        place = 0
        while place < size:
            file.seek(place)
            head = file.read(16)
            if len(head) < 8:
                return False
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:  # up to the end of the file
                return True
            if length < 8:
                return False
            place += length
    return size > 0 and place == size


def _decode(path: Path) -> Iterator:
    with open_video(path) as container:
        yield from container.decode(video=0)


def _packets(path: Path) -> str:
    """SHA-256 of a film's encoded frames, whatever rate they are shown at."""
    digest = hashlib.sha256()
    with open_video(path) as container:
        for packet in container.demux(container.streams.video[0]):
            digest.update(bytes(packet))
    return digest.hexdigest()
