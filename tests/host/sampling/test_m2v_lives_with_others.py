"""The pack's samplers among what artists already put on their models."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from helpers.m2v_helpers import M2V, rel_l2


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def both(m2v, change) -> dict:
    """Both experts after ``change``, as inputs of M2V Sampler."""
    return {"model_high": change(m2v.high), "model_low": change(m2v.low)}


def easy_cache(model, threshold: float):
    from comfy_extras.nodes_easycache import EasyCacheNode

    return EasyCacheNode.execute(model, threshold, 0.0, 1.0, False).result[0]


def test_easycache_that_never_skips_changes_nothing(m2v):
    plain = m2v.sample(bank=m2v.bank(2), steps=6)
    cached = m2v.sample(bank=m2v.bank(2), steps=6, **both(m2v, lambda m: easy_cache(m, 0.0)))
    assert torch.equal(cached, plain)


def test_easycache_skips_steps_of_each_expert_with_its_own_memory(m2v, caplog):
    plain = m2v.sample(bank=m2v.bank(2), steps=16, boundary=0.7)
    with caplog.at_level(logging.INFO):
        cached = m2v.sample(
            bank=m2v.bank(2), steps=16, boundary=0.7, **both(m2v, lambda m: easy_cache(m, 3.0))
        )
    skipped = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert len(skipped) == 2  # one report an expert
    assert not any("skipped 0/" in message for message in skipped)
    assert cached.isfinite().all()
    assert rel_l2(cached, plain) > 0


def test_lazycache_runs_on_both_experts(m2v):
    from comfy_extras.nodes_easycache import LazyCacheNode

    change = lambda m: LazyCacheNode.execute(m, 0.0, 0.0, 1.0, False).result[0]  # noqa: E731
    plain = m2v.sample(bank=m2v.bank(1), steps=6)
    assert torch.equal(m2v.sample(bank=m2v.bank(1), steps=6, **both(m2v, change)), plain)


def compiled(model):
    """TorchCompileModel with the eager backend: its guards are what may go stale."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    clone = model.clone()
    set_torch_compile_wrapper(
        model=clone, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict}
    )
    return clone


@pytest.fixture(scope="module")
def short_pair(host, tmp_path_factory) -> dict:
    """Two experts of one block, as inputs of M2V Sampler: compiling takes a second for each."""
    import comfy.sd

    from helpers.tiny_models import write_dit

    folder, pair = tmp_path_factory.mktemp("short_pair"), {}
    for seed, name in enumerate(("model_high", "model_low"), start=1):
        path = write_dit(folder / f"{name}.safetensors", seed=seed, layers=1)
        pair[name] = comfy.sd.load_diffusion_model(str(path))
    return pair


@pytest.mark.slow
def test_torch_compile_never_keeps_positions_of_another_shot(m2v, short_pair):
    """One compiled pair, shots with 3, 1 and 3 memory frames and another shift: none is stale."""
    models = {name: compiled(model) for name, model in short_pair.items()}
    shots = [(3, 5), (1, 5), (3, 5), (3, 2), (0, 5)]
    for count, shift in shots:
        options = {"bank": m2v.bank(count), "rope_shift": shift, "steps": 2, "cfg": 1.0}
        plain = m2v.sample(**options, **short_pair)
        assert rel_l2(m2v.sample(**options, **models), plain) < 1e-5


@pytest.mark.slow
def test_torch_compile_runs_a_cached_memory_along_and_it_is_told(m2v, short_pair, caplog):
    options = {"bank": m2v.bank(2), "steps": 4, "cfg": 1.0}
    models = {name: compiled(model) for name, model in short_pair.items()}
    with caplog.at_level(logging.INFO):
        ours = m2v.sample(**options, **models, memory_refresh="cached", refresh_steps="0")
    assert rel_l2(ours, m2v.sample(**options, **short_pair)) < 1e-5
    told = [r.getMessage() for r in caplog.records if "runs along in every step" in r.getMessage()]
    assert len(told) == 2  # one an expert
    assert told[0].endswith("torch.compile runs the model")


@pytest.mark.slow
def test_torch_compile_after_the_model_patch(m2v, short_pair):
    model = short_pair["model_high"]
    for count in (2, 1):
        options = {"bank": m2v.bank(count), "steps": 2, "cfg": 1.0, "model_low": None}
        patched = compiled(m2v.patch(model, count))
        plain = m2v.sample(model_high=model, **options)
        assert rel_l2(m2v.sample(model_high=patched, **options), plain) < 1e-5


def test_model_sampling_sd3_on_both_counts_when_shift_is_0(m2v):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    models = both(m2v, lambda m: ModelSamplingSD3().patch(m, 4.0)[0])
    kept = m2v.sample(bank=m2v.bank(2), shift=0.0, **models)
    assert torch.equal(kept, m2v.sample(bank=m2v.bank(2), shift=4.0))
    other = m2v.sample(bank=m2v.bank(2), shift=0.0)
    assert rel_l2(other, kept) > 1e-3  # the models' own is 8 for Wan


def quantised_patcher(model):
    """A patcher of another class, that insists on it in clone() and load() as GGUF loaders do."""
    import comfy.model_patcher

    class QuantisedModelPatcher(comfy.model_patcher.ModelPatcher):
        loads = 0

        def load(self, *args, force_patch_weights=False, **kwargs):
            type(self).loads += 1
            return super().load(*args, force_patch_weights=True, **kwargs)

        def clone(self, *args, **kwargs):
            clone = super().clone(*args, **kwargs)
            clone.__class__ = QuantisedModelPatcher
            clone.patch_on_device = True
            return clone

    wrapped = QuantisedModelPatcher(model.model, model.load_device, model.offload_device)
    return wrapped.clone()


@pytest.mark.parametrize("memory_refresh", ["exact", "cached"])
def test_a_patcher_of_another_class_stays_what_it_is(m2v, memory_refresh):
    models = both(m2v, quantised_patcher)
    options = {"bank": m2v.bank(2), "memory_refresh": memory_refresh}
    assert torch.equal(m2v.sample(**options, **models), m2v.sample(**options))
    for model in models.values():
        assert type(m2v.patch(model, 2)) is type(model)
        assert m2v.patch(model, 2).patch_on_device
        assert type(model).loads > 0


class TeaCacheLike:
    """A unet wrapper that restarts at its schedule's first sigma, and reuses every other step."""

    def __init__(self):
        self.restarts = 0
        self.kept = None

    def __call__(self, apply_model, args):
        schedule = args["c"]["transformer_options"]["sample_sigmas"]
        step = (schedule - args["timestep"][0]).abs().argmin()
        if step == 0:
            self.restarts += 1
            self.kept = None
        if self.kept is not None and step % 2:
            return args["input"] + self.kept
        out = apply_model(args["input"], args["timestep"], **args["c"])
        self.kept = out - args["input"]
        return out


@pytest.mark.parametrize("memory_refresh", ["exact", "cached"])
def test_a_teacache_like_wrapper_restarts_with_each_expert(m2v, memory_refresh):
    wrappers = {"model_high": TeaCacheLike(), "model_low": TeaCacheLike()}
    models = {}
    for name, wrapper in wrappers.items():
        models[name] = getattr(m2v, name.removeprefix("model_")).clone()
        models[name].set_model_unet_function_wrapper(wrapper)
    for _ in range(2):
        latent = m2v.sample(
            bank=m2v.bank(1), steps=8, cfg=1.0, boundary=0.8, memory_refresh=memory_refresh,
            **models,
        )  # fmt: skip
    assert [w.restarts for w in wrappers.values()] == [2, 2]
    assert latent.isfinite().all()


def test_cfg_1_runs_the_positive_prompt_only(m2v):
    seen = []

    def spy(apply_model, args):
        seen.append(args["cond_or_uncond"])
        return apply_model(args["input"], args["timestep"], **args["c"])

    def change(model):
        clone = model.clone()
        clone.set_model_unet_function_wrapper(spy)
        return clone

    m2v.sample(bank=m2v.bank(1), steps=4, cfg=1.0, **both(m2v, change))
    assert seen == [[0]] * 4


def context_windows(model):
    from comfy.context_windows import ContextFuseMethods, ContextSchedules
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    node = WanContextWindowsManualNode
    schedule, fuse = ContextSchedules.UNIFORM_STANDARD, ContextFuseMethods.PYRAMID
    return node.execute(model, 9, 5, schedule, 1, False, fuse, False).result[0]


def test_context_windows_are_refused_on_either_expert(m2v):
    with pytest.raises(ValueError, match="model_high has context windows"):
        m2v.sample(model_high=context_windows(m2v.high))
    with pytest.raises(ValueError, match="model_low has context windows"):
        m2v.sample(model_low=context_windows(m2v.low))
    with pytest.raises(ValueError, match="context windows"):
        m2v.patch(context_windows(m2v.high), 2)


def test_context_windows_after_the_model_patch_are_refused_when_sampling(m2v):
    import comfy.sample
    import comfy.samplers

    positive, negative, latent, noise, frames = m2v.condition(bank=m2v.bank(2))
    model = context_windows(m2v.patch(m2v.high, frames))
    with pytest.raises(ValueError, match="context windows"), torch.inference_mode():
        comfy.sample.sample_custom(
            model,
            noise.generate_noise(latent),
            1.0,
            comfy.samplers.sampler_object("euler"),
            torch.tensor([1.0, 0.0]),
            positive,
            negative,
            latent["samples"],
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda p, f: (m_without(p, "concat_latent_image"), f),
            "concat_latent_image .* is missing",
        ),
        (lambda p, f: (m_without(p, "concat_mask"), f), "concat_mask .* is missing"),
        (lambda p, f: (p, 1), "has 5 frames, but the latent has 4"),
        (lambda p, f: (p, -f - 1), "expects 2 memory frames"),
    ],
)
def test_a_patched_model_refuses_conditioning_that_does_not_fit(m2v, change, words):
    """Without these the host fills in zeros and samples something, with no error."""
    import comfy.sample
    import comfy.samplers

    positive, negative, latent, _, frames = m2v.condition(bank=m2v.bank(2))
    positive, cut = change(positive, frames)
    samples = latent["samples"]
    samples = samples[:, :, :2] if cut < 0 else samples[:, :, (1 if cut == 1 else 0) :]
    with pytest.raises(ValueError, match=words), torch.inference_mode():
        comfy.sample.sample_custom(
            m2v.patch(m2v.high, frames),
            torch.randn_like(samples),
            1.0,
            comfy.samplers.sampler_object("euler"),
            torch.tensor([1.0, 0.0]),
            positive,
            negative,
            samples,
        )


def m_without(conditioning, key: str):
    return [[c[0], {k: v for k, v in c[1].items() if k != key}] for c in conditioning]


def test_models_of_the_artist_are_never_changed(m2v):
    def state(model):
        return (
            dict(model.object_patches),
            dict(model.patches),
            copy.deepcopy({k: v for k, v in model.wrappers.items() if any(v.values())}),
            set(model.model_options),
            dict(model.model_options["transformer_options"]),
            model.patches_uuid,
        )

    before = [state(m) for m in (m2v.high, m2v.low)]
    m2v.sample(bank=m2v.bank(3), sampler_name="euler_cfg_pp")
    assert [state(m) for m in (m2v.high, m2v.low)] == before


# --- progress, previews, cancel ------------------------------------------------------------------


class Progress(list):
    """Every ``(value, total)`` that a progress bar is told; the host passes some on only."""

    cancel_at = None  # (value, total) at which the artist cancels


@pytest.fixture
def progress(m2v, monkeypatch):
    import comfy.model_management
    import comfy.utils

    seen = Progress()
    tell = comfy.utils.ProgressBar.update_absolute

    def update_absolute(self, value, total=None, preview=None):
        seen.append((value, total))
        if (value, total) == seen.cancel_at:
            raise comfy.model_management.InterruptProcessingException()
        tell(self, value, total, preview)

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", update_absolute)
    return seen


def test_one_progress_bar_spans_both_experts(m2v, progress):
    m2v.condition(bank=m2v.bank(1))  # encoding reports its own progress
    progress.clear()
    m2v.sample(bank=m2v.bank(1), steps=6)
    assert progress == [(step, 6) for step in range(1, 7)]


def test_previews_show_the_shot_and_not_a_memory_frame(m2v, monkeypatch):
    import latent_preview

    shown, denoised = [], []

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            shown.append(x0.clone())

    monkeypatch.setattr(latent_preview, "get_previewer", lambda *_: Previewer())

    def keep(args):
        denoised.append(args["denoised"].clone())
        return args["denoised"]

    def change(model):
        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(keep)
        return clone

    m2v.sample(bank=m2v.bank(3), **both(m2v, change))
    assert len(shown) == len(denoised) == 4
    for preview, full in zip(shown, denoised, strict=True):
        assert torch.equal(preview, full[:, :, 3:])


@pytest.mark.parametrize("step", [1, 3])
def test_cancel_stops_at_once_and_leaves_nothing_patched(m2v, progress, step):
    """In the high-noise part, and in the low-noise part; then everything is as if never started."""
    import comfy.model_management

    calls = []

    def count(model):
        def spy(apply_model, args):
            calls.append(float(args["timestep"][0]))
            return apply_model(args["input"], args["timestep"], **args["c"])

        clone = model.clone()
        clone.set_model_unet_function_wrapper(spy)
        return clone

    before = m2v.sample(bank=m2v.bank(2), sampler_name="uni_pc")

    progress.cancel_at = (step, 4)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        m2v.sample(bank=m2v.bank(2), cfg=1.0, **both(m2v, count))
    assert len(calls) == step
    for model in (m2v.high, m2v.low):
        assert model.model.current_patcher is None
        comfy.model_management.load_models_gpu([model])
        encode = model.model.diffusion_model.rope_encode
        assert not hasattr(encode, "storymem_original")
    progress.cancel_at = None
    assert torch.equal(m2v.sample(bank=m2v.bank(2), sampler_name="uni_pc"), before)
