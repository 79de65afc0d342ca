"""Tiny seeded models in the host's own key layouts, written at run time for the stock loaders.

Needs the host's modules on ``sys.path``. Sizes: DiT about 15 MB in fp32 (dim 256, three layers,
head dim 128 as in every Wan), VAE about 4 MB (dim 8).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from helpers.keyframe_queries import write_memento_lora

I2V_CHANNELS = 36  # 16 noisy + 4 mask + 16 conditioning
T2V_CHANNELS = 16


def _seeded_state(module: torch.nn.Module, seed: int, scale: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in module.state_dict().items():
        random = torch.randn(value.shape, generator=generator)
        if value.ndim <= 1 or "norm" in key or "gamma" in key:
            is_gain = key.endswith(("weight", "gamma"))
            state[key] = (1.0 if is_gain else 0.0) + 0.05 * random
        elif "modulation" in key:
            state[key] = 0.2 * random
        else:
            fan_in = value[0].numel()
            state[key] = scale * random / fan_in**0.5
    return state


def write_dit(
    path: Path, *, in_channels: int = I2V_CHANNELS, seed: int = 0, layers: int = 3
) -> Path:
    """A Wan2.2-shaped DiT for the stock UNETLoader."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    model = WanModel(
        model_type="t2v",
        in_dim=in_channels,
        dim=256,
        ffn_dim=256,
        text_dim=4096,
        out_dim=16,
        num_heads=2,
        num_layers=layers,
        device="cpu",
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_seeded_state(model, seed, 1.0), str(path))
    return path


def write_vae(path: Path, *, seed: int = 0, dim: int = 8) -> Path:
    """A Wan2.1-shaped VAE for the stock VAELoader; the real one has ``dim`` 96."""
    from comfy.ldm.wan.vae import WanVAE

    model = WanVAE(
        dim=dim,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_seeded_state(model, seed, 1.0), str(path))
    return path


def write_all(models: Path) -> None:
    """The tiny twins of every file that the tests load."""
    unets = models / "diffusion_models"
    write_dit(unets / "tiny_i2v_high.safetensors", seed=1)
    write_dit(unets / "tiny_i2v_low.safetensors", seed=2)
    write_dit(unets / "tiny_t2v_high.safetensors", in_channels=T2V_CHANNELS, seed=3)
    write_dit(unets / "tiny_t2v_low.safetensors", in_channels=T2V_CHANNELS, seed=4)
    write_vae(models / "vae" / "tiny_vae.safetensors", seed=5)


def write_lora(
    path: Path,
    *,
    seed: int = 0,
    rank: int = 128,
    layers: int = 3,
    width: int = 256,
    inner: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A StoryMem LoRA of the official kind, for the tiny DiT: PEFT keys, rank 128, no alpha."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"ffn.0": (inner, width), "ffn.2": (width, inner)}
    for attention in ("self_attn", "cross_attn"):
        sizes |= {f"{attention}.{part}": (width, width) for part in "qkvo"}
    state = {}
    for layer in range(layers):
        for name, (outputs, inputs) in sizes.items():
            key = f"base_model.model.blocks.{layer}.{name}"
            down = 0.02 * torch.randn(rank, inputs, generator=generator)
            up = 0.002 * torch.randn(outputs, rank, generator=generator)
            state[f"{key}.lora_A.weight"] = down.to(dtype)
            state[f"{key}.lora_B.weight"] = up.to(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    return path


def write_plain_lora(path: Path, *, seed: int = 0, rank: int = 4, layers: int = 3) -> Path:
    """A LoRA in the host's own keys, for the stock loaders, as distilled ones are published."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer in range(layers):
        for part in "qkvo":
            key = f"diffusion_model.blocks.{layer}.self_attn.{part}"
            state[f"{key}.lora_down.weight"] = 0.02 * torch.randn(rank, 256, generator=generator)
            state[f"{key}.lora_up.weight"] = 0.02 * torch.randn(256, rank, generator=generator)
            state[f"{key}.alpha"] = torch.tensor(float(rank))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    return path


def write_shipped_names(models: Path) -> None:
    """Tiny twins under the file names of the shipped workflows, or names alone: the text encoders
    and the model of the music have no twins."""
    for kind, channels in (("i2v", I2V_CHANNELS), ("t2v", T2V_CHANNELS)):
        for seed, noise in enumerate(("high", "low"), start=1):
            name = f"wan2.2_{kind}_{noise}_noise_14B_fp8_scaled.safetensors"
            write_dit(models / "diffusion_models" / name, in_channels=channels, seed=seed)
    for seed, noise in enumerate(("high", "low"), start=1):
        write_lora(models / "loras" / f"storymem_mi2v_{noise}_noise.safetensors", seed=seed)
        write_memento_lora(models / "loras" / f"memento_{noise}_noise.pth", seed=seed)
        name = f"wan2.2_i2v_lightx2v_4steps_lora_v1_{noise}_noise.safetensors"
        write_plain_lora(models / "loras" / name, seed=seed)
    write_vae(models / "vae" / "wan_2.1_vae.safetensors", seed=5)
    for folder, name in (
        ("text_encoders", "umt5_xxl_fp8_e4m3fn_scaled"), ("text_encoders", "t5-base"),
        ("checkpoints", "stable-audio-open-1.0"),
    ):  # fmt: skip
        path = models / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"placeholder": torch.zeros(1)}, str(path))
