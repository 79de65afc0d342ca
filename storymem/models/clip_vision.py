"""CLIP image towers from one local file, in open_clip's, OpenAI's or transformers' layout."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange

from ..files.messages import short
from ..files.weights_file import read_state_dict
from .clip_parts import OPEN_CLIP, ClipParts, ImageSizes

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Heads do not show in the weights: 64 channels each, but for the larger open models.
HEADS_BY_WIDTH = {1280: 16, 1408: 16, 1664: 16}
OTHER_WEIGHTS = re.compile(r"laion|datacomp|dfn|metaclip|commonpool", re.I)  # trained with GELU
ACTIVATIONS = ("auto", "quick_gelu", "gelu")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipShape:
    """What the weights say about the tower."""

    width: int
    layers: int
    patch: int
    image: int  # pixels, square
    features: int

    @property
    def name(self) -> str:
        """What the model is called: ``ViT-B/32``, ``ViT-L/14 336px`` and so on."""
        sizes = {(768, 12): "B", (1024, 24): "L", (1280, 32): "H", (1408, 40): "g", (1664, 48): "G"}
        size = sizes.get((self.width, self.layers), f"{self.width}x{self.layers}")
        tail = "" if self.image == 224 else f" {self.image}px"
        return f"ViT-{size}/{self.patch}{tail}"


def image_tower(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The image tower of ``state`` under open_clip's names, float32.

    Raises:
        ValueError: when there is no CLIP image tower in it.
    """
    for key in state:
        if key.endswith("vision_model.embeddings.class_embedding"):
            return _from_transformers(state, key.removesuffix("embeddings.class_embedding"))
    for key in state:
        if (
            key.endswith("class_embedding")
            and key.removesuffix("class_embedding") + "proj" in state
        ):
            prefix = key.removesuffix("class_embedding")
            return {
                k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)
            }
    raise ValueError("it has no CLIP image tower (ViT); choose a CLIP ViT-B/32 file")


def _from_transformers(state: dict, prefix: str) -> dict[str, torch.Tensor]:
    projection = prefix.removesuffix("vision_model.") + "visual_projection.weight"
    if projection not in state:
        raise ValueError(
            "it has no visual_projection, so it is not a CLIP image tower with projection; "
            "choose a CLIP ViT-B/32 file"
        )
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm.": "ln_pre.",  # transformers' own spelling
        "post_layernorm.": "ln_post.",
    }
    tower: dict[str, torch.Tensor] = {"proj": state[projection].float().T.contiguous()}
    for key, value in state.items():
        key = key.removeprefix(prefix) if key.startswith(prefix) else ""
        for old, new in names.items():
            if key.startswith(old):
                tower[key.replace(old, new)] = value.float()
    return tower | encoder_blocks(state, prefix)


def encoder_blocks(state: dict, prefix: str) -> dict[str, torch.Tensor]:
    """The blocks of a transformers tower, image or text, under open_clip's names, float32."""
    names = {
        "layer_norm1.": "ln_1.",
        "layer_norm2.": "ln_2.",
        "mlp.fc1.": "mlp.c_fc.",
        "mlp.fc2.": "mlp.c_proj.",
        "self_attn.out_proj.": "attn.out_proj.",
    }
    blocks: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        block = re.match(re.escape(prefix) + r"encoder\.layers\.(\d+)\.(.+)", key)
        if not block:
            continue
        head, part = f"transformer.resblocks.{block[1]}.", block[2]
        for old, new in names.items():
            if part.startswith(old):
                blocks[head + part.replace(old, new)] = value.float()
        if part in ("self_attn.q_proj.weight", "self_attn.q_proj.bias"):
            kind = part.rsplit(".", 1)[1]
            parts = [
                state[f"{prefix}encoder.layers.{block[1]}.self_attn.{name}_proj.{kind}"].float()
                for name in "qkv"
            ]
            blocks[f"{head}attn.in_proj_{kind}"] = torch.cat(parts)
    return blocks


def shape_of(tower: dict[str, torch.Tensor]) -> ClipShape:
    """Read the sizes of a tower from its weights."""
    try:
        width, _, patch, _ = tower["conv1.weight"].shape
        grid = round((tower["positional_embedding"].shape[0] - 1) ** 0.5)
        layers = 1 + max(
            int(k.split(".")[2]) for k in tower if k.startswith("transformer.resblocks.")
        )
        return ClipShape(width, layers, patch, grid * patch, tower["proj"].shape[1])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"its CLIP image tower is incomplete ({error}); download it again"
        ) from error


@dataclass(frozen=True, eq=False)
class ClipTower:
    """A loaded image tower: ``module(pixels [N, 3, S, S]) -> features [N, D]``."""

    module: torch.nn.Module
    shape: ClipShape
    openai: bool  # whether this can be OpenAI's training: the file's name claims nothing else
    activation: str  # quick_gelu or gelu, of the text tower too
    identity: str = ""  # tells two trainings of one shape, or two activations, apart


def load_clip(
    path: str | Path, *, activation: str = "auto", parts: ClipParts = OPEN_CLIP
) -> ClipTower:
    """Read a CLIP image tower, its layers made by ``parts``.

    ``activation``: OpenAI's weights need quick_gelu, most others gelu; no layout records which.
    ``auto`` takes gelu when the file's name says LAION, DataComp or the like.

    Raises:
        ValueError: for a file that is not a CLIP image tower, naming it.
    """
    path = Path(path)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, but it is {activation!r}")
    parts.check()
    openai = not OTHER_WEIGHTS.search(path.name)
    if activation == "auto":
        plain = openai or "quickgelu" in path.name.lower().replace("_", "").replace("-", "")
        activation = "quick_gelu" if plain else "gelu"
    try:
        tower = image_tower(read_state_dict(path))
        shape = shape_of(tower)
        sizes = ImageSizes(
            width=shape.width,
            layers=shape.layers,
            heads=HEADS_BY_WIDTH.get(shape.width, shape.width // 64),
            hidden=tower["transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
            features=shape.features,
            patch=shape.patch,
            image=shape.image,
        )
        sample = tower["proj"].contiguous().numpy().tobytes()  # no two trainings share it
        module = parts.image_tower(tower, sizes, activation)
    except (ValueError, KeyError, RuntimeError) as error:
        text = short(str(error), 400)  # torch lists every weight that is missing
        raise ValueError(text if str(path) in text else f"{path} cannot be used: {text}") from error
    logger.info("StoryMem: CLIP %s from %s, %s", shape.name, path.name, activation)
    identity = f"{activation} {hashlib.sha256(sample).hexdigest()[:16]}"
    return ClipTower(module.eval().requires_grad_(False), shape, openai, activation, identity)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """``[N, 3, S, S]`` in [0, 1] with CLIP's mean and standard deviation taken out."""
    mean = pixels.new_tensor(CLIP_MEAN)[:, None, None]
    std = pixels.new_tensor(CLIP_STD)[:, None, None]
    return (pixels - mean) / std


def squashed(frames: torch.Tensor, size: int) -> torch.Tensor:
    """``uint8 [N, H, W, 3]`` as CLIP input the way the released selection makes it: squashed to a
    square, bilinear, no antialias, no crop."""
    pixels = rearrange(frames, "b h w c -> b c h w").float() / 255
    return normalise(F.interpolate(pixels, size=(size, size), mode="bilinear"))


def cropped(frames: torch.Tensor, size: int) -> torch.Tensor:
    """``uint8 [N, H, W, 3]`` as CLIP input the way CLIP was trained: short side to ``size``,
    bicubic with antialias, the middle cut out."""
    height, width = frames.shape[1:3]
    scale = size / min(height, width)
    rows, columns = max(size, int(height * scale)), max(size, int(width * scale))
    pixels = rearrange(frames, "b h w c -> b c h w").float() / 255
    resized = F.interpolate(pixels, size=(rows, columns), mode="bicubic", antialias=True)
    top, left = round((rows - size) / 2), round((columns - size) / 2)
    return normalise(resized[:, :, top : top + size, left : left + size].clamp(0, 1))
