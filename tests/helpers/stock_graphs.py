"""Graphs of stock nodes on the tiny models."""

from __future__ import annotations


def loaders() -> dict:
    """Both experts, VAE, text encoder and the two prompts."""
    graph = {
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "tiny_vae.safetensors"}},
        "clip": {"class_type": "StoryMemTestTextEncoder", "inputs": {}},
        "pos": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "a cat"}},
        "neg": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "blurry"}},
    }
    for expert in ("high", "low"):
        graph[expert] = {
            "class_type": "UNETLoader",
            "inputs": {
                "unet_name": f"tiny_i2v_{expert}.safetensors",
                "weight_dtype": "default",
            },
        }
    return graph


def plain_i2v_graph(seed: int = 1) -> dict:
    """The stock Wan image-to-video graph; node ``sample`` gives the latent."""
    return {
        **loaders(),
        "img": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 99},
        },
        "cond": {
            "class_type": "WanImageToVideo",
            "inputs": {
                "positive": ["pos", 0],
                "negative": ["neg", 0],
                "vae": ["vae", 0],
                "start_image": ["img", 0],
                "width": 64,
                "height": 48,
                "length": 17,
                "batch_size": 1,
            },
        },
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["high", 0],
                "positive": ["cond", 0],
                "negative": ["cond", 1],
                "latent_image": ["cond", 2],
                "seed": seed,
                "steps": 2,
                "cfg": 3.5,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        },
    }
