"""Rates and their intervals."""

from __future__ import annotations

import torch

from storymem.tiny.lab import statistics


def test_wilson_is_the_published_interval():
    low, high = statistics.wilson(81, 263)  # Newcombe 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert statistics.wilson(0, 20)[0] == 0
    assert statistics.wilson(20, 20)[1] == 1


def test_the_interval_over_stories_is_wider_when_a_storys_characters_go_together():
    draw = torch.Generator().manual_seed(0)
    stories = torch.rand(200, 1, generator=draw) < 0.5
    together = statistics.rate(stories.expand(-1, 10), torch.ones(200, 10, dtype=torch.bool))
    apart = torch.rand(200, 10, generator=draw) < 0.5
    apart = statistics.rate(apart, torch.ones(200, 10, dtype=torch.bool))
    width = [high - low for low, high in (together["stories"], apart["stories"])]
    assert 2 < width[0] / width[1] < 4.5  # sqrt(10)
    # 95 % of a mean of 200 coins: 2 * 1.96 * 0.5 / sqrt(200)
    assert abs(width[0] - 0.1386) < 0.015
    assert apart["wilson"][1] - apart["wilson"][0] < 0.05


def test_trials_that_were_not_asked_for_do_not_count():
    right = torch.tensor([[True, True], [False, True]])
    asked = torch.tensor([[True, False], [True, False]])
    found = statistics.rate(right, asked)
    assert (found["rate"], found["count"]) == (0.5, 2)
    assert statistics.difference(right, ~right, asked)["difference"] == 0
    assert statistics.mean(torch.tensor([[3.0, 9.0]]), torch.tensor([[True, False]]))["mean"] == 3
