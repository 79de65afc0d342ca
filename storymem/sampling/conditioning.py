"""What the model is told about memory and given frames: sizes, latents and mask (paper 3.3).

Memory comes first on the time axis. A latent frame after the first holds four pixel frames, and the
mask has a channel for each of them, as Wan reads it; where all four are alike, one channel stands
for them. ``encode`` is the VAE as a callable: one video ``[T, H, W, 3]`` in, raw (not normalised)
latents ``[1, 16, F, H/8, W/8]`` out.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from einops import rearrange

from ..memory.frame import MemoryFrame

VAE_STRIDE = 8  # pixels per latent, height and width
TIME_STRIDE = 4  # pixel frames per latent frame after the first
PATCH = 2  # latents per token, height and width
LATENT_CHANNELS = 16  # Wan 2.1 VAE, which Wan 2.2 A14B uses too
GREY = 0.5  # pixels the model has to invent, in [0, 1]
CACHE_BYTES = 256 * 2**20  # per VAE: some 600 memory frames at 832x480

Encode = Callable[[torch.Tensor], torch.Tensor]


def latent_frames(length: int) -> int:
    """F of T pixel frames."""
    return (length - 1) // TIME_STRIDE + 1


def check_size(width: int, height: int, length: int) -> None:
    """Raise ValueError unless width and height are multiples of 16 and length is 4n + 1."""
    step = VAE_STRIDE * PATCH
    for name, value in (("width", width), ("height", height)):
        if value < step or value % step:
            near = max(step, round(value / step) * step)
            raise ValueError(f"{name} must be a multiple of {step}, but it is {value}; use {near}")
    if length < 1 or (length - 1) % TIME_STRIDE:
        near = max(1, round((length - 1) / TIME_STRIDE) * TIME_STRIDE + 1)
        raise ValueError(
            f"length must be 4n+1 frames (for example 49 or 81), but it is {length}; use {near}"
        )


def fit_size(height: int, width: int, max_area: int) -> tuple[int, int]:
    """``(height, width)`` in pixels with the aspect of an image and about ``max_area`` pixels.

    Both are rounded to whole pixels and then down to whole tokens (16 pixels), as the released
    size rule does.
    """
    if min(height, width, max_area) < 1:
        raise ValueError(f"sizes must be positive, but they are {height}x{width} and {max_area}")
    aspect = height / width

    def whole_tokens(pixels: float) -> int:
        return max(1, round(pixels) // (VAE_STRIDE * PATCH)) * VAE_STRIDE * PATCH

    return whole_tokens(math.sqrt(max_area * aspect)), whole_tokens(math.sqrt(max_area / aspect))


def resize_frames(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Bicubic, no crop, no antialias, no clamp: ``[T, H, W, 3]`` -> ``[T, height, width, 3]``.

    Overshoot beyond [0, 1] is kept on purpose, as in the released code.
    """
    if frames.shape[1] == height and frames.shape[2] == width:
        return frames.float()
    pixels = rearrange(frames.float(), "t h w c -> t c h w")
    pixels = F.interpolate(pixels, (height, width), mode="bicubic", align_corners=False)
    return rearrange(pixels, "t c h w -> t h w c")


class LatentCache:
    """Encoded latents per VAE, least recently used out first.

    The owner (the VAE's inner module) is held weakly: a VAE that is gone takes its latents along,
    and two VAEs never share any.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES):
        self.max_bytes = max_bytes
        self._owners: WeakKeyDictionary[object, OrderedDict[tuple, torch.Tensor]] = (
            WeakKeyDictionary()
        )

    def get(
        self, owner: object | None, key: tuple, compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """The latents under ``key``, computed when they are not there. No owner: never kept."""
        if owner is None:
            return compute()
        kept = self._owners.setdefault(owner, OrderedDict())
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        value = compute().detach().to("cpu")
        kept[key] = value
        while len(kept) > 1 and sum(v.nbytes for v in kept.values()) > self.max_bytes:
            kept.popitem(last=False)
        return value


@dataclass(frozen=True)
class ShotConditioning:
    """``latents [1, 16, M+F, h, w]`` (raw) and ``mask``, 1 where known.

    The mask is ``[1, 1, M+F, h, w]`` where the four channels of every latent frame are alike, and
    ``[1, 4, M+F, h, w]`` for a shot whose last frame is given. ``memory_frames`` is M, what stands
    before the shot: an identity frame counts.
    """

    latents: torch.Tensor
    mask: torch.Tensor
    memory_frames: int


class ShotEncoder:
    """Encodes memory and given frames with one VAE, each memory frame and grey video only once.

    ``owner`` is what the latents belong to (weakly held), ``variant`` what else they depend on
    (dtype); ``owner=None`` keeps nothing.
    """

    def __init__(
        self, encode: Encode, cache: LatentCache, owner: object | None, variant: tuple = ()
    ):
        self._encode = encode
        self._cache = cache
        self._owner = owner
        self._variant = variant

    def condition(
        self,
        memory: Sequence[MemoryFrame],
        given: torch.Tensor | None,
        *,
        width: int,
        height: int,
        length: int,
        end: torch.Tensor | None = None,
        has_identity: bool = False,
    ) -> ShotConditioning:
        """Condition a shot on memory frames, on its first frames and on its last one.

        ``given``: ``[1, H, W, 3]`` (MI2V, start image), ``[5, H, W, 3]`` (MM2V), ``None`` (M2V).
        The released MI2V overwrites the first frame's latents with grey while the mask still says
        "known"; here the latents are those of the frame.

        ``end``: ``[1, H, W, 3]``, the shot's last frame. It is the last pixel frame of the video
        that the VAE encodes, all between being grey. Of the last latent frame, which holds the
        video's last four pixel frames, the mask's channels are unknown, unknown, unknown, known:
        as Wan's first-last-frame conditioning has it. Memory stands before all of that, unchanged.

        ``has_identity``: a frame before the memory that the model invents too, which shows the cast
        (Memento). Its latent is one grey frame's, encoded alone, and unknown.
        """
        check_size(width, height, length)
        given_count = 0 if given is None else given.shape[0]
        if given_count > length:
            raise ValueError(
                f"length is {length} frames, but {given_count} frames are given already"
            )
        if end is not None and length <= max(given_count, 1):
            raise ValueError(
                f"length is {length} frames, which leaves no room for a last frame beside the first"
            )
        parts = [self._memory(frame, width, height) for frame in memory]
        if has_identity:
            parts.insert(0, self._grey(width, height, 1))
        before = len(parts)
        if given is None and end is None:
            parts.append(self._grey(width, height, length))
        else:
            video = torch.full((length, height, width, 3), GREY)
            if given is not None:
                video[:given_count] = resize_frames(given.cpu(), width, height)
            if end is not None:
                video[-1:] = resize_frames(end.cpu(), width, height)
            parts.append(self._video(video))
        latents = torch.cat([part.cpu().float() for part in parts], dim=2)
        mask = torch.zeros(1, 1, *latents.shape[2:])
        known = latent_frames(given_count) if given_count else 0
        mask[:, :, int(has_identity) : before + known] = 1
        if end is not None:
            mask = mask.repeat(1, TIME_STRIDE, 1, 1, 1)
            mask[:, -1, -1] = 1  # of the last four pixel frames, the last
        return ShotConditioning(latents, mask, before)

    def memory(self, frames: Sequence[MemoryFrame], width: int, height: int) -> torch.Tensor:
        """Raw latents of memory frames, ``[1, 16, M, h, w]``; each is encoded by itself, once."""
        check_size(width, height, 1)
        parts = [self._memory(frame, width, height).cpu().float() for frame in frames]
        return torch.cat(parts, dim=2)

    def _memory(self, frame: MemoryFrame, width: int, height: int) -> torch.Tensor:
        key = ("frame", frame.digest, width, height, *self._variant)
        return self._cache.get(
            self._owner,
            key,
            lambda: self._video(resize_frames(frame.pixels()[None], width, height)),
        )

    def _grey(self, width: int, height: int, length: int) -> torch.Tensor:
        key = ("grey", width, height, length, *self._variant)
        return self._cache.get(
            self._owner, key, lambda: self._video(torch.full((length, height, width, 3), GREY))
        )

    def _video(self, pixels: torch.Tensor) -> torch.Tensor:
        latents = self._encode(pixels)
        length, height, width, _ = pixels.shape
        expected = [
            1,
            LATENT_CHANNELS,
            latent_frames(length),
            height // VAE_STRIDE,
            width // VAE_STRIDE,
        ]
        if list(latents.shape) != expected:
            raise ValueError(
                f"the VAE made latents of shape {list(latents.shape)} where Wan 2.2 A14B needs "
                f"{expected}; load the Wan 2.1 VAE (wan_2.1_vae.safetensors)"
            )
        return latents


def draw_memory_noise(
    seed: int, memory_frames: int, shape: Sequence[int], rows: Sequence[int] | None = None
) -> torch.Tensor:
    """Noise for the memory frames, ``[B, C, M, h, w]``, apart from the shot's.

    Each row of a batch has a generator of its own, whose seed is derived from ``seed`` and the
    row's number, and frames are drawn one by one. So row 0 is what a batch of one gets, and neither
    the shot's noise nor that of memory frame 2 depends on how many memory frames there are.

    Args:
        shape: ``[B, C, h, w]``.
        rows: the number of each row, where they are not 0 ... B - 1: part of a larger batch.
    """
    batch, *frame = shape
    if not memory_frames:
        return torch.zeros(batch, frame[0], 0, *frame[1:])

    def draw_row(row: int) -> torch.Tensor:
        name = f"storymem memory noise {seed}" + (f" row {row}" if row else "")
        derived = hashlib.sha256(name.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(derived[:8], "little") % 2**63)
        frames = [torch.randn(*frame, generator=generator) for _ in range(memory_frames)]
        return torch.stack(frames, dim=1)

    return torch.stack([draw_row(row) for row in (range(batch) if rows is None else rows)])


def draw_noise_before(
    seed: int,
    memory_frames: int,
    shape: Sequence[int],
    rows: Sequence[int] | None = None,
    *,
    has_identity: bool = False,
) -> torch.Tensor:
    """Noise of all that stands before the shot, ``[B, C, M, h, w]``; M counts the identity frame.

    It is drawn apart from the memory's, which is the same with and without it.
    """
    memory = draw_memory_noise(seed, memory_frames - has_identity, shape, rows)
    if not has_identity:
        return memory
    apart = zlib.crc32(f"storymem identity noise {seed}".encode())
    return torch.cat([draw_memory_noise(apart, 1, shape, rows), memory], dim=2)
