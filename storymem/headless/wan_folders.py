"""What a part of a diffusers folder is, by its config: Wan 2.2 A14B, or one of its relatives."""

from __future__ import annotations

from collections.abc import Mapping

_TRANSFORMERS = {
    "WanVACETransformer3DModel": "Wan VACE",
    "WanAnimateTransformer3DModel": "Wan 2.2 Animate",
    "WanAnimate2Transformer3DModel": "Wan Animate 2",
    "ChronoEditTransformer3DModel": "ChronoEdit",
    "SkyReelsV2Transformer3DModel": "SkyReels V2",
}
_CLASS = "_class_name"
_TRANSFORMER, _VAE = "WanTransformer3DModel", "AutoencoderKLWan"
_SIZES = ("num_layers", "num_attention_heads", "attention_head_dim", "ffn_dim", "text_dim")


def other_transformer(config: Mapping) -> str | None:
    """What a transformer is when it is no plain Wan I2V or T2V, as ``Wan 2.1 I2V``; else None."""
    kind = config.get(_CLASS, _TRANSFORMER)
    if kind != _TRANSFORMER:
        return _TRANSFORMERS.get(kind, str(kind))
    if config.get("pos_embed_seq_len"):
        return "Wan 2.1 FLF2V"
    if config.get("image_dim") or config.get("added_kv_proj_dim"):
        return "Wan 2.1 I2V"
    return "Wan 2.2 TI2V 5B" if config.get("out_channels") == 48 else None


def is_pair(high: Mapping, low: Mapping) -> bool:
    """Whether two transformers are of one size, as both experts of a model are."""
    return all(high.get(name) == low.get(name) for name in _SIZES)


def is_wan_vae(config: Mapping, channels: int) -> bool:
    """Whether a VAE is the Wan 2.1 VAE, or another with its form and that many channels."""
    return config.get(_CLASS, _VAE) == _VAE and config.get("z_dim") == channels
