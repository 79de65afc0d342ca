"""HPSv3 under the host's model management."""

from __future__ import annotations

import comfy.ops
import torch

from ...storymem.models.hpsv3 import Hpsv3Scorer, check_hpsv3, load_hpsv3
from ..host.models import HostModel

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
HOST_CLASSES = {
    torch.nn.Linear: comfy.ops.manual_cast.Linear,
    torch.nn.Conv3d: comfy.ops.manual_cast.Conv3d,
    torch.nn.LayerNorm: comfy.ops.manual_cast.LayerNorm,
    torch.nn.Embedding: comfy.ops.manual_cast.Embedding,
}
WORKING_MEMORY = 2 * 1024**3  # a batch of 4 frames of about a thousand tokens


def hostable(module: torch.nn.Module) -> torch.nn.Module:
    """Give layers the host's own classes, so that it may keep part of them off the device."""
    for part in module.modules():
        if type(part) in HOST_CLASSES:
            part.__class__ = HOST_CLASSES[type(part)]
            if not hasattr(part, "bias"):  # the host's embeddings have one
                part.bias = None
    return module


def open_hpsv3(path: str, *, threshold: float, precision: str) -> Hpsv3Scorer:
    check_hpsv3(path)  # before anything is sampled; the weights are read when they are needed
    dtype = PRECISIONS[precision]
    model = HostModel(
        lambda: hostable(load_hpsv3(path, dtype=dtype)), working_memory=WORKING_MEMORY
    )
    return Hpsv3Scorer(model, threshold=threshold, release=model.release)
