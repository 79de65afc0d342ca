"""Layouts between the host and the library."""

from __future__ import annotations

import torch

from ...storymem.files.images import check_scale, on_white, warn_of_highlights


def require_images(images: torch.Tensor, name: str) -> torch.Tensor:
    """The host's IMAGE as ``[T, H, W, 3]`` in [0, 1]; what is transparent shows white.

    The result may be a view of the argument: who keeps it copies it.

    Raises:
        ValueError: when it is not an IMAGE batch, holds no frame, or has another scale than 0 ... 1
            (``uint8`` is scaled).
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[-1] not in (3, 4):
        if images is None:
            raise ValueError(
                f"{name} got nothing: the output that it is connected to is empty here"
            )
        shape = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"{name} must be an IMAGE [frames, height, width, 3], but it is {shape}")
    if images.shape[0] == 0:
        raise ValueError(f"{name} holds no frames")
    if images.dtype == torch.uint8:
        images = images.float() / 255
    if not images.is_floating_point():
        raise ValueError(
            f"{name} must hold floating point pixels from 0 to 1, but they are {images.dtype}; "
            "convert it with the node that made it"
        )
    highest = 0.0
    for i, frame in enumerate(images):  # one at a time: a shot can take gigabytes
        which = name if len(images) == 1 else f"{name}: frame {i}"
        pixels = frame[..., :3].detach().to("cpu", torch.float32).numpy()
        highest = max(highest, check_scale(pixels, which))
    warn_of_highlights(highest, name)
    return on_white(images)
