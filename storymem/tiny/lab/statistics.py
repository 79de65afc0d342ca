"""Rates and means with intervals of 95 %."""

from __future__ import annotations

import math

import torch

Z = 1.959964  # of a normal distribution, 95 %
RESAMPLES = 4000


def wilson(right: float, count: float) -> tuple[float, float]:
    """The interval of a rate over independent trials (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share, spread = right / count, Z * Z / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: torch.Tensor, weights: torch.Tensor, *, seed: int = 0) -> tuple[float, float]:
    """The interval of ``sum(values) / sum(weights)`` over stories, which are drawn again.

    Characters of one story are no independent trials; stories are. Both are float [stories].
    """
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    totals = weights.double()[picks].sum(1)
    means = values.double()[picks].sum(1)[totals > 0] / totals[totals > 0]
    if not len(means):
        return 0.0, 0.0
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def rate(right: torch.Tensor, asked: torch.Tensor) -> dict:
    """A rate over trials [stories, ...]: how many there were, both intervals.

    Args:
        right: bool, which trials succeeded.
        asked: bool, which trials there were.
    """
    good = (right & asked).flatten(1).sum(1).double()
    count = asked.flatten(1).sum(1).double()
    total = count.sum().item()
    return {
        "rate": good.sum().item() / total if total else None,
        "count": int(total),
        "wilson": wilson(good.sum().item(), total),
        "stories": bootstrap(good, count),
    }


def mean(values: torch.Tensor, asked: torch.Tensor) -> dict:
    """A mean over values [stories, ...] with the interval over stories."""
    total = torch.where(asked, values.double(), 0).flatten(1).sum(1)
    count = asked.flatten(1).sum(1).double()
    number = count.sum().item()
    return {
        "mean": total.sum().item() / number if number else None,
        "count": int(number),
        "stories": bootstrap(total, count),
    }


def ratio(values: torch.Tensor, base: torch.Tensor, asked: torch.Tensor) -> dict:
    """The sum of ``values`` by that of ``base`` over [stories, ...], the interval over stories."""
    over, under = (torch.where(asked, v.double(), 0).flatten(1).sum(1) for v in (values, base))
    whole = under.sum().item()
    return {
        "ratio": over.sum().item() / whole if whole else None,
        "count": int(asked.sum()),
        "stories": bootstrap(over, under),
    }


def widest(found: dict) -> tuple[float, float]:
    """Both intervals together: that over stories has no width where every story says the same."""
    pair = (found["wilson"], found["stories"])
    return min(low for low, _ in pair), max(high for _, high in pair)


def difference(one: torch.Tensor, other: torch.Tensor, asked: torch.Tensor) -> dict:
    """Rate of ``one`` less that of ``other`` on the same trials, the interval over stories."""
    gap = torch.where(asked, one.double() - other.double(), 0).flatten(1).sum(1)
    count = asked.flatten(1).sum(1).double()
    number = count.sum().item()
    return {
        "difference": gap.sum().item() / number if number else None,
        "stories": bootstrap(gap, count),
    }
