"""Where a name in a LoRA file belongs in diffusers' Wan, whichever program wrote the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache

import torch

from ..files.json_text import parse_json

# The checkpoint's name of a part -> diffusers' name of it, in every block.
DIFFUSERS_NAMES = {
    **{f"self_attn.{part}": f"attn1.to_{part}" for part in "qkv"},
    **{f"cross_attn.{part}": f"attn2.to_{part}" for part in "qkv"},
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.o": "attn2.to_out.0",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
OTHER_NAMES = {
    **{f"self_attn.norm_{part}": f"attn1.norm_{part}" for part in "qk"},
    **{f"cross_attn.norm_{part}": f"attn2.norm_{part}" for part in "qk"},
    "norm3": "norm2",
    "modulation": "scale_shift_table",
}
IMAGE_NAMES = {  # of Wan 2.1 I2V alone, which reads the start image through CLIP, too
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
}
TOP_NAMES = {
    "patch_embedding": "patch_embedding",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
IMAGE_TOP_NAMES = {
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}
PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "pipe.dit.",
    "dit.", "model.", "module.", "_orig_mod.",
)  # fmt: skip
FLAT_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_")  # then dots are underscores, too
_PREFIX = re.compile(rf"^(?:{'|'.join(map(re.escape, PREFIXES))})+")
_FLAT_PREFIX = re.compile(rf"^(?:{'|'.join(FLAT_PREFIXES)})")


class Places:
    """The parts of a transformer by every name that files have for them."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        """``shapes`` of every parameter, by diffusers' name of it."""
        self.shapes = shapes
        blocks = [int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")]
        self.blocks = 1 + max(blocks, default=-1)
        parts = dict(TOP_NAMES)
        images = dict(IMAGE_TOP_NAMES)
        for block in range(self.blocks):
            for old, new in {**DIFFUSERS_NAMES, **OTHER_NAMES}.items():
                parts[f"blocks.{block}.{old}"] = f"blocks.{block}.{new}"
            for old, new in IMAGE_NAMES.items():
                images[f"blocks.{block}.{old}"] = f"blocks.{block}.{new}"
        self._image_parts = set(images.values())
        self._names: dict[str, str] = {}
        self._flat: dict[str, str] = {}
        for old, new in {**parts, **images}.items():
            for name in (new, old):
                self._names[name] = new
                self._flat[name.replace(".", "_")] = new

    def find(self, name: str) -> str | None:
        """Diffusers' name of the part that a file calls ``name``; None when there is none."""
        if flat := _FLAT_PREFIX.match(name):
            return self._flat.get(name[flat.end() :])
        return self._names.get(_PREFIX.sub("", name))

    def is_image_part(self, part: str) -> bool:
        """Whether a part is one of Wan 2.1 I2V that this model does not have."""
        return part in self._image_parts and self.shape(part) is None

    def parameter(self, part: str, kind: str = "weight") -> str:
        """The parameter's name: tables are one themselves."""
        return part if part in self.shapes else f"{part}.{kind}"

    def shape(self, part: str, kind: str = "weight") -> tuple[int, ...] | None:
        """The shape of a part's weight or bias; None when the model has no such."""
        return self.shapes.get(self.parameter(part, kind))

    @property
    def width(self) -> int:
        """Numbers per token: 5120 in A14B."""
        return self.shapes["patch_embedding.weight"][0]


def places_of(transformer: torch.nn.Module) -> Places:
    """The places of a loaded transformer, with or without LoRAs in it."""
    return Places(
        {
            name.replace(".base_layer.", "."): tuple(parameter.shape)
            for name, parameter in transformer.named_parameters()
            if ".lora_" not in name
        }
    )


def places_of_config(config: Mapping) -> Places:
    """The places of the transformer that a ``config.json`` describes, which is not loaded."""
    return _places_of_config(json.dumps(dict(config), sort_keys=True))


@lru_cache(maxsize=4)
def _places_of_config(config: str) -> Places:
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        return places_of(WanTransformer3DModel.from_config(parse_json(config)))
