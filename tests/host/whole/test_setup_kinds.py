"""Model files of the host's own classes are told as what the host itself takes them for."""

from __future__ import annotations

import importlib

import pytest
import torch

from helpers.sparse_weights import write_safetensors
from storymem.setup.model_files import identify

BASE = {
    "patch_size": (1, 2, 2), "freq_dim": 256, "text_dim": 4096, "qk_norm": True,
    "cross_attn_norm": True, "window_size": (-1, -1), "eps": 1e-6, "text_len": 512,
}  # fmt: skip
A14B = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40, "in_dim": 16,
        "out_dim": 16, "model_type": "t2v"}  # fmt: skip


def shapes_of(class_name: str, **changed) -> dict[str, tuple[int, ...]]:
    model = importlib.import_module("comfy.ldm.wan.model")
    ops = importlib.import_module("comfy.ops").disable_weight_init
    made = getattr(model, class_name)(
        **{**BASE, **A14B, **changed}, device="meta", dtype=torch.float16, operations=ops
    )
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


@pytest.mark.parametrize(
    ("class_name", "changed", "expected"),
    [
        ("WanModel", {"in_dim": 36}, "i2v_a14b"),
        ("WanModel", {}, "t2v_14b"),
        ("WanModel", {"in_dim": 36, "model_type": "i2v"}, "i2v_21"),
        ("WanModel", {"in_dim": 36, "model_type": "i2v", "flf_pos_embed_token_number": 514},
         "flf2v_21"),
        ("WanModel", {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}, "t2v_1_3b"),
        ("WanModel", {"dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30,
                      "in_dim": 48, "out_dim": 48}, "ti2v_5b"),
        ("VaceWanModel", {"vace_layers": 8, "vace_in_dim": 96}, "other_wan"),
        ("CameraWanModel", {"in_dim": 36, "model_type": "camera"}, "other_wan"),
        ("WanModel_S2V", {"model_type": "s2v"}, "other_wan"),
        ("HumoWanModel", {"in_dim": 36, "model_type": "humo"}, "other_wan"),
        ("WanModel", {"in_dim": 48}, "other_wan"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_files_of_the_hosts_models_are_told(host, tmp_path, class_name, changed, expected, prefix):
    shapes = {prefix + name: shape for name, shape in shapes_of(class_name, **changed).items()}
    found = identify(write_safetensors(tmp_path / "any.safetensors", shapes))
    assert (found.kind, found.problem) == (expected, "")


def test_the_hosts_wan_vaes_are_told(host, tmp_path):
    for module, options, expected in (
        ("comfy.ldm.wan.vae", {"dim": 96, "z_dim": 16}, "vae_21"),
        ("comfy.ldm.wan.vae2_2", {"dim": 160, "z_dim": 48}, "vae_22"),
    ):
        options |= {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
                    "dropout": 0.0}  # fmt: skip
        with torch.device("meta"):
            vae = importlib.import_module(module).WanVAE(**options)
        shapes = {name: tuple(t.shape) for name, t in vae.state_dict().items()}
        assert identify(write_safetensors(tmp_path / "v.safetensors", shapes)).kind == expected
