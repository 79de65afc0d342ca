"""Frames of a shot in eight bits, and the smaller copies that selection looks at.

Selection sees what the released method sees: frames resized as ``uint8``, bilinear with antialias,
to multiples of 28 with a bounded area. torch has integer arithmetic of its own for that, whose
values are those of the release, and the same whatever the processor, the layout in memory and the
graphics card. The originals are only touched for the frames that are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange

from ..files.images import to_uint8

SIZE_FACTOR = 28  # Qwen2-VL: patches of 14 pixels, merged 2 x 2
MIN_SELECTION_PIXELS = 37_632  # 48 * 28 * 28, released selection
MAX_SELECTION_PIXELS = 200_704  # 256 * 28 * 28, released selection
MAX_ASPECT = 200  # Qwen2-VL refuses anything longer


def smart_size(
    height: int,
    width: int,
    *,
    min_pixels: int = MIN_SELECTION_PIXELS,
    max_pixels: int = MAX_SELECTION_PIXELS,
) -> tuple[int, int]:
    """Multiples of 28 nearest to ``height`` and ``width`` with an area inside the bounds.

    Raises:
        ValueError: for an empty size, or one more than 200 times as long as wide.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a frame must have pixels, but it is {width}x{height}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"a frame of {width}x{height} is more than {MAX_ASPECT} times as long as it is wide; "
            "crop it first"
        )
    rows = max(SIZE_FACTOR, round(height / SIZE_FACTOR) * SIZE_FACTOR)
    columns = max(SIZE_FACTOR, round(width / SIZE_FACTOR) * SIZE_FACTOR)
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        # At least one patch: the method itself returns 0 rows for the very longest frames.
        rows = max(1, math.floor(height / shrink / SIZE_FACTOR)) * SIZE_FACTOR
        columns = max(1, math.floor(width / shrink / SIZE_FACTOR)) * SIZE_FACTOR
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * grow / SIZE_FACTOR) * SIZE_FACTOR
        columns = math.ceil(width * grow / SIZE_FACTOR) * SIZE_FACTOR
    return rows, columns


def resize_frame(frame: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``uint8 [H, W, 3]`` resized to ``size`` on the CPU, bilinear with antialias."""
    if tuple(frame.shape[:2]) == size:
        return frame
    pixels = rearrange(frame, "h w c -> 1 c h w")  # in float one value in six is off by 1
    resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return rearrange(resized, "1 c h w -> h w c").contiguous()


def selection_frame(frame: torch.Tensor) -> torch.Tensor:
    """The smaller copy of ``uint8 [H, W, 3]`` that similarity and scores are measured on."""
    return resize_frame(frame, smart_size(*frame.shape[:2]))


class ShotFrames:
    """The frames of one shot, ``[T, H, W, 3 or 4]`` float in [0, 1] or uint8.

    Holds no copy of the shot: originals are quantised when asked for, and the smaller copies are
    kept as ``uint8`` (81 frames of 832x480 are 48 MB).
    """

    def __init__(self, images: torch.Tensor):
        if images.ndim != 4 or images.shape[-1] not in (3, 4) or min(images.shape[:3]) < 1:
            raise ValueError(
                f"frames must be [frames, height, width, 3], but they are {list(images.shape)}"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(
                f"frames must be floating point in [0, 1] or uint8, but they are {images.dtype}"
            )
        self._images = images
        self._small: dict[int, torch.Tensor] = {}
        self.size = smart_size(*images.shape[1:3])

    def __len__(self) -> int:
        return self._images.shape[0]

    def original(self, index: int) -> torch.Tensor:
        """Frame ``index`` as ``uint8 [H, W, 3]``."""
        return to_uint8(self._images[index], f"frame {index}")

    def small(self, index: int) -> torch.Tensor:
        """The smaller copy of frame ``index``, ``uint8 [h, w, 3]``."""
        if index not in self._small:
            self._small[index] = resize_frame(self.original(index), self.size)
        return self._small[index]

    def check(self) -> None:
        """Raise for the first frame with NaN or infinite pixels, before anything is chosen."""
        if self._images.is_floating_point():
            for index in range(len(self)):
                if not torch.isfinite(self._images[index, ..., :3]).all():
                    self.original(index)


def in_batches(indices: Iterable[int], size: int) -> Iterable[list[int]]:
    """Lists of at most ``size`` indices."""
    batch: list[int] = []
    for index in indices:
        batch.append(index)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
