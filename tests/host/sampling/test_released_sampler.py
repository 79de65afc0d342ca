"""M2V Sampler and its parts give what the released ``generate()`` gives, to 1e-5.

The recorded runs: tests/helpers/released_run.py, made by tests/tools/make_released_run.py.
"""

from __future__ import annotations

import pytest
import torch

from helpers import released_run
from helpers.m2v_helpers import M2V, rel_l2

CASES = [case for case in released_run.CASES if not case.overwritten]  # a bug that is not built
CONTINUITY = {"t2v": "auto", "m2v": "cut", "mi2v": "last_frame", "mm2v": "last_five_frames"}
NOT_THE_RELEASE = 1e-4  # what every change below is beyond
DEFAULT_SHIFT = {"t2v": 12.0, "i2v": 4.0}  # with M2V Sampler's shift at 4


class Released:
    """The recorded runs' models in the host, and the nodes on them."""

    def __init__(self, m2v, folder):
        import comfy.sd
        import comfy.utils

        self.m2v = m2v
        paths = released_run.write_models(folder)
        self.vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(paths.pop("vae"))))
        self.models = {
            name: comfy.sd.load_diffusion_model(str(path)) for name, path in paths.items()
        }

    def inputs(self, case, **changes) -> dict:
        """M2V Sampler's, for a recorded run; what has a default is left at it."""
        frame = self.m2v.host.pack("storymem.memory.frame").MemoryFrame
        bank = self.m2v.host.pack("storymem.memory.bank").MemoryBank
        pictures = released_run.memory_pictures(case.memory)
        given = released_run.given_pictures(case.mode)
        text = {name: [[released_run.text(name), {}]] for name in ("positive", "negative")}
        inputs = {
            "model_high": self.models["i2v_high"],
            "model_low": self.models["i2v_low"],
            "vae": self.vae,
            **text,
            "bank": bank(frames=tuple(map(frame, pictures))),
            "width": released_run.WIDTH,
            "height": released_run.HEIGHT,
            "length": released_run.LENGTH,
            "size_rule": "exact",
            "seed": 7,
            "steps": case.steps,
            "cfg": case.cfg,
            "cfg_low": case.cfg_low,
            "rope_shift": case.rope_shift,
            "continuity": CONTINUITY[case.mode],
            **self.defaults(),
        }
        if case.shift != DEFAULT_SHIFT[case.kind]:
            inputs["shift"] = case.shift
        if case.kind == "t2v":
            inputs |= {name: self.models[name] for name in ("t2v_high", "t2v_low")}
        if given is not None:
            inputs["previous_frames"] = given.float() / 255
        return inputs | changes

    def defaults(self) -> dict:
        schema = self.m2v.node("sampling.sampler", "M2VSampler").define_schema()
        names = ("sampler_name", "scheduler")
        return {item.id: item.default for item in schema.inputs if item.id in names}

    def sample(self, case, **changes) -> torch.Tensor:
        """The shot's latent, normalised as the release's."""
        node = self.m2v.node("sampling.sampler", "M2VSampler")
        with torch.inference_mode():
            return normalised(node.execute(**self.inputs(case, **changes)).result[0]["samples"])


def normalised(samples: torch.Tensor) -> torch.Tensor:
    import comfy.latent_formats

    return comfy.latent_formats.Wan21().process_in(samples)


def watched(model, log: list, name: str):
    """A clone that notes each forward: its name, timestep, and the sigmas that it is told of."""

    def spy(executor, x, timestep, *args, **kwargs):
        options = kwargs.get("transformer_options") or args[-1]
        log.append((name, float(timestep[0]), options["sample_sigmas"].tolist()))
        return executor(x, timestep, *args, **kwargs)

    from comfy.patcher_extension import WrappersMP

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", spy)
    return clone


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture(scope="module")
def released(m2v, tmp_path_factory):
    return Released(m2v, tmp_path_factory.mktemp("released"))


@pytest.fixture
def same_noise(m2v, monkeypatch):
    """Lets M2V Sampler and M2V Conditioning draw a recorded run's noise."""
    noise = m2v.node("sampling.conditioning", "MemoryNoise")

    def use(case) -> None:
        drawn = released_run.noise(case)
        monkeypatch.setattr(noise, "generate_noise", lambda *_: drawn.clone())

    return use


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_sampler_gives_what_the_release_gives(released, same_noise, case, record_property):
    same_noise(case)
    apart = rel_l2(released.sample(case), released_run.latents(case))
    record_property("rel_l2", apart)
    assert apart < 1e-5


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.steps == 8 and case.shift in (3, 4, 12)], ids=str
)
def test_each_expert_is_asked_at_the_released_whole_timesteps(released, case):
    log: list = []
    names = [f"{case.kind}_{noise}" for noise in ("high", "low")]
    keys = [f"{'t2v' if case.kind == 't2v' else 'model'}_{noise}" for noise in ("high", "low")]
    models = {
        key: watched(released.models[name], log, name[-4:].strip("_"))
        for key, name in zip(keys, names, strict=True)
    }
    released.sample(case, cfg=1.0, cfg_low=0.0, **models)
    assert [round(timestep, 3) for _, timestep, _ in log] == released_run.timesteps(case)
    experts = "".join(name[0] for name, _, _ in log)
    assert experts == released_run.expert_of_each_step(case)
    for _, timestep, sigmas in log:  # other packs look up the step that they are at
        assert any(abs(sigma * 1000 - timestep) < 1e-3 for sigma in sigmas)


# --- mutants of the recipe: each is seen ----------------------------------------------------------

BASE = next(case for case in CASES if str(case) == "m2v-8-4")


@pytest.mark.parametrize(
    "change",
    [
        {"sampler_name": "uni_pc"},
        {"sampler_name": "uni_pc_bh2"},
        {"sampler_name": "dpmpp_2m"},
        {"scheduler": "simple"},
        {"scheduler": "normal"},
        {"shift": 4.05},
        {"boundary": 0.85},
        {"cfg": 3.45},
        {"rope_shift": 4},
    ],
    ids=str,
)
def test_every_other_recipe_differs(released, same_noise, change):
    same_noise(BASE)
    assert rel_l2(released.sample(BASE, **change), released_run.latents(BASE)) > NOT_THE_RELEASE


def test_a_start_scaled_by_the_first_sigma_differs(released, m2v, same_noise, monkeypatch):
    same_noise(BASE)
    monkeypatch.setattr(m2v.host.pack("nodes.sampling.unipc_sampler"), "NEARLY_ONE", 2)
    assert rel_l2(released.sample(BASE), released_run.latents(BASE)) > NOT_THE_RELEASE


def test_exact_timesteps_differ(released, m2v, same_noise, monkeypatch):
    same_noise(BASE)
    module = m2v.host.pack("nodes.sampling.unipc_sampler")
    monkeypatch.setattr(module, "asked_sigmas", lambda sigmas: sigmas)
    assert rel_l2(released.sample(BASE), released_run.latents(BASE)) > NOT_THE_RELEASE


# --- the composable road --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.steps == 8 and case.kind == "i2v"], ids=str
)
def test_the_parts_give_the_same_as_the_sampler(released, m2v, same_noise, case):
    same_noise(case)
    inputs = released.inputs(case)
    easy = released.sample(case)
    names = ("positive", "negative", "vae", "bank", "width", "height", "length", "size_rule")
    more = {key: inputs[key] for key in ("previous_frames",) if key in inputs}
    positive, negative, latent, noise, frames = m2v.condition(
        **{name: inputs[name] for name in (*names, "seed", "continuity")}, **more
    )
    experts = {
        name: m2v.patch(inputs[name], frames, case.rope_shift)
        for name in ("model_high", "model_low")
    }
    guider = m2v.node("sampling.parts", "M2VGuider").execute(
        positive=positive, negative=negative, cfg=case.cfg, cfg_low=case.cfg_low, **experts
    )
    sigmas = m2v.node("sampling.parts", "StoryMemSigmas").execute(
        experts["model_high"], case.steps, case.shift, 1.0
    )
    sampler = m2v.node("sampling.parts", "StoryMemSampler").execute()
    parts = [output.result[0] for output in (guider, sampler, sigmas)]
    assert torch.equal(normalised(sample_custom(noise, *parts, latent))[:, :, frames:], easy)


def sample_custom(noise, guider, sampler, sigmas, latent) -> torch.Tensor:
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    with torch.inference_mode():
        output = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)
    return output.result[0]["samples"]


def test_sigmas_of_a_t2v_model_have_its_own_shift(released, m2v):
    sigmas = m2v.node("sampling.parts", "StoryMemSigmas").execute
    given = m2v.host.pack("storymem.sampling.unipc").released_sigmas
    t2v, i2v = released.models["t2v_high"], released.models["i2v_high"]
    assert torch.equal(sigmas(t2v, 8, 4.0, 1.0).result[0], given(8, 12.0))
    assert torch.equal(sigmas(t2v, 8, 5.0, 1.0).result[0], given(8, 5.0))
    assert torch.equal(sigmas(i2v, 8, 4.0, 1.0).result[0], given(8, 4.0))
    assert torch.equal(sigmas(i2v, 4, 4.0, 0.5).result[0], given(8, 4.0)[4:])
    own = m2v.node("sampling.sampler", "patch_shift")(i2v, 7.0)
    assert torch.equal(sigmas(own, 8, 0.0, 1.0).result[0], given(8, 7.0))


def test_a_guider_of_t2v_experts_has_their_boundary(released, m2v):
    guider = m2v.node("sampling.parts", "M2VGuider").execute
    text = {name: [[released_run.text(name), {}]] for name in ("positive", "negative")}
    pairs = {
        kind: {f"model_{n}": released.models[f"{kind}_{n}"] for n in ("high", "low")}
        for kind in ("t2v", "i2v")
    }
    assert guider(**pairs["t2v"], **text, cfg=1.0).result[0].boundary == 0.875
    assert guider(**pairs["t2v"], **text, cfg=1.0, boundary=0.8).result[0].boundary == 0.8
    assert guider(**pairs["i2v"], **text, cfg=1.0).result[0].boundary == 0.9
    with pytest.raises(ValueError, match="must be the two experts of one model"):
        guider(pairs["i2v"]["model_high"], **text, cfg=1.0, model_low=pairs["t2v"]["model_low"])


# --- as a sampler of the host ---------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["simple", "normal", "beta", "karras", "sgm_uniform"])
def test_the_sampler_takes_any_schedule(released, scheduler):
    found = released.sample(BASE, scheduler=scheduler)
    assert torch.isfinite(found).all()
    assert rel_l2(found, released.sample(BASE)) < 0.7


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "res_multistep", "heun", "uni_pc"])
def test_the_schedule_takes_any_sampler(released, sampler):
    found = released.sample(BASE, sampler_name=sampler)
    assert torch.isfinite(found).all()
    assert rel_l2(found, released.sample(BASE)) < 0.7


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_are_enough(released, steps):
    assert torch.isfinite(released.sample(BASE, steps=steps)).all()


def parts_of(released, m2v, case=BASE):
    """What SamplerCustomAdvanced is given, with one expert."""
    inputs = released.inputs(case)
    names = ("positive", "negative", "vae", "bank", "width", "height", "length", "size_rule")
    positive, negative, latent, noise, frames = m2v.condition(
        **{name: inputs[name] for name in (*names, "seed", "continuity")}
    )
    from comfy_extras.nodes_custom_sampler import CFGGuider

    model = m2v.patch(inputs["model_high"], frames)
    guider = CFGGuider.execute(model, positive, negative, 3.5).result[0]
    sampler = m2v.node("sampling.parts", "StoryMemSampler").execute().result[0]
    sigmas = m2v.node("sampling.parts", "StoryMemSigmas").execute(model, 4, 4.0, 1.0).result[0]
    return noise, guider, sampler, sigmas, latent


def test_progress_and_previews_are_told_of_each_step(released, m2v):
    noise, guider, sampler, sigmas, latent = parts_of(released, m2v)
    told: list = []
    with torch.inference_mode():
        final = guider.sample(
            noise.generate_noise(latent), latent["samples"], sampler, sigmas, seed=1,
            callback=lambda step, x0, x, total: told.append((step, x0.clone(), x.shape, total)),
        )  # fmt: skip
    assert [(step, total) for step, _, _, total in told] == [(i, 4) for i in range(4)]
    assert all(x0.shape == shape for _, x0, shape, _ in told)
    assert rel_l2(normalised(final), told[-1][1]) < 1e-6  # the last prediction is the result


def test_an_interrupt_stops_between_steps(released, m2v):
    import comfy.model_management as management

    noise, guider, sampler, sigmas, latent = parts_of(released, m2v)
    steps: list = []

    def interrupt(step, *_):
        steps.append(step)
        management.interrupt_current_processing()

    with torch.inference_mode(), pytest.raises(management.InterruptProcessingException):
        guider.sample(
            noise.generate_noise(latent), latent["samples"], sampler, sigmas, seed=1,
            callback=interrupt,
        )  # fmt: skip
    assert steps == [0]


def test_what_a_mask_keeps_is_kept(released, m2v):
    """As with stock samplers: outside the noise mask the latent comes back as it was."""
    noise, guider, sampler, sigmas, latent = parts_of(released, m2v)
    kept = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros((*kept.shape[:1], 1, *kept.shape[2:]))
    mask[..., : kept.shape[-1] // 2] = 1
    masked = {**latent, "samples": kept, "noise_mask": mask}
    found = sample_custom(noise, guider, sampler, sigmas, masked)
    half = kept.shape[-1] // 2
    assert rel_l2(found[..., half:], kept[..., half:]) < 1e-5
    assert rel_l2(found[..., :half], kept[..., :half]) > 0.1


def test_a_latent_that_is_not_empty_is_noised_as_by_the_host(released, m2v):
    noise, guider, sampler, sigmas, latent = parts_of(released, m2v)
    seen: list = []

    def spy(apply_model, args):
        seen.append(args["input"][:1].clone())
        return apply_model(args["input"], args["timestep"], **args["c"])

    guider.model_patcher.set_model_unet_function_wrapper(spy)
    drawn = noise.generate_noise(latent)
    kept = torch.ones_like(latent["samples"])
    sample_custom(noise, guider, sampler, sigmas, {**latent, "samples": kept})
    sigma = float(sigmas[0])
    wanted = sigma * drawn + (1 - sigma) * normalised(kept)
    assert rel_l2(seen[0][:, :16], wanted) < 1e-6
    seen.clear()
    sample_custom(noise, guider, sampler, sigmas, latent)
    assert torch.allclose(seen[0][:, :16], drawn, rtol=1e-6, atol=0)  # pure noise


def test_a_model_that_samples_no_flow_is_told(released, m2v):
    import comfy.model_sampling

    model = released.models["i2v_high"].clone()

    class Discrete(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        pass

    model.add_object_patch("model_sampling", Discrete())
    with pytest.raises(ValueError, match="has no shift, which the storymem schedule needs"):
        released.sample(BASE, model_high=model, model_low=None, shift=0.0)


# --- a first shot from text -----------------------------------------------------------------------

TEXT = next(case for case in CASES if str(case) == "t2v-8-12")


def test_the_t2v_pair_has_its_own_shift_and_says_so(released, same_noise, caplog):
    same_noise(TEXT)
    with caplog.at_level("INFO"):
        found = released.sample(TEXT, shift=4.0, boundary=0.9)
    assert rel_l2(found, released_run.latents(TEXT)) < 1e-5
    assert "from text by the T2V pair with shift 12 and boundary 0.875" in caplog.text


def test_another_shift_of_the_artist_holds_for_both_pairs(released, same_noise, caplog):
    other = next(case for case in CASES if str(case) == "t2v-8-3")
    same_noise(other)
    with caplog.at_level("INFO"):
        found = released.sample(other, shift=3.0)
    assert rel_l2(found, released_run.latents(other)) < 1e-5
    assert "with shift 3 and boundary 0.875" in caplog.text


# --- half of the released pair is told ------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ({"scheduler": "simple"}, "set scheduler to storymem"),
        ({"sampler_name": "euler"}, "set sampler_name to storymem_unipc, or scheduler to simple"),
        ({}, ""),
        ({"sampler_name": "euler", "scheduler": "simple"}, ""),
    ],
    ids=str,
)
def test_half_of_the_released_pair_stands_on_the_node(released, m2v, monkeypatch, pair, words):
    told: list[str] = []
    module = m2v.host.pack("nodes.sampling.sampler")
    monkeypatch.setattr(module, "tell_node", lambda hidden, text: told.append(text))
    released.sample(BASE, steps=2, **pair)
    (text,) = told
    assert words in text
    assert bool(words) == bool(text)


def test_the_sampler_knows_which_node_it_is(m2v):
    hidden = m2v.node("sampling.sampler", "M2VSampler").define_schema().hidden
    assert {item.value for item in hidden} == {"UNIQUE_ID", "DYNPROMPT", "EXTRA_PNGINFO"}
