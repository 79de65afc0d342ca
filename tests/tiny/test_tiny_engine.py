"""The tiny model's VAE in the headless runner gives what diffusers' chunks give, in one pass."""

from __future__ import annotations

import pytest
import torch

from storymem.headless.models import Placement, WanVae
from storymem.tiny import vae
from storymem.tiny.engine import TinyVae


@pytest.fixture(scope="module")
def both():
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    module = vae.build(8).eval().requires_grad_(False)
    placement = Placement(torch.device("cpu"), torch.float32)
    return TinyVae(module, placement), WanVae(module, placement)


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_whole_shots_are_as_diffusers_chunks(both, frames):
    ours, theirs = both
    g = torch.Generator().manual_seed(frames)
    pixels = torch.rand(frames, 32, 48, 3, generator=g)
    found, meant = ours.encode(pixels), theirs.encode(pixels)
    assert found.shape == meant.shape == (1, 16, (frames + 3) // 4, 4, 6)
    assert (found - meant).abs().max() < 1e-4 * meant.abs().max()
    latents = torch.randn(1, 16, (frames + 3) // 4, 4, 6, generator=g)
    found, meant = ours.decode(latents), theirs.decode(latents)
    assert found.shape == meant.shape == pixels.shape
    assert (found - meant).abs().max() < 1e-4
    assert meant.std() > 0.01
