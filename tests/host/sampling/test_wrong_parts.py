"""What does not belong to Wan is refused on the sampler, before anything is sampled."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch


def model(width=4096):
    embedding = [torch.nn.Linear(width, 8)]
    inner = SimpleNamespace(text_embedding=embedding)
    return SimpleNamespace(get_model_object=lambda name: inner)


@pytest.mark.parametrize(
    ("channels", "axes", "told"),
    [(4, 2, "for pictures with 4"), (16, 2, "for pictures with 16"), (48, 3, "for video with 48")],
)
def test_a_vae_of_another_model_is_refused(host, channels, axes, told):
    require_vae = host.pack("nodes.host.wan_models").require_vae
    with pytest.raises(ValueError, match=told):
        require_vae(SimpleNamespace(latent_channels=channels, latent_dim=axes))


def test_a_vae_that_says_nothing_of_its_latents_is_taken(host):
    require_vae = host.pack("nodes.host.wan_models").require_vae
    require_vae(SimpleNamespace())
    require_vae(SimpleNamespace(latent_channels=16, latent_dim=3))


def test_a_text_encoder_of_another_model_is_refused(host):
    require_text = host.pack("nodes.host.wan_models").require_text
    require_text([[torch.zeros(1, 7, 4096), {}]], model(), "positive")
    with pytest.raises(ValueError, match="768 numbers instead of 4096"):
        require_text([[torch.zeros(1, 77, 768), {}]], model(), "negative")


def test_a_packed_weight_does_not_say_how_wide_texts_are(host):
    """Some quantisations keep two numbers in one, in a weight of another shape."""
    require_text = host.pack("nodes.host.wan_models").require_text
    packed = model()
    (embedding,) = packed.get_model_object("diffusion_model").text_embedding
    embedding.weight = torch.nn.Parameter(embedding.weight.reshape(-1, 1))
    require_text([[torch.zeros(1, 7, 4096), {}]], packed, "positive")


def test_a_model_that_says_nothing_of_its_texts_takes_them_all(host):
    require_text = host.pack("nodes.host.wan_models").require_text
    silent = SimpleNamespace(get_model_object=lambda name: SimpleNamespace())
    require_text([[torch.zeros(1, 77, 768), {}]], silent, "positive")


# --- other members of the family, of the host's own classes --------------------------------------

TINY = {  # what the host reads from a file's weights
    "image_model": "wan2.1", "model_type": "t2v", "dim": 128, "ffn_dim": 128, "num_heads": 1,
    "num_layers": 2, "in_dim": 16, "out_dim": 16, "patch_size": (1, 2, 2), "freq_dim": 256,
}  # fmt: skip
OF_KIND = {"vace": {"vace_layers": 1, "vace_in_dim": 96}, "wandancer": {"in_dim": 36}}
WORDS = {  # class of the host -> what an artist knows it as
    "WAN21_I2V": "Wan 2.1 I2V",
    "WAN21_FunControl2V": "Wan Fun Control",
    "WAN21_Camera": "Wan Fun Camera",
    "WAN22_Camera": "Wan Fun Camera",
    "WAN21_Vace": "Wan VACE",
    "WAN22_S2V": "Wan 2.2 S2V",
    "WAN21_HuMo": "HuMo",
    "WAN22_Animate": "Wan 2.2 Animate",
    "WAN22_T2V": "Wan 2.2 TI2V 5B",
    "WAN21_FlowRVS": "FlowRVS",
    "WAN21_SCAIL": "SCAIL",
    "WAN21_CausalAR_T2V": "an autoregressive Wan",  # from here on in newer hosts alone
    "WAN_Animate2": "Wan Animate 2",
    "WAN21_SCAIL2": "SCAIL",
    "WAN22_WanDancer": "WanDancer",
}
PLAIN = "WAN21_T2V"  # and, with 36 channels, Wan 2.2 I2V


def family() -> dict[str, type]:
    """The host's classes of Wan models, by name."""
    import comfy.supported_models

    kinds = [
        k for k in comfy.supported_models.models if k.unet_config.get("image_model") == "wan2.1"
    ]
    return {kind.__name__: kind for kind in kinds}


def of_family(name: str, **changes):
    """A model of that class as a loader hands it on, without numbers in its weights."""
    import comfy.model_patcher
    import comfy.ops

    known = family()[name].unet_config
    config = family()[name]({**TINY, **OF_KIND.get(known["model_type"], {}), **known, **changes})
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = comfy.ops.disable_weight_init
    inner = config.get_model({}, "", device="meta")
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(inner, load_device=cpu, offload_device=cpu)


def test_every_wan_of_the_host_has_a_name_here(host):
    found = set(family())
    assert {PLAIN, "WAN21_I2V"} <= found
    assert found - {PLAIN} <= set(WORDS)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_every_other_wan_is_refused_in_every_place(host, name):
    if name not in family():
        pytest.skip(f"this ComfyUI has no {name}")
    sizes = {"in_dim": 48, "out_dim": 48} if name == "WAN22_T2V" else {}
    models = [of_family(name, **sizes)]
    if name not in ("WAN22_T2V", "WAN21_FunControl2V", "WAN21_Camera", "WAN21_SCAIL"):
        models.append(of_family(name, in_dim=36))  # whatever the number of its channels
    check = host.pack("nodes.sampling.sampler").check_models
    i2v, t2v = of_family(PLAIN, in_dim=36), of_family(PLAIN)
    for model in models:
        places = {
            "model_high": (model, i2v, None, None),
            "model_low": (i2v, model, None, None),
            "t2v_high": (i2v, i2v, model, t2v),
            "t2v_low": (i2v, i2v, t2v, model),
        }
        for place, four in places.items():
            wanted = "I2V" if place.startswith("model") else "T2V"
            told = f"{place} must be a Wan 2.2 {wanted} A14B model, but it is {WORDS[name]}; load"
            with pytest.raises(ValueError, match=told):
                check(*four)
        with pytest.raises(ValueError, match=f"but it is {WORDS[name]}"):
            check(model, model, None, None)
        lora = host.pack("nodes.sampling.lora").LoadLoRA
        with pytest.raises(ValueError, match=f"model_low must be .* it is {WORDS[name]}"):
            lora.execute(i2v, "none", "none", 1.0, model_low=model)
        patch = host.pack("nodes.sampling.model_patch").M2VModelPatch
        for memory_frames in (0, 2):
            with pytest.raises(ValueError, match=f"model must be .* it is {WORDS[name]}"):
                patch.execute(model, memory_frames)


def test_wan_2_1_for_the_first_and_last_frame_is_refused(host):
    model = of_family("WAN21_I2V", flf_pos_embed_token_number=4)
    check = host.pack("nodes.sampling.sampler").check_models
    with pytest.raises(ValueError, match=r"it is Wan 2\.1 FLF2V"):
        check(model, None, None, None)


def test_plain_models_pass(host):
    check = host.pack("nodes.sampling.sampler").check_models
    i2v, t2v = of_family(PLAIN, in_dim=36), of_family(PLAIN)
    assert check(i2v, i2v, t2v, t2v) is None
    assert check(i2v, None, t2v, None) is None


@pytest.mark.parametrize(
    "changes", [{"num_layers": 3}, {"dim": 256, "num_heads": 2}], ids=["deeper", "wider"]
)
@pytest.mark.parametrize("place", ["model", "t2v"])
def test_two_experts_of_different_size_are_no_pair(host, place, changes):
    """As Wan 2.1 1.3B beside 14B."""
    check = host.pack("nodes.sampling.sampler").check_models
    channels = {"in_dim": 36} if place == "model" else {}
    pair = (of_family(PLAIN, **channels), of_family(PLAIN, **channels, **changes))
    i2v = of_family(PLAIN, in_dim=36)
    for high, low in (pair, pair[::-1]):
        with pytest.raises(ValueError, match=f"{place}_high and {place}_low must be the two exp"):
            check(*((high, low, None, None) if place == "model" else (i2v, i2v, high, low)))


def test_a_t2v_model_takes_no_storymem_lora_and_no_memory(host):
    i2v, t2v = of_family(PLAIN, in_dim=36), of_family(PLAIN)
    lora = host.pack("nodes.sampling.lora").LoadLoRA
    told = r"must be a Wan 2.2 I2V A14B model \(36 input channels\), but it is T2V with 16; load"
    with pytest.raises(ValueError, match=f"model_high {told}"):
        lora.execute(t2v, "none", "none", 1.0)
    with pytest.raises(ValueError, match=f"model_low {told}"):
        lora.execute(i2v, "none", "none", 1.0, model_low=t2v)
    patch = host.pack("nodes.sampling.model_patch").M2VModelPatch
    with pytest.raises(ValueError, match=f"model {told} wan2.2_i2v_"):
        patch.execute(t2v, 1)
    assert patch.execute(t2v, 0).result[0] is t2v  # a first shot from text alone has none


@pytest.mark.parametrize("memory_frames", [0, 1])
def test_what_is_no_wan_at_all_is_named(host, memory_frames):
    model = SimpleNamespace(
        model=type("Flux", (), {})(), model_options={}, get_model_object=lambda name: object()
    )
    patch = host.pack("nodes.sampling.model_patch").M2VModelPatch
    with pytest.raises(ValueError, match=r"but it is Flux; load wan2\.2_i2v_"):
        patch.execute(model, memory_frames)


VAES = {
    "ldm.wan.vae.WanVAE": None,
    "taesd.taehv.TAEHV": None,
    "ldm.models.autoencoder.AutoencoderKL": "HunyuanVideo",
    "ldm.cosmos.vae.CausalContinuousVideoTokenizer": "Cosmos",
    "ldm.cogvideo.vae.AutoencoderKLCogVideoX": "CogVideoX",
    "ldm.seedvr.vae.VideoAutoencoderKLWrapper": "SeedVR2",
}
ONLY_IN_NEWER_HOSTS = ("ldm.cogvideo.vae", "ldm.seedvr.vae")


def test_vaes_of_the_host_of_the_same_form_are_told_apart(host):
    """By what they are made of, since 16 channels in time and at an eighth are common."""
    require_vae = host.pack("nodes.host.wan_models").require_vae
    facts = {
        "latent_channels": 16,
        "latent_dim": 3,
        "downscale_ratio": (lambda frames: (frames + 3) // 4, 8, 8),
    }
    for place, owner in VAES.items():
        module, _, name = place.rpartition(".")
        try:
            kind = getattr(importlib.import_module(f"comfy.{module}"), name)
        except ModuleNotFoundError:
            assert module in ONLY_IN_NEWER_HOSTS
            continue
        vae = SimpleNamespace(**facts, first_stage_model=kind.__new__(kind))
        if owner is None:
            require_vae(vae)
            continue
        with pytest.raises(ValueError, match=f"this one is {owner}'s; load wan_2.1_vae"):
            require_vae(vae)


def test_conditioning_looks_at_the_vae_before_it_encodes(host):
    wrong = SimpleNamespace(latent_channels=48, latent_dim=3)
    told = "vae must be the Wan 2.1 VAE"
    conditioning = host.pack("nodes.sampling.conditioning").M2VConditioning
    with pytest.raises(ValueError, match=told):
        conditioning.execute([], [], wrong, 64, 64, 5, 0, "cut", "exact")
