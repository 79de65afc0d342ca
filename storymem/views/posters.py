"""A shot's picture for the page: a frame from its middle, kept as a small JPEG."""

from __future__ import annotations

import hashlib
import logging
import re
from itertools import islice
from pathlib import Path

from PIL import Image

from ..files.disk import write_whole
from ..files.names import is_digest, is_label
from ..files.video import open_video, to_pixels
from ..film.manifest import BESIDE
from ..loop.shot_record import VIDEO_FILE
from ..loop.shot_store import ShotStore
from .thumbnails import TEMP_FOLDER, shrink

LARGEST = 512  # longest side in pixels
logger = logging.getLogger(__name__)


def find_shot(output: Path, folder: str, label: str) -> Path | None:
    """The visible file of a shot; never one outside of the output folder."""
    parts = re.split(r"[/\\]", folder)
    name = f"shot_{label}.mp4"
    is_shot = is_label(label) or BESIDE.fullmatch(name)
    if not is_shot or "\0" in folder or any(p in ("", ".", "..") for p in parts):
        return None
    return _inside(output, output.joinpath(*parts) / name)


def find_record(store: Path, key: str) -> Path | None:
    """The video of a finished shot by its record's key."""
    return _inside(store, ShotStore(store).folder_of(key) / VIDEO_FILE) if is_digest(key) else None


def read_poster(video: Path, temp: Path, size: int = LARGEST) -> bytes | None:
    """A JPEG of the frame in the middle of ``video``; ``None`` when it cannot be read.

    Kept below the temp folder until the video changes.
    """
    size = max(16, min(size, LARGEST))
    try:
        status = video.stat()
        times = (status.st_mtime_ns, status.st_ctime_ns)  # the second is never put back
        mark = repr((str(video), *times, status.st_size, size))
        root = temp / TEMP_FOLDER / "posters"
        kept = root / f"{hashlib.sha256(mark.encode('utf-8', 'surrogatepass')).hexdigest()}.jpg"
        if kept.is_file():
            return kept.read_bytes()
        poster = shrink(_middle_frame(video), size)
    except (OSError, ValueError, LookupError) as error:
        logger.warning("StoryMem: %s cannot be shown: %s", video, error)
        return None
    _keep(kept, poster)
    return poster


def _middle_frame(video: Path):
    import av

    try:
        with open_video(video) as container:
            stream = container.streams.video[0]
            middle = max(0, (stream.frames - 1) // 2)
            frames = list(islice(container.decode(stream), middle, middle + 1))
            if not frames:
                raise ValueError("it has too few frames")
            return Image.fromarray(to_pixels(frames[0]))
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:  # a full disk costs time only
        logger.debug("StoryMem: %s was not kept: %s", path, error)


def _inside(root: Path, path: Path) -> Path | None:
    try:
        whole = path.resolve()
        return whole if whole.is_file() and whole.is_relative_to(root.resolve()) else None
    except (OSError, ValueError, RuntimeError):  # links in a circle
        return None
