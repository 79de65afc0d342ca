"""What a MODEL is, read from its weights: Wan or not, how many input channels, which family. And
whether a VAE and a conditioning are made for it."""

from __future__ import annotations

I2V_CHANNELS = 36  # Wan I2V: 16 noisy latent + 4 mask + 16 conditioning latent
T2V_CHANNELS = 16  # Wan T2V: the noisy latent alone
VAE_CHANNELS, VAE_AXES = 16, 3  # of the Wan 2.1 VAE's latents: time, height, width


def input_channels(model) -> int | None:
    """Input channels by the patch embedding's weight, as the host itself reads them; None: not Wan.

    By shape and not by class or name: Wan 2.2 I2V loads as a "t2v" model, and quantised (GGUF)
    weights report their real shape here.
    """
    diffusion_model = model.get_model_object("diffusion_model")
    embedding = getattr(diffusion_model, "patch_embedding", None)
    weight = getattr(embedding, "weight", None)
    if weight is None or not hasattr(diffusion_model, "rope_encode") or len(weight.shape) != 5:
        return None
    return int(weight.shape[1])


def require_wan(model, name: str, channels: int | None = None) -> None:
    """Raise ValueError unless ``model`` is a Wan model (with that many input channels)."""
    found = input_channels(model)
    kind = type(model.model).__name__
    if found is None:
        raise ValueError(
            f"{name} must be a Wan 2.2 A14B model, but it is {kind}; use Load Diffusion Model"
        )
    if channels is None or found == channels:
        return
    wanted = "I2V" if channels == I2V_CHANNELS else "T2V"
    raise ValueError(
        f"{name} must be a Wan 2.2 {wanted} A14B model ({channels} input channels), but this one "
        f"({kind}) has {found}; load wan2.2_{wanted.lower()}_*_noise_14B"
    )


def require_pair(high, low, high_name: str, low_name: str) -> None:
    """Raise ValueError unless both experts are of one family: same class, width and depth."""
    if low is None:
        return
    families = [_family(model) for model in (high, low)]
    if families[0] != families[1]:
        raise ValueError(
            f"{high_name} and {low_name} must be the two experts of one model, but {high_name} is "
            f"{families[0]} and {low_name} is {families[1]}; load the high and low noise files of "
            "the same Wan 2.2 A14B"
        )


def require_vae(vae) -> None:
    """Raise ValueError unless ``vae`` gives latents of the Wan 2.1 VAE's form.

    A VAE of somebody else's making that says nothing of its latents is taken as it is.
    """
    channels = getattr(vae, "latent_channels", VAE_CHANNELS)
    axes = getattr(vae, "latent_dim", VAE_AXES)
    if (channels, axes) != (VAE_CHANNELS, VAE_AXES):
        what = "video" if axes == VAE_AXES else "pictures"
        raise ValueError(
            f"vae must be the Wan 2.1 VAE, but this one is for {what} with {channels} latent "
            f"channels instead of {VAE_CHANNELS}; load wan_2.1_vae.safetensors"
        )


def require_text(conditioning, model, name: str) -> None:
    """Raise ValueError unless ``conditioning`` is as wide as the model's text encoder gives it.

    Args:
        conditioning: the host's: a list of ``[tensor [B, T, width], settings]``.
        model: a Wan model.
        name: of the input, for the message.
    """
    inner = model.get_model_object("diffusion_model")
    embedding = getattr(inner, "text_embedding", None)
    # Not by the weight: quantised ones may be packed into another shape.
    wanted = getattr(embedding[0], "in_features", None) if embedding is not None else None
    if wanted is None:
        return
    for entry in conditioning:
        found = int(entry[0].shape[-1])
        if found != wanted:
            raise ValueError(
                f"{name} was encoded by a text encoder that does not belong to Wan (its vectors "
                f"have {found} numbers instead of {wanted}); load umt5_xxl with type wan in Load "
                "CLIP"
            )


def _family(model) -> str:
    inner = model.get_model_object("diffusion_model")
    return (
        f"{type(model.model).__name__} with {input_channels(model)} input channels, width "
        f"{getattr(inner, 'dim', '?')} and {len(inner.blocks)} blocks"
    )


def refuse_context_windows(model_options: dict, name: str) -> None:
    """Raise ValueError when context windows are on: they would slice memory and shot together."""
    if model_options.get("context_handler") is not None:
        raise ValueError(
            f"{name} has context windows, which split the memory from the shot and break both; "
            "remove the context windows node, and make long stories from more shots instead"
        )
