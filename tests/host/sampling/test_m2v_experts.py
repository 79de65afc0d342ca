"""Two experts in one sampler run: one history, one boundary, each expert's own surroundings."""

from __future__ import annotations

import pytest
import torch

from helpers.m2v_helpers import M2V, rel_l2

SAMPLERS = ("euler", "uni_pc", "dpmpp_2m", "res_multistep", "lcm")


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def watched(model, log: list, name: str):
    """A clone that notes the sigma of each of its forwards under a name."""

    def spy(apply_model, args):
        log.append((name, float(args["timestep"][0])))
        return apply_model(args["input"], args["timestep"], **args["c"])

    clone = model.clone()
    clone.set_model_unet_function_wrapper(spy)
    return clone


@pytest.fixture
def twin(m2v, host):
    """The high-noise weights once more, as a model of its own (not a clone)."""
    import comfy.sd

    path = host.base / "models" / "diffusion_models" / "tiny_i2v_high.safetensors"
    return comfy.sd.load_diffusion_model(str(path))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_identical_experts_equal_one_uninterrupted_run(m2v, twin, sampler):
    options = {"sampler_name": sampler, "steps": 6, "bank": m2v.bank(2)}
    one = m2v.sample(model_low=None, **options)
    two = m2v.sample(model_low=twin, **options)
    assert rel_l2(two, one) < 1e-5
    assert rel_l2(m2v.sample(model_low=m2v.low, **options), one) > 1e-3


@pytest.mark.parametrize("sampler", ["uni_pc", "dpmpp_2m"])
def test_a_restarted_history_would_be_told_apart(m2v, sampler):
    """What two stock stages give, whose samplers start again at the switch."""
    import comfy.sample
    import comfy.samplers

    one = m2v.sample(model_low=None, sampler_name=sampler, steps=6, bank=m2v.bank(2))
    model, positive, negative, noise, frames = stock_parts(m2v)
    sigmas = m2v.node("sampling.sampler", "schedule")(model, "simple", 6, 1.0)
    latent = torch.zeros(1, 16, frames + 3, 4, 6)
    kind = comfy.samplers.sampler_object(sampler)
    for part, start in ((sigmas[:4], noise), (sigmas[3:], torch.zeros_like(noise))):
        with torch.inference_mode():
            latent = comfy.sample.sample_custom(
                model, start, 3.5, kind, part, positive, negative, latent, seed=7
            )
    assert rel_l2(latent[:, :, frames:], one) > 1e-3


def stock_parts(m2v, **shot):
    """Patched model, conditioning and noise of the composable road."""
    shot = {"bank": m2v.bank(2), **shot}
    positive, negative, latent, noise, frames = m2v.condition(**shot)
    model = m2v.node("sampling.sampler", "patch_shift")(m2v.patch(m2v.high, frames), 4.0)
    return model, positive, negative, noise.generate_noise(latent), frames


@pytest.mark.parametrize(
    ("scheduler", "steps", "shift", "denoise", "boundary"),
    [
        ("simple", 10, 4.0, 1.0, 0.9),
        ("beta", 8, 8.0, 1.0, 0.9),
        ("normal", 6, 4.0, 0.8, 0.9),
        ("simple", 5, 1.0, 1.0, 0.5),
        ("karras", 6, 5.0, 1.0, 0.875),
    ],
)
def test_the_switch_happens_at_the_boundary(m2v, scheduler, steps, shift, denoise, boundary):
    log: list = []
    m2v.sample(
        model_high=watched(m2v.high, log, "high"),
        model_low=watched(m2v.low, log, "low"),
        scheduler=scheduler,
        steps=steps,
        shift=shift,
        denoise=denoise,
        boundary=boundary,
        cfg=1.0,
    )
    assert len(log) == steps
    assert {name for name, _ in log} == {"high", "low"}
    for name, sigma in log:
        assert name == ("high" if sigma > boundary + 1e-7 else "low")


@pytest.mark.parametrize(
    ("boundary", "high", "low"),
    [({}, 4, 1), ({"boundary": 0.9}, 4, 1), ({"boundary": 0.895}, 3, 2), ({"boundary": 0.5}, 5, 0)],
)
def test_the_t2v_pair_has_its_own_shift_and_boundary(m2v, boundary, high, low):
    """Shift 12 gives sigmas 1, .980, .947, .889, .75: T2V's 0.875 and I2V's 0.9 part the fourth."""
    log: list = []
    m2v.sample(
        t2v_high=watched(m2v.t2v_high, log, "high"),
        t2v_low=watched(m2v.t2v_low, log, "low"),
        steps=5,
        cfg=1.0,
        **boundary,
    )
    assert [name for name, _ in log] == ["high"] * high + ["low"] * low
    assert [round(sigma, 3) for _, sigma in log] == [1, 0.98, 0.947, 0.889, 0.75]


def test_the_i2v_pair_keeps_the_boundary_of_i2v(m2v):
    log: list = []
    models = {
        "model_high": watched(m2v.high, log, "high"),
        "model_low": watched(m2v.low, log, "low"),
    }
    m2v.sample(steps=3, cfg=1.0, bank=m2v.bank(1), **models)
    assert [name for name, _ in log] == ["high", "low", "low"]


def test_a_stock_schedule_that_meets_the_boundary_gives_each_expert_the_released_steps(m2v):
    """Shift 3 meets 0.9 at a quarter of the schedule, where the released sigma is just below."""
    log: list = []
    models = {
        "model_high": watched(m2v.high, log, "high"),
        "model_low": watched(m2v.low, log, "low"),
    }
    m2v.sample(steps=4, shift=3.0, cfg=1.0, bank=m2v.bank(1), **models)
    assert [name for name, _ in log] == ["high", "low", "low", "low"]
    assert round(log[1][1], 6) == 0.9


@pytest.mark.parametrize(("boundary", "only"), [(0.0, "high"), (1.0, "low")])
def test_an_expert_without_steps_is_not_used(m2v, boundary, only):
    log: list = []
    models = {
        "model_high": watched(m2v.high, log, "high"),
        "model_low": watched(m2v.low, log, "low"),
    }
    if only == "low":  # the first sigma is 1, which is high noise: begin below it
        models["denoise"] = 0.5
    latent = m2v.sample(boundary=boundary, bank=m2v.bank(1), **models)
    assert {name for name, _ in log} == {only}
    assert latent.isfinite().all()


def test_one_model_alone_works(m2v):
    latent = m2v.sample(model_low=None, bank=m2v.bank(1))
    assert latent.isfinite().all()


def test_cfg_of_the_low_noise_expert_may_differ(m2v):
    log: list = []
    models = {
        "model_high": watched(m2v.high, log, "high"),
        "model_low": watched(m2v.low, log, "low"),
    }
    both = m2v.sample(bank=m2v.bank(1), cfg=3.5, cfg_low=3.5)
    assert torch.equal(both, m2v.sample(bank=m2v.bank(1), cfg=3.5))
    assert rel_l2(m2v.sample(bank=m2v.bank(1), cfg=3.5, cfg_low=1.0, **models), both) > 1e-4


@pytest.mark.parametrize("cfg_low", [1.0, 2.5])
def test_cfg_of_the_low_noise_expert_holds_when_it_runs_alone(m2v, cfg_low):
    """All sigmas lie below the boundary: only the low-noise expert's own scale counts."""
    options = {"bank": m2v.bank(1), "boundary": 1.0, "denoise": 0.5}
    alone = m2v.sample(cfg=6.0, cfg_low=cfg_low, **options)
    assert torch.equal(alone, m2v.sample(cfg=cfg_low, **options))
    assert torch.equal(alone, m2v.sample(cfg=1.5, cfg_low=cfg_low, **options))
    assert rel_l2(m2v.sample(cfg=6.0, **options), alone) > 1e-3
    # As the low-noise model by itself, with the same conditioning, noise and seed.
    assert torch.equal(
        alone, m2v.sample(model_high=m2v.low, model_low=None, cfg=cfg_low, **options)
    )


@pytest.mark.parametrize("sampler", ["heun", "dpm_2_ancestral", "seeds_2", "euler_cfg_pp", "ddim"])
def test_other_samplers_run_across_the_switch(m2v, twin, sampler):
    options = {"sampler_name": sampler, "bank": m2v.bank(1), "steps": 4}
    one = m2v.sample(model_low=None, **options)
    assert rel_l2(m2v.sample(model_low=twin, **options), one) < 1e-5


def test_both_experts_may_be_one_loaded_model(m2v):
    options = {"bank": m2v.bank(1), "sampler_name": "uni_pc", "steps": 6}
    one = m2v.sample(model_low=None, **options)
    assert rel_l2(m2v.sample(model_low=m2v.high, **options), one) < 1e-5
    assert rel_l2(m2v.sample(model_low=m2v.high.clone(), **options), one) < 1e-5


def test_experts_of_different_shift_are_refused_when_shift_is_kept(m2v):
    patch = m2v.node("sampling.sampler", "patch_shift")
    with pytest.raises(ValueError, match=r"shift 8.0 and 5.0 .*ModelSamplingSD3 on both"):
        m2v.sample(model_high=patch(m2v.high, 8.0), model_low=patch(m2v.low, 5.0), shift=0.0)


def test_memory_latents_are_denoised_with_the_shot_through_the_switch(m2v):
    """The low-noise expert sees M + F frames, and memory that the high-noise expert changed."""
    shapes, frames = [], {}

    def spy(name):
        def wrapper(apply_model, args):
            shapes.append(args["input"].shape[2])
            frames.setdefault(name, args["input"][:1, :, :2].clone())
            return apply_model(args["input"], args["timestep"], **args["c"])

        return wrapper

    high, low = m2v.high.clone(), m2v.low.clone()
    high.set_model_unet_function_wrapper(spy("high"))
    low.set_model_unet_function_wrapper(spy("low"))
    latent = m2v.sample(model_high=high, model_low=low, bank=m2v.bank(2))
    assert set(shapes) == {2 + 3}
    assert rel_l2(frames["low"], frames["high"]) > 1e-2
    assert latent.shape[2] == 3


def test_each_expert_has_its_own_schedule_wrappers_and_callbacks(m2v):
    from comfy.patcher_extension import CallbacksMP, WrappersMP

    seen: dict[str, list] = {"high": [], "low": []}
    models = {}
    for name in ("high", "low"):
        model = getattr(m2v, name).clone()

        def outer(executor, *args, name=name, **kwargs):
            seen[name].append(("outer", executor.class_obj.model_patcher.model, len(args[3])))
            return executor(*args, **kwargs)

        def predict(executor, *args, name=name, **kwargs):
            options = args[2]["transformer_options"]
            seen[name].append(("predict", float(args[1][0]), options["sample_sigmas"].tolist()))
            return executor(*args, **kwargs)

        def callback(*_, name=name):
            seen[name].append(("cleanup",))

        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "test", outer)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", predict)
        model.add_callback_with_key(CallbacksMP.ON_CLEANUP, "test", callback)
        models[f"model_{name}"] = model
    m2v.sample(bank=m2v.bank(1), steps=6, **models)
    for name, module in (("high", m2v.high.model), ("low", m2v.low.model)):
        outer = [event for event in seen[name] if event[0] == "outer"]
        predicted = [event for event in seen[name] if event[0] == "predict"]
        assert [event[1] for event in outer] == [module]
        assert seen[name][-1] == ("cleanup",)
        own = predicted[0][2]
        assert all(event[2] == own for event in predicted)
        assert own[0] == pytest.approx(predicted[0][1])  # its first step is its schedule's first
        assert len(predicted) == len(own) - 1


def test_only_one_expert_is_asked_for_at_a_time(m2v, monkeypatch):
    """The low-noise model is loaded at the switch, not before: two rarely fit a card together."""
    import comfy.model_management

    events = []
    load = comfy.model_management.load_models_gpu

    def spy(models, *args, **kwargs):
        events.extend("high" if m.is_clone(m2v.high) else "low" for m in models)
        return load(models, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", spy)
    log: list = events
    m2v.condition(bank=m2v.bank(1))  # the VAE's loads are over
    events.clear()
    m2v.sample(
        model_high=watched(m2v.high, log, "forward high"),
        model_low=watched(m2v.low, log, "forward low"),
        bank=m2v.bank(1),
        cfg=1.0,
    )
    names = [e if isinstance(e, str) else e[0] for e in events]
    assert names[0] == "high"
    assert names.count("low") == 1
    assert names.index("low") > max(i for i, n in enumerate(names) if n == "forward high")
    assert names.index("low") < names.index("forward low")


@pytest.mark.parametrize("sampler", ["uni_pc", "dpm_2_ancestral"])
def test_a_card_that_holds_one_expert_gives_the_same_result(m2v, twin, monkeypatch, sampler):
    """Loading one expert throws the other out, patches and all, in the middle of the run."""
    import comfy.model_management

    options = {"bank": m2v.bank(2), "sampler_name": sampler, "steps": 4}
    roomy = m2v.sample(model_low=twin, **options)
    load = comfy.model_management.load_models_gpu
    thrown_out = []

    def one_at_a_time(models, *args, **kwargs):
        thrown_out.extend(comfy.model_management.current_loaded_models)
        comfy.model_management.unload_all_models()
        return load(models, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", one_at_a_time)
    assert torch.equal(m2v.sample(model_low=twin, **options), roomy)
    assert len(thrown_out) >= 2


def test_hooks_on_prompts_reach_both_experts(m2v, twin):
    """A LoRA on the positive prompt alone, as hook nodes put it there."""
    import comfy.hooks

    generator = torch.Generator().manual_seed(5)
    name = "diffusion_model.blocks.1.self_attn.q"
    state = {
        f"{name}.lora_down.weight": torch.randn(2, 256, generator=generator) * 0.2,
        f"{name}.lora_up.weight": torch.randn(256, 2, generator=generator) * 0.2,
    }

    def hooked():
        hooks = comfy.hooks.create_hook_lora(lora=state, strength_model=1.0, strength_clip=0.0)
        return comfy.hooks.set_hooks_for_conditioning(m2v.pos, hooks)

    options = {"bank": m2v.bank(1), "sampler_name": "uni_pc", "steps": 6}
    one = m2v.sample(positive=hooked(), model_low=None, **options)
    two = m2v.sample(positive=hooked(), model_low=twin, **options)
    assert rel_l2(two, one) < 1e-5
    plain = m2v.sample(model_low=twin, **options)
    assert rel_l2(plain, two) > 1e-4
    assert torch.equal(m2v.sample(model_low=twin, **options), plain)
