"""Story Board: every shot of a story with its prompt, to look at and to print."""

from __future__ import annotations

import os

import folder_paths
from comfy_api.latest import io, ui

from ..storymem.files.images import read_picture
from ..storymem.film.manifest import MANIFEST, SCRIPTS
from ..storymem.views.board import BOARD, PRINT, save_board
from .host.folders import find_story, shortens_host_paths


class StoryBoard(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemStoryBoard",
            display_name="Story Board",
            category="StoryMem/story",
            search_aliases=["storyboard", "contact sheet", "print", "PDF", "分镜表", "故事板"],
            description="Draws the board of a film or a draft: of every shot its first, middle and "
            "last frame, its prompt, who is in it and how long it is. Writes board.png and, to "
            "print, board.pdf into the story's folder.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="storymem/my_story",
                    tooltip="Connect the folder output of Shot Loop Close, or type a story's "
                    "folder inside the output folder. That of a draft ends with .draft.",
                ),
                io.Boolean.Input(
                    "pdf",
                    default=True,
                    tooltip="Write the pages to print as well, A4 across with nine shots each.",
                ),
            ],
            outputs=[io.Image.Output(display_name="board", tooltip="The board as one picture.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, folder, **_):
        # What is in the folder decides, which the host cannot see.
        try:
            found = find_story(folder)
        except ValueError:
            return "nothing there"
        return [_changed(found / name) for name in (MANIFEST, *SCRIPTS)]

    @classmethod
    @shortens_host_paths
    def execute(cls, folder, pdf):
        found = find_story(folder)
        picture = save_board(found, found / BOARD)
        if pdf:
            save_board(found, found / PRINT)
        board = read_picture(picture).float() / 255
        subfolder = os.path.relpath(found, os.path.realpath(folder_paths.get_output_directory()))
        saved = ui.SavedResult(picture.name, subfolder, io.FolderType.output)
        return io.NodeOutput(board[None], ui={"images": [saved]})


def _changed(path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


NODES = [StoryBoard]
