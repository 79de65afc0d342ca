"""Muon for matrices of few shapes: torch.optim.Muon's update, all matrices of a shape at once.

The update is the momentum's nearest orthogonal matrix, by five Newton-Schulz steps (Jordan et al.,
2024). torch.optim.Muon walks through the matrices one by one, some twenty launches each; in a small
model on a GPU these launches cost as much as the model. The result is the same to bfloat16's
rounding (tested).
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; as in torch.optim.Muon
STEPS = 5
RMS_LIKE_ADAMW = 0.2  # an update's root mean square, so that AdamW's learning rates serve


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """[N, rows, columns] -> the same in bfloat16, singular values near 1."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, gram, x, beta=a)
    return x.mT if is_tall else x


class StackedMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for two-dimensional parameters."""

    def __init__(self, params, *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            params = group["params"]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            grads = [p.grad for p in params]
            momenta = [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            updates = torch._foreach_lerp(grads, momenta, group["momentum"])
            by_shape = defaultdict(list)
            for i, p in enumerate(params):
                by_shape[p.shape].append(i)
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            for shape, indices in by_shape.items():
                made = orthogonalise(torch.stack([updates[i] for i in indices])).float()
                rate = group["lr"] * RMS_LIKE_ADAMW * math.sqrt(max(shape))
                torch._foreach_add_([params[i] for i in indices], made.unbind(), alpha=-rate)
