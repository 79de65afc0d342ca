"""What stands beside a script: pictures of the cast, start images, and the graph itself."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
import torch
from comfy.cli_args import args

from ...storymem.files.images import read_picture
from ...storymem.files.messages import shown
from ...storymem.loop.plan import Loop
from ...storymem.script.story import Shot, Story
from ..host.folders import find_inside

LARGEST_GRAPH_IN_A_SHOT = 256 * 1024  # bytes of JSON; a larger graph goes into the story video only


def read_references(story: Story) -> dict:
    """The script's reference images, ``uint8 [H, W, 3]`` by file name.

    Raises:
        ValueError: naming the shot whose image is missing.
    """
    found = {}
    for shot in story.shots:
        for name in shot.references:
            path = _find(shot, "reference", name)
            if name not in found:
                found[name] = read_picture(path)
    return found


def read_start_images(story: Story) -> dict[int, torch.Tensor]:
    """The script's start images, ``uint8 [H, W, 3]`` by index of the shot.

    Raises:
        ValueError: naming the shot whose image is missing.
    """
    return _read_own(story, "start")


def read_end_images(story: Story) -> dict[int, torch.Tensor]:
    """The script's end images, as ``read_start_images`` gives the others.

    Raises:
        ValueError: naming the shot whose image is missing.
    """
    return _read_own(story, "end")


def _read_own(story: Story, kind: str) -> dict[int, torch.Tensor]:
    names = {shot: getattr(shot, f"{kind}_image") for shot in story.shots}
    paths = {shot.index: _find(shot, kind, name) for shot, name in names.items() if name}
    read = {path: read_picture(path) for path in set(paths.values())}
    return {index: read[path] for index, path in paths.items()}


def start_image_of(loop: Loop, index: int) -> torch.Tensor | None:
    """The picture that a shot begins with, as an IMAGE of one ``[1, H, W, 3]``."""
    pixels = loop.start_images.get(index)
    return None if pixels is None else pixels[None].float() / 255


def _find(shot: Shot, kind: str, name: str) -> Path:
    path = find_inside(Path(folder_paths.get_input_directory()).resolve(), name)
    if path is None or not path.is_file():
        raise ValueError(
            f"{shot} names the {kind} image {shown(name)}, which is not in the input folder; put "
            "it there or correct the name"
        )
    return path


def graph_metadata(prompt, extra_pnginfo) -> dict[str, str]:
    """The graph as the host embeds it in its own files."""
    if args.disable_metadata:
        return {}
    found = {"prompt": prompt} if prompt else {}
    found.update(extra_pnginfo or {})
    return {key: json.dumps(value) for key, value in found.items()}
