"""Names from users, kept inside the host's folders, and the host's folders in messages."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import folder_paths

from ...storymem.files.messages import shown
from ...storymem.files.names import MAX_FILE_BYTES


def find_inside(root: str | Path, name: str) -> Path | None:
    """``root/name`` without links and ``..``; ``None`` unless it is something below ``root``."""
    parts = re.split(r"[/\\]", name)
    if "\0" in name or any(len(p.encode("utf-8", "replace")) > MAX_FILE_BYTES for p in parts):
        return None
    try:
        base = Path(root).resolve()
        path = (base / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, no Unicode, links in a circle
        return None
    return path if path != base and path.is_relative_to(base) else None


def find_story(folder: str) -> Path:
    """A folder inside the host's output folder, given from there or whole.

    Raises:
        ValueError: for any other place.
    """
    base = Path(folder_paths.get_output_directory()).resolve()
    path = find_inside(base, folder.strip())
    if path is None or not path.is_dir():
        raise ValueError(
            "folder must be a story's folder inside the output folder, but it is "
            f"{shown(folder)}; connect the folder output of Shot Loop Close, or type a name such "
            "as storymem/my_story"
        )
    return path


def short_places(text: str) -> str:
    """``text`` with the host's folders by their names: ``output/storymem``, not the whole path."""
    for root, name in _host_folders():
        if root in text:  # and not only the beginning of a longer name
            text = re.sub(rf"{re.escape(root)}(?![\w.-])", lambda _, name=name: name, text)
    return text


@contextmanager
def host_places() -> Iterator[None]:
    """Errors in here call the host's folders by their names."""
    try:
        yield
    except ValueError as error:
        error.args = (short_places(str(error)),)
        raise


def shortens_host_paths(execute: Callable) -> Callable:
    """A node's ``execute`` whose errors call the host's folders by their names."""
    if inspect.iscoroutinefunction(execute):

        @wraps(execute)
        async def told(*args, **kwargs):
            with host_places():
                return await execute(*args, **kwargs)

    else:

        @wraps(execute)
        def told(*args, **kwargs):
            with host_places():
                return execute(*args, **kwargs)

    return told


def _host_folders() -> list[tuple[str, str]]:
    """Whole paths and names, the deepest first."""
    named = {
        folder_paths.get_output_directory(): "output",
        folder_paths.get_input_directory(): "input",
        folder_paths.get_temp_directory(): "temp",
        folder_paths.models_dir: "models",
        folder_paths.base_path: "ComfyUI",
    }
    for kind in folder_paths.folder_names_and_paths:
        if kind == "custom_nodes":
            continue
        for root in folder_paths.get_folder_paths(kind):
            named.setdefault(root, f"models/{kind}")
    found = {os.path.realpath(root): name for root, name in named.items()}
    found.update({os.path.abspath(root): name for root, name in named.items()})
    return sorted(found.items(), key=lambda item: len(item[0]), reverse=True)
