"""Which member of the Wan family a model or VAE is, by what only that one has.

Wan 2.2 I2V A14B has the shape of several others: 36 input channels and the same blocks. What makes
the others what they are is a part of their own, which stays whatever the weights' precision is.
"""

from __future__ import annotations

I2V_CHANNELS = 36  # 16 noisy latent + 4 mask + 16 conditioning latent
T2V_CHANNELS = 16  # the noisy latent alone
VAE_CHANNELS, VAE_AXES = 16, 3  # of the Wan 2.1 VAE's latents: time, height, width
VAE_PIXELS = 8  # along height and width, to one of the latent
VAE_FRAMES = 4  # to one latent frame, after the first
COLOURS = 3
_FILMED = 81  # frames of a film, to see what becomes of them

# A part of the network -> what the model is; the first that is there.
WAN_PARTS = {
    "vace_patch_embedding": "Wan VACE",
    "control_adapter": "Wan Fun Camera",
    "casual_audio_encoder": "Wan 2.2 S2V",
    "audio_proj": "HuMo",
    "face_adapter": "Wan 2.2 Animate",
    "patch_embedding_mask": "SCAIL",
    "patch_embedding_pose": "SCAIL",
    "patch_embedding_global": "WanDancer",
    "ref_conv": "Wan Fun Control",
}
_IMAGE_PART = "img_emb"  # takes an image encoder's features: of Wan 2.1 I2V, and of some of those
_CLASSES = {  # the host's names, for those without a part of their own
    "CausalWanModel": "an autoregressive Wan",
    "WAN21_CausalAR": "an autoregressive Wan",
    "WanAnimate2Model": "Wan Animate 2",
    "WAN_Animate2": "Wan Animate 2",
    "WAN21_FlowRVS": "FlowRVS",
}
BY_CHANNELS = {  # (in, out) of those that only these tell apart
    (48, 48): "Wan 2.2 TI2V 5B",
    (48, 16): "Wan Fun Control",
    (52, 16): "Wan Fun Control",
}
_VAES = {  # where the host keeps its classes -> whose VAE with 16 channels and time that is
    "comfy.ldm.models": "HunyuanVideo",
    "comfy.ldm.cogvideo": "CogVideoX",
    "comfy.ldm.cosmos": "Cosmos",
    "comfy.ldm.seedvr": "SeedVR2",
}
_WAN_VAES = ("comfy.ldm.wan", "comfy.taesd")  # the small ones do for either model


def other_wan(network: object, channels: int, host_class: str = "") -> str | None:
    """What a Wan network is when it is neither plain I2V nor plain T2V, as ``Wan 2.1 I2V``.

    Args:
        network: the host's, whatever its weights are kept in.
        channels: that it takes.
        host_class: name of the host's class around it.

    Returns:
        None for Wan 2.2 I2V and T2V, for Wan 2.1 T2V, which has their shape, and for everything
        that nothing speaks against.
    """
    for part, what in WAN_PARTS.items():
        if getattr(network, part, None) is not None:
            return what
    for name in (host_class, type(network).__name__):
        if name in _CLASSES:
            return _CLASSES[name]
    sizes = (channels, getattr(network, "out_dim", None))
    image_part = getattr(network, _IMAGE_PART, None)
    if sizes in BY_CHANNELS or image_part is None:
        return BY_CHANNELS.get(sizes)
    is_of_two = getattr(image_part, "emb_pos", None) is not None  # first and last frame
    return "Wan 2.1 FLF2V" if is_of_two else "Wan 2.1 I2V"


def other_vae(vae: object) -> str | None:
    """What a VAE is when it is not the Wan 2.1 VAE, as ``is HunyuanVideo's``.

    A VAE that says nothing of itself, or is of somebody else's making and has the same form, is
    taken as it is.

    Args:
        vae: the host's, or one that another pack made in its place.
    """
    channels = getattr(vae, "latent_channels", VAE_CHANNELS)
    axes = getattr(vae, "latent_dim", VAE_AXES)
    if axes != VAE_AXES:
        return f"is for pictures with {channels} latent channels, not for video"
    if channels != VAE_CHANNELS:
        return f"is for video with {channels} latent channels instead of {VAE_CHANNELS}"
    home = type(getattr(vae, "first_stage_model", None)).__module__
    if _is_in(home, ("comfy",)) and not _is_in(home, _WAN_VAES):
        owner = next((name for place, name in _VAES.items() if _is_in(home, (place,))), None)
        return f"is {owner}'s" if owner else f"is another model's ({home})"
    if getattr(vae, "output_channels", COLOURS) != COLOURS:
        return "is for layers with transparency (Qwen-Image Layered)"
    frames, pixels = _scales(vae)
    if frames not in (None, VAE_FRAMES):
        return f"makes one latent frame of {frames} frames instead of {VAE_FRAMES}"
    if pixels not in (None, VAE_PIXELS):
        return (
            f"makes one latent pixel of {pixels} x {pixels} instead of {VAE_PIXELS} x {VAE_PIXELS}"
        )
    return None


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def _scales(vae: object) -> tuple[int | None, int | None]:
    """Frames and pixels along a side to one of the latent; None where the VAE does not say."""
    match getattr(vae, "downscale_ratio", None):
        case (count, _, int(pixels)) if callable(count):
            latents = count(_FILMED)
            return (None if latents < 2 else (_FILMED - 1) // (latents - 1)), pixels
        case int(pixels):
            return None, pixels
    return None, None
