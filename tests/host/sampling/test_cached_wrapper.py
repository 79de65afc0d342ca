"""The wrapper that runs a memory along in few steps, around a model that tells what it sees."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

MEMORY, FRAMES, LAYERS, DIM = 2, 3, 2, 6
OVERRIDE = "optimized_attention_override"
TOKENS = MEMORY * 2 * 3  # of a latent of 3 x 5: patches of 2 x 2, the last of a row or column cut
SIGMAS = (0.9, 0.6, 0.3)


class Model:
    """Wan's shape, and a forward that asks for each block's attention as Wan does: its own, then
    the text's."""

    patch_size = (1, 2, 2)
    dim = DIM
    blocks = (None,) * LAYERS

    def __init__(self):
        self.class_obj, self.seen, self.asked = self, [], []

    def __call__(self, x, timestep, context, clip_fea, time_dim_concat, options, **kwargs):
        self.seen.append((x.shape[2], options))
        if OVERRIDE in options and options[OVERRIDE] is not None:
            for block in range(LAYERS):
                how = {"transformer_options": {**options, "block_index": block}, "mask": None}
                k = torch.arange(x.shape[2] * 6.0)[None, :, None].expand(len(x), -1, DIM)
                k = k + 100 * block + 1000 * torch.arange(len(x))[:, None, None]
                options[OVERRIDE](self.attention, "q", k, -k, 2, **how)
                options[OVERRIDE](self.attention, "text", k[:, :4], -k[:, :4], 2, **how)
        return torch.full((len(x), 16, *x.shape[2:]), 7.0, dtype=torch.float16)

    def attention(self, q, k, v, heads, **kwargs):
        assert heads == 2
        assert kwargs["mask"] is None
        self.asked.append((q, k, v))
        return q


@pytest.fixture
def module(host):
    return host.pack("nodes.sampling.cached_memory")


@pytest.fixture
def refresh(host):
    return host.pack("storymem.sampling.memory_refresh").Refresh


def latent(batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 36, MEMORY + FRAMES, 3, 5, generator=generator)


def options_at(sigma: float, **more) -> dict:
    usual = {
        "sigmas": torch.tensor([sigma]), "sample_sigmas": torch.tensor([*SIGMAS, 0.0]),
        "cond_or_uncond": [0], "uuids": ["a"],
    }  # fmt: skip
    return {**usual, **more}


def evaluate(cached, model, x, options, time_dim_concat=None, **kwargs):
    """One evaluation; whether memory ran along, and what came out."""
    out = cached(model, x, "t", "text", None, time_dim_concat, options, **kwargs)
    return model.seen[-1][0] == x.shape[2], out


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"sample_sigmas": None}, "the sampler does not say"),
        ({"sigmas": None}, "the sampler does not say"),
        ({"sigmas": torch.tensor([0.9, 0.8])}, "are at different noise levels"),
        ({"cond_or_uncond": []}, "which part of a batch"),
        ({"cond_or_uncond": None}, "which part of a batch"),
        ({"cond_or_uncond": [0, 1, 1]}, "which part of a batch"),
        ({"cond_or_uncond": [0, 0], "uuids": ["a", "b"]}, "several parts or areas"),
        ({"patches_replace": {"dit": {"block": 1}}}, "another node replaces parts"),
        ({"patches": {"attn1_patch": [1]}}, "another node replaces parts"),
    ],
    ids=str,
)
def test_what_a_cached_step_cannot_know_runs_exactly_and_is_told_once(
    module, refresh, caplog, more, why
):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent(2)
    assert evaluate(cached, model, x, options_at(0.9))[0]
    assert not evaluate(cached, model, x, options_at(0.89))[0]
    given = options_at(0.88, **more)
    with caplog.at_level("INFO"):
        for _ in range(2):
            assert evaluate(cached, model, x, given)[0]
            assert model.seen[-1][1] is given
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert why in told[0]
    assert "memory runs along in every step (memory_refresh exact)" in told[0]
    assert evaluate(cached, model, x, options_at(0.87))[0]  # what was kept before is gone
    assert not evaluate(cached, model, x, options_at(0.86))[0]


@pytest.mark.parametrize(
    ("x", "kwargs", "why"),
    [
        (latent(), {"time_dim_concat": 1}, "other frames stand beside the shot"),
        (latent(), {"reference_latent": 1}, "other frames stand beside the shot"),
        (latent()[:, :16], {}, "the model is not Wan 2.2 I2V"),
    ],
)
def test_a_shot_with_other_frames_or_channels_runs_exactly(module, refresh, caplog, x, kwargs, why):
    cached, model = module.CachedMemory(MEMORY, refresh(True)), Model()
    with caplog.at_level("INFO"):
        for sigma in SIGMAS[:2]:
            assert evaluate(cached, model, x, options_at(sigma), **kwargs)[0]
    assert [why in r.getMessage() for r in caplog.records] == [True]


def test_another_model_and_a_compiled_one_run_exactly(module, refresh, caplog, monkeypatch):
    cached, model = module.CachedMemory(MEMORY, refresh(True)), Model()
    model.class_obj = SimpleNamespace()
    with caplog.at_level("INFO"):
        assert evaluate(cached, model, latent(), options_at(0.9))[0]
        assert "the model is not Wan 2.2 I2V" in caplog.text
        monkeypatch.setattr(module.torch.compiler, "is_compiling", lambda: True)
        assert evaluate(cached, Model(), latent(), options_at(0.9))[0]
        assert "torch.compile runs the model" in caplog.text
        assert evaluate(cached, Model(), latent(), None)[0]
        assert model.seen[-1][1] is not None


def test_one_prompt_in_two_windows_and_other_patches_are_no_reason(module, refresh):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent(2)
    more = {
        "cond_or_uncond": [0, 0], "uuids": ["a", "a"],
        "patches_replace": {"attn2": 1}, "patches": {"attn2_patch": [1]},
    }  # fmt: skip
    assert evaluate(cached, model, x, options_at(0.9, **more))[0]
    assert not evaluate(cached, model, x, options_at(0.89, **more))[0]
    more = {"cond_or_uncond": [1, 1], "uuids": ["a", "b"]}  # of what is not the prompt's
    assert not evaluate(cached, model, x, options_at(0.88, **more))[0]


@pytest.mark.parametrize(
    ("kinds", "batch", "kept"),
    [([0], 1, (0, 1)), ([0, 1], 2, (0, 1)), ([1, 0], 2, (1, 2)), ([1, 0], 4, (2, 4))],
)
def test_the_prompts_own_keys_and_values_are_kept_and_read_by_all(
    module, refresh, kinds, batch, kept
):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True, (0,))), Model(), latent(batch)
    more = {"cond_or_uncond": kinds, "uuids": list("ab")[: len(kinds)]}
    assert evaluate(cached, model, x, options_at(0.9, **more))[0]
    whole = [asked for asked in model.asked if asked[0] == "q"]
    assert [k.shape[1] for _, k, _ in whole] == [(MEMORY + FRAMES) * 6] * LAYERS
    model.asked.clear()
    assert not evaluate(cached, model, x, options_at(0.8, **more))[0]
    own = [asked for asked in model.asked if asked[0] == "q"]
    texts = [asked for asked in model.asked if asked[0] == "text"]
    assert [len(own), len(texts)] == [LAYERS, LAYERS]
    for (_, k, v), (_, before, _) in zip(own, whole, strict=True):
        assert k.shape == (batch, TOKENS + FRAMES * 6, DIM)
        assert torch.equal(v, -k)
        of_prompt = before[slice(*kept), :TOKENS]
        assert torch.equal(k[:, :TOKENS], torch.cat([of_prompt] * len(kinds)))
    assert [k.shape[1] for _, k, _ in texts] == [4] * LAYERS  # the text's attention reads nothing


def test_a_pass_without_the_prompt_keeps_nothing(module, refresh):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent()
    other = {"cond_or_uncond": [1]}
    assert evaluate(cached, model, x, options_at(0.9, **other))[0]
    assert evaluate(cached, model, x, options_at(0.8, **other))[0]  # nothing is there to be read
    assert evaluate(cached, model, x, options_at(0.8))[0]
    assert not evaluate(cached, model, x, options_at(0.79, **other))[0]


def test_the_memory_moves_towards_what_the_condition_holds(module, refresh):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent()
    evaluate(cached, model, x, options_at(0.9))
    is_whole, out = evaluate(cached, model, x, options_at(0.8))
    assert not is_whole
    assert model.seen[-1][1]["storymem_shot_only"] is True
    assert out.dtype == torch.float16
    memory = x[:, :, :MEMORY].double()
    wanted = (memory[:, :16] - memory[:, 20:36]) / 0.8
    assert torch.allclose(out[:, :, :MEMORY].double(), wanted, atol=2e-3, rtol=1e-3)
    assert out[:, :, MEMORY:].unique().tolist() == [7.0]


def test_another_nodes_attention_is_asked_in_turn(module, refresh):
    cached, model, x, asked = module.CachedMemory(MEMORY, refresh(True)), Model(), latent(), []

    def theirs(function, q, k, v, heads, **kwargs):
        asked.append(k.shape[1])
        return function(q, k, v, heads, **kwargs)

    for sigma in (0.9, 0.8):
        evaluate(cached, model, x, options_at(sigma, **{OVERRIDE: theirs}))
    whole, shot = (MEMORY + FRAMES) * 6, FRAMES * 6
    assert asked == [whole, 4] * LAYERS + [TOKENS + shot, 4] * LAYERS
    assert len(model.asked) == len(asked)


def test_what_is_kept_is_as_large_as_is_said_and_goes_with_its_shape(
    module, refresh, monkeypatch, caplog
):
    asked, place_for = [], module.place_for

    def told(*args):
        asked.append(args)
        return place_for(*args)

    monkeypatch.setattr(module, "place_for", told)
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent()
    cached.needed = 12
    with caplog.at_level("INFO"):
        evaluate(cached, model, x, options_at(0.9))
    first = cached._kept[x.device][1]
    assert asked == [(2 * LAYERS * TOKENS * DIM * 4, x.device, 12)]
    assert "StoryMem: the memory's keys and values (0.0 GiB) are kept on the card" in caplog.text
    assert not evaluate(cached, model, x, options_at(0.89))[0]
    assert cached._kept[x.device][1] is first
    assert evaluate(cached, model, x.half(), options_at(0.88))[0]  # another type
    assert asked[1] == (2 * LAYERS * TOKENS * DIM * 2, x.device, 12)
    assert not first.is_whole
    assert evaluate(cached, model, x, options_at(0.87))[0]
    assert evaluate(cached, model, latent(2), options_at(0.86))[0]  # another number of shots
    assert asked[3][0] == 2 * asked[0][0]


def test_without_a_place_every_step_is_exact(module, refresh, monkeypatch, caplog):
    monkeypatch.setattr(module, "place_for", lambda *_: module.Place.NOWHERE)
    cached, model, x = module.CachedMemory(MEMORY, refresh(True)), Model(), latent()
    with caplog.at_level("INFO"):
        for sigma in SIGMAS:
            given = options_at(sigma)
            assert evaluate(cached, model, x, given)[0]
            assert model.seen[-1][1] is given
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "StoryMem: the memory's keys and values (0.0 GiB) are kept nowhere"
    assert "neither the card nor the host's memory has room" in second


def test_another_schedule_is_another_run(module, refresh):
    cached, model, x = module.CachedMemory(MEMORY, refresh(True, (0, 2, 9))), Model(), latent()
    ran = [evaluate(cached, model, x, options_at(sigma))[0] for sigma in (0.9, 0.6, 0.3)]
    assert ran == [True, False, True]
    other = {"sample_sigmas": torch.tensor([0.9, 0.5, 0.2, 0.1, 0.0])}
    ran = [evaluate(cached, model, x, options_at(s, **other))[0] for s in (0.29, 0.25, 0.2, 0.1)]
    assert ran == [True, False, True, False]


@pytest.mark.parametrize(("whole", "refreshes"), [(None, [0, 1, 3]), (40, [0, 2])])
def test_a_long_run_refreshes_further_apart(module, refresh, whole, refreshes):
    cached, model = module.CachedMemory(MEMORY, refresh(True, None, whole)), Model()
    levels = [0.9, 0.8, 0.7, 0.6, 0.5]
    how = {"sample_sigmas": torch.tensor([*levels, 0.0])}
    ran = [evaluate(cached, model, latent(), options_at(s, **how))[0] for s in levels]
    assert [i for i, is_whole in enumerate(ran) if is_whole] == refreshes


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_begins_and_ends_with_nothing_kept(module, refresh, by_name, fails):
    cached, noise = module.CachedMemory(MEMORY, refresh(True)), torch.zeros(1, 16, 5, 3, 5)
    wrappers = {"diffusion_model": {module.WRAPPER_KEY: [cached], "later": [1]}}
    forgotten, forget = [], cached.forget
    cached.forget = lambda: (forgotten.append(len(wrappers["diffusion_model"])), forget())
    guider = SimpleNamespace(
        model_options={"transformer_options": {"wrappers": wrappers}},
        model_patcher=SimpleNamespace(memory_required=lambda shape: shape.numel() + 0.5),
        conds={"positive": [{}, {}], "negative": [{}]},
    )

    class Executor:
        class_obj = guider

        def __call__(self, *args, **kwargs):
            assert list(wrappers["diffusion_model"]) == ["later", module.WRAPPER_KEY]
            assert forgotten == [2]
            assert (cached.needed, type(cached.needed)) == (noise.numel(), int)
            assert cached.prompts == 2
            if fails:
                raise RuntimeError("stopped")
            return args, kwargs

    run = module._run(cached)
    given = ((), {"noise": noise}) if by_name else ((noise, 3), {"more": 4})
    if fails:
        with pytest.raises(RuntimeError, match="stopped"):
            run(Executor(), *given[0], **given[1])
    else:
        assert run(Executor(), *given[0], **given[1]) == given
    assert forgotten == [2, 2]
