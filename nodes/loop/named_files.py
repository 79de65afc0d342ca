"""The files that a node's inputs name."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_execution.graph_utils import is_link

from ...storymem.sampling.lora_release import released
from ..sampling.lora import find_path

MAX_FILE_NAME = 1024


def files_of(node: dict) -> list[str]:
    """Existing files that a node's inputs name, also nested: models, input pictures, paths."""
    found = []
    waiting = [value for value in node["inputs"].values() if not is_link(value)]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif (
            isinstance(value, str)
            and "." in value
            and len(value) < MAX_FILE_NAME
            and "\n" not in value
        ):
            found += _resolve(value)
    return found


def _resolve(name: str) -> list[str]:
    candidates = [name] if os.path.isabs(name) else []
    if not candidates:
        for folder in folder_paths.folder_names_and_paths:
            candidates += [
                os.path.join(root, name) for root in folder_paths.get_folder_paths(folder)
            ]
        candidates.append(
            os.path.join(folder_paths.get_input_directory(), name.removesuffix(" [input]"))
        )
    found = [path for path in dict.fromkeys(candidates) if Path(path).is_file()]
    meant = None if found or not released(name) else find_path(name)
    return [meant] if meant else found
