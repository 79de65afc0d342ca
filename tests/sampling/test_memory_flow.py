"""Memory on its straight way from noise to the clean frame."""

from __future__ import annotations

import torch

from storymem.sampling.memory_flow import noise_on_flow, on_flow


def memory(value: float, rows: int = 1) -> torch.Tensor:
    return torch.full((rows, 16, 2, 4, 6), value)


def test_memory_goes_straight_from_its_noise_to_the_clean_frame():
    at = [on_flow(memory(4.0), memory(-4.0), torch.tensor([s])).unique().tolist() for s in (0, 1)]
    assert at == [[4.0], [-4.0]]
    assert on_flow(memory(4.0), memory(-4.0), torch.tensor([0.25])).unique().tolist() == [2.0]


def test_each_row_has_its_own_noise_level():
    found = on_flow(memory(4.0, rows=2), memory(-4.0, rows=2), torch.tensor([0.0, 0.5]))
    assert [row.unique().tolist() for row in found] == [[4.0], [0.0]]


def test_noise_is_found_again():
    clean, noise = torch.randn(2, 2, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.3, 0.8])
    found = noise_on_flow(on_flow(clean, noise, sigma), clean, sigma)
    assert torch.allclose(found, noise, atol=1e-5)


def test_both_are_of_the_latents_own_kind():
    """A noise level in float32 leaves latents in half precision."""
    clean, noise = memory(4.0).half(), memory(-4.0).half()
    moved = on_flow(clean, noise, torch.tensor([0.5]))
    assert moved.dtype == noise_on_flow(moved, clean, torch.tensor([0.5])).dtype == torch.half
