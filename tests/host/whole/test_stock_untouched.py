"""Loading the pack changes nothing about other workflows."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from helpers.stock_graphs import loaders, plain_i2v_graph

STORYMEM_RUN = {
    **loaders(),
    "pixels": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 2, "color": 7},
    },
    "bank": {
        "class_type": "StoryMemMemoryBank",
        "inputs": {"images": ["pixels", 0], "max_frames": 10, "sink": 3, "pin_references": True},
    },
    "sampler": {
        "class_type": "StoryMemM2VSampler",
        "inputs": {
            "model_high": ["high", 0],
            "model_low": ["low", 0],
            "positive": ["pos", 0],
            "negative": ["neg", 0],
            "vae": ["vae", 0],
            "bank": ["bank", 0],
            "width": 64,
            "height": 48,
            "length": 17,
            "size_rule": "exact",
            "seed": 3,
            "steps": 2,
            "cfg": 3.5,
            "sampler_name": "euler",
            "scheduler": "simple",
            "continuity": "auto",
        },
    },
    "save": {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["sampler", 0], "filename_prefix": "storymem"},
    },
}


def saved(base, prefix: str) -> torch.Tensor:
    (path,) = sorted(base.glob(f"output/{prefix}_*.latent"))
    return load_file(path)["latent_tensor"]


def plain(prefix: str, seed: int) -> dict:
    graph = plain_i2v_graph(seed)
    graph["save"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["sample", 0], "filename_prefix": prefix},
    }
    return graph


@pytest.mark.http
def test_a_plain_wan_graph_gives_the_same_bits_with_and_without_the_pack(start_server, tmp_path):
    bare = tmp_path / "bare"
    for name in ("input", "output", "temp", "user", "custom_nodes"):
        (bare / name).mkdir(parents=True)
    with_pack = start_server("--cache-none")  # so that nothing is answered from a cache
    (bare / "models").symlink_to((with_pack.base / "models").resolve())
    (bare / "custom_nodes" / "storymem-test-nodes").symlink_to(
        (with_pack.base / "custom_nodes" / "storymem-test-nodes").resolve()
    )
    with_pack.run(plain("before", 1))
    with_pack.run(STORYMEM_RUN)
    with_pack.run(plain("between", 2))
    with_pack.run(plain("after", 1))
    with_pack.stop()
    without_pack = start_server(output=bare)
    without_pack.run(plain("without", 1))

    reference = saved(bare, "without")
    assert torch.equal(saved(with_pack.base, "before"), reference)
    assert torch.equal(saved(with_pack.base, "after"), reference)
    assert not torch.equal(saved(with_pack.base, "between"), reference)
