"""Start images: a picture for each shot that becomes its first frame (image to video).

With them, a story is made in two stages: key images first, by any image model, then every shot from
its own (the form of StoryDiffusion and IC-LoRA in the paper's comparison).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..files.images import PICTURE_SUFFIXES, find_pictures, read_picture, to_uint8
from ..memory.picture import Picture
from ..script.story import Story

# Of a shot's picture: its label such as 01_02, and what ComfyUI's Save Image puts after a prefix.
NAME = re.compile(r"(?:shot_)?(?P<label>[0-9]{1,7}_[0-9]{1,7})(?:_(?P<count>[0-9]{5,9})_)?", re.I)


def from_batch(
    images: torch.Tensor, story: Story, given: str = "start_images"
) -> dict[int, torch.Tensor]:
    """``[N, H, W, 3 or 4]`` in [0, 1], one for each shot in order, as ``uint8`` by shot index.

    Args:
        given: name of the input, for the message.

    Raises:
        ValueError: for another number of pictures, or pixels that are no numbers.
    """
    count = len(story.shots)
    if len(images) != count:
        raise ValueError(
            f"{given} holds {len(images)} pictures, but the story '{story.name}' has {count} "
            "shots; give one picture for each shot, in order, or connect nothing"
        )
    return dict(enumerate(to_uint8(images, given)))


def from_folder(folder: Path, story: Story) -> dict[int, torch.Tensor]:
    """The pictures ``shot_01_02.png`` (or ``01_02.png``) of every shot, ``uint8`` by shot index.

    Raises:
        ValueError: when there is no folder, shots have no picture, or one cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check the path")
    named = _pictures_by_label(folder)
    paths = {shot.index: named.get(shot.label) for shot in story.shots}
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


def pictures_of(images: Mapping[int, torch.Tensor]) -> dict[int, Picture]:
    """Pictures by shot index as values of a shot's plan, which know who they are."""
    return {index: Picture(image) for index, image in images.items()}


def _pictures_by_label(folder: Path) -> dict[str, Path]:
    """The picture of each label: one that is named by it alone before what ComfyUI saved, of
    which the last counts; ``shot_01_02`` before ``01_02``, and the endings in their order."""
    found: dict[str, tuple] = {}
    for name in find_pictures(folder):
        if match := NAME.fullmatch(Path(name).stem):
            path, count = folder / name, int(match["count"] or 0)
            is_known = path.suffix.lower() in PICTURE_SUFFIXES
            ending = PICTURE_SUFFIXES.index(path.suffix.lower()) if is_known else 99
            rank = (count == 0, count, name.lower().startswith("shot_"), -ending, name)
            found[match["label"]] = max(found.get(match["label"], ()), (rank, path))
    return {label: path for label, (_, path) in found.items()}
