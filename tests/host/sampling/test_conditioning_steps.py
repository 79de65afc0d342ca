"""Each step of M2V Conditioning by itself, and what the node hands on. Nothing is encoded here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers.bare_wan import prompt
from storymem.sampling.conditioning import draw_memory_noise


@pytest.fixture(scope="module")
def module(host):
    return host.pack("nodes.sampling.conditioning")


# --- what is asked for ----------------------------------------------------------------------------


@pytest.fixture
def asked(module, monkeypatch):
    """``request_from_inputs``; gives what the shot was asked for with."""
    monkeypatch.setattr(module, "request_shot", lambda **settings: settings)

    def ask(**inputs):
        nothing = dict.fromkeys(("bank", "previous_frames", "start_image", "end_image"))
        return module.request_from_inputs(**nothing | inputs)

    return ask


def test_a_shot_is_asked_for_with_what_is_connected(asked):
    pictures = dict.fromkeys(("previous_frames", "start_image", "end_image"))
    nothing = {"memory": (), "memory_low": None, "shot": None, **pictures}
    assert asked() == nothing
    assert asked(width=48, seed=3) == nothing | {"width": 48, "seed": 3}
    used, others = (object(),), (object(),)
    found = asked(bank=SimpleNamespace(memories=lambda: (used, used)), shot="shot")
    assert (found["memory"], found["memory_low"], found["shot"]) == (used, None, "shot")
    assert asked(bank=SimpleNamespace(memories=lambda: (used, others)))["memory_low"] == others


@pytest.mark.parametrize("name", ["previous_frames", "start_image", "end_image"])
def test_pictures_are_looked_at_and_scaled_by_the_name_of_their_input(asked, name):
    bytes_ = torch.full((2, 8, 8, 3), 255, dtype=torch.uint8)
    found = asked(**{name: bytes_})
    assert torch.equal(found[name], torch.ones(2, 8, 8, 3))
    rest = set(found) - {name, "memory", "memory_low", "shot"}
    assert [found[other] for other in rest] == [None] * 2
    with pytest.raises(ValueError, match=f"^{name} must be an IMAGE"):
        asked(**{name: torch.zeros(8, 8)})


# --- whose latents are kept -----------------------------------------------------------------------


class Vae:
    def __init__(self, **patcher):
        self.first_stage_model, self.vae_dtype = object(), torch.bfloat16
        empty = {"patches": {}, "object_patches": {}, "wrappers": {}}
        self.patcher = SimpleNamespace(**empty | patcher)

    def encode(self, pixels):
        return pixels


class Other(Vae):
    pass


def lacking(name):
    vae = Vae()
    delattr(vae, name)
    return vae


def with_own_encode():
    vae = Vae()
    vae.encode = lambda pixels: pixels
    return vae


@pytest.mark.parametrize(
    ("vae", "is_kept"),
    [
        (Vae(), True),
        (Vae(wrappers={"outer": {}}), True),
        (Vae(wrappers={"outer": {}, "inner": {"key": [print]}}), False),
        (Vae(wrappers={"outer": {"key": [print]}}), False),
        (Vae(patches={"weight": 1}), False),
        (Vae(object_patches={"scale": 1}), False),
        (with_own_encode(), False),
        (lacking("patcher"), False),
        (lacking("first_stage_model"), False),
        (lacking("vae_dtype"), True),
    ],
)
def test_only_a_vae_that_nobody_changed_keeps_its_latents(module, vae, is_kept):
    encoder = module.encoder_of(vae)
    assert encoder._owner is (vae.first_stage_model if is_kept else None)
    assert encoder._encode == vae.encode
    assert encoder._cache is module.LATENTS


def test_kinds_of_vae_and_their_precisions_are_kept_apart(module):
    half, full = Vae(), Vae()
    full.vae_dtype = torch.float32
    vaes = [half, full, Other(), lacking("vae_dtype")]
    assert len({module.encoder_of(vae)._variant for vae in vaes}) == 4
    assert module.encoder_of(half)._variant == module.encoder_of(Vae())._variant


# --- conditioning ---------------------------------------------------------------------------------


def test_both_prompts_are_told_of_memory_and_known_frames(module, monkeypatch):
    seen = []
    shot = SimpleNamespace(
        latents=torch.rand(1, 16, 3, 4, 6), mask=torch.tensor([1.0, 1.0, 0.0]), memory_frames=2
    )

    def condition(*arguments, **named):
        seen.append((arguments, named))
        return shot

    def encoder(vae):
        seen.append(vae)
        return SimpleNamespace(condition=condition)

    monkeypatch.setattr(module, "encoder_of", encoder)
    size = {"width": 48, "height": 32, "length": 9}
    request = SimpleNamespace(memory="memory", given="given", end="end", **size)
    positive, negative = prompt(), [[torch.ones(1, 7, 4096), {"own": 1}]]
    *made, frames = module.condition_on_memory(positive, negative, "vae", request)
    assert seen == ["vae", (("memory", "given"), {**size, "end": "end", "has_identity": False})]
    assert frames == 2
    for ((text, values),), ((given, own),) in zip(made, (positive, negative), strict=True):
        assert text is given
        assert set(values) == {
            *own, "concat_latent_image", "concat_mask", "storymem_memory_frames"
        }  # fmt: skip
        assert values["concat_latent_image"] is shot.latents
        assert values["concat_mask"].tolist() == [0.0, 0.0, 1.0]  # the host's: 0 is known
        assert values["storymem_memory_frames"] == 2
    assert (positive[0][1], negative[0][1]) == ({}, {"own": 1})


# --- noise and latent -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, [3, 1, 3]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("memory", [0, 1, 2])
def test_noise_is_the_memorys_and_then_the_hosts(module, memory, dtype, rows):
    import comfy.sample

    samples = torch.zeros(3, 16, memory + 2, 4, 6, dtype=dtype)
    latent = {"samples": samples} | ({"batch_index": rows} if rows else {})
    noise = module.MemoryNoise(11, memory)
    assert (noise.seed, noise.memory_frames) == (11, memory)
    drawn = noise.generate_noise(latent)
    shot = comfy.sample.prepare_noise(samples[:, :, :2], 11, rows)
    assert torch.equal(drawn[:, :, memory:], shot)
    assert drawn.dtype == shot.dtype
    first = draw_memory_noise(11, memory, (3, 16, 4, 6), rows)
    assert torch.equal(drawn[:, :, :memory], first.to(shot))


@pytest.mark.parametrize("frames", [1, 2])
def test_noise_for_memory_alone_is_refused(module, frames):
    with pytest.raises(ValueError, match=f"^the latent has {frames} frames, but 2 should be mem"):
        module.MemoryNoise(1, 2).generate_noise({"samples": torch.zeros(1, 16, frames, 4, 6)})


def test_an_empty_latent_is_where_the_host_keeps_latents(module, monkeypatch):
    import comfy.model_management

    request = SimpleNamespace(latent_shape=[1, 16, 3, 4, 6])
    latent = module.empty_latent(request, 2)
    assert latent.shape == (1, 16, 5, 4, 6)
    assert latent.dtype == torch.float32
    assert not latent.any()
    elsewhere = torch.device("meta")
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: elsewhere)
    assert module.empty_latent(request, 2).device == elsewhere


# --- the node -------------------------------------------------------------------------------------

SHOT = {
    "width": 48, "height": 32, "length": 9, "size_rule": "exact", "seed": 5, "continuity": "cut",
}  # fmt: skip
MORE = {"bank": 1, "shot": 2, "previous_frames": 3, "start_image": 4, "end_image": 5}


@pytest.mark.parametrize("more", [MORE, {}])
def test_the_node_hands_on_all_that_it_is_given(module, monkeypatch, more):
    seen = []

    def note(name, result):
        def step(*arguments, **named):
            seen.append((name, arguments, named))
            return result

        monkeypatch.setattr(module, name, step)

    request = SimpleNamespace(seed=77)
    note("require_vae", None)
    note("request_from_inputs", request)
    note("condition_on_memory", ("positive with", "negative with", 4))
    note("empty_latent", "latent")
    note("shot_layouts", ("of high", "of low"))
    node = module.M2VConditioning
    made = node.execute(positive="pos", negative="neg", vae="vae", **SHOT, **more).result
    assert seen == [
        ("require_vae", ("vae",), {}),
        ("request_from_inputs", (), {**SHOT, **(more or dict.fromkeys(MORE)), "method": "auto"}),
        ("condition_on_memory", ("pos", "neg", "vae", request, None, None), {}),
        ("empty_latent", (request, 4), {}),
        ("shot_layouts", (request, "memento", more.get("shot")), {"has_identity": False}),
    ]
    positive, negative, latent, noise, frames, positions = made
    assert positions == "of high"
    assert (positive, negative, latent, frames) == (
        "positive with", "negative with", {"samples": "latent"}, 4,
    )  # fmt: skip
    assert (noise.seed, noise.memory_frames, noise.has_identity) == (77, 4, False)


SIZES = [
    ({}, True),
    ({"width": 16384, "height": 16, "length": 1}, True),
    ({"width": 16, "height": 16384, "length": 16381}, True),
    ({"width": 832}, True),
    ({"height": 832}, True),
    ({"length": 81}, True),
    ({"width": 16400}, "width must be at most 16384, but it is 16400"),
    ({"height": 16385}, "height must be at most 16384, but it is 16385"),
    ({"length": 16385}, "length must be at most 16384, but it is 16385"),
    ({"width": 50}, "width must be a multiple of 16, but it is 50; use 48"),
    ({"height": 0}, "height must be a multiple of 16, but it is 0; use 16"),
    ({"length": 0}, "length must be 4n+1 frames (for example 49 or 81), but it is 0; use 1"),
]


@pytest.mark.parametrize(("size", "answer"), SIZES)
def test_typed_sizes_are_answered_by_name_before_anything_runs(module, host, size, answer):
    """A linked one is None, and known only when it comes."""
    found = module.M2VConditioning.validate_inputs(**size)
    assert found is answer if answer is True else found == answer
    check = host.pack("nodes.sampling.inputs").check_typed_size
    assert check(*(size.get(name) for name in ("width", "height", "length"))) == answer
