"""HPSv3 under the host's model management."""

from __future__ import annotations

import comfy.ops
import torch

from ..storymem.hpsv3 import Hpsv3Scorer, load_hpsv3
from .host_models import HostModel

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
WORKING_MEMORY = 2 * 1024**3  # a batch of 4 frames of about a thousand tokens


def hostable(module: torch.nn.Module) -> torch.nn.Module:
    """Give linear layers the host's own class, so that it may keep part of them off the device."""
    for part in module.modules():
        if type(part) is torch.nn.Linear:
            part.__class__ = comfy.ops.manual_cast.Linear
    return module


def open_hpsv3(path: str, *, threshold: float, precision: str) -> Hpsv3Scorer:
    dtype = PRECISIONS[precision]
    model = HostModel(
        lambda: hostable(load_hpsv3(path, dtype=dtype)), working_memory=WORKING_MEMORY
    )
    return Hpsv3Scorer(model, threshold=threshold, release=model.release)
