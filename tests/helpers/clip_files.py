"""Tiny random CLIPs in every file layout."""

from __future__ import annotations

import re
import warnings

import torch
from safetensors.torch import save_file

TINY = {"layers": 3, "width": 128, "patch_size": 32, "image_size": 64}
TEXT = {"context_length": 8, "vocab_size": 32, "width": 128, "heads": 2, "layers": 2}


def tiny_clip(
    seed: int = 0, *, quick_gelu: bool = True, vocabulary: int = 32, context: int = 8
) -> torch.nn.Module:
    """open_clip's own CLIP with random weights that matter (its start values are near zero)."""
    import open_clip

    torch.manual_seed(seed)
    text = {**TEXT, "vocab_size": vocabulary, "context_length": context}
    model = open_clip.model.CLIP(
        64, open_clip.CLIPVisionCfg(**TINY), open_clip.CLIPTextCfg(**text), quick_gelu=quick_gelu
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """open_clip's image tower under transformers' names, written from transformers' side."""
    out = {"logit_scale": torch.tensor(1.0), "text_model.final_layer_norm.bias": torch.zeros(4)}
    renames = [
        (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
        (r"visual\.conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
        (r"visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        (r"visual\.ln_pre\.(\w+)", r"vision_model.pre_layrnorm.\1"),
        (r"visual\.ln_post\.(\w+)", r"vision_model.post_layernorm.\1"),
        (r"visual\.transformer\.resblocks\.(\d+)\.ln_(\d)\.(\w+)",
         r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
        (r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)",
         r"vision_model.encoder.layers.\1.mlp.fc1.\2"),
        (r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)",
         r"vision_model.encoder.layers.\1.mlp.fc2.\2"),
        (r"visual\.transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)",
         r"vision_model.encoder.layers.\1.self_attn.out_proj.\2"),
    ]  # fmt: skip
    for key, value in state.items():
        if not key.startswith("visual."):
            continue
        if key == "visual.proj":
            out["visual_projection.weight"] = value.T.contiguous()
        elif match := re.fullmatch(
            r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)", key
        ):
            for name, part in zip("qkv", value.chunk(3), strict=True):
                target = f"vision_model.encoder.layers.{match[1]}.self_attn.{name}_proj.{match[2]}"
                out[target] = part.contiguous()
        else:
            (new,) = [re.sub(a, b, key) for a, b in renames if re.fullmatch(a, key)]
            out[new] = value
    return out


class Scripted(torch.nn.Module):
    """The archive that OpenAI publishes: a traced model with the image tower under ``visual``."""

    def __init__(self, model):
        super().__init__()
        self.visual = model.visual
        self.register_buffer("input_resolution", torch.tensor(TINY["image_size"]))

    def forward(self, pixels):
        return self.visual(pixels)


def write(layout: str, model, folder):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    if layout == "open_clip safetensors":
        save_file(state, folder / "model.safetensors")
        return folder / "model.safetensors"
    path = folder / "model.pt"
    if layout == "open_clip checkpoint":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif layout == "openai state dict":
        torch.save({**state, "input_resolution": torch.tensor(64)}, path)
    elif layout == "openai archive":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing talks; reading the archive must not
            archive = torch.jit.trace(Scripted(model), torch.zeros(1, 3, 64, 64), check_trace=False)
            archive.save(path)
    elif layout == "transformers":
        torch.save(to_transformers(state), path)
    elif layout == "transformers safetensors":
        path = folder / "model.safetensors"
        save_file(to_transformers(state), path)
    else:  # a whole CLIP inside another checkpoint
        torch.save({f"clip.{k}": v for k, v in to_transformers(state).items()}, path)
    return path
