"""ViCLIP: a clip of 8 frames and a text as vectors that can be compared (InternVid, arXiv
2307.06942; used by VBench, arXiv 2311.17982, and by the paper's metrics).

The video tower is CLIP's with patches of every frame in one sequence and a position for the frame
they come from; the text tower is CLIP's with 32 tokens. Inference only, float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from ..files.weights_file import read_state_dict
from .clip_parts import OPEN_CLIP, TokenIds, rows_of
from .clip_vision import normalise

FRAMES = 8  # per clip, in VBench and in the released weights
HEAD_WIDTH = 64  # channels of a head in every CLIP up to L; the weights do not show it
IMAGE_SIZE = 224
logger = logging.getLogger(__name__)


class QuickGELU(nn.Module):
    """OpenAI's approximation, with which CLIP and ViCLIP were trained."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Self-attention under the names that torch gives it: q, k and v in one matrix."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
        """``[B, L, width]`` in the same shape; with ``causal`` no token sees those after it."""
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = joint.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A residual block: attention, then an MLP four times as wide, a layer norm before each."""

    def __init__(self, width: int, heads: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width),
                "gelu": activation(),
                "c_proj": nn.Linear(4 * width, width),
            }
        )

    def forward(self, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
        """``[B, L, width]`` in the same shape; see ``Attention`` for ``causal``."""
        x = x + self.attn(self.ln_1(x), causal=causal)
        inner = self.mlp["gelu"](self.mlp["c_fc"](self.ln_2(x)))
        return x + self.mlp["c_proj"](inner)


class Tower(nn.Module):
    """Blocks in a row."""

    def __init__(self, width: int, layers: int, activation: Callable[[], nn.Module] = QuickGELU):
        super().__init__()
        heads = max(1, width // HEAD_WIDTH)
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))

    def forward(self, x: torch.Tensor, *, causal: bool = False) -> torch.Tensor:
        """``[B, L, width]`` in the same shape; see ``Attention`` for ``causal``."""
        for block in self.resblocks:
            x = block(x, causal=causal)
        return x


class VideoEncoder(nn.Module):
    """``[B, 8, 3, S, S]`` normalised pixels -> features ``[B, D]``, not normalised."""

    def __init__(self, shape: ViClipShape):
        super().__init__()
        width, grid = shape.width, shape.image // shape.patch
        self.conv1 = nn.Conv3d(
            3, width, (1, shape.patch, shape.patch), (1, shape.patch, shape.patch), bias=False
        )
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(grid**2 + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.empty(1, shape.frames, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Tower(width, shape.layers)
        self.proj = nn.Parameter(torch.empty(width, shape.features))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        patches = self.conv1(rearrange(clips, "b t c h w -> b c t h w"))
        tokens = rearrange(patches, "b c t h w -> b (h w) t c")
        places = self.positional_embedding[1:, None]
        tokens = tokens + places + self.temporal_positional_embedding[0]
        # The class token has a place of its own and belongs to no frame.
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(clips), 1, -1)
        x = self.ln_pre(torch.cat([first, tokens.flatten(1, 2)], dim=1))
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class TextEncoder(nn.Module):
    """Tokens ``[B, L]`` of CLIP's vocabulary -> features ``[B, D]``, not normalised."""

    def __init__(
        self,
        words: int,
        context: int,
        width: int,
        layers: int,
        features: int,
        activation: Callable[[], nn.Module] = QuickGELU,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = Tower(width, layers, activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, features))

    @property
    def context(self) -> int:
        """Tokens of every text, start and end included: 32 in ViCLIP, 77 in CLIP."""
        return self.positional_embedding.shape[0]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, causal=True))
        # The end token has the highest number, and sees the whole text before it.
        last = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        return last @ self.text_projection


@dataclass(frozen=True)
class ViClipShape:
    """What the weights say about the video tower."""

    width: int
    layers: int
    patch: int
    image: int  # pixels, square
    frames: int
    features: int

    @property
    def name(self) -> str:
        """What the model is called: ``ViCLIP L/14``, or its width and depth for other sizes."""
        size = {(768, 12): "B", (1024, 24): "L"}.get((self.width, self.layers))
        return f"ViCLIP {size or f'{self.width}x{self.layers}'}/{self.patch}"


@dataclass(frozen=True, eq=False)
class ViClip:
    """Both towers of one file."""

    video: VideoEncoder
    text: TextEncoder
    shape: ViClipShape


def load_viclip(path: str | Path) -> ViClip:
    """Read ViCLIP from one local file: the published state dict, bare, nested or with a prefix.

    Raises:
        ValueError: for a file that is not ViCLIP, naming it.
    """
    path = Path(path)
    state = read_state_dict(path)
    try:
        head = next((k for k in state if k.endswith("vision_encoder.class_embedding")), None)
        if head is None:
            raise ValueError(
                "it has no video tower (vision_encoder); choose ViClip-InternVid-10M-FLT.pth"
            )
        prefix = head.removesuffix("vision_encoder.class_embedding")
        video = take_part(state, f"{prefix}vision_encoder.")
        text = take_part(state, f"{prefix}text_encoder.")
        state.clear()  # what is not used need not stay in memory
        if video["conv1.weight"].ndim == 4:  # an image's patches: one frame each, the same numbers
            video["conv1.weight"] = video["conv1.weight"][:, :, None]
        shape = _shape_of(video)
        towers = ViClip(
            fill(lambda: VideoEncoder(shape), video),
            build_text(text),
            shape,
        )
        if shape.features != towers.text.text_projection.shape[1]:
            raise ValueError("its video and text features differ in length; it cannot be ViCLIP")
    except KeyError as error:
        raise ValueError(f"{path} is not a whole ViCLIP: {error} is missing") from error
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{path} is not a whole ViCLIP: {reason}") from error
    logger.info("StoryMem: %s from %s", shape.name, path.name)
    return towers


def take_part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors below ``prefix``, in float32."""
    return {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}


def fill(build: Callable[[], nn.Module], state: dict[str, torch.Tensor]) -> nn.Module:
    """A module that takes ``state`` as its own weights, without a second copy of them."""
    with torch.device("meta"):
        module = build()
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def build_text(
    state: dict[str, torch.Tensor], activation: Callable[[], nn.Module] = QuickGELU
) -> TextEncoder:
    """A CLIP text tower, sized by its weights."""
    words, width = state["token_embedding.weight"].shape
    context, features = state["positional_embedding"].shape[0], state["text_projection"].shape[1]
    layers = _count_blocks(state)
    state = {k: v for k, v in state.items() if k != "attn_mask"}  # some layouts keep the mask
    return fill(lambda: TextEncoder(words, context, width, layers, features, activation), state)


def _shape_of(video: Mapping[str, torch.Tensor]) -> ViClipShape:
    width, _, _, patch, _ = video["conv1.weight"].shape
    grid = round((video["positional_embedding"].shape[0] - 1) ** 0.5)
    frames = video["temporal_positional_embedding"].shape[1]
    if frames != FRAMES:
        raise ValueError(f"it is made for clips of {frames} frames; ViCLIP's have {FRAMES}")
    return ViClipShape(
        width, _count_blocks(video), patch, grid * patch, frames, video["proj"].shape[1]
    )


def _count_blocks(state: Mapping[str, torch.Tensor]) -> int:
    head = "transformer.resblocks."
    return 1 + max((int(k.split(".")[2]) for k in state if k.startswith(head)), default=-1)


# --- what goes in ------------------------------------------------------------------------------


def tokenise(
    texts: Sequence[str], context: int, token_ids: TokenIds = OPEN_CLIP.token_ids
) -> torch.Tensor:
    """CLIP's tokens ``[N, context]``; a longer text is cut, its last token the end token."""
    return rows_of([token_ids(text) for text in texts], context)


def count_tokens(text: str, token_ids: TokenIds = OPEN_CLIP.token_ids) -> int:
    """How many tokens a text has, start and end included."""
    return len(token_ids(text)) + 2


def middle_frames(count: int, samples: int = FRAMES) -> list[int]:
    """The middle frames of ``samples`` equal parts of ``count`` frames, as VBench takes them.

    A clip of fewer frames gives all of them, and then the last one again.

    Raises:
        ValueError: without a frame.
    """
    import numpy as np

    if count < 1:
        raise ValueError("there is no frame to look at")
    parts = min(samples, count)
    bounds = np.linspace(0, count, parts + 1).astype(int).tolist()
    chosen = [(a + b - 1) // 2 for a, b in pairwise(bounds)]
    return chosen + chosen[-1:] * (samples - parts)


def as_clip_input(frames: torch.Tensor, size: int = IMAGE_SIZE) -> torch.Tensor:
    """``uint8 [N, H, W, 3]`` as ViCLIP and VBench's aesthetic predictor see it, ``[N, 3, S, S]``.

    Short side to ``size`` (bicubic, no antialias, rounded to eight bits), the middle cut out.
    """
    height, width = frames.shape[1:3]
    if height <= width:
        rows, columns = size, int(size * width / height)
    else:
        rows, columns = int(size * height / width), size
    pixels = rearrange(frames, "b h w c -> b c h w").float()
    if (rows, columns) != (height, width):
        pixels = F.interpolate(pixels, size=(rows, columns), mode="bicubic").clamp(0, 255).round()
    top, left = round((rows - size) / 2), round((columns - size) / 2)
    return normalise(pixels[:, :, top : top + size, left : left + size] / 255)
