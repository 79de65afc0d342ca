"""Inputs of nodes that begin a story: a clip it begins from, pictures that shots end with."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io

from ...storymem.loop.opening_clip import OpeningClip
from ..host.tensors import require_images

CLIP, REMEMBERED, IN_FILM = "opening_frames", "remember_opening", "opening_in_film"
END_IMAGES = "end_images"


def opening_inputs(*, lazy: bool = False) -> list:
    """A clip that a story begins from, shared by Shot Loop Open and Begin Story."""
    return [
        io.Image.Input(
            CLIP,
            optional=True,
            **({"lazy": True} if lazy else {}),
            tooltip="A clip that the story begins from. When the script says [continue] for shot "
            "1, the clip's last frame or last five frames open it, as continuity says. Frames of "
            "another size are resized to the shot's.",
        ),
        io.Boolean.Input(
            REMEMBERED,
            optional=True,
            default=False,
            advanced=True,
            tooltip="Begin the memory with the clip's keyframes, chosen as the loop's Keyframe "
            "Select chooses those of a shot. They stand after the reference pictures of bank.",
        ),
        io.Boolean.Input(
            IN_FILM,
            optional=True,
            default=False,
            advanced=True,
            tooltip="Put the clip at the head of the film. Changing it regenerates no shot.",
        ),
    ]


def end_images_input():
    """Pictures that shots end with."""
    return io.Image.Input(
        END_IMAGES,
        optional=True,
        lazy=True,
        tooltip="One picture per shot, in order, to use as its last frame (first-last-frame, with "
        "memory). M2V Sampler and M2V Conditioning get it with shot. An end_image of the script "
        "wins.",
    )


def chosen_clip(inputs: Mapping) -> OpeningClip | None:
    """What the inputs of ``opening_inputs`` say.

    Raises:
        ValueError: for a clip that holds no pictures.
    """
    images = inputs.get(CLIP)
    if images is None:
        return None
    return OpeningClip.of_images(
        require_images(images, CLIP),
        is_remembered=bool(inputs.get(REMEMBERED, False)),
        is_in_film=bool(inputs.get(IN_FILM, False)),
    )
