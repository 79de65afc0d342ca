"""Members of the Wan family told apart, on stand-ins that have what the host's classes have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from storymem.sampling.wan_kinds import other_vae, other_wan

PLAIN = {"img_emb": None, "ref_conv": None, "out_dim": 16}  # as the host makes Wan 2.2 I2V and T2V


def network(**parts):
    return SimpleNamespace(**{**PLAIN, **parts})


@pytest.mark.parametrize("channels", [36, 16])
def test_a_plain_model_is_nothing_else(channels):
    assert other_wan(network(), channels, "WAN21") is None
    assert other_wan(SimpleNamespace(), channels) is None  # older hosts lack some of the names


@pytest.mark.parametrize("channels", [36, 16])
@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("vace_patch_embedding", "Wan VACE"),
        ("control_adapter", "Wan Fun Camera"),
        ("casual_audio_encoder", "Wan 2.2 S2V"),
        ("audio_proj", "HuMo"),
        ("face_adapter", "Wan 2.2 Animate"),
        ("patch_embedding_mask", "SCAIL"),
        ("patch_embedding_pose", "SCAIL"),
        ("patch_embedding_global", "WanDancer"),
        ("ref_conv", "Wan Fun Control"),
        ("img_emb", "Wan 2.1 I2V"),
    ],
)
def test_a_part_of_its_own_tells_a_model(part, told, channels):
    assert other_wan(network(**{part: object()}), channels, "WAN21") == told
    assert other_wan(network(**{part: None}), channels, "WAN21") is None


@pytest.mark.parametrize("part", ["control_adapter", "face_adapter", "patch_embedding_global"])
def test_a_model_with_the_image_part_as_well_goes_by_its_own(part):
    own = other_wan(network(**{part: object()}), 36)
    assert other_wan(network(**{part: object()}, img_emb=object()), 36) == own


def test_first_and_last_frame_are_told_from_the_first_alone():
    both, one = SimpleNamespace(emb_pos=object()), SimpleNamespace(emb_pos=None)
    assert other_wan(network(img_emb=both), 36) == "Wan 2.1 FLF2V"
    assert other_wan(network(img_emb=one), 36) == "Wan 2.1 I2V"


@pytest.mark.parametrize(
    ("channels", "out", "told"),
    [
        (48, 48, "Wan 2.2 TI2V 5B"),
        (48, 16, "Wan Fun Control"),
        (52, 16, "Wan Fun Control"),
        (100, 16, None),  # unknown: the number of its channels is all there is to say
        (36, 36, None),
    ],
)
def test_channels_tell_the_rest(channels, out, told):
    assert other_wan(network(out_dim=out), channels) == told


def test_fun_control_of_wan_2_1_has_the_image_part():
    assert other_wan(network(img_emb=object()), 48) == "Wan Fun Control"


@pytest.mark.parametrize("host_class", ["WAN21_CausalAR", "WAN_Animate2", "WAN21_FlowRVS"])
def test_some_are_told_by_the_hosts_class_alone(host_class):
    assert other_wan(network(), 16, host_class) is not None
    assert other_wan(network(), 16, f"Another{host_class}") is None


@pytest.mark.parametrize("name", ["CausalWanModel", "WanAnimate2Model"])
def test_some_are_told_by_the_networks_class(name):
    assert other_wan(type(name, (), {})(), 16, "WAN21") is not None


# --- the VAE -------------------------------------------------------------------------------------


def inner(module: str):
    """What the host's VAE holds: of a class that is kept there."""
    return type("Anything", (), {"__module__": module})()


def vae(module="comfy.ldm.wan.vae", **facts):
    usual = {
        "latent_channels": 16,
        "latent_dim": 3,
        "output_channels": 3,
        "downscale_ratio": (lambda frames: (frames + 3) // 4, 8, 8),
        "first_stage_model": inner(module),
    }
    return SimpleNamespace(**{**usual, **facts})


@pytest.mark.parametrize(
    "module",
    [
        "comfy.ldm.wan.vae",
        "comfy.taesd.taehv",  # the small ones: Wan's and HunyuanVideo's cannot be told apart
        "torch._dynamo.eval_frame",  # compiled
        "custom_nodes.ComfyUI-GGUF.vae",
        "comfyui_vae.nodes",
    ],
)
def test_what_may_be_the_wan_vae_is_taken(module):
    assert other_vae(vae(module)) is None


@pytest.mark.parametrize("silent", [(), ("downscale_ratio",), ("output_channels",)])
def test_a_vae_that_says_less_is_taken(silent):
    told = {"latent_channels": 16, "latent_dim": 3, "downscale_ratio": 8, "output_channels": 3}
    assert other_vae(SimpleNamespace(**{k: v for k, v in told.items() if k in silent})) is None


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("comfy.ldm.models.autoencoder", "is HunyuanVideo's"),
        ("comfy.ldm.cogvideo.vae", "is CogVideoX's"),
        ("comfy.ldm.cosmos.vae", "is Cosmos's"),
        ("comfy.ldm.seedvr.vae", "is SeedVR2's"),
        ("comfy.ldm.a_new_one.vae", "is another model's (comfy.ldm.a_new_one.vae)"),
        ("comfy.ldm.wander.vae", "is another model's (comfy.ldm.wander.vae)"),
    ],
)
def test_the_hosts_other_vaes_of_the_same_form_are_not(module, told):
    assert other_vae(vae(module)) == told


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"latent_channels": 48}, "is for video with 48 latent channels instead of 16"),
        ({"latent_dim": 2}, "is for pictures with 16 latent channels, not for video"),
        ({"output_channels": 4}, "is for layers with transparency (Qwen-Image Layered)"),
    ],
)
def test_facts_that_the_wan_vae_does_not_have(facts, told):
    assert other_vae(vae(**facts)) == told


@pytest.mark.parametrize(
    ("count", "pixels", "told"),
    [
        (lambda n: (n + 7) // 8, 8, "makes one latent frame of 8 frames instead of 4"),
        (lambda n: n, 8, "makes one latent frame of 1 frames instead of 4"),
        (lambda n: (n + 3) // 4, 16, "makes one latent pixel of 16 x 16 instead of 8 x 8"),
    ],
)
def test_a_vae_of_another_scale_is_not(count, pixels, told):
    assert other_vae(vae("somebodys.vae", downscale_ratio=(count, pixels, pixels))) == told


def test_a_plain_number_is_the_scale_of_a_side():
    assert other_vae(vae("somebodys.vae", downscale_ratio=8)) is None
    assert "16 x 16" in other_vae(vae("somebodys.vae", downscale_ratio=16))


@pytest.mark.parametrize("ratio", [None, "8", (8, 8), (None, 8, 8), (lambda n: 1, 8, 8)])
def test_a_scale_that_means_nothing_is_passed_over(ratio):
    assert other_vae(vae("somebodys.vae", downscale_ratio=ratio)) is None
