"""Each step of M2V Sampler by itself, with what it hands on: nothing is sampled here."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from helpers.bare_wan import I2V, T2V, bare_wan, prompt
from storymem.sampling.memory_layout import storymem_layout
from storymem.sampling.recipe import Recipe
from storymem.sampling.unipc import released_sigmas


@pytest.fixture(scope="module")
def module(host):
    return host.pack("nodes.sampling.sampler")


@pytest.fixture(scope="module")
def run(host):
    return host.pack("nodes.sampling.shot_run")


@pytest.fixture(scope="module")
def i2v(host):
    return bare_wan(I2V)


@pytest.fixture(scope="module")
def t2v(host):
    return bare_wan(T2V)


# --- models ---------------------------------------------------------------------------------------

PLACES = ("model_high", "model_low", "t2v_high", "t2v_low")


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_model_is_told_by_the_name_of_its_input(module, i2v, t2v, place):
    right = dict(zip(PLACES, (i2v, i2v, t2v, t2v), strict=True))
    assert module.check_models(**right) is None
    of_the_other_pair = t2v if place.startswith("model") else i2v
    with pytest.raises(ValueError, match=f"^{place} must be a Wan 2.2 .* input channels"):
        module.check_models(**right | {place: of_the_other_pair})
    windowed = right[place].clone()
    windowed.model_options["context_handler"] = object()
    with pytest.raises(ValueError, match=f"^{place} has context windows"):
        module.check_models(**right | {place: windowed})
    deeper = bare_wan(I2V if place.startswith("model") else T2V, num_layers=3)
    pair = place.rpartition("_")[0]
    with pytest.raises(ValueError, match=f"^{pair}_high and {pair}_low must be the two experts"):
        module.check_models(**right | {place: deeper})


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ((True, True, False, False), True),
        ((True, False, False, False), True),
        ((True, False, True, False), True),
        ((True, True, True, True), True),
        ((True, True, False, True), False),
    ],
)
def test_a_pair_may_lack_its_low_noise_expert_and_no_other(module, i2v, t2v, given, is_right):
    models = (i2v, i2v, t2v, t2v)
    models = [model if has else None for model, has in zip(models, given, strict=True)]
    if is_right:
        assert module.check_models(*models) is None
    else:
        with pytest.raises(ValueError, match=r"^t2v_low is connected without t2v_high"):
            module.check_models(*models)


# --- shift and schedule ---------------------------------------------------------------------------


def sampling_of(model):
    return model.get_model_object("model_sampling")


def with_sampling(sampling, config=None):
    """A model whose sampling is that object."""
    model = bare_wan()
    if config:
        model.model.model_config.sampling_settings = config
    model.add_object_patch("model_sampling", sampling)
    return model


class NoScale:
    shift = 8.0


class Scaled(NoScale):
    noise_scale = 1.5


@pytest.mark.parametrize(
    "change",
    [
        lambda: bare_wan(),
        lambda: with_sampling(Scaled()),
        lambda: with_sampling(NoScale(), {"shift": 8.0, "noise_scale": 2.0}),
    ],
    ids=["Wan", "with a scale of noise", "with a scale in its configuration"],
)
@pytest.mark.parametrize("shift", [0.5, 4.0, 12.0])
def test_a_shift_is_set_as_the_stock_node_sets_it(run, change, shift):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    model = change()
    before = sampling_of(model)
    ours, stock = run.patch_shift(model, shift), ModelSamplingSD3().patch(model, shift)[0]
    assert sampling_of(model) is before, "the artist's model keeps its own"
    found, wanted = sampling_of(ours), sampling_of(stock)
    assert [kind.__name__ for kind in type(found).__mro__[1:]] == [
        kind.__name__ for kind in type(wanted).__mro__[1:]
    ]
    assert torch.equal(found.sigmas, wanted.sigmas)
    for name in ("shift", "multiplier", "noise_scale"):  # older hosts know no scale of noise
        assert getattr(found, name, None) == getattr(wanted, name, None)


@pytest.mark.parametrize("original", [NoScale(), Scaled()])
def test_a_host_that_knows_no_scale_of_noise_is_enough(run, monkeypatch, original):
    import comfy.model_sampling

    class Flow(torch.nn.Module):  # as ComfyUI had it
        def __init__(self, config):
            super().__init__()

        def set_parameters(self, shift, multiplier):
            self.given = (shift, multiplier)

    monkeypatch.setattr(comfy.model_sampling, "ModelSamplingDiscreteFlow", Flow)
    assert sampling_of(run.patch_shift(with_sampling(original), 3.0)).given == (3.0, 1000)


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("memory", [0, 3])
def test_a_model_is_prepared_with_its_memory_and_shift(run, monkeypatch, i2v, memory, shift):
    asked = []

    def patch(*arguments):
        asked.append(arguments)
        return i2v.clone()

    monkeypatch.setattr(run, "place_memory", patch)
    layout = storymem_layout(memory, 7)
    made = run.prepare_model(i2v, layout, shift)
    assert [call[:2] for call in asked] == [(i2v, layout)]
    assert not asked[0][2].is_cached
    assert made is not i2v
    assert sampling_of(made).shift == (shift or sampling_of(i2v).shift)
    assert ("model_sampling" in made.object_patches) == bool(shift)


@pytest.mark.parametrize("denoise", [1.0, 0.8, 0.5, 0.3])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_schedules_are_those_of_the_stock_node_and_of_the_release(module, run, i2v, steps, denoise):
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    model = run.patch_shift(i2v, 5.0)
    for name in ("simple", "beta"):
        stock = BasicScheduler.execute(model, name, steps, denoise).result[0]
        assert torch.equal(module.schedule(model, name, steps, denoise), stock)
    found = module.schedule(model, "storymem", steps, denoise)
    assert torch.equal(found, released_sigmas(steps, 5.0, denoise))


@pytest.mark.parametrize("denoise", [0.0, -1.0])
def test_nothing_of_a_schedule_is_empty(module, i2v, denoise):
    for name in ("simple", "storymem"):
        assert module.schedule(i2v, name, 4, denoise).tolist() == []


def test_a_schedule_is_taken_off_the_card(module, monkeypatch, i2v):
    import comfy.samplers

    on_card = SimpleNamespace(cpu=lambda: torch.arange(6.0))
    monkeypatch.setattr(comfy.samplers, "calculate_sigmas", lambda *_: on_card)
    assert module.schedule(i2v, "simple", 2, 1.0).tolist() == [3, 4, 5]


def test_the_models_own_shift_is_a_number_or_told_to_be_missing(module):
    found = module.own_shift(with_sampling(SimpleNamespace(shift=torch.tensor(5))))
    assert (found, type(found)) == (5.0, float)
    with pytest.raises(ValueError, match=r"sampling \(SimpleNamespace\) has no shift"):
        module.own_shift(with_sampling(SimpleNamespace()))


@pytest.mark.parametrize("scheduler", ["simple", "storymem"])
@pytest.mark.parametrize(("shift", "effective"), [(0.0, 8.0), (0.5, 0.5), (5.0, 5.0)])
def test_a_shot_has_the_recipes_shift_or_the_models_own(
    module, run, i2v, scheduler, shift, effective
):
    recipe = Recipe(steps=4, shift=shift, scheduler=scheduler, denoise=0.5)
    wanted = module.schedule(run.patch_shift(i2v, effective), scheduler, 4, 0.5)
    assert torch.equal(module.shot_sigmas(i2v, recipe), wanted)
    assert sampling_of(i2v).shift == 8.0


@pytest.mark.parametrize(
    ("sampler", "steps", "is_right"),
    [
        ("uni_pc", 1, False), ("uni_pc_bh2", 1, False), ("uni_pc", 2, True),
        ("uni_pc_bh2", 2, True), ("euler", 1, True), ("storymem_unipc", 1, True),
    ],
)  # fmt: skip
def test_one_step_is_too_few_for_the_hosts_own_unipc(module, i2v, sampler, steps, is_right):
    recipe = Recipe(steps=steps, sampler=sampler)
    if is_right:
        assert len(module.shot_sigmas(i2v, recipe)) == steps + 1
    else:
        with pytest.raises(ValueError, match=f"^{sampler} needs at least 2 steps, but only 1"):
            module.shot_sigmas(i2v, recipe)


@pytest.mark.parametrize("denoise", [0.0, -0.5])
def test_no_part_of_a_schedule_makes_no_shot(module, i2v, denoise):
    with pytest.raises(ValueError, match=f"^denoise is {denoise:g}, so nothing"):
        module.shot_sigmas(i2v, Recipe(denoise=denoise))


# --- guider, progress, one run --------------------------------------------------------------------


def conds_of(guider) -> list:
    return [guider.original_conds[name][0]["cross_attn"] for name in ("positive", "negative")]


def test_one_expert_has_the_stock_guider_and_two_have_ours(run, i2v):
    import comfy.samplers

    positive, negative = prompt(), prompt()
    recipe = Recipe(cfg=3.0, cfg_low=2.0, boundary=0.8)
    one = run.make_guider(i2v, None, positive, negative, recipe)
    assert type(one) is comfy.samplers.CFGGuider
    assert (one.model_patcher, one.cfg) == (i2v, 3.0)
    low = bare_wan()
    two = run.make_guider(i2v, low, positive, negative, recipe)
    assert (two.model_patcher, two.low.model_patcher, two.boundary) == (i2v, low, 0.8)
    assert (two.cfg, two.low.cfg) == (3.0, 2.0)
    same = run.make_guider(i2v, low, positive, negative, Recipe(cfg=3.0))
    assert (same.cfg, same.low.cfg, same.boundary) == (3.0, 3.0, 0.9)
    for guider in (one, two, two.low):
        for found, given in zip(conds_of(guider), (positive, negative), strict=True):
            assert found is given[0][0]
    with pytest.raises(ValueError, match=r"sample differently: shift 8\.0 and 5\.0"):
        run.make_guider(i2v, run.patch_shift(low, 5.0), positive, negative, recipe)


@pytest.mark.parametrize("memory", [0, 2])
def test_progress_is_the_hosts_with_the_shot_alone_to_look_at(run, monkeypatch, i2v, memory):
    import latent_preview

    made, told = [], []

    def prepare(*arguments):
        made.append(arguments)
        return lambda *step: told.append(step)

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    report = run.shot_callback(i2v, 6, memory)
    x0, x = torch.arange(5.0).view(1, 1, 5, 1, 1), object()
    assert report(3, x0, x, 6) is None
    assert made == [(i2v, 6)]
    ((step, shown, *rest),) = told
    assert (step, rest) == (3, [x, 6])
    assert shown.flatten().tolist() == [0, 1, 2, 3, 4][memory:]


class Moved(torch.Tensor):
    """A tensor that notes where it is moved to."""

    def to(self, device):
        self.moved_to = device
        return super().to(device).as_subclass(torch.Tensor)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("has_identity", [True, False])
@pytest.mark.parametrize("has_low", [True, False])
def test_a_shot_is_sampled_with_its_memory_and_handed_on_without(
    run, monkeypatch, i2v, memory, has_low, has_identity, shown
):
    import comfy.model_management
    import comfy.utils

    request = SimpleNamespace(seed=11, latent_shape=[1, 16, 3, 4, 6])
    recipe = Recipe(steps=2, rope_shift=3, shift=6.0, sampler="euler")
    models, seen = (i2v, bare_wan() if has_low else None), SimpleNamespace(prepared=[])
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    before = memory + has_identity
    made = torch.arange(16.0 * (before + 3) * 24).view(1, 16, before + 3, 4, 6).as_subclass(Moved)

    def prepare(*arguments):
        seen.prepared.append(arguments)
        return f"prepared {len(seen.prepared)}"

    def sample(*arguments, **named):
        seen.arguments, seen.named = arguments, named
        return made

    def guider(*arguments):
        seen.guided = arguments
        return SimpleNamespace(sample=sample)

    device = torch.device("cpu")
    monkeypatch.setattr(run, "prepare_model", prepare)
    monkeypatch.setattr(run, "make_guider", guider)
    monkeypatch.setattr(run, "shot_callback", lambda *arguments: arguments)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", shown)
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: device)
    layout = replace(storymem_layout(memory, 3), has_identity=has_identity)
    seen_by = run.Seen("pos", "neg", layout)
    found, portrait = run.sample_shot(models, (seen_by, seen_by), request, sigmas, recipe)

    there = [model for model in models if model is not None]
    assert [call[:3] for call in seen.prepared] == [(m, seen_by.layout, 6.0) for m in there]
    assert {call[3] for call in seen.prepared} == {recipe.refresh(2)}
    names = ["prepared 1", "prepared 2" if has_low else None]
    assert seen.guided == (*names, "pos", "neg", recipe, None)
    noise, latent, sampler, given = seen.arguments
    assert latent.shape == (1, 16, before + 3, 4, 6)
    assert not latent.any()
    own = run.MemoryNoise(11, before, has_identity).generate_noise({"samples": latent})
    assert torch.equal(noise, own)
    assert sampler.sampler_function.__name__ == "sample_euler"
    assert given is sigmas
    assert seen.named == {
        "callback": ("prepared 1", 2, before), "disable_pbar": not shown, "seed": 11,
    }  # fmt: skip
    assert made.moved_to is device
    assert torch.equal(found, made.as_subclass(torch.Tensor)[:, :, before:])
    assert found.is_contiguous()
    if has_identity:
        assert torch.equal(portrait, made.as_subclass(torch.Tensor)[:, :, :1])
        assert portrait.is_contiguous()
    else:
        assert portrait is None
