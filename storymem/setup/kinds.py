"""What a weights file is, by the names and shapes in it, never by its own name.

What the shapes cannot tell (high or low noise, 480p or 720p, 2.1 or 2.2 of the text-to-video model)
is said to be unknown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from ..files.outline import Outline
from ..models.clip_vision import ClipShape
from ..sampling.wan_kinds import BY_CHANNELS, I2V_CHANNELS, T2V_CHANNELS, VAE_CHANNELS, WAN_PARTS
from .lora_files import is_lora, lora_kind

NO_WORDS = "without its tokenizer (spiece_model), which ComfyUI's Load CLIP needs"
WANS_OWN = "Wan's own layout, which ComfyUI's Load CLIP cannot read"
DIFFUSERS = "diffusers' layout, which ComfyUI cannot read"
UNREAD = (NO_WORDS, WANS_OWN, DIFFUSERS)
A14B = (5120, 40)  # width and blocks of the 14B models
SMALL = (1536, 30)  # of Wan 2.1 T2V 1.3B
FIVE = (3072, 30)  # of Wan 2.2 TI2V 5B
VAE_22_CHANNELS = 48
UMT5_WORDS = 256_384  # of umt5's vocabulary
PATCH_AREA = 4  # latent pixels of a token: 1 x 2 x 2
TITLES = {  # kind -> what it is called
    "i2v_a14b": "Wan 2.2 I2V A14B, one expert",
    "t2v_14b": "Wan T2V 14B: 2.1, or one expert of 2.2 A14B, which have the same shapes",
    "i2v_21": "Wan 2.1 I2V 14B (480p and 720p have the same shapes)",
    "flf2v_21": "Wan 2.1 FLF2V 14B",
    "t2v_1_3b": "Wan 2.1 T2V 1.3B",
    "ti2v_5b": "Wan 2.2 TI2V 5B",
    "other_wan": "another member of the Wan family",
    "vae_21": "Wan 2.1 VAE, 16 channels (Qwen-Image's has the same shapes)",
    "vae_22": "Wan 2.2 VAE, 48 channels (of TI2V 5B alone)",
    "vae_small": "a small VAE for previews",
    "vae_other": "a VAE of another model",
    "umt5": "umt5-xxl, Wan's text encoder",
    "t5": "a T5 text encoder, which is not Wan's",
    "clip": "CLIP",
    "clip_text": "a CLIP text encoder without an image tower",
    "siglip": "a SigLIP image encoder, which is not CLIP",
    "hpsv3": "HPSv3",
    "qwen2_vl": "Qwen2-VL without HPSv3's head",
    "laion": "LAION aesthetic head",
    "viclip": "ViCLIP",
    "storymem_lora": "StoryMem LoRA, by form and rank",
    "memento_lora": "Memento LoRA, with its keyframe query",
    "wan_lora": "LoRA for Wan 14B",
    "other_lora": "LoRA of another kind or for another model",
    "tiny": "the tiny model of this package",
    "other": "a model that this package has no use for",
    "unknown": "unknown",
    "broken": "cannot be used",
}


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Args:
        kind: a name of ``TITLES``.
        details: what else its header says, in words of this package.
        problem: why it cannot be used, a sentence without names and paths; empty when it can be.
        precision: ``bf16``, ``fp8_scaled``, ``GGUF Q4_K`` ...; empty when unknown.
        size: in bytes, all shards together.
    """

    kind: str
    details: tuple[str, ...] = ()
    problem: str = ""
    precision: str = ""
    size: int = 0

    @property
    def title(self) -> str:
        """What the kind is called."""
        return TITLES[self.kind]

    @property
    def is_unread(self) -> bool:
        """Whether ComfyUI's loaders cannot read the layout of the file."""
        return any(detail in UNREAD for detail in self.details)


def kind_of(outline: Outline) -> FileKind:
    """What a file is by its outline; a LoRA's scale needs the file itself (see ``lora_files``)."""
    shapes = outline.shapes
    precision = precision_of(outline)
    if outline.foreign:
        problem = (
            "it holds more than tensors, which may be code, so it is refused; use a .safetensors "
            "file"
        )
        return FileKind("broken", problem=problem)
    if outline.notes.get("made_by", "").startswith("storymem.tiny."):
        return FileKind("tiny", precision=precision)
    if is_lora(shapes):
        kind, details = lora_kind(shapes, outline.notes)
        return FileKind(kind, details, precision=precision)
    for look in _LOOKS:
        if found := look(shapes):
            kind, *details = found
            return FileKind(kind, tuple(details), precision=precision)
    return FileKind("unknown", precision=precision)


# --- Wan ---------------------------------------------------------------------------------------


def _wan(shapes: Mapping) -> tuple[str, ...] | None:
    prefix = _prefix(shapes, "head.modulation")
    is_native = prefix is not None
    if not is_native:
        prefix = _prefix(shapes, "condition_embedder.time_embedder.linear_1.weight")
    entry = None if prefix is None else shapes.get(f"{prefix}patch_embedding.weight")
    if not entry:
        return None
    layout = () if is_native else (DIFFUSERS,)
    width, channels = entry[0], math.prod(entry) // max(1, entry[0] * PATCH_AREA)
    blocks = _count(shapes, f"{prefix}blocks.")
    parts = {k.removeprefix(prefix).split(".")[0] for k in shapes if k.startswith(prefix)}
    for part, what in WAN_PARTS.items():
        if part in parts:
            return ("other_wan", what, *layout)
    out = _out_channels(shapes, prefix, is_native)
    if what := BY_CHANNELS.get((channels, out)):
        is_five = what == "Wan 2.2 TI2V 5B" and (width, blocks) == FIVE
        return ("ti2v_5b", *layout) if is_five else ("other_wan", what, *layout)
    size = f"width {width}, {blocks} blocks, {channels} input channels"
    image = any("img_emb." in key or "image_embedder." in key for key in shapes)
    if image:
        is_pair = any(key.endswith(("emb_pos", "image_embedder.pos_embed")) for key in shapes)
        kind = "flf2v_21" if is_pair else "i2v_21"
        is_known = (width, blocks, channels) == (*A14B, I2V_CHANNELS)
        return (kind, *layout) if is_known else ("other_wan", size, *layout)
    known = {
        (*A14B, I2V_CHANNELS): "i2v_a14b",
        (*A14B, T2V_CHANNELS): "t2v_14b",
        (*SMALL, T2V_CHANNELS): "t2v_1_3b",
    }.get((width, blocks, channels))
    if known == "i2v_a14b":
        return (known, "Wan 2.2 Fun InP has the same shapes", *layout)
    return (known, *layout) if known else ("other_wan", size, *layout)


def _out_channels(shapes: Mapping, prefix: str, is_native: bool) -> int:
    head = shapes.get(f"{prefix}{'head.head' if is_native else 'proj_out'}.weight", (0,))
    return (head[0] if head else 0) // PATCH_AREA


# --- VAEs --------------------------------------------------------------------------------------


def _vae(shapes: Mapping) -> tuple[str, ...] | None:
    prefix = _prefix(shapes, "decoder.middle.0.residual.0.gamma")
    colours = "decoder.head.2.weight"
    if prefix is None:
        prefix = _prefix(shapes, "decoder.mid_block.resnets.0.norm1.gamma")
        colours = "decoder.conv_out.weight"
    if prefix is None:
        return _other_vae(shapes)
    entry = next((shapes[f"{prefix}{name}.weight"] for name in ("conv2", "post_quant_conv")
                  if f"{prefix}{name}.weight" in shapes), ())  # fmt: skip
    channels, layout = entry[0] if entry else 0, () if "head" in colours else (DIFFUSERS,)
    layers = shapes.get(f"{prefix}{colours}", (3,))[0]
    if channels == VAE_22_CHANNELS:
        return ("vae_22", *layout)
    if channels == VAE_CHANNELS and layers == 3:
        return ("vae_21", *layout)
    return ("vae_other", f"{channels} latent channels, {layers} colours")


def _other_vae(shapes: Mapping) -> tuple[str, ...] | None:
    prefix = _prefix(shapes, "decoder.conv_in.weight") or ""
    entry = shapes.get(f"{prefix}decoder.conv_in.weight")
    entry = entry or shapes.get(f"{prefix}decoder.conv_in.conv.weight")
    if entry and len(entry) >= 4 and not _prefix_of_unet(shapes):
        what = "video" if len(entry) == 5 else "pictures"
        return ("vae_other", f"{entry[1]} latent channels, for {what}")
    if re.search(r"(^|\n)(decoder|taesd_decoder)\.\d+\.(weight|conv)", "\n".join(shapes)):
        return ("vae_small",)
    return None


# --- text and image encoders -------------------------------------------------------------------


def _text_encoder(shapes: Mapping) -> tuple[str, ...] | None:
    if (words := shapes.get("token_embd.weight")) and "enc.blk.0.attn_q.weight" in shapes:
        return ("umt5",) if UMT5_WORDS in words else ("t5",)
    if "blocks.0.attn.q.weight" in shapes and "token_embedding.weight" in shapes:
        if shapes["token_embedding.weight"][0] != UMT5_WORDS:
            return ("t5",)
        return ("umt5", WANS_OWN)
    prefix = _prefix(shapes, "encoder.block.0.layer.0.SelfAttention.q.weight")
    if prefix is None:
        return None
    words = shapes.get(f"{prefix}shared.weight") or shapes.get(
        f"{prefix}encoder.embed_tokens.weight"
    )
    if not words or words[0] != UMT5_WORDS:
        return ("t5",)
    is_whole = "spiece_model" in shapes
    return ("umt5",) if is_whole else ("umt5", NO_WORDS)


def _clip(shapes: Mapping) -> tuple[str, ...] | None:
    prefix = _prefix(shapes, "vision_model.embeddings.patch_embedding.weight")
    if prefix is not None:
        if f"{prefix}vision_model.embeddings.class_embedding" not in shapes:
            return ("siglip",)
        projection = shapes.get(f"{prefix}visual_projection.weight")
        names = ("vision_model.embeddings.patch_embedding.weight",
                 "vision_model.embeddings.position_embedding.weight")  # fmt: skip
        layers = _count(shapes, f"{prefix}vision_model.encoder.layers.")
        has_text = f"{prefix}text_model.embeddings.token_embedding.weight" in shapes
        layout, features = "transformers' layout", projection[0] if projection else 0
    else:
        prefix = _prefix(shapes, "class_embedding")
        if prefix is None or f"{prefix}conv1.weight" not in shapes:
            return _clip_text(shapes)
        names = ("conv1.weight", "positional_embedding")
        layers = _count(shapes, f"{prefix}transformer.resblocks.")
        has_text = any(key.endswith("token_embedding.weight") for key in shapes)
        layout = "open_clip's or OpenAI's layout"
        features = shapes.get(f"{prefix}proj", (0, 0))[-1]
    patch, positions = (shapes.get(f"{prefix}{name}", ()) for name in names)
    if len(patch) != 4 or len(positions) != 2:
        return None
    grid = math.isqrt(max(0, positions[0] - 1))
    shape = ClipShape(patch[0], layers, patch[2], grid * patch[2], features)
    towers = "image and text towers" if has_text else "image tower alone"
    missing = () if features else ("without its projection, which the embedder needs",)
    return ("clip", shape.name, towers, layout, *missing)


def _clip_text(shapes: Mapping) -> tuple[str, ...] | None:
    prefix = _prefix(shapes, "text_model.embeddings.token_embedding.weight")
    if prefix is None:
        return None
    width = shapes[f"{prefix}text_model.embeddings.token_embedding.weight"][-1]
    return ("clip_text", f"width {width}")


# --- judges ------------------------------------------------------------------------------------


def _judge(shapes: Mapping) -> tuple[str, ...] | None:
    if any(key.endswith("vision_encoder.temporal_positional_embedding") for key in shapes):
        return ("viclip",)
    if "visual.patch_embed.proj.weight" in shapes and "model.embed_tokens.weight" in shapes:
        return ("hpsv3",) if any(key.startswith("rm_head.") for key in shapes) else ("qwen2_vl",)
    return ("laion",) if _is_laion(shapes) else None


def _is_laion(shapes: Mapping) -> bool:
    weights = {key: shape for key, shape in shapes.items() if key.endswith("weight")}
    if not weights or len(weights) > 8 or any(len(shape) != 2 for shape in weights.values()):
        return False
    if not all(key.endswith(("weight", "bias")) for key in shapes):
        return False
    order = sorted(weights, key=lambda key: [int(n) for n in re.findall(r"\d+", key)])
    chain = [weights[key] for key in order]
    fits = all(a[0] == b[1] for a, b in pairwise(chain))
    return fits and chain[-1][0] == 1 and chain[0][1] in (512, 768)


# --- others ------------------------------------------------------------------------------------

_OTHERS = (  # the first that a name matches
    (r"individual_token_refiner", "HunyuanVideo"),
    (r"(^|\.)(double_blocks|single_blocks)\.0\.", "Flux or HunyuanVideo"),
    (r"(^|\.)joint_blocks\.0\.", "Stable Diffusion 3"),
    (r"(^|\.)transformer_blocks\.0\.img_mlp", "Qwen-Image"),
    (r"(^|\.)patchify_proj\.", "LTX-Video"),
    (r"(^|\.)input_blocks\.0\.", "Stable Diffusion"),
    (r"(^|\.)down_blocks\.0\.", "Stable Diffusion"),
    (r"(^|\.)model\.layers\.0\.", "a language model"),
    (r"(^|\.)control_model\.|(^|\.)controlnet_", "a ControlNet"),
    (r"(^|\.)encoder\.block\.0\.", "a text encoder"),
)


def _other(shapes: Mapping) -> tuple[str, ...] | None:
    names = "\n".join(shapes)
    for pattern, what in _OTHERS:
        if re.search(pattern, names, re.MULTILINE):
            return ("other", what)
    return None


def _prefix_of_unet(shapes: Mapping) -> bool:
    return any("input_blocks." in key or "diffusion_model." in key for key in shapes)


_LOOKS: tuple[Callable[[Mapping], tuple[str, ...] | None], ...] = (
    _wan, _judge, _text_encoder, _clip, _vae, _other,
)  # fmt: skip


# --- inside ----------------------------------------------------------------------------------

_PLAIN = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
_FLOAT8 = ("F8_E4M3", "F8_E5M2")
_SCALES = re.compile(r"(scaled_fp8|scale_weight|weight_scale)$")


def precision_of(outline: Outline) -> str:
    """How most of a file's numbers are kept: ``bf16``, ``fp8``, ``fp8_scaled``, ``GGUF Q4_K``."""
    held: Counter[str] = Counter()
    for name, shape in outline.shapes.items():
        if len(shape) > 1:
            held[outline.types[name]] += math.prod(shape)
    if not held:
        held = Counter(outline.types.values())
    kind = held.most_common(1)[0][0] if held else ""
    if outline.form == "gguf":
        return f"GGUF {kind}" if kind else "GGUF"
    is_scaled = any(map(_SCALES.search, outline.shapes))
    if kind in _FLOAT8:
        return "fp8_scaled" if is_scaled else "fp8"
    if kind in ("U8", "I8") and is_scaled:
        return "nvfp4" if any(key.endswith("weight_scale_2") for key in outline.shapes) else "int8"
    return _PLAIN.get(kind, "")


def _prefix(shapes: Mapping, ending: str) -> str | None:
    """What stands before a name's known ending, of the shortest name; None when none has it."""
    found = [key for key in shapes if key == ending or key.endswith(f".{ending}")]
    return min(found, key=len).removesuffix(ending) if found else None


def _count(shapes: Mapping, prefix: str) -> int:
    """How many numbered parts there are behind a prefix."""
    found = (key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix))
    return len({part for part in found if part.isdecimal()})
