"""What the guider of two experts asks of the host for each of them, and when: nothing is computed.

Where the low-noise expert is prepared by us, it gets what the host gives the other one.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers.bare_wan import bare_wan, prompt
from helpers.guider_run import BOUNDARY, MOVED, SIGMAS, Run, Sampler


@pytest.fixture
def run(host, monkeypatch):
    return Run(host, monkeypatch)


def f32(sigma: float) -> float:
    return float(torch.tensor(sigma))


def asked(*pairs) -> list[tuple]:
    return [("predict", expert, f32(sigma)) for expert, sigma in pairs]


ONE_RUN = [
    ("prepare", "high"), ("pre_run", "high"), ("process", "high"),
    *asked(("high", 1.0), ("high", 0.8)),
    ("prepare", "low"), ("pre_run", "low"), ("process", "low"),
    *asked(("low", 0.4), ("low", 0.2)),
    ("cleanup", "high"), ("free", "high"), ("cleanup", "low"), ("free", "low"),
]  # fmt: skip


def test_each_expert_is_loaded_when_its_first_sigma_comes_and_let_go_of_at_the_end(run):
    for _ in range(2):  # a guider may be used again
        run.sample()
        assert run.order() == ONE_RUN
    freed = [models[0].of for kind, _, *rest in run.events if kind == "free" for models in rest]
    assert freed == ["high", "low"], "with what was loaded beside each"


def test_nothing_of_a_run_is_held_afterwards(run):
    before = set(vars(run.guider.low))
    run.sample()
    left = {name: vars(run.guider.low)[name] for name in set(vars(run.guider.low)) - before}
    assert set(left) <= {"run_sigmas", "is_loaded", "latent_shapes"}, "no model and no latent"


def test_a_sampler_that_steps_up_again_brings_the_other_expert_back(run):
    run.sample(Sampler((1.0, 0.4, 0.8, 0.7, 0.3)))
    again = [("prepare", "low"), ("pre_run", "low")]
    assert run.order()[3:-4] == [
        *asked(("high", 1.0)), *again, ("process", "low"), *asked(("low", 0.4)),
        ("prepare", "high"), ("pre_run", "high"), *asked(("high", 0.8), ("high", 0.7)),
        *again, *asked(("low", 0.3)),
    ]  # fmt: skip
    for expert in ("high", "low"):
        first, second = run.of("prepare", expert)
        assert first[0] == second[0] == tuple(run.latent.shape)
        assert [parts[-1]["for"] for parts in second[1].values()] == [expert] * 2
        assert first[2] is second[2]


def test_the_result_is_what_the_sampler_made(run):
    made = run.sample()
    model = run.high.model
    assert torch.equal(made, model.process_latent_out(torch.full(run.latent.shape, 0.5**4)))


@pytest.mark.parametrize("filled", [0, 1, 5])
def test_the_low_noise_expert_is_given_what_the_host_gives_the_other(run, filled):
    latent = run.latent.double()
    latent.view(-1)[:filled] = 3.0
    mask = torch.zeros(1, 1, 2, 4, 6)
    mask[..., 2:] = 1
    run.sample(latent=latent, mask=mask, seed=11)
    ((high,), (low,)) = (run.of("process", name) for name in ("high", "low"))
    for theirs, ours in zip(high, low, strict=True):
        if isinstance(theirs, torch.Tensor):
            assert ours.device == theirs.device
            if theirs.dtype == torch.float64:  # older hosts leave that; ours is as newer ones do
                assert torch.allclose(ours, theirs.float(), rtol=1e-6)
            else:
                assert torch.equal(ours, theirs)
                assert ours.dtype == theirs.dtype
        elif isinstance(theirs, dict):
            assert set(theirs) == {"positive", "negative"} == set(ours)
        else:
            assert ours == theirs
    assert low[5] == 11
    assert low[6] == [latent.shape]
    ((shape, _, options),) = run.of("prepare", "low")
    ((host_shape, _, _),) = run.of("prepare", "high")
    assert shape == host_shape
    # The patches that hooks and wrappers bring go to its device too, in its precision.
    casts = [(device, kind) for given, device, kind in run.casts if given is options]
    cpu = torch.device("cpu")
    assert casts == [(cpu, run.low.model_dtype()), (cpu, None)]
    float32 = (tuple(latent.shape), (cpu, torch.float32))
    assert MOVED.count(float32) == 2  # noise and latent
    assert MOVED.count(((3,), (cpu,))) == 3  # the schedule: by us once, at each step of the other


def test_each_step_knows_its_expert_its_schedule_and_the_seed(run):
    tells_shapes = hasattr(run.high.model, "latent_shapes")  # newer hosts do
    run.low.model.latent_shapes = run.high.model.latent_shapes = None
    run.sample(seed=11)
    for expert, cfg, schedule in (("high", 3.0, (1.0, 0.8, 0.4)), ("low", 2.0, (0.4, 0.2, 0.0))):
        for _, scale, options, seed, shapes, made_for in run.of("predict", expert):
            assert (scale, seed, made_for) == (cfg, 11, {expert})
            told = tells_shapes or expert == "low"  # whom we prepare
            assert shapes == ([run.latent.shape] if told else None)
            sigmas = options["transformer_options"]["sample_sigmas"]
            assert sigmas.tolist() == torch.tensor(schedule).tolist()


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("boundary", [0.0, BOUNDARY, 1.0])
def test_the_sampler_is_given_all_that_the_guider_was(host, monkeypatch, boundary, by_name):
    """With both experts, and where one of them does every step."""
    run = Run(host, monkeypatch, boundary)
    names = {"callback": lambda *_: None, "disable_pbar": True, "seed": 5}
    mask = torch.ones(1, 1, 2, 4, 6)
    if by_name:
        made = run.sample(mask=mask, **names)
    else:
        made = run.sample(None, SIGMAS, *names.values(), mask=mask)
    given = run.sampler.given
    assert (given.callback, given.disable, given.seed) == tuple(names.values())
    assert given.sigmas == torch.tensor(SIGMAS).tolist()
    assert given.mask.shape == run.latent.shape
    assert bool((given.mask == mask).all())
    assert torch.equal(given.noise.float(), torch.ones(run.latent.shape))
    assert torch.equal(given.latent.float(), run.latent)
    assert made.shape == run.latent.shape
    assert float(made.abs().max()) > 0
    run.sample(**{**names, "disable_pbar": False})
    assert not run.sampler.given.disable


@pytest.mark.parametrize(("boundary", "only", "cfg"), [(0.0, "high", 3.0), (1.0, "low", 2.0)])
def test_an_expert_without_steps_is_never_loaded(host, monkeypatch, boundary, only, cfg):
    run = Run(host, monkeypatch, boundary)
    run.sample(Sampler((*SIGMAS[:-1], 0.0)))  # some ask at the end of the schedule, too
    other = "low" if only == "high" else "high"
    assert not any(run.of(what, other) for what in ("prepare", "pre_run", "process", "predict"))
    assert len(run.of("predict", only)) == 5
    assert {step[1] for step in run.of("predict", only)} == {cfg}


def test_a_wrapper_of_another_pack_may_leave_out_what_the_host_has_defaults_for(run):
    import comfy.patcher_extension

    seen = []

    def outer(executor, noise, latent, sampler, sigmas, mask, callback, disable, seed, **kwargs):
        seen.append((latent.shape, sampler, sigmas.tolist(), mask, seed))
        return executor(noise, latent, sampler, sigmas, **kwargs)

    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    run.high.add_wrapper_with_key(kind, "test", outer)
    run.sample(disable_pbar=True, seed=3)
    assert run.order() == ONE_RUN
    assert run.sampler.given.disable is False
    assert run.sampler.given.seed is None


def test_wrappers_of_each_expert_see_its_own_part_of_the_run(run):
    import comfy.patcher_extension

    seen = {}

    def watch(name):
        def outer(executor, noise, latent, sampler, sigmas, mask, callback, disable, seed, **more):
            seen[name] = (noise, latent, sampler, sigmas.tolist(), mask, seed, more)
            return executor(noise, latent, sampler, sigmas, mask, callback, disable, seed, **more)

        return outer

    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    for name in ("high", "low"):
        getattr(run, name).add_wrapper_with_key(kind, "test", watch(name))
    mask = torch.ones(1, 1, 2, 4, 6)
    run.sample(mask=mask, seed=3)
    high, low = seen["high"], seen["low"]
    assert all(a is b for a, b in zip(high[:3], low[:3], strict=True))  # noise, latent, sampler
    assert high[3] == torch.tensor(SIGMAS).tolist()
    assert low[3] == torch.tensor(SIGMAS[2:]).tolist()
    assert torch.equal(low[4], high[4])
    assert low[5:] == high[5:] == (3, {"latent_shapes": [run.latent.shape]})


def test_a_step_may_come_without_options_and_as_a_single_number(run):
    class Bare(Sampler):
        def sample(self, model, sigmas, extra_args, callback, noise, *_):
            x = noise.as_subclass(torch.Tensor)
            for sigma in self.asks:
                x = model(x, torch.tensor(sigma))
            return x

    run.sample(Bare())
    assert run.order() == ONE_RUN
    for step in run.of("predict", "low"):
        assert step[2]["transformer_options"]["sample_sigmas"].tolist() == [f32(0.4), f32(0.2), 0]
        assert step[3] is None  # no seed


# --- whole timesteps ------------------------------------------------------------------------------

BETWEEN = (0.9996, 0.6005, 0.5, 0.2003, 0.0)


def test_at_whole_timesteps_the_boundary_itself_is_high_and_schedules_are_whole(host, run):
    """The released rule, whatever sigmas another sampler's rule would part the run at."""
    module = host.pack("nodes.sampling.unipc_sampler")
    whole = lambda options: {**options, module.WHOLE_TIMESTEPS: True}  # noqa: E731
    run.sample(Sampler(BETWEEN[:-1], whole, function=module.sample_unipc), BETWEEN)
    steps = {name: run.of("predict", name) for name in ("high", "low")}
    assert [step[0] for step in steps["high"]] == [f32(sigma) for sigma in BETWEEN[:3]]
    told = {
        name: [round(float(s), 6) for s in found[0][2]["transformer_options"]["sample_sigmas"]]
        for name, found in steps.items()
    }
    assert told == {"high": [0.999, 0.6, 0.5, 0.2], "low": [0.2, 0.0]}


def test_other_samplers_have_the_boundary_itself_low_and_their_own_schedules(run):
    run.sample(Sampler(BETWEEN[:-1]), BETWEEN)
    steps = {name: run.of("predict", name) for name in ("high", "low")}
    assert [step[0] for step in steps["high"]] == [f32(sigma) for sigma in BETWEEN[:2]]
    for name, part in (("high", BETWEEN[:3]), ("low", BETWEEN[2:])):
        told = steps[name][0][2]["transformer_options"]["sample_sigmas"]
        assert told.tolist() == torch.tensor(part).tolist()
    assert ((3,), (torch.device("cpu"),)) in MOVED


# --- options --------------------------------------------------------------------------------------


def test_what_a_sampler_adds_reaches_both_experts_and_what_a_model_brings_only_its_own(run):
    """As CFG++ samplers add a function to those that the model's patches left there."""
    added = ["added"]
    run.high.model_options |= {"after": ["high"], "own": "high", "flag": "high", "nested": {"a": 1}}
    run.low.model_options |= {"after": ["low"], "own": "low", "flag": "low"}
    run.guider.model_options, run.guider.low.model_options = (
        run.high.model_options, run.low.model_options
    )  # fmt: skip

    def options(options):
        return {
            **options, "after": [*options.get("after", []), *added], "before": added,
            "flag": "added", "new": 1, "more": {"b": 1},
        }  # fmt: skip

    run.sample(Sampler(options=options))
    expected = {
        "high": {"after": ["high", "added"], "own": "high", "nested": {"a": 1}, "more": {"b": 1}},
        "low": {"after": ["low", "added"], "own": "low"},
    }
    for expert, own in expected.items():
        for step in run.of("predict", expert):
            found = {k: v for k, v in step[2].items() if k not in ("transformer_options",)}
            found = {k: found.get(k) for k in (*own, "before", "flag", "new")}
            assert found == {**own, "before": added, "flag": "added", "new": 1}
    assert "more" not in run.of("predict", "low")[0][2]
    assert "nested" not in run.of("predict", "low")[0][2]


def test_each_expert_takes_the_conditioning_and_its_own_scale(host):
    guider = host.pack("nodes.sampling.expert_guider").TwoExpertGuider(bare_wan(), bare_wan())
    assert guider.boundary == 0.9
    positive, negative = prompt(), [[torch.ones(1, 7, 4096), {}]]
    guider.set_conds(positive, negative)
    for one in (guider, guider.low):
        for name, given in (("positive", positive), ("negative", negative)):
            ((cond),) = one.original_conds[name]
            assert cond["cross_attn"] is given[0][0]
    guider.set_cfg(3.0)
    assert (guider.cfg, guider.low.cfg) == (3.0, 3.0)
    guider.set_cfg(3.0, 0.0)
    assert (guider.cfg, guider.low.cfg) == (3.0, 0.0)


class OnDevice:
    """Stands for a tensor on a device of its own."""

    def __init__(self, device, value=0.0):
        self.device, self.value = device, value

    def to(self, device):
        return OnDevice(device, self.value)

    def flatten(self):
        return [self.value]


def test_the_low_noise_expert_works_on_its_own_device_and_gives_back_where_it_was_asked(host):
    module = host.pack("nodes.sampling.expert_guider")
    guider = module.TwoExpertGuider(bare_wan(), bare_wan())
    seen, card = [], torch.device("meta")

    def predict(x, timestep, options, seed):
        seen.append((x.device, timestep.device, seed))
        return OnDevice(card)

    guider.low_sigmas, guider.is_low_active = [0.4, 0.0], True
    guider.low = SimpleNamespace(
        model_patcher=SimpleNamespace(load_device=card), step_options={},
        outer_predict_noise=predict,
    )  # fmt: skip
    assert guider(OnDevice("high's"), OnDevice("high's", 0.4), None, 7).device == "high's"
    assert seen == [(card, card, 7)]


# --- a pair ---------------------------------------------------------------------------------------


class Flow:
    shift = 4.0


class Other:
    pass


class Const:
    pass


def sampling(*bases, sigmas=(0.1, 1.0), name="Sampling"):
    """A model whose sampling is of a class of its own with these bases."""

    class Sigmas:  # on a card
        def cpu(self):
            return torch.tensor(sigmas)

    kind = type(name, bases, {"sigmas": Sigmas()})
    parts = {"model_sampling": kind()}
    return SimpleNamespace(get_model_object=lambda part: parts[part])


def test_experts_that_mean_the_same_noise_by_a_sigma_are_a_pair(host):
    """Each patch makes a class of its own, whose name says nothing."""
    check = host.pack("nodes.sampling.expert_guider").require_same_sampling
    assert check(sampling(Flow, Const), sampling(Flow, Const, name="Patched")) is None


@pytest.mark.parametrize(
    ("bases", "sigmas"),
    [
        ((Other, Const), (0.1, 1.0)),
        ((Flow, Other), (0.1, 1.0)),
        ((Flow, Const), (0.2, 1.0)),
        ((Flow, Const), (0.1, 1.0, 1.0)),
    ],
    ids=["of no flow", "scaled otherwise", "another schedule", "more steps"],
)
def test_experts_that_mean_another_noise_by_a_sigma_are_refused(host, bases, sigmas):
    check = host.pack("nodes.sampling.expert_guider").require_same_sampling
    one, other = sampling(Flow, Const), sampling(*bases, sigmas=sigmas, name="Patched")
    for pair in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="model_high and model_low sample differently"):
            check(*pair)
