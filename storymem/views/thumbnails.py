"""Small pictures of memory frames for the page, found by the SHA-256 of their pixels."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..files.disk import write_whole
from ..files.images import PictureError, open_picture
from ..files.messages import shown
from ..files.names import is_digest
from ..loop.shot_store import picture_path
from ..memory.frame import MemoryFrame

SMALL, LARGE = 192, 1024  # longest side in pixels: in the gallery, and enlarged
QUALITY = 85
TEMP_FOLDER = "storymem"  # below the host's temp folder
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureFolders:
    """Where pictures may lie: the shot store, and the host's temp folder."""

    store: Path
    temp: Path

    def find(self, digest: str) -> Path | None:
        """The file of a picture, which never lies outside of the two folders.

        Raises:
            ValueError: for anything but 64 hexadecimal digits.
        """
        if not is_digest(digest):
            raise ValueError(f"a picture is named by 64 hexadecimal digits, not {shown(digest)}")
        for path, root in ((picture_path(self.store, digest), self.store), self._small(digest)):
            if path.is_file() and path.resolve().is_relative_to(root.resolve()):
                return path
        return None

    def keep(self, frames: Iterable[MemoryFrame]) -> None:
        """Write small pictures of the frames that have none yet.

        A full disk costs the artist thumbnails, never the run.
        """
        for frame in frames:
            try:
                if self.find(frame.digest) is None:
                    self._write(frame)
            except OSError as error:
                logger.warning("StoryMem: no thumbnails of the memory bank: %s", error)
                return

    def _small(self, digest: str) -> tuple[Path, Path]:
        root = self.temp / TEMP_FOLDER
        return root / f"{digest}.jpg", root

    def _write(self, frame: MemoryFrame) -> None:
        path, root = self._small(frame.digest)
        root.mkdir(parents=True, exist_ok=True)
        write_whole(path, shrink(Image.fromarray(frame.image.contiguous().numpy()), LARGE))


def shrink(picture: Image.Image, size: int) -> bytes:
    """A JPEG whose longest side is at most ``size`` (and ``LARGE``) pixels."""
    size = max(1, min(size, LARGE))
    picture = picture.convert("RGB")
    picture.thumbnail((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()


def read_small(path: Path, size: int) -> bytes | None:
    """``shrink`` of a file; ``None`` when it is damaged or gone."""
    try:
        with open_picture(path, ("PNG", "JPEG")) as picture:
            return shrink(picture, size)
    except PictureError as error:
        logger.warning("StoryMem: no picture for the page: %s", error)
        return None
