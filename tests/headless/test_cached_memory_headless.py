"""Memory that runs along in few steps on diffusers' Wan: against the sampler written once more."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from helpers.tiny_diffusers import tiny_transformer
from storymem.headless.cached_memory import (
    ShotCache,
    install_cached_memory,
    shot_velocity,
    why_exact,
)
from storymem.headless.positions import install_memory_positions, set_memory_frames
from storymem.headless.sampling import MASK_CHANNELS, ShotInputs, denoise, make_scheduler
from storymem.sampling.memory_refresh import Refresh
from storymem.sampling.recipe import Recipe

MEMORY, FRAMES, HEIGHT, WIDTH = 2, 3, 4, 6
RECIPE = Recipe(steps=6, cfg=3.0, sampler="euler", scheduler="simple", boundary=0.75)


@pytest.fixture
def experts():
    found = [tiny_transformer(seed) for seed in (1, 2)]
    for expert in found:
        install_memory_positions(expert)
    return found


def inputs() -> ShotInputs:
    generator = torch.Generator().manual_seed(5)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    count = MEMORY + FRAMES
    condition = random(1, MASK_CHANNELS + 16, count, HEIGHT, WIDTH)
    return ShotInputs(random(1, 16, count, HEIGHT, WIDTH), random(1, 7, 64), random(1, 7, 64),
                      condition, MEMORY)  # fmt: skip


def distance(one, other) -> float:
    return float((one - other).norm() / other.norm())


def test_a_refresh_in_every_step_is_exact(experts):
    exact = denoise(experts, inputs(), RECIPE)
    every = replace(RECIPE, memory_refresh="cached", refresh_steps="0 1 2 3 4 5")
    assert distance(denoise(experts, inputs(), every), exact) < 1e-6
    few = replace(RECIPE, memory_refresh="cached", refresh_steps="0")
    assert distance(denoise(experts, inputs(), few), exact) > 1e-4
    assert torch.equal(denoise(experts, inputs(), RECIPE), exact)  # nothing is left behind


def kept_of(expert, x, t, text) -> tuple[torch.Tensor, list]:
    """A forward, and the keys and values of its first tokens, by hooks on the layers alone."""
    tokens = MEMORY * (HEIGHT // 2) * (WIDTH // 2)
    found, hooks = [], []
    tables = []
    hooks.append(expert.rope.register_forward_hook(lambda *a: tables.append(a[2])))
    for block in expert.blocks:
        pair = {}
        hooks.append(block.attn1.norm_k.register_forward_hook(
            lambda _m, _i, out, pair=pair: pair.__setitem__("k", out)))  # fmt: skip
        hooks.append(block.attn1.to_v.register_forward_hook(
            lambda _m, _i, out, pair=pair: pair.__setitem__("v", out)))  # fmt: skip
        found.append(pair)
    out = expert(x, t, text, return_dict=False)[0]
    for hook in hooks:
        hook.remove()
    cos, sin = tables[0]
    heads = expert.blocks[0].attn1.heads
    kept = []
    for pair in found:
        k = torch.view_as_complex(pair["k"].unflatten(2, (heads, -1)).unflatten(-1, (-1, 2)))
        angle = torch.complex(cos[..., ::2], sin[..., ::2])
        k = torch.view_as_real(k * angle).flatten(-2)
        v = pair["v"].unflatten(2, (heads, -1))
        kept.append((k[:, :tokens], v[:, :tokens]))
    return out, kept


def read(expert, x, t, text, kept) -> torch.Tensor:
    """A forward of the shot alone whose attention is handed what was kept, by replacing torch's own
    attention function."""
    pairs = itertools.chain.from_iterable([(pair, None)] for pair in kept)
    whole = torch.nn.functional.scaled_dot_product_attention
    count = (FRAMES * (HEIGHT // 2) * (WIDTH // 2),) * 2

    def attend(query, key, value, **kwargs):
        if (query.shape[-2], key.shape[-2]) == count:  # self-attention
            (keys, values), _ = next(pairs)
            key = torch.cat([keys.transpose(1, 2), key], 2)
            value = torch.cat([values.transpose(1, 2), value], 2)
        return whole(query=query, key=key, value=value, **kwargs)

    torch.nn.functional.scaled_dot_product_attention = attend
    try:
        return expert(x, t, text, return_dict=False)[0]
    finally:
        torch.nn.functional.scaled_dot_product_attention = whole


@torch.no_grad()
def expected(experts, given: ShotInputs, refreshes: tuple[set, set]) -> torch.Tensor:
    """Euler over both experts, as the docs say it, with one store of the prompt's pass."""
    x, scheduler, kept = given.noise, make_scheduler(RECIPE), None
    count = [0, 0]
    levels = [*(scheduler.timesteps / 1000).tolist(), 0.0]
    for now, after in itertools.pairwise(levels):
        which = 0 if now >= RECIPE.boundary else 1
        expert, t = experts[which], torch.tensor([now * 1000])
        whole = torch.cat([x, given.condition], 1)
        if count[which] in refreshes[which]:
            set_memory_frames(expert, MEMORY)
            cond, kept = kept_of(expert, whole, t, given.positive)
            other = expert(whole, t, given.negative, return_dict=False)[0]
            velocity = other + RECIPE.cfg * (cond - other)
        else:
            set_memory_frames(expert, 0)
            parts = whole[:, :, MEMORY:], t
            cond = read(expert, *parts, given.positive, kept)
            other = read(expert, *parts, given.negative, kept)
            shot = other + RECIPE.cfg * (cond - other)
            memory = (x[:, :, :MEMORY] - given.condition[:, MASK_CHANNELS:, :MEMORY]) / now
            velocity = torch.cat([memory, shot], 2)
        count[which] += 1
        x = x + (after - now) * velocity
    return x[:, :, MEMORY:]


@pytest.mark.parametrize("steps", ["0", "0 2", ""])
def test_a_shot_with_a_cached_memory_equals_the_equations(experts, steps):
    chosen = {"0": {0}, "0 2": {0, 2}, "": {0, 1, 3}}[steps]
    recipe = replace(RECIPE, memory_refresh="cached", refresh_steps=steps)
    ours = denoise(experts, inputs(), recipe)
    assert distance(ours, expected(experts, inputs(), (chosen, chosen))) < 1e-5
    assert distance(ours, expected(experts, inputs(), (chosen ^ {1}, chosen))) > 1e-4


def test_the_memory_moves_towards_what_the_condition_holds():
    latents, clean = torch.full((1, 2, 3, 1, 1), 5.0), torch.full((1, 2, 1, 1, 1), 3.0)
    velocity = shot_velocity(torch.zeros(1, 2, 2, 1, 1), latents, clean, 0.5)
    assert velocity[0, 0, :, 0, 0].tolist() == [4.0, 0.0, 0.0]


def test_a_model_on_several_cards_runs_its_memory_along(experts, caplog):
    assert why_exact(experts) == ""
    experts[0]._parallel_config = object()
    assert "several GPUs" in why_exact(experts)
    exact = denoise(experts, inputs(), RECIPE)
    cached = denoise(experts, inputs(), replace(RECIPE, memory_refresh="cached"))
    assert torch.equal(exact, cached)
    assert "several GPUs" in caplog.text


def test_a_compiled_model_runs_its_memory_along(experts):
    experts[1]._orig_mod = experts[0]
    assert why_exact(experts) == "the model is compiled"


def test_a_model_gets_one_store_however_often_it_is_asked_for(experts):
    kept = install_cached_memory(experts[0])
    processor = experts[0].blocks[0].attn1.processor
    assert install_cached_memory(experts[0]) is kept
    assert experts[0].blocks[0].attn1.processor is processor
    assert install_cached_memory(experts[1]) is not kept
    processor.original.a_backend = "native"
    assert processor.a_backend == "native"  # what diffusers sets or asks for is the original's


def test_nothing_is_kept_after_a_shot_and_only_the_memory_before_it_ends(experts, monkeypatch):
    seen, free = [], ShotCache.free

    def watched(cache):
        for kept in cache._kept.values():
            seen.extend(tensor for pair in kept.pairs.values() for tensor in pair)
        free(cache)

    monkeypatch.setattr(ShotCache, "free", watched)
    denoise(experts, inputs(), replace(RECIPE, memory_refresh="cached", refresh_steps="0"))
    assert len(seen) == 2 * sum(len(expert.blocks) for expert in experts)
    for tensor in seen:  # and does not hold on to what the shot's tokens made
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    assert not any(install_cached_memory(expert).pairs for expert in experts)


def test_a_refresh_lets_go_of_what_the_one_before_kept(experts):
    kept = install_cached_memory(experts[0])
    kept.pairs[0] = "out of date"
    with kept.keeping(3):
        assert not kept.pairs


def test_an_expert_of_a_long_run_refreshes_as_often_as_its_run_says(experts):
    levels = [1 - step / 40 for step in range(12)]
    cache = ShotCache({experts[0]: levels}, MEMORY, Refresh(True, None, 40))
    asked = [step for step, level in enumerate(levels) if cache.is_refresh(experts[0], level)]
    assert asked == [0, 2, 6]


@pytest.mark.parametrize("text", ["a", "-1", "1.5", "0 1 x"])
def test_steps_that_are_no_numbers_are_refused(text):
    with pytest.raises(ValueError, match="refresh_steps must be step numbers"):
        Recipe(memory_refresh="cached", refresh_steps=text)
