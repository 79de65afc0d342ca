"""The keys and shapes of HPSv3.safetensors, written out."""

from __future__ import annotations


def weight_shapes(text: dict, vision: dict, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """What is in HPSv3.safetensors, for Qwen2-VL's configuration of that size."""
    width, inner = text["hidden_size"], text["intermediate_size"]
    keys = width // text["num_attention_heads"] * text["num_key_value_heads"]
    embed, wide = vision["embed_dim"], vision["embed_dim"] * vision["mlp_ratio"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width),
        "model.norm.weight": (width,),
        "visual.patch_embed.proj.weight": (embed, 3, 2, 14, 14),
        "visual.merger.ln_q.weight": (embed,),
        "visual.merger.ln_q.bias": (embed,),
        "visual.merger.mlp.0.weight": (embed * 4, embed * 4),
        "visual.merger.mlp.0.bias": (embed * 4,),
        "visual.merger.mlp.2.weight": (width, embed * 4),
        "visual.merger.mlp.2.bias": (width,),
        "rm_head.0.weight": (1024, width),
        "rm_head.0.bias": (1024,),
        "rm_head.3.weight": (16, 1024),
        "rm_head.3.bias": (16,),
        "rm_head.5.weight": (2, 16),
        "rm_head.5.bias": (2,),
    }
    for layer in range(text["num_hidden_layers"]):
        head = f"model.layers.{layer}."
        for name, rows in (("q", width), ("k", keys), ("v", keys)):
            shapes[f"{head}self_attn.{name}_proj.weight"] = (rows, width)
            shapes[f"{head}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{head}self_attn.o_proj.weight"] = (width, width)
        shapes[f"{head}mlp.gate_proj.weight"] = shapes[f"{head}mlp.up_proj.weight"] = (inner, width)
        shapes[f"{head}mlp.down_proj.weight"] = (width, inner)
        shapes[f"{head}input_layernorm.weight"] = (width,)
        shapes[f"{head}post_attention_layernorm.weight"] = (width,)
    for block in range(vision["depth"]):
        head = f"visual.blocks.{block}."
        for part, rows, columns in (
            ("attn.qkv", embed * 3, embed),
            ("attn.proj", embed, embed),
            ("mlp.fc1", wide, embed),
            ("mlp.fc2", embed, wide),
        ):
            shapes[f"{head}{part}.weight"], shapes[f"{head}{part}.bias"] = (rows, columns), (rows,)
        for norm in ("norm1", "norm2"):
            shapes[f"{head}{norm}.weight"] = shapes[f"{head}{norm}.bias"] = (embed,)
    return shapes
