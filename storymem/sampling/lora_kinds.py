"""What a weights file seems to be, by the names and shapes in it: said when it is the wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

WAN_OF_WIDTH = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B", 5120: "Wan 14B"}
A14B_WIDTH = 5120
# Adapters that change a weight in another way than ``up @ down``.
OTHER_ADAPTERS = {
    "DoRA": r"dora_scale|lora_magnitude_vector",
    "LoKr": r"\.lokr_",
    "LoHa": r"\.hada_",
    "OFT": r"\.b?oft_|\.oft_blocks",
    "LoCon with a middle weight": r"\.lora_mid\b",
    "IA3": r"\.on_input$",
}
TEXT_ENCODER = re.compile(
    r"^(lora_te\d?_|lora_te\b|text_encoders?\.|te\d?_|text_encoder_\d\.|clip_)"
)
_LORA_PART = re.compile(r"lora|lokr_|hada_|\.alpha$|\.diff(_[bm])?$")
_WAN_PART = re.compile(  # of a block, however a program names its parts
    r"(?:^|\.|^lora_unet_|^lora_transformer_|^lycoris_)blocks[._]\d+[._]"
    r"(?:self_attn|cross_attn|attn[12]|ffn|norm[123]|modulation|scale_shift_table)\b"
    r"|(?:^|\.|^lora_unet_|^lora_transformer_|^lycoris_)blocks_\d+_"
    r"(?:self_attn|cross_attn|attn[12]|ffn|norm[123]|modulation|scale_shift_table)"
)
_WAN_QUERY = re.compile(r"(?:self_attn[._]q|attn1[._]to_q)\.lora_?(?:A|down)\b", re.IGNORECASE)
_UNET = re.compile(r"(^|[._])(down|mid|up|input|middle|output)_blocks?[._]")
_UNET_TEXT = re.compile(r"attn2[._]to_[kv]\.(lora_A|lora_down|lora\.down)")
_UNET_OF_WIDTH = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 2048: "SDXL"}
_OTHER_MODELS = (  # the first that a name matches
    (r"single_transformer_blocks|double_blocks|single_blocks", "Flux or HunyuanVideo"),
    (r"joint_blocks|joint_transformer_blocks", "Stable Diffusion 3"),
    (r"vace_blocks|vace_patch", "VACE"),
    (r"(^|[._])transformer_blocks[._]\d+[._]attn1[._]", "LTX-Video"),
    (r"(^|[._])transformer_blocks[._]\d+[._]", "Qwen-Image, SD3 or CogVideoX"),
    (r"(^|[._])layers[._]\d+[._](attention|feed_forward)", "Lumina or Z-Image"),
)
_WHOLE = (
    (r"(^|\.)blocks\.\d+\.(self_attn|attn1|cross_attn)\.", "a whole Wan model, not a LoRA"),
    (r"^(shared|token_embedding)\.weight|^encoder\.block\.", "a text encoder, not a LoRA"),
    (r"^(encoder|decoder|first_stage_model)\.", "a VAE, not a LoRA"),
)


def is_lora_part(name: str) -> bool:
    """Whether a tensor of that name belongs to a change of weights, not to a model."""
    return _LORA_PART.search(name) is not None


def kind_of_file(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """``a LoRA for SDXL``, ``a whole Wan model, not a LoRA``; empty when nothing tells.

    Args:
        shapes: of every tensor, by the name it has in the file.
    """
    if not any(_LORA_PART.search(key) for key in shapes):
        found = (what for pattern, what in _WHOLE if any(re.search(pattern, k) for k in shapes))
        return next(found, "a whole model, not a LoRA" if len(shapes) > 1 else "")
    if any(map(_UNET.search, shapes)):
        widths = {shape[1] for key, shape in shapes.items()
                  if len(shape) > 1 and _UNET_TEXT.search(key)}  # fmt: skip
        names = {_UNET_OF_WIDTH[width] for width in widths if width in _UNET_OF_WIDTH}
        return f"a LoRA for {names.pop() if len(names) == 1 else 'Stable Diffusion'}"
    for pattern, what in _OTHER_MODELS:
        if any(re.search(pattern, key) for key in shapes):
            return f"a LoRA for {what}"
    if all(map(TEXT_ENCODER.match, shapes)):
        return "a LoRA for a text encoder, as those for Stable Diffusion have"
    return ""


def fault_of_wan_lora(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file is that is no LoRA for Wan A14B, such as ``a LoRA for SDXL``; empty when it may
    be one.

    Args:
        shapes: of every tensor, by the name it has in the file.
    """
    if not any(_LORA_PART.search(key) for key in shapes):
        return kind_of_file(shapes) or "no LoRA"
    if not any(map(_WAN_PART.search, shapes)):
        return kind_of_file(shapes) or "a LoRA for another model"
    widths = {shape[1] for key, shape in shapes.items()
              if len(shape) == 2 and _WAN_QUERY.search(key)}  # fmt: skip
    other = wan_of_width(widths.pop()) if len(widths) == 1 else ""
    return f"a LoRA for {other}" if other not in ("", WAN_OF_WIDTH[A14B_WIDTH]) else ""


def other_adapter(keys: Iterable[str]) -> tuple[str, list[str]] | None:
    """The kind of adapter that is no plain LoRA, and the names that say so; else None."""
    keys = list(keys)
    for kind, pattern in OTHER_ADAPTERS.items():
        if found := [key for key in keys if re.search(pattern, key)]:
            return kind, found
    return None


def wan_of_width(width: int) -> str:
    """``Wan 2.2 5B`` for 3072; empty for a width that no known Wan has."""
    return WAN_OF_WIDTH.get(width, "")
