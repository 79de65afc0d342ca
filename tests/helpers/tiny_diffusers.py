"""Tiny seeded Wan2.2 models in diffusers' own layout, and twins of the host's."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

WORDS = ("a", "red", "blue", "dog", "man", "woman", "the", "walks", "runs", "sits", "at", "night")


def tiny_transformer(seed: int, *, in_channels: int = 36, layers: int = 2, text_dim: int = 64):
    """A ``WanTransformer3DModel`` of 2 heads; head dim 128, as in every Wan."""
    from diffusers import WanTransformer3DModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = WanTransformer3DModel(
            in_channels=in_channels,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=128,
            ffn_dim=256,
            num_layers=layers,
            text_dim=text_dim,
        )
    return model.eval()


def tiny_vae(seed: int = 0):
    from diffusers import AutoencoderKLWan

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoencoderKLWan(base_dim=8, z_dim=16).eval()


def tiny_text_encoder(text_dim: int = 64):
    """A umT5 of one layer and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        encoder = UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(words),
                d_model=text_dim,
                d_kv=16,
                d_ff=64,
                num_layers=1,
                num_heads=2,
                pad_token_id=0,
                eos_token_id=1,
            )
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    return encoder.eval(), fast


def write_i2v(folder: Path, *, in_channels: int = 36) -> Path:
    """A whole Wan2.2-I2V-A14B-Diffusers folder in miniature (T2V with ``in_channels=16``)."""
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline

    encoder, tokenizer = tiny_text_encoder()
    pipeline = WanImageToVideoPipeline if in_channels == 36 else WanPipeline
    pipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=tiny_vae(5),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=tiny_transformer(1, in_channels=in_channels),
        transformer_2=tiny_transformer(2, in_channels=in_channels),
        boundary_ratio=0.9 if in_channels == 36 else 0.875,
    ).save_pretrained(folder)
    return folder


def twin_of_host_dit(path: Path):
    """The weights of a host DiT file in a ``WanTransformer3DModel``, by diffusers' own key map."""
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    state = load_file(str(path))
    dim, in_channels = state["patch_embedding.weight"].shape[:2]
    layers = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    model = WanTransformer3DModel(
        in_channels=in_channels,
        out_channels=16,
        num_attention_heads=dim // 128,
        attention_head_dim=128,
        ffn_dim=state["blocks.0.ffn.0.weight"].shape[0],
        num_layers=layers,
        text_dim=state["text_embedding.0.weight"].shape[1],
    )
    model.load_state_dict(convert_wan_transformer_to_diffusers(state))
    return model.eval()


def twin_of_host_vae(path: Path):
    """The weights of a host VAE file in an ``AutoencoderKLWan``."""
    from diffusers import AutoencoderKLWan
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    state = load_file(str(path))
    base = state["encoder.conv1.weight"].shape[0]
    model = AutoencoderKLWan(base_dim=base, z_dim=16)
    model.load_state_dict(convert_wan_vae_to_diffusers(state))
    return model.eval()
