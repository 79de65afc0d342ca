"""The released sampler in the form of the host's samplers, on a model of a line of arithmetic."""

from __future__ import annotations

import pytest
import torch

from storymem.sampling.unipc import UniPC, asked_sigmas, released_sigmas

SIGMAS = torch.tensor([0.9, 0.7005, 0.3002, 0.0])
SHAPE = (2, 3, 4)


@pytest.fixture(scope="module")
def module(host):
    return host.pack("nodes.sampling.unipc_sampler")


class Model:
    """Predicts x0, and notes each call."""

    def __init__(self, **attributes):
        vars(self).update(attributes)
        self.calls: list = []

    def __call__(self, x, sigma, **extra):
        self.calls.append((x.clone(), sigma.clone(), extra))
        return self.predict(x, sigma.view(-1, 1, 1))

    @staticmethod
    def predict(x, sigma):
        return torch.sin(2 * x + sigma.double()) + x / 4


def start() -> torch.Tensor:
    return torch.linspace(-2, 2, 24, dtype=torch.float64).view(SHAPE)


def released(x, sigmas=SIGMAS, mask=1.0):
    """Each step's sample and prediction, straight from what the release does, in float64."""
    solver, found = UniPC(sigmas), []
    for sigma, asked in zip(sigmas[:-1].double(), asked_sigmas(sigmas).double(), strict=False):
        denoised = Model.predict(x, asked.view(1, 1, 1))
        velocity = (x - denoised) / asked
        denoised = denoised + mask * (x - sigma * velocity - denoised)
        found.append((x, denoised))
        x = solver.step(denoised, x)
    return x, found


def test_every_step_is_the_releases_with_the_velocity_of_the_whole_timestep(module):
    model, told = Model(), []
    made = module.sample_unipc(model, start(), SIGMAS, callback=told.append, disable=True)
    wanted, steps = released(start())
    assert torch.allclose(made, wanted, rtol=0, atol=1e-12)
    for call, (x, _), asked in zip(model.calls, steps, asked_sigmas(SIGMAS), strict=False):
        assert torch.allclose(call[0], x, rtol=0, atol=1e-12)
        assert call[1].tolist() == [float(asked)] * 2, "one for each row of the batch"
    assert [sorted(one) for one in told] == [["denoised", "i", "sigma", "sigma_hat", "x"]] * 3
    for i, (one, (x, denoised)) in enumerate(zip(told, steps, strict=True)):
        assert one["i"] == i
        assert one["sigma"] == one["sigma_hat"] == SIGMAS[i]
        assert torch.allclose(one["x"], x, rtol=0, atol=1e-12)
        assert torch.allclose(one["denoised"], denoised, rtol=0, atol=1e-12)


def test_outside_a_mask_the_prediction_stays_as_the_host_fills_it_in(module):
    mask = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(SHAPE)
    model = Model()
    made = module.sample_unipc(model, start(), SIGMAS, {"denoise_mask": mask}, disable=True)
    assert torch.allclose(made, released(start(), mask=mask)[0], rtol=0, atol=1e-12)
    assert all(call[2]["denoise_mask"] is mask for call in model.calls)


def test_the_model_is_told_what_the_host_tells_it_and_that_timesteps_are_whole(module):
    theirs = {"own": ["patch"], "transformer_options": {"patches": {}, "sample_sigmas": SIGMAS}}
    extra = {"seed": 5, "model_options": theirs}
    model = Model()
    module.sample_unipc(model, start(), SIGMAS, extra, disable=True)
    for _, _, given in model.calls:
        assert given["seed"] == 5
        options = given["model_options"]
        assert options["own"] == ["patch"]
        assert options[module.WHOLE_TIMESTEPS] is True
        told = options["transformer_options"]
        assert torch.equal(told["sample_sigmas"], asked_sigmas(SIGMAS))
        assert told["patches"] == {}
    assert extra == {"seed": 5, "model_options": theirs}, "what the host holds stays its own"
    assert theirs["transformer_options"]["sample_sigmas"] is SIGMAS
    assert sorted(theirs) == ["own", "transformer_options"]


@pytest.mark.parametrize("extra", [None, {}, {"model_options": None}, {"model_options": {}}])
def test_a_model_may_come_without_options(module, extra):
    model = Model()
    module.sample_unipc(model, start(), SIGMAS, extra, disable=True)
    (options,) = model.calls[0][2].values()
    assert options[module.WHOLE_TIMESTEPS] is True
    assert torch.equal(options["transformer_options"]["sample_sigmas"], asked_sigmas(SIGMAS))


EMPTY, DOT = torch.zeros(SHAPE), torch.zeros(SHAPE)
DOT.view(-1)[7] = 0.5  # a single number that is to be kept


@pytest.mark.parametrize(
    ("first", "attributes", "is_pure"),
    [
        (0.99, {"latent_image": EMPTY}, True),
        (0.9996, {"latent_image": EMPTY}, True),
        (0.9899, {"latent_image": EMPTY}, False),  # a part of the schedule
        (0.5, {"latent_image": EMPTY}, False),
        (0.9996, {"latent_image": DOT}, False),
        (0.9996, {"latent_image": None}, False),
        (0.9996, {}, False),  # whatever asks is not the host
    ],
)
def test_an_empty_latent_starts_from_pure_noise(module, first, attributes, is_pure):
    """The host has multiplied the noise by the first sigma, as if there were a picture below."""
    model = Model(**attributes)
    sigmas = torch.tensor([first, 0.4, 0.0], dtype=torch.float64)
    module.sample_unipc(model, start(), sigmas, disable=True)
    begun = start() / first if is_pure else start()
    assert torch.allclose(model.calls[0][0], begun, rtol=1e-12, atol=0)


@pytest.mark.parametrize("disable", [False, True])
def test_progress_is_shown_unless_it_is_not_wanted(module, capsys, disable):
    module.sample_unipc(Model(), start(), released_sigmas(4, 4.0), disable=disable)
    shown = capsys.readouterr().err
    assert ("4/4" in shown) == (not disable)
    assert bool(shown) == (not disable)


def test_the_released_sampler_is_one_of_the_hosts(module):
    import comfy.samplers

    ours = module.sampler_object("storymem_unipc")
    assert isinstance(ours, comfy.samplers.KSAMPLER)
    assert ours.sampler_function is module.sample_unipc
    assert module.is_whole(ours) is True
    for name in ("euler", "dpmpp_2m"):
        theirs = module.sampler_object(name)
        assert theirs.sampler_function.__name__ == f"sample_{name}"
        assert module.is_whole(theirs) is False
    assert module.is_whole(module.sampler_object("uni_pc")) is False
    assert module.is_whole(object()) is False
