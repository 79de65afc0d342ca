"""Memory that runs along in few steps: the host's Wan against plain equations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from helpers.m2v_helpers import M2V, rel_l2
from helpers.wan_reference import HEAD_DIM, WanReference, _rms, _rotate
from storymem.sampling.rope import temporal_positions

MEMORY, FRAMES, HEIGHT, WIDTH = 3, 3, 4, 6
BOUND = 1e-5


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


class KeepingWan(WanReference):
    """The reference, which can keep what self-attention made of the first tokens, and read it."""

    def __init__(self, state, tokens: int):
        super().__init__(state)
        self.tokens, self.kept, self.reads = tokens, {}, False

    def _attention(self, name, x, source, rotation=None):
        if rotation is None:
            return super()._attention(name, x, source)
        q = _rms(self._linear(f"{name}.q", x), self.state[f"{name}.norm_q.weight"])
        k = _rms(self._linear(f"{name}.k", source), self.state[f"{name}.norm_k.weight"])
        v = self._linear(f"{name}.v", source)
        q, k, v = (a.unflatten(-1, (-1, HEAD_DIM)).transpose(0, 1) for a in (q, k, v))
        q, k = _rotate(q, rotation), _rotate(k, rotation)
        if self.reads:
            k, v = (torch.cat(pair, 1) for pair in zip(self.kept[name], (k, v), strict=True))
        else:
            self.kept[name] = k[:, : self.tokens], v[:, : self.tokens]
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM)).softmax(-1)
        return self._linear(f"{name}.o", (scores @ v).transpose(0, 1).flatten(1))


@pytest.fixture(scope="module")
def state(host):
    return load_file(host.base / "models" / "diffusion_models" / "tiny_i2v_high.safetensors")


def latent(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 36, MEMORY + FRAMES, HEIGHT, WIDTH, generator=generator)


def text() -> torch.Tensor:
    return torch.randn(1, 20, 4096, generator=torch.Generator().manual_seed(4))


def evaluations(m2v, levels, refresh_steps: str, *, kinds=(0,)) -> list[torch.Tensor]:
    """The velocities of a patched model at falling noise levels, each of another latent."""
    import comfy.model_management

    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    model = node.execute(m2v.high, MEMORY, 5, "cached", refresh_steps).result[0]
    found = []
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([model])
        for i, sigma in enumerate(levels):
            options = {**model.model_options["transformer_options"]}
            options |= {
                "sigmas": torch.tensor([sigma]), "cond_or_uncond": list(kinds), "uuids": [1],
                "sample_sigmas": torch.tensor([*levels, 0.0]),
            }  # fmt: skip
            options["wrappers"] = model.wrappers
            t = torch.tensor([sigma * 1000])
            out = model.model.diffusion_model(latent(i), t, text(), transformer_options=options)
            found.append(out.clone())
    return found


def expected(state, levels, refreshes) -> list[torch.Tensor]:
    tokens = MEMORY * (HEIGHT // 2) * (WIDTH // 2)
    wan, found = KeepingWan(state, tokens), []
    positions = temporal_positions(MEMORY, FRAMES)
    for i, sigma in enumerate(levels):
        x = latent(i).double()
        wan.reads = i not in refreshes
        if not wan.reads:
            found.append(wan(x, sigma * 1000, text(), positions))
            continue
        shot = wan(x[:, :, MEMORY:], sigma * 1000, text(), positions[MEMORY:])
        memory = (x[:, :16, :MEMORY] - x[:, 20:, :MEMORY]) / sigma
        found.append(torch.cat([memory, shot], dim=2))
    return found


LEVELS = [0.95, 0.9, 0.7, 0.4]


@pytest.mark.parametrize(("steps", "refreshes"), [("0", {0}), ("0 2", {0, 2}), ("", {0, 1, 3})])
def test_a_cached_step_equals_the_equations(m2v, state, steps, refreshes):
    ours = evaluations(m2v, LEVELS, steps)
    for value, wanted in zip(ours, expected(state, LEVELS, refreshes), strict=True):
        assert rel_l2(value, wanted) < BOUND


def test_a_run_that_refreshes_in_every_step_is_the_exact_one(m2v):
    exact = m2v.sample(bank=m2v.bank(3))
    cached = m2v.sample(bank=m2v.bank(3), memory_refresh="cached", refresh_steps="0 1 2 3 4")
    assert torch.equal(exact, cached)
    few = m2v.sample(bank=m2v.bank(3), memory_refresh="cached", refresh_steps="0")
    assert 1e-6 < rel_l2(few, exact) < 0.5


def test_nothing_is_kept_after_a_run(m2v, monkeypatch):
    module = m2v.host.pack("nodes.sampling.cached_memory")
    made = []
    before = module.CachedMemory.__init__

    def note(self, *args):
        before(self, *args)
        made.append(self)

    monkeypatch.setattr(module.CachedMemory, "__init__", note)
    m2v.sample(bank=m2v.bank(3), memory_refresh="cached")
    assert len(made) == 2
    assert all(not cached._kept for cached in made)
