"""Small stand-ins shared by the tests."""

from __future__ import annotations

import torch


def noise_image(seed: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """A random uint8 image ``[H, W, 3]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
