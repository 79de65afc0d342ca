"""The sound of one shot, as it was given, in a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..files.hashing import checksum
from .files import check_sound, for_film, read_sound
from .sound import Sound, samples_of_frames


@dataclass(frozen=True)
class ShotSound:
    """A file, and how it lies beside the shot's pictures."""

    path: Path
    digest: str  # of what is in it
    overlap: int = 0  # frames at its beginning that the film does not show
    ending: str = ""  # what the file is, where its name has another ending

    def read(self, fps: float) -> Sound:
        """From the first frame that the film shows on, 48 kHz in stereo.

        Raises:
            ValueError: when the file cannot be read.
        """
        sound = for_film(read_sound(self.path, self.ending))
        first = samples_of_frames(self.overlap, fps)
        return sound.cut(first, max(0, sound.length - first))


def file_sound(path: Path) -> ShotSound:
    """A sound file of an artist's.

    Raises:
        OSError: when it is not there.
    """
    status = path.stat()
    return ShotSound(path, _digest(path, status.st_size, status.st_mtime_ns))


def check_sound_file(path: Path) -> None:
    """Tell of a sound file that cannot be read to its end; once for each version of it.

    Raises:
        OSError: when it is not there.
        ValueError: when it is no sound that can be read.
    """
    status = path.stat()
    _check(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _check(path: Path, size: int, time: int) -> None:
    check_sound(path)


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, time: int) -> str:
    return checksum(path)
