"""Memory set back onto its rectified flow before every evaluation of the model (Memento).

In training a memory frame was always ``(1 - sigma) * clean + sigma * noise``. A sampler would carry
it along the model's own velocity, which leads elsewhere. Memento's release therefore writes the
exact value into the latent in each step; StoryMem's does not.

One difference is kept: the release's first step overwrites the noise itself, in which a thousandth
is the clean memory from then on. Here the noise that was drawn counts in every step
(tests/sampling/test_memento_run.py has both).
"""

from __future__ import annotations

import torch


def on_flow(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """``(1 - sigma) * clean + sigma * noise``, ``[B, C, M, h, w]``.

    Args:
        clean: the memory's normalised latents, ``[B, C, M, h, w]``.
        noise: what the run started from there, of the same shape.
        sigma: noise level of each row, ``[B]`` in [0, 1].
    """
    sigma = sigma.reshape(-1, 1, 1, 1, 1).to(clean)
    return (1 - sigma) * clean + sigma * noise


def noise_on_flow(x: torch.Tensor, clean: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The noise with which ``x`` lies on the flow of ``clean``: ``on_flow`` the other way round.

    ``sigma [B]`` must be above 0.
    """
    sigma = sigma.reshape(-1, 1, 1, 1, 1).to(clean)
    return (x - (1 - sigma) * clean) / sigma
