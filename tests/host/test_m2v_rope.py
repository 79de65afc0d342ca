"""The host's Wan with our patch against an independent float64 Wan, and what may surround it."""

from __future__ import annotations

import pytest
import torch
from m2v_helpers import M2V, rel_l2
from safetensors.torch import load_file
from wan_reference import WanReference

from storymem.rope import temporal_positions

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

    comfy.model_management.load_models_gpu([model])
    with torch.inference_mode():
        return model.model.diffusion_model(
            x, torch.tensor([t]), context=text(), transformer_options=options
        )


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
