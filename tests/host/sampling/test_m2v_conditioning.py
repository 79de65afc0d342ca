"""What the model really receives, after the host's own normalising and masking."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from helpers.fakes import noise_image
from helpers.m2v_helpers import M2V, rel_l2

WIDTH, HEIGHT = 48, 32
# Wan 2.1's published latent statistics, one per channel.
MEAN = (
    "-0.7571 -0.7089 -0.9113 0.1075 -0.1745 0.9653 -0.1517 1.5508 "
    "0.4134 -0.0715 0.5517 -0.3632 -0.1922 -0.9497 0.2503 -0.2921"
)
STD = (
    "2.8184 1.4541 2.3275 2.6558 1.2196 1.7708 2.6052 2.0743 "
    "3.2687 2.1526 2.8652 1.5579 1.6382 1.1253 2.8251 1.9160"
)


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def received(m2v, model=None, **shot) -> dict[int, torch.Tensor]:
    """The 20 conditioning channels of positive (0) and negative (1), as the model gets them."""
    seen = {}

    def spy(apply_model, args):
        for i, which in enumerate(args["cond_or_uncond"]):
            seen[which] = args["c"]["c_concat"].chunk(len(args["cond_or_uncond"]))[i].cpu()
        return apply_model(args["input"], args["timestep"], **args["c"])

    watched = (model or m2v.high).clone()
    watched.set_model_unet_function_wrapper(spy)
    m2v.sample(model_high=watched, model_low=None, steps=1, **shot)
    return seen


def encoded(m2v, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised latents of one video ``[T, H, W, 3]``, by the VAE's module itself."""
    video = (pixels * 2 - 1).permute(3, 0, 1, 2)[None].float()
    module = m2v.vae.first_stage_model
    with torch.inference_mode():
        latents = module.encode(video.to(next(module.parameters()).device)).cpu()
    mean, std = (
        torch.tensor([float(v) for v in s.split()]).view(1, 16, 1, 1, 1) for s in (MEAN, STD)
    )
    return (latents - mean) / std


def expected(m2v, memory: torch.Tensor, given: torch.Tensor | None, length: int):
    video = torch.full((length, HEIGHT, WIDTH, 3), 0.5)
    if given is not None:
        video[: len(given)] = given
    return torch.cat([*(encoded(m2v, image[None]) for image in memory), encoded(m2v, video)], dim=2)


@pytest.mark.parametrize("length", [17, 81])
@pytest.mark.parametrize(
    ("continuity", "given", "known"),
    [("cut", 0, 0), ("last_frame", 1, 1), ("last_five_frames", 5, 2)],
)
def test_mask_and_latents_of_memory_and_shot(m2v, continuity, given, known, length):
    memory = 3
    previous = m2v.images(6, height=HEIGHT, width=WIDTH)
    bank = m2v.bank(memory, height=HEIGHT, width=WIDTH)
    seen = received(m2v, bank=bank, previous_frames=previous, continuity=continuity, length=length)
    images = torch.stack([frame.image.float() / 255 for frame in bank.frames])
    latents = expected(m2v, images, previous[-given:] if given else None, length)
    frames = memory + (length - 1) // 4 + 1
    mask = torch.zeros(1, 4, frames, HEIGHT // 8, WIDTH // 8)
    mask[:, :, : memory + known] = 1
    assert sorted(seen) == [0, 1]
    for cond in seen.values():
        assert torch.equal(cond[:, :4], mask)
        assert (cond[:, 4:] - latents).abs().max() < 1e-6 * latents.abs().max()


def test_the_frame_of_mi2v_reaches_the_model(m2v):
    """The released code overwrites it with grey; that is not reproduced."""
    previous = m2v.images(1, height=HEIGHT, width=WIDTH)
    seen = received(m2v, bank=m2v.bank(1), previous_frames=previous, continuity="last_frame")
    grey = received(m2v, bank=m2v.bank(1))
    assert rel_l2(seen[0][:, 4:, 1], grey[0][:, 4:, 1]) > 0.1


@pytest.mark.parametrize("count", [0, 1, 10])
def test_any_number_of_memory_frames(m2v, count):
    seen = received(m2v, bank=m2v.bank(count))
    assert seen[0].shape[2] == count + 3
    assert seen[0][0, 0, :, 0, 0].tolist() == [1.0] * count + [0.0] * 3


def test_no_bank_and_nothing_given_is_grey_with_nothing_known(m2v):
    seen = received(m2v)
    assert not seen[0][:, :4].any()
    grey = encoded(m2v, torch.full((9, HEIGHT, WIDTH, 3), 0.5))
    assert (seen[0][:, 4:] - grey).abs().max() < 1e-6 * grey.abs().max()


def test_more_memory_than_the_model_knows_is_used(m2v):
    seen = received(m2v, bank=m2v.bank(12, max_frames=12))
    assert seen[0].shape[2] == 12 + 3


def test_memory_of_another_aspect_is_squashed_into_the_shot(m2v):
    bank = m2v.bank(1, height=40, width=24)
    seen = received(m2v, bank=bank)
    image = (noise_image(0, 40, 24).float() / 255).permute(2, 0, 1)[None]
    image = torch.nn.functional.interpolate(image, (HEIGHT, WIDTH), mode="bicubic")
    latents = encoded(m2v, image.permute(0, 2, 3, 1))
    assert (seen[0][:, 4:, :1] - latents).abs().max() < 1e-6 * latents.abs().max()


@pytest.mark.parametrize(
    ("inputs", "height", "width"),
    [
        ({"bank": (96, 64)}, 48, 32),
        ({"bank": (96, 64), "start": (64, 96)}, 32, 48),
        ({}, 32, 48),
    ],
)
def test_memory_aspect_takes_the_first_picture_the_shot_has(m2v, inputs, height, width):
    """Given frames come before memory; with neither, the size is as asked for."""
    bank = (
        m2v.bank(1, height=inputs["bank"][0], width=inputs["bank"][1]) if "bank" in inputs else None
    )
    start = None
    if "start" in inputs:
        start = m2v.images(1, height=inputs["start"][0], width=inputs["start"][1])
    latent = m2v.sample(bank=bank, start_image=start, size_rule="memory_aspect", steps=1)
    assert list(latent.shape[-2:]) == [height // 8, width // 8]


def test_memory_and_grey_are_encoded_once_over_shots(m2v, monkeypatch):
    lengths = []
    module = m2v.vae.first_stage_model
    encode = module.encode
    monkeypatch.setattr(
        module, "encode", lambda x, **k: lengths.append(x.shape[2]) or encode(x, **k)
    )
    bank, more = m2v.bank(2, seed=40), m2v.bank(3, seed=40)
    # A length of which no other test keeps a grey video.
    m2v.condition(bank=bank, length=29)
    m2v.condition(bank=bank, length=29)
    m2v.condition(bank=more, length=29)
    assert lengths == [1, 1, 29, 1]


def test_another_vae_object_of_the_same_weights_does_not_share_latents(m2v, host):
    host.restart()
    other = M2V(host)
    assert other.vae.first_stage_model is not m2v.vae.first_stage_model
    cache = m2v.node("sampling.conditioning", "LATENTS")
    m2v.condition(bank=m2v.bank(1))
    assert other.vae.first_stage_model not in cache._owners
    other.condition(bank=m2v.bank(1))
    assert other.vae.first_stage_model in cache._owners


def test_latents_of_a_patched_vae_are_never_kept(m2v):
    encoder_of = m2v.node("sampling.conditioning", "encoder_of")
    clone, patched = copy.copy(m2v.vae), copy.copy(m2v.vae)
    clone.patcher = m2v.vae.patcher.clone()
    patched.patcher = m2v.vae.patcher.clone()
    patched.patcher.add_object_patch("decoder.scale", 2.0)
    assert encoder_of(clone)._owner is m2v.vae.first_stage_model
    assert encoder_of(patched)._owner is None


class Inner:
    """The module that a VAE and its copies share."""


class Plain:
    """A VAE as the host makes it; latents are filled with ``value``."""

    value = 1.0

    def __init__(self, inner, *, dtype=torch.float32, **patcher):
        self.first_stage_model, self.vae_dtype = inner, dtype
        self.patcher = SimpleNamespace(
            **{"patches": {}, "object_patches": {}, "wrappers": {}, **patcher}
        )

    def encode(self, pixels):
        length, height, width, _ = pixels.shape
        return torch.full((1, 16, (length - 1) // 4 + 1, height // 8, width // 8), self.value)


class Wrapper(Plain):
    """Another pack's VAE around the same module, which encodes in another way, as in tiles."""

    value = 2.0


class HalfPrecision(Plain):
    value = 3.0


def memory_latent(m2v, vae) -> float:
    found = m2v.condition(bank=m2v.bank(1, seed=77), vae=vae)[0][0][1]["concat_latent_image"]
    return float(found[0, 0, 0, 0, 0])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_module_has_latents_for_every_kind_of_vae_and_precision(m2v, order):
    """They share a module, and what one made of a picture is not what another would."""
    inner = Inner()
    # Of one class, which takes its precision from the outside, as the host's does.
    half = Plain(inner, dtype=torch.bfloat16)
    half.__class__ = type("Plain", (HalfPrecision,), {"__qualname__": Plain.__qualname__})
    vaes = [(Plain(inner), 1.0), (Wrapper(inner), 2.0), (half, 3.0)]
    for place in (*order, *order):
        vae, value = vaes[place]
        assert memory_latent(m2v, vae) == value


@pytest.mark.parametrize(
    "patcher",
    [
        {"patches": {"decoder.weight": 1}},
        {"object_patches": {"scale": 2}},
        {"wrappers": {"outer": {"key": [print]}}},
    ],
    ids=lambda patcher: next(iter(patcher)),
)
def test_what_a_patched_vae_makes_is_neither_kept_nor_taken_from_what_is(m2v, patcher):
    inner = Inner()
    plain, patched = Plain(inner), Plain(inner, **patcher)
    patched.__class__ = type("Plain", (Wrapper,), {"__qualname__": Plain.__qualname__})
    assert memory_latent(m2v, plain) == 1.0
    assert memory_latent(m2v, patched) == 2.0
    assert memory_latent(m2v, plain) == 1.0
    assert m2v.node("sampling.conditioning", "encoder_of")(patched)._owner is None


def test_a_vae_that_is_not_patched_keeps_its_latents(m2v):
    """An empty place for wrappers is none."""
    encoder_of = m2v.node("sampling.conditioning", "encoder_of")
    inner = Inner()
    assert encoder_of(Plain(inner, wrappers={"outer": {}}))._owner is inner
    bare = Plain(inner)
    del bare.patcher  # nobody knows what it does
    assert encoder_of(bare)._owner is None
    assert encoder_of(SimpleNamespace(encode=bare.encode))._owner is None


def test_a_copy_of_a_vae_with_its_own_encode_has_latents_of_its_own(m2v):
    twin = copy.copy(m2v.vae)
    twin.encode = lambda pixels: m2v.vae.encode(pixels) * 2
    key = "concat_latent_image"
    plain = m2v.condition(bank=m2v.bank(1))[0][0][1][key]
    doubled = m2v.condition(bank=m2v.bank(1), vae=twin)[0][0][1][key]
    assert torch.equal(doubled, plain * 2)
    assert torch.equal(m2v.condition(bank=m2v.bank(1))[0][0][1][key], plain)


def test_conditioning_from_the_artist_is_not_changed(m2v):
    m2v.condition(bank=m2v.bank(1))
    assert all("concat_latent_image" not in c[1] for c in [*m2v.pos, *m2v.neg])


def test_start_image_begins_the_first_shot_only(m2v):
    start = m2v.images(1, height=HEIGHT, width=WIDTH)
    first = received(m2v, start_image=start, shot=m2v.shot(index=0))
    assert first[0][0, 0, :, 0, 0].tolist() == [1, 0, 0]
    later = received(m2v, start_image=start, shot=m2v.shot(index=3))
    assert later[0][0, 0, :, 0, 0].tolist() == [0, 0, 0]


def test_one_frame_from_a_start_image_is_a_shot(m2v):
    assert m2v.condition(start_image=m2v.images(1), length=1)[2]["samples"].shape[2] == 1


def test_a_start_image_begins_a_cut_that_has_previous_frames(m2v):
    start = m2v.images(1, height=HEIGHT, width=WIDTH)
    both = received(m2v, start_image=start, previous_frames=m2v.images(1, seed=9), continuity="cut")
    assert torch.equal(both[0], received(m2v, start_image=start)[0])
