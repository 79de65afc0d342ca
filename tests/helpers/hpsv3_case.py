"""The tiny HPSv3 of the golden case, the same in both environments: sizes, weights and images.

Numbers come from numpy's frozen RandomState, so that they do not depend on a version of torch.
"""

from __future__ import annotations

import zlib

import numpy as np

REWARD_TOKEN = 151657
VOCABULARY = 151658
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MROPE_SECTION = [2, 3, 3]
VISION = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 4, "hidden_size": 64}

# (seed, height, width, cell): frames as the selection gives them, and sizes of all kinds
IMAGES = [
    (1, 336, 588, 28),
    (2, 336, 588, 7),
    (3, 588, 336, 12),
    (4, 480, 832, 16),
    (5, 196, 196, 49),
    (6, 64, 64, 1),
    (7, 336, 588, 336),
]


def image(seed: int, height: int, width: int, cell: int) -> np.ndarray:
    """``uint8 [H, W, 3]`` of flat random cells."""
    rows, columns = -(-height // cell), -(-width // cell)
    cells = np.random.RandomState(seed).randint(0, 256, (rows, columns, 3)).astype(np.uint8)
    return cells.repeat(cell, 0).repeat(cell, 1)[:height, :width].copy()


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 weight for a key of HPSv3.safetensors, large enough for every part to matter."""
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal
    values = normal(shape).astype(np.float32)
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        gain = 3.0 if key.startswith("rm_head") else 1.2
        return values if "embed_tokens" in key else values * np.float32(gain / fan_in**0.5)
    return values * np.float32(0.1) + np.float32("bias" not in key)
