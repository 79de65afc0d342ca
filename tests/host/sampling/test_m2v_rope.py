"""The host's Wan with our patch against an independent float64 Wan, and what may surround it."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from helpers.m2v_helpers import M2V, rel_l2
from helpers.wan_reference import WanReference
from storymem.sampling.memory_layout import storymem_layout
from storymem.sampling.rope import temporal_positions

FRAMES, HEIGHT, WIDTH = 3, 4, 6  # latents of the shot
BOUND = 1e-5


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture(scope="module")
def reference(host):
    return WanReference(
        load_file(host.base / "models" / "diffusion_models" / "tiny_i2v_high.safetensors")
    )


def latent(frames: int) -> torch.Tensor:
    return torch.randn(1, 36, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


def text() -> torch.Tensor:
    return torch.randn(1, 20, 4096, generator=torch.Generator().manual_seed(4))


def forward(model, x, t: float = 700.0, **options) -> torch.Tensor:
    """One forward of a loaded patcher, as ``apply_model`` calls the diffusion model."""
    import comfy.model_management

    given = (part.to(model.load_device) for part in (x, torch.tensor([t]), text()))
    with torch.inference_mode():  # loading too, as in the host's executor
        comfy.model_management.load_models_gpu([model])
        return model.model.diffusion_model(*given, transformer_options=options).cpu()


@pytest.mark.parametrize("shift", [1, 2, 5])
@pytest.mark.parametrize("memory", [1, 3, 10])
def test_a_forward_with_memory_equals_the_equations(m2v, reference, memory, shift):
    x = latent(memory + FRAMES)
    positions = temporal_positions(memory, FRAMES, offset=shift)
    ours = forward(m2v.patch(m2v.high, memory, shift), x)
    assert rel_l2(ours, reference(x, 700.0, text(), positions)) < BOUND


def test_a_shift_of_one_equals_the_unpatched_host(m2v):
    x = latent(3 + FRAMES)
    assert rel_l2(forward(m2v.patch(m2v.high, 3, 1), x), forward(m2v.high, x)) < BOUND


def mutants(memory: int, shift: int) -> dict[str, torch.Tensor]:
    """Time positions that look right and are not."""
    shot = torch.arange(FRAMES).float()
    steps = torch.arange(-memory, 0).float()
    return {
        "order reversed": torch.cat([steps.flip(0) * shift, shot]),
        "memory ends at 0": torch.cat([(steps + 1) * shift, shot]),
        "shot starts at 1": torch.cat([steps * shift, shot + 1]),
        "memory after the shot": torch.cat([shot[-1] + (steps + memory + 1) * shift, shot]),
        "one gap only": torch.cat([steps + 1 - shift, shot]),
    }


@pytest.mark.parametrize("name", mutants(3, 5))
@pytest.mark.parametrize(("memory", "shift"), [(3, 2), (3, 5), (10, 5)])
def test_wrong_positions_are_told_apart(m2v, reference, name, memory, shift):
    x = latent(memory + FRAMES)
    ours = forward(m2v.patch(m2v.high, memory, shift), x)
    wrong = reference(x, 700.0, text(), mutants(memory, shift)[name])
    assert rel_l2(ours, wrong) > 20 * BOUND


def test_the_model_itself_is_never_changed(m2v):
    x = latent(3 + FRAMES)
    before = forward(m2v.high, x)
    patched = m2v.patch(m2v.high, 3)
    assert rel_l2(forward(patched, x), before) > 1e-3
    assert torch.equal(forward(m2v.high, x), before)
    assert m2v.high.object_patches == {}
    assert not any(m2v.high.wrappers.values())


def test_patching_twice_counts_once(m2v):
    x = latent(3 + FRAMES)
    once = m2v.patch(m2v.high, 3)
    assert torch.equal(forward(m2v.patch(once, 3), x), forward(once, x))
    assert torch.equal(forward(m2v.patch(m2v.patch(m2v.high, 1, 2), 3), x), forward(once, x))


def test_a_patch_keeps_the_weights_loaded(m2v):
    assert m2v.patch(m2v.high, 3).patches_uuid == m2v.high.patches_uuid


def test_no_memory_gives_the_model_back(m2v):
    assert m2v.patch(m2v.high, 0) is m2v.high


def test_scaled_time_scales_memory_and_shot_alike(m2v, reference):
    options = {"rope_options": {"scale_t": 0.5, "shift_t": 2.0}}
    x = latent(3 + FRAMES)
    ours = forward(m2v.patch(m2v.high, 3), x, **options)
    positions = temporal_positions(3, FRAMES) * 0.5 + 2.0
    assert rel_l2(ours, reference(x, 700.0, text(), positions)) < BOUND


def test_positions_are_float32_when_the_model_runs_in_bf16(m2v):
    """Scaled time gives positions that bf16 cannot hold."""
    encode = m2v.patch(m2v.high, 3).get_model_object("diffusion_model.rope_encode")
    options = {"rope_options": {"scale_t": 1.2}}
    kwargs = {"device": torch.device("cpu"), "transformer_options": options}
    full = encode(3 + FRAMES, HEIGHT, WIDTH, dtype=torch.float32, **kwargs)
    assert torch.equal(encode(3 + FRAMES, HEIGHT, WIDTH, dtype=torch.bfloat16, **kwargs), full)


def test_a_latent_without_room_for_the_shot_is_refused(m2v):
    with pytest.raises(ValueError, match=r"latent has 3 frames.*expects 3 memory"):
        forward(m2v.patch(m2v.high, 3), latent(3))


def is_unpatched(model) -> bool:
    ours = [wrappers for kind in model.wrappers.values() for wrappers in kind.values() if wrappers]
    return model.object_patches == {} and not ours


def test_patching_with_no_memory_takes_an_earlier_patch_off(m2v):
    x = latent(2 + FRAMES)
    patched = m2v.patch(m2v.high, 2)
    bare = m2v.patch(patched, 0)
    assert is_unpatched(bare)
    assert torch.equal(forward(bare, x), forward(m2v.high, x))
    assert rel_l2(forward(patched, x), forward(m2v.high, x)) > 1e-3  # which keeps its own


def test_no_memory_takes_our_choice_of_kernel_off_and_leaves_anothers(m2v, monkeypatch):
    module, key = m2v.host.pack("nodes.host.attention"), "optimized_attention_override"
    monkeypatch.setattr(module, "is_faster_here", lambda device: True)
    patched = m2v.patch(m2v.high, 2)
    assert patched.model_options["transformer_options"][key] is module.cudnn_attention
    assert key not in m2v.patch(patched, 0).model_options["transformer_options"]
    patched.model_options["transformer_options"][key] = "theirs"
    assert m2v.patch(patched, 0).model_options["transformer_options"][key] == "theirs"


ROPE_ENCODE = "diffusion_model.rope_encode"


def theirs(model, wraps: bool):
    """Another pack's patch around whatever is there."""
    inner = model.get_model_object(ROPE_ENCODE)

    def encode(*args, **kwargs):
        return inner(*args, **kwargs)

    clone = model.clone()
    clone.add_object_patch(ROPE_ENCODE, functools.wraps(inner)(encode) if wraps else encode)
    return clone


def test_the_patch_of_another_pack_below_ours_stays(m2v):
    below = theirs(m2v.high, wraps=False)
    bare = m2v.patch(m2v.patch(below, 2), 0)
    assert bare.get_model_object(ROPE_ENCODE) is below.get_model_object(ROPE_ENCODE)


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("memory", [0, 3])
def test_patching_again_under_another_packs_patch_is_refused(m2v, wraps, memory):
    above = theirs(m2v.patch(m2v.high, 2), wraps)
    with pytest.raises(ValueError, match="put that node before M2V Model Patch"):
        m2v.patch(above, memory)


def test_a_sampler_without_memory_ignores_an_earlier_patch(m2v):
    models = {"model_high": m2v.patch(m2v.high, 2), "model_low": m2v.patch(m2v.low, 2)}
    assert torch.equal(m2v.sample(steps=2, **models), m2v.sample(steps=2))
    text = {"t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low}
    place = m2v.node("sampling.model_patch", "place_memory")  # the node refuses T2V
    patched = {name: place(model, storymem_layout(2)) for name, model in text.items()}
    assert torch.equal(m2v.sample(steps=2, **patched), m2v.sample(steps=2, **text))


def test_a_patch_for_another_number_of_memory_frames_is_refused(m2v):
    import comfy.sample
    import comfy.samplers

    positive, negative, latent_out, noise, frames = m2v.condition(bank=m2v.bank(2))
    assert frames == 2
    with pytest.raises(ValueError, match=r"conditioned on 2 memory frames, .* set to 1"):
        comfy.sample.sample_custom(
            m2v.patch(m2v.high, 1),
            noise.generate_noise(latent_out),
            1.0,
            comfy.samplers.sampler_object("euler"),
            torch.tensor([1.0, 0.0]),
            positive,
            negative,
            latent_out["samples"],
        )


# --- what is looked at before sampling -----------------------------------------------------------


def look(m2v, model, conds: list[dict], frames: int, memory: int = 2, channels: int = 16):
    """Ours before sampling of ``frames`` latent frames; what the host would give comes back."""
    guider = SimpleNamespace(
        model_options={}, model_patcher=model, conds={"positive": conds[:1], "negative": conds[1:]}
    )

    def sample(noise, *args, **kwargs):
        return noise.shape, args, kwargs

    sample.class_obj = guider
    check = m2v.node("sampling.model_patch", "check_before_sampling")(memory)
    return check(sample, torch.zeros(1, channels, frames, 4, 6), "more", seed=7)


def cond(frames: int, **values) -> dict:
    names = ("concat_latent_image", "concat_mask")
    return {name: torch.zeros(1, 1, frames, 4, 6) for name in names} | values


def test_conditioning_that_fits_is_sampled_with_all_that_was_asked(m2v):
    shape, args, kwargs = look(m2v, m2v.high, [cond(5)] * 3, 5)
    assert (tuple(shape), args, kwargs) == ((1, 16, 5, 4, 6), ("more",), {"seed": 7})
    look(m2v, m2v.high, [cond(3)], 3)


def test_conditioning_of_another_node_need_not_say_how_much_memory_it_has(m2v):
    key = m2v.node("sampling.conditioning", "MEMORY_FRAMES_KEY")
    look(m2v, m2v.high, [cond(5, **{key: 2})], 5)
    with pytest.raises(ValueError, match=r"^positive was conditioned on 3 memory .* set to 2"):
        look(m2v, m2v.high, [cond(5, **{key: 3})], 5)


@pytest.mark.parametrize("name", ["concat_latent_image", "concat_mask"])
def test_every_part_of_every_conditioning_is_looked_at(m2v, name):
    short = torch.zeros(1, 1, 3, 4, 6)
    with pytest.raises(ValueError, match=f"^{name} of negative has 3 frames, .* latent has 5"):
        look(m2v, m2v.high, [cond(5), cond(5), cond(5, **{name: short})], 5)
    with pytest.raises(ValueError, match=f"^{name} of positive is missing"):
        look(m2v, m2v.high, [cond(5, **{name: None}), cond(5)], 5)


def test_a_latent_of_memory_alone_is_refused(m2v):
    with pytest.raises(ValueError, match="the latent has 2 frames, but the model expects 2"):
        look(m2v, m2v.high, [cond(2)], 2)


def test_a_model_without_channels_for_pictures_needs_none(m2v):
    shape, _, _ = look(m2v, m2v.t2v_high, [{}, {}], 5)
    assert tuple(shape) == (1, 16, 5, 4, 6)


@pytest.mark.parametrize(
    ("size", "answer"),
    [
        ({}, True),
        ({"width": 16384, "height": 16, "length": 1}, True),
        ({"width": 832}, True),
        ({"width": 16400}, "width must be at most 16384, but it is 16400"),
        ({"height": 16385}, "height must be at most 16384, but it is 16385"),
        ({"length": 16385}, "length must be at most 16384, but it is 16385"),
        ({"width": 50}, "width must be a multiple of 16, but it is 50; use 48"),
        ({"height": 0}, "height must be a multiple of 16, but it is 0; use 16"),
        ({"length": 0}, "length must be 4n+1 frames (for example 49 or 81), but it is 0; use 1"),
    ],
)
def test_a_typed_size_is_looked_at_before_anything_runs(m2v, size, answer):
    node = m2v.node("sampling.conditioning", "M2VConditioning")
    assert node.validate_inputs(**size) == answer


def test_noise_for_more_memory_than_the_latent_has_is_refused(m2v):
    noise = m2v.node("sampling.conditioning", "MemoryNoise")(7, 3)
    with pytest.raises(ValueError, match="the latent has 3 frames, but 3 should be memory"):
        noise.generate_noise({"samples": torch.zeros(1, 16, 3, 4, 6)})
    assert noise.generate_noise({"samples": torch.zeros(1, 16, 4, 4, 6)}).shape[2] == 4
