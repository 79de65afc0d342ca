"""CLIP made of ComfyUI's own classes and vocabulary, so that the pack needs no package for it."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import comfy
import torch

from ...storymem.models.clip_parts import OPEN_CLIP, ClipParts, ImageSizes, TextSizes
from ...storymem.models.clip_words import ClipWords
from .once import warn_once_per_run

VOCABULARY = Path(comfy.__path__[0]) / "sd1_tokenizer"
NEEDED = ("vocab.json", "merges.txt")
logger = logging.getLogger(__name__)


class ImageTower(torch.nn.Module):
    """The host's image tower, as a function of pixels."""

    def __init__(self, tower: torch.nn.Module):
        super().__init__()
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.tower(pixel_values=pixels)[2]


class TextTower(torch.nn.Module):
    """The host's text tower, as a function of tokens."""

    def __init__(self, tower: torch.nn.Module, context: int):
        super().__init__()
        self.tower, self.context_length = tower, context

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.tower(input_tokens=tokens)[2]


class HostClipParts:
    """``comfy.clip_model`` in float32; tokens of the host's copy of CLIP's vocabulary."""

    def __init__(self):
        import comfy.clip_model
        import comfy.clip_vision
        import comfy.ops
        import comfy.utils

        self._image_class = comfy.clip_model.CLIPVisionModelProjection
        self._text_class = comfy.clip_model.CLIPTextModel
        self._convert_image = comfy.clip_vision.convert_to_transformers
        self._convert_text = comfy.utils.clip_text_transformers_convert
        # Layers whose weights may stay in memory while they compute on a full card.
        self._layers = comfy.ops.manual_cast
        for name in NEEDED:
            if not (VOCABULARY / name).is_file():
                raise FileNotFoundError(f"{VOCABULARY.name}/{name} is not there")
        self._words = ClipWords(VOCABULARY)

    def check(self) -> None:
        """Pictures need nothing but the host."""

    def image_tower(self, weights, sizes: ImageSizes, activation: str) -> torch.nn.Module:
        config = {
            **_common(sizes, activation),
            "model_type": "clip_vision_model",
            "num_channels": 3,
            "patch_size": sizes.patch,
            "image_size": sizes.image,
            "projection_dim": sizes.features,
        }
        with torch.device("meta"):  # the file's tensors become the module's: no second copy
            tower = self._image_class(config, torch.float32, None, self._layers)
        tower.load_state_dict(self._convert_image(dict(weights), ""), assign=True)
        return ImageTower(tower)

    def text_tower(self, weights, sizes: TextSizes, activation: str) -> torch.nn.Module:
        config = {
            **_common(sizes, activation),
            "max_position_embeddings": sizes.context,
            "eos_token_id": sizes.vocabulary - 1,  # the end of every text is CLIP's last token
        }
        with torch.device("meta"):
            tower = self._text_class(config, torch.float32, None, self._layers)
            # The host's is square, as in every published CLIP but not in every possible one.
            tower.text_projection = self._layers.Linear(sizes.width, sizes.features, bias=False)
            # The host's has the vocabulary's usual size.
            tower.text_model.embeddings.token_embedding = self._layers.Embedding(
                sizes.vocabulary, sizes.width
            )
        tower.load_state_dict(self._convert_text(dict(weights), "", ""), assign=True)
        return TextTower(tower, sizes.context)

    def token_ids(self, text: str) -> list[int]:
        return self._words(text)


def _common(sizes: ImageSizes | TextSizes, activation: str) -> dict:
    return {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.hidden,
        "hidden_act": activation,
    }


def clip_parts() -> ClipParts:
    """The host's CLIP; where this ComfyUI has none that is known here, open_clip's, said once."""
    try:
        return _of_host()
    except (ImportError, AttributeError, FileNotFoundError) as error:
        warn_once_per_run(
            logger,
            f"this ComfyUI has another CLIP than StoryMem knows ({error}); the package "
            "open_clip_torch is used",
        )
        return OPEN_CLIP


@cache
def _of_host() -> HostClipParts:
    return HostClipParts()  # it keeps the vocabulary it has read
