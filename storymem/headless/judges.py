"""What looks at finished frames in a headless run: the embedder and the scorer, on one device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ..memory.embedders import Embedder, LayoutEmbedder
from ..models.weights import CLIP_B32, CLIP_L14, HPSV3, LAION_HEAD, WeightsSource
from ..selection.scorers import Scorer, SharpnessScorer

EMBEDDERS = ("clip", "no_weights")
SCORERS = ("none", "sharpness", "laion", "hpsv3")


@dataclass(frozen=True)
class SelectionModels:
    """Which embedder and scorer a run uses, and their weights files."""

    embedder: str = "clip"
    clip: Path | None = None
    scorer: str = "none"
    scorer_threshold: float | None = None  # None: the scorer's own
    laion_clip: Path | None = None
    laion_head: Path | None = None
    hpsv3: Path | None = None

    def check(self) -> None:
        """Raise ValueError for an unknown choice or a weights file that is not there."""
        for what, value, known in (
            ("embedder", self.embedder, EMBEDDERS),
            ("scorer", self.scorer, SCORERS),
        ):
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}, but it is {value!r}")
        if self.scorer_threshold is not None and not math.isfinite(self.scorer_threshold):
            raise ValueError(
                f"scorer-threshold must be a number, but it is {self.scorer_threshold}"
            )
        if self.embedder == "clip":
            require_file(self.clip, "--clip", CLIP_B32, "or choose --embedder no_weights (rough)")
        if self.scorer == "laion":
            require_file(self.laion_clip, "--laion-clip", CLIP_L14)
            require_file(self.laion_head, "--laion-head", LAION_HEAD)
        if self.scorer == "hpsv3":
            require_file(self.hpsv3, "--hpsv3", HPSV3)

    def load(self, device: torch.device) -> tuple[Embedder, Scorer | None]:
        """Load the embedder and, unless it is ``none``, the scorer; models work on ``device``."""
        return self._load_embedder(device), self._load_scorer(device)

    def _load_embedder(self, device: torch.device) -> Embedder:
        if self.embedder == "no_weights":
            return LayoutEmbedder()
        from ..models.clip_embedder import ClipEmbedder
        from ..models.clip_text import load_clip_text
        from ..models.clip_vision import load_clip

        tower = load_clip(self.clip)
        encode = on_device(tower.module, device)

        @cache
        def text_tower() -> Callable[[torch.Tensor], torch.Tensor]:
            if (module := load_clip_text(self.clip, tower)) is None:
                raise ValueError(
                    f"{self.clip} holds only an image tower, so it cannot compare pictures with "
                    "words; pass a whole CLIP ViT-B/32 file, such as OpenAI's ViT-B-32.pt"
                )
            return on_device(module, device)

        def encode_tokens(tokens: torch.Tensor) -> torch.Tensor:
            return text_tower()(tokens)

        return ClipEmbedder(
            encode,
            tower.shape,
            openai=tower.openai,
            encode_tokens=encode_tokens,
            identity=tower.identity,
        )

    def _load_scorer(self, device: torch.device) -> Scorer | None:
        if self.scorer == "none":
            return None
        if self.scorer == "sharpness":
            return SharpnessScorer(self.scorer_threshold)
        if self.scorer == "hpsv3":
            from ..models.hpsv3 import Hpsv3Scorer, load_hpsv3

            dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
            model = Guest(load_hpsv3(self.hpsv3, dtype=dtype), device)
            return Hpsv3Scorer(model, threshold=self.scorer_threshold, release=model.release)
        from ..models.clip_vision import load_clip
        from ..models.laion import LaionScorer, load_head

        tower = load_clip(self.laion_clip)
        return LaionScorer(
            on_device(tower.module, device),
            tower.shape,
            load_head(self.laion_head),
            threshold=self.scorer_threshold,
        )


def require_file(
    path: Path | None, option: str, source: WeightsSource, otherwise: str = ""
) -> None:
    """Raise ValueError when ``option`` names no file, or one that is not there."""
    if path is None:
        hint = f"; {otherwise}" if otherwise else ""
        raise ValueError(
            f"{source.title} needs a weights file: download {source.file} from {source.page} and "
            f"pass its path with {option}{hint}"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path} ({option}); check the path")


class Guest:
    """A large model that is on the device only while it is asked (HPSv3: 15 GB in bf16)."""

    def __init__(self, module: torch.nn.Module, device: torch.device):
        self._module, self._device = module, device

    @torch.no_grad()
    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        self._module.to(self._device)
        return self._module(*(value.to(self._device) for value in inputs)).float().cpu()

    def release(self) -> None:
        """Move the model to the CPU and give the GPU's memory back."""
        self._module.to("cpu")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def on_device(
    module: torch.nn.Module, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """``module`` on ``device`` as a function; results on the CPU."""
    module = module.to(device)

    @torch.no_grad()
    def encode(inputs: torch.Tensor) -> torch.Tensor:
        return module(inputs.to(device)).float().cpu()

    return encode
