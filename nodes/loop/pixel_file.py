"""Frames of a shot that come in parts, on disk until the shot is whole."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import folder_paths
import numpy as np
import torch

from ...storymem.files.images import to_uint8


@dataclass
class Parts:
    """The parts of a run's shots."""

    sizes: dict[int, list[int]] = field(default_factory=dict)  # by step: frames that each is of
    ids: dict[tuple[int, int], list[str]] = field(default_factory=dict)  # copies of step and part
    files: dict[int, PixelFile] = field(default_factory=dict)

    def of(self, step: int) -> list[int]:
        """Frames of each part of a shot; none when it is worked on whole."""
        sizes = self.sizes.get(step, [])
        return sizes if len(sizes) > 1 else []


class PixelFile:
    """Frames that come in parts, on disk: ``[T, H, W, 3]``, ``uint8``, or half floats where a
    master wants more bits."""

    def __init__(self, *, is_deep: bool):
        place = Path(folder_paths.get_temp_directory())  # the host empties it when it starts
        place.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="storymem_parts_", dir=place)
        os.close(handle)
        self.path, self.kind, self.shape = Path(name), np.float16 if is_deep else np.uint8, None
        self.count = 0

    def append(self, frames: torch.Tensor) -> None:
        """Put frames ``[n, H, W, 3]`` behind those that are there.

        Raises:
            ValueError: for another size.
        """
        shape = tuple(frames.shape[1:])
        if self.shape not in (None, shape):
            raise ValueError(
                f"a part has frames of {shape[1]}x{shape[0]}, but those before it are "
                f"{self.shape[1]}x{self.shape[0]}; give all parts of a shot one size"
            )
        self.shape = shape
        with open(self.path, "ab") as file:
            for frame in frames:
                pixels = to_uint8(frame, "a frame of a part") if self.kind is np.uint8 else frame
                file.write(np.ascontiguousarray(pixels.cpu().numpy().astype(self.kind)))
                self.count += 1

    def frames(self) -> torch.Tensor:
        """All of them; the system reads from disk what is looked at."""
        shape = (self.count, *self.shape)
        return torch.from_numpy(np.memmap(self.path, self.kind, "r+", shape=shape))

    def remove(self) -> None:
        """Give the disk back; while Windows has the file open, the host's next start does."""
        with suppress(OSError):
            self.path.unlink()
