"""The host fixture itself: stock loaders read the tiny models and a stock graph runs."""


def plain_i2v_graph(seed=1):
    return {
        "unet": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": "tiny_i2v_high.safetensors", "weight_dtype": "default"},
        },
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "tiny_vae.safetensors"}},
        "clip": {"class_type": "StoryMemTestTextEncoder", "inputs": {}},
        "pos": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "a cat"}},
        "neg": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "blurry"}},
        "img": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 99}},
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
                "model": ["unet", 0],
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
        "record": {
            "class_type": "StoryMemTestRecord",
            "inputs": {"value": ["sample", 0], "key": "latent"},
        },
    }


def test_a_stock_image_to_video_graph_runs_on_the_tiny_models(host):
    latent = host.run(plain_i2v_graph())["latent"]["samples"]
    assert list(latent.shape) == [1, 16, 5, 6, 8]
    assert latent.isfinite().all()
    assert 0.1 < latent.std() < 10
