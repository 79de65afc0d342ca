"""Wan models as the host's loaders hand them on, but without numbers in their weights.

Made in milliseconds, for tests of what happens around a model and never inside it.
"""

from __future__ import annotations

import torch

CONFIG = {  # what the host reads from a file's weights
    "image_model": "wan2.1", "model_type": "t2v", "dim": 128, "ffn_dim": 128, "num_heads": 1,
    "num_layers": 2, "out_dim": 16, "patch_size": (1, 2, 2), "freq_dim": 256, "text_dim": 4096,
}  # fmt: skip
I2V, T2V = 36, 16  # input channels of the A14B experts


def bare_wan(channels: int = I2V, **changes):
    """A patcher of one expert of Wan 2.2 A14B; ``changes`` are of its configuration."""
    import comfy.model_patcher
    import comfy.ops
    import comfy.supported_models

    config = comfy.supported_models.WAN21_T2V({**CONFIG, "in_dim": channels, **changes})
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = comfy.ops.disable_weight_init
    cpu = torch.device("cpu")
    inner = config.get_model({}, "", device="meta")
    return comfy.model_patcher.ModelPatcher(inner, load_device=cpu, offload_device=cpu)


def prompt(width: int = 4096) -> list:
    """An encoded prompt, as a conditioning."""
    return [[torch.zeros(1, 7, width), {}]]
