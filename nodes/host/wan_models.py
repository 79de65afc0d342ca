"""What a MODEL is, read from its weights: Wan or not, how many input channels, which family. And
whether a VAE and a conditioning are made for it."""

from __future__ import annotations

from ...storymem.sampling.wan_kinds import I2V_CHANNELS, T2V_CHANNELS, other_vae, other_wan


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


def require_wan(model, name: str, *channels: int) -> None:
    """Raise ValueError unless ``model`` is Wan 2.2 A14B with one of these numbers of channels.

    Wan 2.1 T2V passes as T2V: nothing but its numbers tells it apart, and it does the same work.

    Args:
        model: the host's.
        name: of the input, for the message.
        channels: ``I2V_CHANNELS``, ``T2V_CHANNELS``, or both for a model of either kind.
    """
    found = input_channels(model)
    wanted = " or ".join("I2V" if count == I2V_CHANNELS else "T2V" for count in channels)
    files = " or ".join(f"wan2.2_{kind.lower()}_*_noise_14B" for kind in wanted.split(" or "))
    host_class = type(model.model).__name__
    if found is None:
        raise ValueError(
            f"{name} must be a Wan 2.2 A14B model, but it is {host_class}; load {files} with Load "
            "Diffusion Model"
        )
    other = other_wan(model.get_model_object("diffusion_model"), found, host_class)
    if other is not None:
        raise ValueError(
            f"{name} must be a Wan 2.2 {wanted} A14B model, but it is {other}; load {files}"
        )
    if found in channels:
        return
    counts = " or ".join(map(str, channels))
    kind = {I2V_CHANNELS: "I2V", T2V_CHANNELS: "T2V"}.get(found, host_class)
    raise ValueError(
        f"{name} must be a Wan 2.2 {wanted} A14B model ({counts} input channels), but it is {kind} "
        f"with {found}; load {files}"
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
    """Raise ValueError unless ``vae`` is, or may be, the Wan 2.1 VAE.

    A VAE of somebody else's making that says nothing of its latents is taken as it is.
    """
    if fault := other_vae(vae):
        raise ValueError(
            f"vae must be the Wan 2.1 VAE, but this one {fault}; load wan_2.1_vae.safetensors"
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
