"""Load Start Images: key images from a folder, one for each shot."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...storymem.files.messages import shown
from ...storymem.sampling.start_images import as_batch, from_folder
from ..host.file_marks import mark_of
from ..host.folders import find_inside, shortens_host_paths
from ..types import Story


def find_pictures(folder: str) -> Path:
    """A folder inside the host's input folder.

    Raises:
        ValueError: for any other place.
    """
    base = Path(folder_paths.get_input_directory()).resolve()
    path = find_inside(base, folder.strip())
    if path is None or not path.is_dir():
        raise ValueError(
            f"folder must be a folder of pictures inside the input folder, but it is "
            f"{shown(folder)}; put the pictures there, named by their shots (shot_01_01.png)"
        )
    return path


class LoadStartImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoadStartImages",
            display_name="Load Start Images",
            category="StoryMem/story",
            search_aliases=["first frame", "start image", "storyboard pictures", "首帧", "分镜图"],
            description="Reads a picture for each shot of a story from a folder: "
            "shot_01_02.png for scene 1, shot 2. Shot Loop Open makes them the first frames of "
            "their shots.",
            inputs=[
                Story.Input("story", tooltip="From Load Story: which shots there are."),
                io.String.Input(
                    "folder",
                    default="start_images",
                    tooltip="Folder inside the input folder. Every shot needs a picture, and all "
                    "must have one size.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="A picture for each shot, in order, for Shot Loop Open's start_images.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder=None, **_):
        try:
            files = sorted(p for p in find_pictures(folder).iterdir() if p.is_file())
        except (AttributeError, ValueError):
            return ""
        return [mark_of(path.name, path) for path in files]

    @classmethod
    @shortens_host_paths
    def execute(cls, story, folder):
        return io.NodeOutput(as_batch(from_folder(find_pictures(folder), story), story))


NODES = [LoadStartImages]
