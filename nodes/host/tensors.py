"""Layouts between the host and the library."""

from __future__ import annotations

import torch


def require_images(images: torch.Tensor, name: str) -> torch.Tensor:
    """The host's IMAGE as ``[T, H, W, 3]`` (alpha is dropped).

    Raises:
        ValueError: when it is not an IMAGE batch or holds no frame.
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[-1] not in (3, 4):
        shape = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"{name} must be an IMAGE [frames, height, width, 3], but it is {shape}")
    if images.shape[0] == 0:
        raise ValueError(f"{name} holds no frames")
    return images[..., :3]
