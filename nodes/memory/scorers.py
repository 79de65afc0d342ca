"""Load Scorer: who judges how good a frame looks."""

from __future__ import annotations

import comfy.ops
import torch
from comfy_api.latest import io

from ...storymem.models.hpsv3 import Hpsv3Scorer, check_hpsv3, load_hpsv3
from ...storymem.models.laion import LaionScorer, load_head
from ...storymem.models.weights import (
    CLIP_L14,
    HPSV3,
    HPSV3_NAMES,
    L14_NAMES,
    LAION_HEAD,
    LAION_NAMES,
)
from ...storymem.selection.scorers import (
    HPSV3_THRESHOLD,
    LAION_THRESHOLD,
    SHARPNESS_THRESHOLD,
    SharpnessScorer,
)
from ..host.folders import shortens_host_paths
from ..host.models import HostModel, file_options, weights_path
from ..types import Scorer
from .embedders import open_tower

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
    """HPSv3 as a scorer that reads its weights at the first use; ``precision`` is bf16 or fp32.

    Raises:
        ValueError: at once for a file that is not HPSv3, or when transformers is missing.
    """
    check_hpsv3(path)  # before anything is sampled; the weights are read when they are needed
    dtype = PRECISIONS[precision]
    model = HostModel(
        lambda: hostable(load_hpsv3(path, dtype=dtype)), working_memory=WORKING_MEMORY
    )
    return Hpsv3Scorer(model, threshold=threshold, release=model.release)


def load_scorer(kind: str, threshold: float, *, files: dict[str, str], precision: str, fetch: bool):
    """The scorer called ``kind``; ``files`` are names in the host's folders, or ``auto``."""
    if kind == "sharpness":
        return SharpnessScorer(threshold)
    if kind == "laion":
        head = load_head(weights_path(LAION_HEAD, files["score"], LAION_NAMES, fetch=fetch))
        model, tower, _ = open_tower(
            CLIP_L14, files["clip"], L14_NAMES, activation="auto", fetch=fetch
        )
        return LaionScorer(model, tower.shape, head, threshold=threshold, release=model.release)
    path = weights_path(HPSV3, files["score"], HPSV3_NAMES, fetch=fetch)
    return open_hpsv3(path, threshold=threshold, precision=precision)


class LoadScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoadScorer",
            display_name="Load Scorer",
            category="StoryMem/loaders",
            description="Loads the scorer that judges how good a frame looks: HPSv3 as in the "
            "paper (7B, about 17 GB), the light LAION predictor, or plain sharpness, which needs "
            "no weights. Each has its own scale and threshold.",
            inputs=[
                io.Combo.Input(
                    "scorer",
                    options=["hpsv3", "laion", "sharpness"],
                    default="sharpness",
                    tooltip="hpsv3: human preference, as in the paper. laion: a small aesthetic "
                    "predictor on CLIP ViT-L/14. sharpness: no weights, sees blur only.",
                ),
                io.Combo.Input(
                    "score_file",
                    options=file_options(HPSV3.folder),
                    default="auto",
                    tooltip="Weights in models/aesthetics: HPSv3.safetensors for hpsv3, the linear "
                    "or MLP head for laion. auto looks for the known names.",
                ),
                io.Combo.Input(
                    "clip_name",
                    options=file_options(CLIP_L14.folder),
                    default="auto",
                    tooltip="CLIP ViT-L/14 in models/clip_vision, for laion only.",
                ),
                io.Float.Input(
                    "hpsv3_threshold",
                    default=HPSV3_THRESHOLD,
                    min=-100.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Lowest HPSv3 score that is good enough. The paper uses 3; frames of "
                    "good videos score 5 to 11. Used by hpsv3 only.",
                ),
                io.Float.Input(
                    "laion_threshold",
                    default=LAION_THRESHOLD,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="Lowest LAION score, 1 to 10, that is good enough. Safe: 4.5 to 5.5. "
                    "Used by laion only.",
                ),
                io.Float.Input(
                    "sharpness_threshold",
                    default=SHARPNESS_THRESHOLD,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Lowest sharpness, in per cent, that is good enough. A frame of one "
                    "flat colour scores 0. Safe: 0.5 to 2. Used by sharpness only.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["bf16", "fp32"],
                    default="bf16",
                    optional=True,
                    advanced=True,
                    tooltip="Precision of HPSv3: it was released in bf16; fp32 takes twice the "
                    "memory.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Download missing weights (HPSv3 17 GB, CLIP ViT-L/14 933 MB). Off: "
                    "nothing is ever downloaded.",
                ),
            ],
            outputs=[
                Scorer.Output(
                    display_name="scorer",
                    tooltip="For Keyframe Select or Aesthetic Filter. Its threshold comes with it.",
                )
            ],
        )

    # The host runs asynchronous nodes first: a .safetensors file that cannot be used is told before
    # any shot.
    @classmethod
    @shortens_host_paths
    async def execute(
        cls,
        scorer,
        score_file,
        clip_name,
        hpsv3_threshold,
        laion_threshold,
        sharpness_threshold,
        precision="bf16",
        download=False,
    ):
        thresholds = {
            "hpsv3": hpsv3_threshold,
            "laion": laion_threshold,
            "sharpness": sharpness_threshold,
        }
        files = {"score": score_file, "clip": clip_name}
        loaded = load_scorer(
            scorer, thresholds[scorer], files=files, precision=precision, fetch=download
        )
        return io.NodeOutput(loaded)
