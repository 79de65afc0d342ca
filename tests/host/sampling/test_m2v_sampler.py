"""M2V Sampler in a real host: every kind of shot, both roads, seeds, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from helpers.m2v_helpers import DEFAULTS, M2V, rel_l2

WIDTH, HEIGHT, FRAMES = 48, 32, 3


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def test_memory_only_shot_gives_the_shot_without_its_memory(m2v):
    latent = m2v.sample(bank=m2v.bank(3))
    assert list(latent.shape) == [1, 16, FRAMES, HEIGHT // 8, WIDTH // 8]
    assert latent.isfinite().all()
    assert rel_l2(m2v.sample(bank=m2v.bank(3, seed=50)), latent) > 1e-3  # memory matters


@pytest.mark.parametrize(("continuity", "count"), [("last_frame", 1), ("last_five_frames", 5)])
def test_a_shot_continues_from_the_previous_frames(m2v, continuity, count):
    previous = m2v.images(6)
    latent = m2v.sample(bank=m2v.bank(2), previous_frames=previous, continuity=continuity)
    only_needed = m2v.sample(
        bank=m2v.bank(2), previous_frames=previous[-count:], continuity=continuity
    )
    assert torch.equal(latent, only_needed)
    assert rel_l2(latent, m2v.sample(bank=m2v.bank(2))) > 1e-3


def test_a_shot_that_is_a_cut_ignores_previous_frames(m2v):
    shot = m2v.shot(index=2, mode="m2v", cut=True)
    with_frames = m2v.sample(bank=m2v.bank(1), shot=shot, previous_frames=m2v.images(5))
    assert torch.equal(with_frames, m2v.sample(bank=m2v.bank(1), shot=shot))


def test_the_first_shot_from_text_uses_the_t2v_pair(m2v):
    t2v = {"t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low}
    latent = m2v.sample(**t2v)
    assert list(latent.shape) == [1, 16, FRAMES, HEIGHT // 8, WIDTH // 8]
    stock = stock_two_stages(m2v, *t2v.values(), m2v.pos, m2v.neg, 12.0, 0.875)
    assert rel_l2(latent, stock) < 1e-5
    assert rel_l2(m2v.sample(), latent) > 1e-3  # without the pair: I2V on grey


def stock_two_stages(m2v, high, low, positive, negative, shift=4.0, boundary=0.9):
    """The usual two stock stages with euler, whose history is only the latent."""
    import comfy.sample
    import comfy.samplers

    patch = m2v.node("sampling.sampler", "patch_shift")
    high, low = patch(high, shift), patch(low, shift)
    sigmas = m2v.node("sampling.sampler", "schedule")(high, "simple", DEFAULTS["steps"], 1.0)
    count = int((sigmas >= boundary).sum())
    latent = torch.zeros(1, 16, FRAMES, HEIGHT // 8, WIDTH // 8)
    noise = comfy.sample.prepare_noise(latent, DEFAULTS["seed"])
    euler = comfy.samplers.sampler_object("euler")
    for model, part, start in (
        (high, sigmas[: count + 1], noise),
        (low, sigmas[count:], torch.zeros_like(noise)),
    ):
        with torch.inference_mode():
            latent = comfy.sample.sample_custom(
                model, start, 3.5, euler, part, positive, negative, latent, seed=7
            )
    return latent


@pytest.mark.parametrize("what", ["memory", "start image", "previous frames"])
def test_the_t2v_pair_rests_when_there_is_something_to_see(m2v, what):
    inputs = {
        "memory": {"bank": m2v.bank(1)},
        "start image": {"start_image": m2v.images(1)},
        "previous frames": {"previous_frames": m2v.images(1)},
    }[what]
    t2v = {"t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low}
    assert torch.equal(m2v.sample(**inputs, **t2v), m2v.sample(**inputs))


def test_a_first_shot_from_a_start_image_equals_the_stock_node(m2v):
    """WanImageToVideo on a picture of the shot's size, and two stock stages."""
    from comfy_extras.nodes_wan import WanImageToVideo

    start = m2v.images(1, height=HEIGHT, width=WIDTH)
    with torch.inference_mode():
        positive, negative, _ = WanImageToVideo.execute(
            m2v.pos, m2v.neg, m2v.vae, WIDTH, HEIGHT, 9, 1, start_image=start
        ).result
        stock = stock_two_stages(m2v, m2v.high, m2v.low, positive, negative)
    assert rel_l2(m2v.sample(start_image=start), stock) < 1e-5


def test_the_shot_brings_its_own_length_and_seed(m2v):
    shot = m2v.shot(index=2, length=13)
    latent = m2v.sample(bank=m2v.bank(1), shot=shot)
    assert latent.shape[2] == 4
    assert torch.equal(latent, m2v.sample(bank=m2v.bank(1), length=13, seed=7 + 2))
    seeded = m2v.sample(bank=m2v.bank(1), shot=m2v.shot(index=2, seed=99))
    assert torch.equal(seeded, m2v.sample(bank=m2v.bank(1), seed=99))


# --- seeds ---------------------------------------------------------------------------------------


def test_noise_of_the_shot_does_not_depend_on_the_memory(m2v):
    import comfy.sample

    bare = comfy.sample.prepare_noise(torch.zeros(1, 16, FRAMES, HEIGHT // 8, WIDTH // 8), 7)
    for count in (0, 1, 10):
        _, _, latent, noise, frames = m2v.condition(bank=m2v.bank(count))
        drawn = noise.generate_noise(latent)
        assert frames == count
        assert torch.equal(drawn[:, :, count:], bare)
        assert drawn.shape[2] == count + FRAMES
        if count:
            assert rel_l2(drawn[:, :, :1], bare[:, :, :1]) > 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_row_0_of_a_batch_has_the_noise_of_a_single_run(m2v, count):
    """Of memory and shot; other rows keep theirs when they are sampled again by themselves."""
    _, _, latent, noise, _ = m2v.condition(bank=m2v.bank(count))
    single, samples = noise.generate_noise(latent), latent["samples"]
    batch = noise.generate_noise({"samples": samples.repeat(4, 1, 1, 1, 1)})
    assert torch.equal(batch[:1], single)
    assert len({row.numpy().tobytes() for row in batch}) == 4
    again = {"samples": samples.repeat(3, 1, 1, 1, 1), "batch_index": [3, 1, 3]}
    assert torch.equal(noise.generate_noise(again), batch[[3, 1, 3]])
    assert torch.equal(noise.generate_noise({"samples": samples, "batch_index": [2]}), batch[2:3])


def test_the_same_seed_gives_the_same_bits_and_another_does_not(m2v):
    first = m2v.sample(bank=m2v.bank(2), sampler_name="uni_pc")
    assert torch.equal(m2v.sample(bank=m2v.bank(2), sampler_name="uni_pc"), first)
    assert rel_l2(m2v.sample(bank=m2v.bank(2), sampler_name="uni_pc", seed=8), first) > 1e-2


# --- both roads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpmpp_2m", "res_multistep", "lcm"])
@pytest.mark.parametrize("continuity", ["cut", "last_frame"])
def test_both_roads_agree(m2v, sampler, continuity):
    from comfy_extras.nodes_custom_sampler import (
        BasicScheduler,
        CFGGuider,
        KSamplerSelect,
        SamplerCustomAdvanced,
    )
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3
    from comfy_extras.nodes_wan import TrimVideoLatent

    shot = {"bank": m2v.bank(3), "previous_frames": m2v.images(1), "continuity": continuity}
    positive, negative, latent, noise, frames = m2v.condition(**shot)
    model = ModelSamplingSD3().patch(m2v.patch(m2v.high, frames), 4.0)[0]
    sigmas = BasicScheduler.execute(model, "simple", 4, 1.0).result[0]
    guider = CFGGuider.execute(model, positive, negative, 3.5).result[0]
    kind = KSamplerSelect.execute(sampler).result[0]
    with torch.inference_mode():
        sampled = SamplerCustomAdvanced.execute(noise, guider, kind, sigmas, latent).result[0]
    trimmed = TrimVideoLatent.execute(sampled, frames).result[0]["samples"]
    easy = m2v.sample(model_low=None, sampler_name=sampler, **shot)
    assert torch.equal(easy, trimmed)


def test_the_first_of_a_batch_is_the_single_run(m2v):
    from comfy_extras.nodes_custom_sampler import (
        CFGGuider,
        KSamplerSelect,
        SamplerCustomAdvanced,
    )

    from nodes import LatentFromBatch, RepeatLatentBatch

    positive, negative, latent, noise, frames = m2v.condition(bank=m2v.bank(2))
    model = m2v.node("sampling.sampler", "patch_shift")(m2v.patch(m2v.high, frames), 4.0)
    guider = CFGGuider.execute(model, positive, negative, 3.5).result[0]
    sigmas = m2v.node("sampling.sampler", "schedule")(model, "simple", DEFAULTS["steps"], 1.0)
    euler = KSamplerSelect.execute("euler").result[0]

    def sample(latent: dict) -> torch.Tensor:
        with torch.inference_mode():
            result = SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]
        return result["samples"]

    (three,) = RepeatLatentBatch().repeat(latent, 3)
    (second,) = LatentFromBatch().frombatch(three, 1, 1)
    batch = sample(three)
    assert rel_l2(batch[:1], sample(latent)) < 1e-5
    assert rel_l2(batch[1:2], sample(second)) < 1e-5
    assert rel_l2(batch[1:2], batch[:1]) > 0.1


def test_both_roads_agree_with_two_experts_and_split_sigmas(m2v):
    """Euler keeps no history, so two stock stages are one run."""
    from comfy_extras.nodes_custom_sampler import (
        CFGGuider,
        DisableNoise,
        KSamplerSelect,
        SamplerCustomAdvanced,
        SplitSigmas,
    )

    positive, negative, latent, noise, frames = m2v.condition(bank=m2v.bank(3))
    shift = m2v.node("sampling.sampler", "patch_shift")
    high, low = (shift(m2v.patch(m, frames), 4.0) for m in (m2v.high, m2v.low))
    sigmas = m2v.node("sampling.sampler", "schedule")(high, "simple", 4, 1.0)
    parts = SplitSigmas.execute(sigmas, int((sigmas >= 0.9).sum())).result
    kind = KSamplerSelect.execute("euler").result[0]
    silent = DisableNoise.execute().result[0]
    with torch.inference_mode():
        for model, part, source in ((high, parts[0], noise), (low, parts[1], silent)):
            guider = CFGGuider.execute(model, positive, negative, 3.5).result[0]
            latent = SamplerCustomAdvanced.execute(source, guider, kind, part, latent).result[0]
    easy = m2v.sample(bank=m2v.bank(3))
    assert rel_l2(latent["samples"][:, :, frames:], easy) < 1e-5


# --- what is refused, before anything is encoded or sampled --------------------------------------


@pytest.fixture
def no_encoding(m2v, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("encoded before the inputs were checked")

    monkeypatch.setattr(m2v.vae.first_stage_model, "encode", refuse)


REFUSED = {
    "width": (lambda m: {"width": 50}, "width must be a multiple of 16, but it is 50"),
    "length": (lambda m: {"length": 10}, r"length must be 4n\+1"),
    "t2v model as i2v": (lambda m: {"model_high": m.t2v_high}, r"model_high .*36 input channels"),
    "i2v model as t2v": (lambda m: {"t2v_high": m.high}, r"t2v_high .*16 input channels"),
    "low of another family": (lambda m: {"model_low": m.t2v_low}, r"model_low .*36 input channels"),
    "t2v_low alone": (lambda m: {"t2v_low": m.t2v_low}, "t2v_low is connected without t2v_high"),
    "start image is a clip": (lambda m: {"start_image": m.images(3)}, "one picture, .* holds 3"),
    "start image is a mask": (lambda m: {"start_image": torch.zeros(1, 8, 8)}, "must be an IMAGE"),
    "too few frames": (
        lambda m: {"previous_frames": m.images(3), "continuity": "last_five_frames"},
        "last 5 frames .* holds 3",
    ),
    "nothing to continue": (lambda m: {"continuity": "last_frame"}, "previous_frames is not"),
    "nothing left of one": (
        lambda m: {"previous_frames": m.images(1), "length": 1},
        "length is 1, .* nothing would be left; set length to 5",
    ),
    "nothing left of five": (
        lambda m: {
            "previous_frames": m.images(5),
            "continuity": "last_five_frames",
            "length": 5,
        },
        "length is 5, .* nothing would be left; set length to 9",
    ),
    "two beginnings": (
        lambda m: {"previous_frames": m.images(1), "start_image": m.images(1)},
        "both connected",
    ),
    "NaN before": (
        lambda m: {"previous_frames": m.images(1) * float("nan")},
        "previous_frames holds NaN or infinite pixels",
    ),
    "infinite start": (
        lambda m: {"start_image": m.images(1) + float("inf")},
        "start_image holds NaN or infinite pixels",
    ),
    "one step of uni_pc": (
        lambda m: {"sampler_name": "uni_pc", "steps": 1},
        "uni_pc needs at least 2 steps, but only 1 would run",
    ),
    "one step of uni_pc_bh2": (
        lambda m: {"sampler_name": "uni_pc_bh2", "steps": 1, "denoise": 0.5},
        "uni_pc_bh2 needs at least 2 steps, but only 1 would run",
    ),
    "no denoise": (lambda m: {"denoise": 0.0}, "denoise is 0, so nothing would be sampled"),
    "against the plan": (
        lambda m: {
            "shot": m.shot(index=1, mode="mi2v", cut=False),
            "previous_frames": m.images(5),
            "continuity": "last_five_frames",
        },
        "planned as mi2v",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_refused_in_words(m2v, no_encoding, case):
    inputs, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        m2v.sample(**inputs(m2v))


def test_experts_of_different_depth_are_refused(m2v, host, no_encoding):
    import comfy.sd

    from helpers import tiny_models

    path = host.base / "temp" / "shallow.safetensors"
    tiny_models.write_dit(path, layers=2)
    shallow = comfy.sd.load_diffusion_model(str(path))
    with pytest.raises(ValueError, match=r"two experts of one model.*3 blocks.*2 blocks"):
        m2v.sample(model_low=shallow)


def test_a_model_of_another_kind_is_refused(m2v, no_encoding):
    other = m2v.high.clone()
    other.add_object_patch("diffusion_model", torch.nn.Identity())
    with pytest.raises(ValueError, match=r"model_high must be a Wan 2\.2 A14B model"):
        m2v.sample(model_high=other)


# --- through the executor ------------------------------------------------------------------------


def test_the_nodes_run_in_a_graph(m2v, host):
    from helpers.stock_graphs import loaders

    graph = loaders()
    graph["sample"] = {
        "class_type": "StoryMemM2VSampler",
        "inputs": {
            "model_high": ["high", 0],
            "model_low": ["low", 0],
            "positive": ["pos", 0],
            "negative": ["neg", 0],
            "vae": ["vae", 0],
            **DEFAULTS,
            "continuity": "auto",
        },
    }
    graph["record"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["sample", 0], "key": "latent"},
    }
    latent = host.run(graph)["latent"]["samples"]
    assert torch.equal(latent, m2v.sample())
