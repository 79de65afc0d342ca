"""The picture of a memory frame: in memory, or on disk until somebody looks at it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import torch


class Picture:
    """Pixels ``uint8 [H, W, 3]`` and their digest.

    A long story remembers hundreds of pictures and a shot sees ten of them: the others are read
    from the shot store each time they are asked for.
    """

    def __init__(self, pixels: torch.Tensor):
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise ValueError(
                f"a memory frame must be uint8 [H, W, 3], but it is {pixels.dtype} "
                f"{list(pixels.shape)}; use MemoryFrame.from_pixels for float images"
            )
        self._pixels: torch.Tensor | None = pixels
        self._read: Callable[[], torch.Tensor] | None = None

    @classmethod
    def on_disk(cls, digest: str, read: Callable[[], torch.Tensor]) -> Picture:
        """A picture that ``read`` gives: ``uint8 [H, W, 3]`` of that digest, or an error in words.

        Whoever makes it has looked that it is there.
        """
        picture = cls.__new__(cls)
        picture._pixels, picture._read = None, read
        picture.__dict__["digest"] = digest
        return picture

    def __repr__(self) -> str:
        return f"Picture({self.digest[:12]}, {'in memory' if self.is_in_memory else 'on disk'})"

    @property
    def is_in_memory(self) -> bool:
        """Whether the pixels are held, so that nothing is read from disk."""
        return self._pixels is not None

    @property
    def pixels(self) -> torch.Tensor:
        """``uint8 [H, W, 3]`` on the CPU.

        Raises:
            ValueError: when the file that held it is gone or damaged.
        """
        return self._read() if self._pixels is None else self._pixels

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels and their size: who the picture is, whatever its provenance."""
        height, width, _ = self.pixels.shape
        data = self.pixels.contiguous().numpy().tobytes()
        return hashlib.sha256(f"{height}x{width}:".encode() + data).hexdigest()
