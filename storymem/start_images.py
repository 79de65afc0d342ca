"""Start images: a picture for each shot that becomes its first frame (image to video).

With them, a story is made in two stages: key images first, by any image model, then every shot from
its own (the form of StoryDiffusion and IC-LoRA in the paper's comparison).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from .bank_store import read_picture
from .story import Story

NAMES = ("shot_{}", "{}")  # of a shot's picture, with its label such as 01_02
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def from_batch(images: torch.Tensor, story: Story) -> dict[int, torch.Tensor]:
    """``[N, H, W, 3 or 4]`` in [0, 1], one for each shot in order, as ``uint8`` by shot index.

    Raises:
        ValueError: for another number of pictures, or pixels that are no numbers.
    """
    count = len(story.shots)
    if len(images) != count:
        raise ValueError(
            f"start_images holds {len(images)} pictures, but the story '{story.name}' has {count} "
            "shots; give one picture for each shot, in order, or connect nothing"
        )
    if not images.isfinite().all():
        raise ValueError("start_images holds pixels that are no numbers; load or make them again")
    pixels = (images[..., :3].float() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    return dict(enumerate(pixels))


def from_folder(folder: Path, story: Story) -> dict[int, torch.Tensor]:
    """The pictures ``shot_01_02.png`` (or ``01_02.png``) of every shot, ``uint8`` by shot index.

    Raises:
        ValueError: when there is no folder, shots have no picture, or one cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check the path")
    paths = {shot.index: _picture_of(folder, shot.label) for shot in story.shots}
    missing = [story.shots[i].label for i, path in paths.items() if path is None]
    if missing:
        raise ValueError(
            f"{folder} lacks a picture for {len(missing)} of the {len(paths)} shots of "
            f"'{story.name}': {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}; name "
            f"them shot_{missing[0]}.png and so on"
        )
    return {index: read_picture(path) for index, path in paths.items()}


def as_batch(images: Mapping[int, torch.Tensor], story: Story) -> torch.Tensor:
    """All pictures as one IMAGE ``[N, H, W, 3]`` in [0, 1], in the order of the shots.

    Raises:
        ValueError: when they differ in size.
    """
    first = images[0].shape
    for index, image in images.items():
        if image.shape != first:
            raise ValueError(
                f"the start image of shot {story.shots[index].label} is "
                f"{image.shape[1]}x{image.shape[0]}, but that of shot {story.shots[0].label} is "
                f"{first[1]}x{first[0]}; make all of one size"
            )
    return torch.stack([images[i] for i in range(len(images))]).float() / 255


def _picture_of(folder: Path, label: str) -> Path | None:
    paths = (folder / (name.format(label) + suffix) for name in NAMES for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)
