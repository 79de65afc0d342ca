"""What stands beside a script: pictures of the cast, and the graph itself."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ...storymem.files.images import read_picture
from ...storymem.files.messages import shown
from ...storymem.script.story import Story
from ..host.folders import find_inside

LARGEST_GRAPH_IN_A_SHOT = 256 * 1024  # bytes of JSON; a larger graph goes into the story video only


def read_references(story: Story) -> dict:
    """The script's reference images, ``uint8 [H, W, 3]`` by file name.

    Raises:
        ValueError: naming the shot whose image is missing.
    """
    found = {}
    folder = Path(folder_paths.get_input_directory()).resolve()
    for shot in story.shots:
        for name in shot.references:
            path = find_inside(folder, name)
            if path is None or not path.is_file():
                raise ValueError(
                    f"{shot} names the reference image {shown(name)}, which is not in the input "
                    "folder; put it there or correct the name"
                )
            if name not in found:
                found[name] = read_picture(path)
    return found


def graph_metadata(prompt, extra_pnginfo) -> dict[str, str]:
    """The graph as the host embeds it in its own files."""
    if args.disable_metadata:
        return {}
    found = {"prompt": prompt} if prompt else {}
    found.update(extra_pnginfo or {})
    return {key: json.dumps(value) for key, value in found.items()}
