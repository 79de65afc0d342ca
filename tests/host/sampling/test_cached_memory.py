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


@pytest.mark.parametrize(
    ("levels", "refreshes"), [([0.7, 0.4, 0.9, 0.8, 0.5], {0, 2, 4}), ([0.9, 0.6, 0.8, 0.5], {0})]
)
def test_a_sampler_that_adds_noise_again_refreshes_above_what_is_kept(
    m2v, state, levels, refreshes
):
    ours = evaluations(m2v, levels, "0")
    for value, wanted in zip(ours, expected(state, levels, refreshes), strict=True):
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


EVERY = "0 1 2 3 4 5 6 7 8 9"


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler_name": "heun"},
        {"sampler_name": "dpmpp_2m"},
        {"sampler_name": "uni_pc"},
        {"sampler_name": "storymem_unipc", "scheduler": "storymem"},
        {"sampler_name": "euler_ancestral"},
        {"denoise": 0.5},
        {"cfg": 1.0},
        {"model_low": None},
        {"boundary": 0.5},
        {"boundary": 1.0},
    ],
    ids=str,
)
def test_every_way_to_sample_is_exact_with_a_refresh_in_every_step(m2v, changes):
    given = {"bank": m2v.bank(2), "steps": 6, **changes}
    exact = m2v.sample(**given)
    assert torch.equal(m2v.sample(**given, memory_refresh="cached", refresh_steps=EVERY), exact)
    few = m2v.sample(**given, memory_refresh="cached")
    assert few.isfinite().all()
    assert rel_l2(few, exact) < 0.5


def test_a_sampler_that_evaluates_between_steps_reads_what_is_kept(m2v):
    given = {"bank": m2v.bank(2), "steps": 6, "sampler_name": "dpm_2"}
    exact = m2v.sample(**given)
    cached = m2v.sample(**given, memory_refresh="cached", refresh_steps=EVERY)
    assert 0 < rel_l2(cached, exact) < 0.2


def test_two_shots_of_a_batch_read_each_their_own(m2v):
    import comfy.sample
    import comfy.samplers

    positive, negative, latent, _, count = m2v.condition(bank=m2v.bank(2))
    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    model = node.execute(m2v.high, count, 5, "cached", "0").result[0]
    euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([0.99, 0.9, 0.7, 0.5])
    shape = (2, *latent["samples"].shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    def play(noise):
        return comfy.sample.sample_custom(
            model, noise, 3.0, euler, sigmas, positive, negative, torch.zeros_like(noise),
            disable_pbar=True, seed=1,
        )  # fmt: skip

    with torch.inference_mode():
        both, alone = play(noise), torch.cat([play(noise[:1]), play(noise[1:])])
    assert rel_l2(both, alone) < BOUND


def test_without_memory_there_is_nothing_to_keep(m2v):
    given = {"bank": None, "start_image": m2v.images(1), "steps": 4}
    assert torch.equal(m2v.sample(**given, memory_refresh="cached"), m2v.sample(**given))


def test_several_prompts_run_their_memory_along_and_it_is_told(m2v, caplog):
    import logging

    given = {"bank": m2v.bank(2), "positive": [*m2v.pos, *m2v.neg], "steps": 4}
    exact = m2v.sample(**given)
    with caplog.at_level(logging.INFO):
        cached = m2v.sample(**given, memory_refresh="cached")
    assert torch.equal(cached, exact)
    told = [r.getMessage() for r in caplog.records if "runs along in every step" in r.getMessage()]
    assert len(told) == 2  # one an expert
    assert "the prompt has several parts or areas" in told[0]


def test_easycache_around_a_cached_memory_sees_whole_shots(m2v):
    """It is asked first, whatever node was put on the model last."""
    from comfy_extras.nodes_easycache import EasyCacheNode

    def eased(model):
        return EasyCacheNode.execute(model, 0.0, 0.0, 1.0, False).result[0]

    given = {"bank": m2v.bank(2), "steps": 6, "memory_refresh": "cached"}
    plain = m2v.sample(**given)
    both = {"model_high": eased(m2v.high), "model_low": eased(m2v.low)}
    assert torch.equal(m2v.sample(**given, **both), plain)
    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    patched = eased(node.execute(m2v.high, MEMORY, 5, "cached", "").result[0])
    module = m2v.host.pack("nodes.sampling.cached_memory")
    order = {"a": [1], module.WRAPPER_KEY: [2], "z": [3]}
    assert list(module.innermost(order)) == ["a", "z", module.WRAPPER_KEY]
    assert patched.get_wrappers("diffusion_model", module.WRAPPER_KEY)


def test_what_is_kept_goes_when_a_run_fails(m2v, monkeypatch):
    module, made = m2v.host.pack("nodes.sampling.cached_memory"), []
    store = m2v.host.pack("nodes.sampling.memory_store")
    keep = store.KeptMemory.keep

    def fail(self, block, keys, values):
        keep(self, block, keys, values)
        made.append(self)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(store.KeptMemory, "keep", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        m2v.sample(bank=m2v.bank(2), memory_refresh="cached")
    assert made
    assert all(pair is None for kept in made for pair in kept._pairs)
    assert module.CachedMemory  # the module stays usable
    monkeypatch.setattr(store.KeptMemory, "keep", keep)
    assert m2v.sample(bank=m2v.bank(2), memory_refresh="cached").isfinite().all()


def test_a_patched_model_can_be_patched_anew(m2v):
    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    module = m2v.host.pack("nodes.sampling.cached_memory")
    once = node.execute(m2v.high, MEMORY, 5, "cached", "0 2").result[0]
    again = node.execute(once, MEMORY, 5).result[0]
    for kind in ("diffusion_model", "outer_sample"):
        assert once.get_wrappers(kind, module.WRAPPER_KEY)
        assert not again.get_wrappers(kind, module.WRAPPER_KEY)


@pytest.mark.parametrize(
    ("size", "free", "host_free", "is_cuda", "expected"),
    [
        (8, 10, 0, True, "CARD"),
        (8, 9.9, 16, True, "HOST"),
        (8, 9.9, 15.9, True, "FP8"),
        (8, 5.9, 15.9, True, "NOWHERE"),
        (8, 0, 0, False, "CARD"),
    ],
)
def test_what_is_free_decides_where_it_is_kept(m2v, size, free, host_free, is_cuda, expected):
    store, gib = m2v.host.pack("nodes.sampling.memory_store"), 2**30
    found = store.choose_place(
        int(size * gib), int(free * gib), int(host_free * gib), is_cuda=is_cuda
    )
    assert found.name == expected


def test_with_no_room_memory_runs_along(m2v, monkeypatch, caplog):
    module = m2v.host.pack("nodes.sampling.cached_memory")
    store = m2v.host.pack("nodes.sampling.memory_store")
    monkeypatch.setattr(module, "place_for", lambda *_: store.Place.NOWHERE)
    exact = m2v.sample(bank=m2v.bank(2))
    with caplog.at_level("INFO"):
        assert torch.equal(m2v.sample(bank=m2v.bank(2), memory_refresh="cached"), exact)
    assert "GiB) are kept nowhere" in caplog.text
    assert "neither the card nor the host's memory has room" in caplog.text


def test_fp8_keeps_two_digits(m2v):
    store = m2v.host.pack("nodes.sampling.memory_store")
    kept = store.KeptMemory(1, store.Place.FP8, torch.device("cpu"))
    keys, values = torch.randn(2, 1, 6, 8) * torch.tensor([1e-3, 1e3])[:, None, None, None]
    kept.begin()
    assert not kept.is_whole
    kept.keep(0, keys, values)
    assert kept.is_whole
    for found, wanted in zip(kept.take(0, keys), (keys, values), strict=True):
        assert rel_l2(found, wanted) < 0.04
    kept.free()
    assert not kept.is_whole


class Card:
    """What stands for a card's streams, and for a host that pins memory, in ``memory_store``."""

    def __init__(self, monkeypatch, store, *, pins: bool):
        self.pinned, self.order, self.pins = {}, [], pins
        monkeypatch.setattr(store.torch.cuda, "Stream", lambda device: None)
        monkeypatch.setattr(store.torch.cuda, "synchronize", lambda _: self.order.append("wait"))
        monkeypatch.setattr(store.model_management, "pin_memory", self.pin)
        monkeypatch.setattr(store.model_management, "unpin_memory", self.unpin)

    def pin(self, tensor):
        assert not tensor.any()  # its pages are made
        if self.pins:
            self.pinned[tensor.data_ptr()] = tensor.nbytes
        return self.pins

    def unpin(self, tensor):
        self.order.append("unpin")
        assert self.pinned.pop(tensor.data_ptr()) == tensor.nbytes


def test_host_memory_is_pinned_for_what_is_kept_and_all_given_back(m2v, monkeypatch):
    store = m2v.host.pack("nodes.sampling.memory_store")
    card = Card(monkeypatch, store, pins=True)
    kept = store.KeptMemory(2, store.Place.HOST, torch.device("cpu"))
    pairs = [torch.randn(2, 1, 5, 8).to(torch.bfloat16) for _ in range(2)]
    for _ in range(2):  # the second refresh takes the same memory
        kept.begin()
        for block, pair in enumerate(pairs):
            kept.keep(block, *pair)
        assert sorted(card.pinned.values()) == [160, 160]
        for found, wanted in zip(kept._pairs, pairs, strict=True):
            assert torch.equal(torch.stack(found), wanted)
    kept.free()
    assert not card.pinned
    assert card.order == ["wait", "unpin", "unpin"]  # never while the card may still read
    assert not kept.is_whole
    kept.free()
    assert card.order == ["wait", "unpin", "unpin"]


def test_where_the_host_pins_nothing_torch_does(m2v, monkeypatch):
    store = m2v.host.pack("nodes.sampling.memory_store")
    card = Card(monkeypatch, store, pins=False)
    asked, empty = [], torch.empty

    def watched(*args, pin_memory=False, **kwargs):
        asked.append(pin_memory)
        return empty(*args, **kwargs)

    monkeypatch.setattr(store.torch, "empty", watched)
    kept = store.KeptMemory(1, store.Place.HOST, torch.device("cpu"))
    pair = torch.randn(2, 1, 5, 8)
    kept.begin()
    kept.keep(0, *pair)
    assert asked == [False, True]
    assert torch.equal(torch.stack(kept._pairs[0]), pair)
    kept.free()
    assert card.order == []


MUTANTS = {
    "the memory's velocity with the wrong sign": ("velocity", -1.0),
    "keys that were not rotated": ("keys", None),
    "memory attended twice": ("twice", None),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_cached_steps_are_told_apart(m2v, state, name, monkeypatch):
    store = m2v.host.pack("nodes.sampling.memory_store")
    take = store.KeptMemory.take
    if MUTANTS[name][0] == "keys":
        monkeypatch.setattr(
            store.KeptMemory, "take", lambda s, b, k: (take(s, b, k)[0].flip(1), take(s, b, k)[1])
        )
    elif MUTANTS[name][0] == "twice":
        monkeypatch.setattr(
            store.KeptMemory,
            "take",
            lambda s, b, k: tuple(torch.cat([a, a], 1) for a in take(s, b, k)),
        )
    ours = evaluations(m2v, LEVELS, "0")
    wanted = expected(state, LEVELS, {0})
    if MUTANTS[name][0] == "velocity":
        ours[1] = torch.cat([-ours[1][:, :, :MEMORY], ours[1][:, :, MEMORY:]], dim=2)
    assert rel_l2(ours[1], wanted[1]) > 20 * BOUND


def test_each_expert_keeps_its_own(m2v):
    """What the other expert kept would give another shot."""
    module = m2v.host.pack("nodes.sampling.cached_memory")
    given = {"bank": m2v.bank(2), "steps": 6, "memory_refresh": "cached"}
    ours = m2v.sample(**given)
    shared: list = []
    init = module.CachedMemory.__init__

    def share(self, *args):
        init(self, *args)
        shared.append(self)
        self._kept = shared[0]._kept

    module.CachedMemory.__init__ = share
    try:
        assert rel_l2(m2v.sample(**given), ours) < 1e-6  # each begins with a refresh of its own
    finally:
        module.CachedMemory.__init__ = init
