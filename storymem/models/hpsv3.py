"""HPSv3, a human preference score (Qwen2-VL-7B with a reward head), with the host's transformers.

The ``hpsv3`` package pins a transformers that ComfyUI cannot use, so the score is computed here.
Two of its habits decide the number and are kept on purpose:

1. It never computes Qwen2-VL's three-part positions: every token has its plain index. (With
   transformers' own positions the score moves by several points.)
2. Its ``.to(bfloat16)`` also rounds the rotary frequencies, of text and of vision.

``hpsv3_tokens.json`` holds the tokens of its instruction (MIT, see ``hpsv3_NOTICE.txt``) with the
empty prompt that StoryMem scores with; no tokenizer is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image

from ..files.weights_file import read_outline, read_state_dict
from ..selection.preprocess import smart_size
from ..selection.scorers import Scorer
from .clip_vision import normalise

HPSV3_PIXELS = 200_704  # 256 * 28 * 28: minimum and maximum at once
IMAGE_TOKEN = 151655  # <|image_pad|>
PATCH, MERGE, TEMPORAL = 14, 2, 2  # Qwen2-VL: pixels, patches merged each way, frames of a patch
TOKENS_FILE = Path(__file__).with_name("hpsv3_tokens.json")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hpsv3Shape:
    """What the weights do not say. The defaults are Qwen2-VL-7B's."""

    head_dim: int = 128
    vision_heads: int = 16
    rope_theta: float = 1_000_000.0
    vision_theta: float = 10_000.0
    norm_eps: float = 1e-6


@lru_cache(maxsize=1)
def _instruction() -> tuple[list[int], list[int]]:
    """Tokens before the image and after it, the last one being ``<|Reward|>``."""
    tokens = json.loads(TOKENS_FILE.read_text(encoding="utf-8"))
    return tokens["before"], tokens["after"]


def image_patches(frame: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """``uint8 [H, W, 3]`` as Qwen2-VL's patches ``[N, 1176]`` and their grid (1, rows, columns)."""
    height, width = smart_size(*frame.shape[:2], min_pixels=HPSV3_PIXELS, max_pixels=HPSV3_PIXELS)
    picture = Image.fromarray(frame.numpy()).resize((width, height), Image.Resampling.BICUBIC)
    pixels = rearrange(torch.from_numpy(np.array(picture)), "h w c -> c h w").float() / 255
    pixels = normalise(pixels)
    rows, columns = height // PATCH, width // PATCH
    patches = rearrange(  # patches of one 2 x 2 block lie together
        pixels,
        "c (rows row y) (columns column x) -> (rows columns row column) c (y x)",
        row=MERGE,
        column=MERGE,
        y=PATCH,
        x=PATCH,
    )
    patches = repeat(patches, "n c pixels -> n (c t pixels)", t=TEMPORAL)
    return patches, (1, rows, columns)


class Hpsv3Model(torch.nn.Module):
    """``(patches [B * N, 1176], grid [B, 3]) -> scores [B]``; images of one size."""

    def __init__(self, visual: torch.nn.Module, model: torch.nn.Module, rm_head: torch.nn.Module):
        super().__init__()
        self.visual, self.model, self.rm_head = visual, model, rm_head

    def forward(self, patches: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        before, after = _instruction()
        count = int(grid[0].prod()) // MERGE**2
        sequence = [*before, *[IMAGE_TOKEN] * count, *after]
        ids = torch.tensor([sequence] * len(grid), device=patches.device)
        embeds = self.model.embed_tokens(ids)
        features = self.visual(patches.to(embeds.dtype), grid_thw=grid)
        features = getattr(features, "pooler_output", features)  # transformers 5 wraps them
        embeds = embeds.masked_scatter((ids == IMAGE_TOKEN)[..., None], features.to(embeds.dtype))
        positions = torch.arange(ids.shape[1], device=ids.device)  # plain indices: habit 1
        hidden = self.model(
            inputs_embeds=embeds,
            position_ids=positions.expand(3, len(grid), -1),
            attention_mask=torch.ones_like(ids),
            use_cache=False,
        )[0]
        return self.rm_head(hidden[:, -1].float())[:, 0]  # mu of [mu, sigma], at <|Reward|>


def load_hpsv3(
    path: str | Path, *, dtype: torch.dtype = torch.bfloat16, shape: Hpsv3Shape | None = None
) -> Hpsv3Model:
    """Build the model from a local ``HPSv3.safetensors``.

    Raises:
        ValueError: when the file is not HPSv3, naming it, or transformers is missing.
    """
    shape = shape or Hpsv3Shape()
    model = _assemble(path, read_state_dict(path), dtype, shape)
    _round_frequencies(model, shape)
    logger.info("StoryMem: HPSv3 from %s, %s", Path(path).name, dtype)
    return model.eval().requires_grad_(False)


def check_hpsv3(path: str | Path, *, shape: Hpsv3Shape | None = None) -> None:
    """Raise what ``load_hpsv3`` would, without reading the weights: names and shapes only."""
    _assemble(path, read_outline(path), torch.bfloat16, shape or Hpsv3Shape())


def _assemble(
    path: str | Path, state: dict[str, torch.Tensor], dtype: torch.dtype, shape: Hpsv3Shape
) -> Hpsv3Model:
    try:
        from transformers.models.qwen2_vl import configuration_qwen2_vl as configuration
        from transformers.models.qwen2_vl import modeling_qwen2_vl as modeling
    except ImportError as error:
        raise ValueError(
            f"HPSv3 needs transformers with Qwen2-VL ({error}); update ComfyUI's requirements: "
            "pip install -r requirements.txt"
        ) from error
    try:
        model = _empty(*_configs(state, shape, configuration), modeling)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not HPSv3: {reason}; choose HPSv3.safetensors") from error
    wanted = model.state_dict().keys()
    weights = {}
    for key in [key for key in state if key in wanted]:
        value = state.pop(key)
        weights[key] = value.to(torch.float32 if key.startswith("rm_head.") else dtype)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path} is not a whole HPSv3: {' '.join(str(error).split())[:300]}"
        ) from error
    return model


def _empty(text, vision, modeling) -> Hpsv3Model:
    """The model without weights."""
    # Before 4.52 the text model was called Qwen2VLModel.
    text_class = getattr(modeling, "Qwen2VLTextModel", None) or modeling.Qwen2VLModel
    with torch.device("meta"):  # no memory for weights that are replaced at once
        return Hpsv3Model(
            modeling.Qwen2VisionTransformerPretrainedModel._from_config(
                vision, attn_implementation="sdpa"
            ),
            text_class._from_config(text, attn_implementation="sdpa"),
            _reward_head(text.hidden_size),
        )


def _reward_head(width: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(width, 1024),
        torch.nn.ReLU(),
        torch.nn.Identity(),  # dropout in training
        torch.nn.Linear(1024, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 2),
    )


def _configs(state: dict[str, torch.Tensor], shape: Hpsv3Shape, configuration):
    """The text and vision configurations that fit the weights."""
    vocabulary, hidden = state["model.embed_tokens.weight"].shape
    first = "model.layers.0."
    embed = state["visual.patch_embed.proj.weight"].shape[0]
    theta = {"rope_theta": shape.rope_theta}
    half = shape.head_dim // 2
    section = [half // 4, (half - half // 4) // 2]  # unused: all three positions are the same
    section.append(half - sum(section))
    text = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": state[f"{first}mlp.gate_proj.weight"].shape[0],
        "num_hidden_layers": _layers(state, "model.layers."),
        "num_attention_heads": hidden // shape.head_dim,
        "num_key_value_heads": state[f"{first}self_attn.k_proj.weight"].shape[0] // shape.head_dim,
        "rms_norm_eps": shape.norm_eps,
        "use_cache": False,
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": section},
        **theta,
    }
    vision = {
        "depth": _layers(state, "visual.blocks."),
        "embed_dim": embed,
        "num_heads": shape.vision_heads,
        "mlp_ratio": state["visual.blocks.0.mlp.fc1.weight"].shape[0] // embed,
        "hidden_size": hidden,
    }
    config = configuration.Qwen2VLConfig(vision_config=vision, **text)
    return getattr(config, "text_config", config), config.vision_config


def _layers(state: dict[str, torch.Tensor], prefix: str) -> int:
    count = len({key.split(".")[2] for key in state if key.startswith(prefix)})
    if not count:
        raise KeyError(f"{prefix}0")
    return count


def _round_frequencies(model: Hpsv3Model, shape: Hpsv3Shape) -> None:
    """Rotary frequencies rounded to bfloat16, then used in float32: habit 2."""
    for name, module in model.named_modules():
        if not hasattr(module, "inv_freq"):
            continue
        if name.startswith("visual."):
            width, theta = module.inv_freq.shape[0] * 2, shape.vision_theta
        else:
            width, theta = shape.head_dim, shape.rope_theta
        exponents = torch.arange(0, width, 2, dtype=torch.float32, device="cpu") / width
        rounded = (1.0 / theta**exponents).to(torch.bfloat16).float()
        for buffer in ("inv_freq", "original_inv_freq"):
            if hasattr(module, buffer):
                setattr(module, buffer, rounded.clone())


class Hpsv3Scorer(Scorer):
    """HPSv3 with an empty prompt. ``run(patches, grid) -> scores`` is where the model comes in."""

    name = "hpsv3"
    batch = 4  # images of one size at once: about a thousand tokens each

    def __init__(
        self,
        run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        *,
        threshold: float | None = None,
        release: Callable[[], None] | None = None,
    ):
        super().__init__(threshold, release)
        self._run = run

    def _score(self, frames: torch.Tensor) -> torch.Tensor:
        parts = [image_patches(frame) for frame in frames]
        patches = torch.cat([patches for patches, _ in parts])
        return self._run(patches, torch.tensor([grid for _, grid in parts]))
