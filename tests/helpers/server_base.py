"""Base folders of servers of their own, over the models and nodes that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import tiny_models
from helpers.host_server import Server, host_path

OWN = ("input", "output", "temp", "user")


def link_base(base: Path, base_folder: Path) -> Path:
    """An empty base folder with the shared models and nodes."""
    for name in OWN:
        (base / name).mkdir(parents=True)
    for name in ("models", "custom_nodes"):
        (base / name).symlink_to(base_folder / name)
    return base


def shipped_base(base: Path, base_folder: Path) -> Path:
    """A base folder with the shared nodes, and all that the shipped workflows name, tiny."""
    for name in OWN:
        (base / name).mkdir(parents=True)
    (base / "custom_nodes").symlink_to(base_folder / "custom_nodes")
    return with_shipped_names(base)


def with_shipped_names(base: Path) -> Path:
    """Stand-ins for the large models under their own names, and the picture of ``Load Image``."""
    tiny_models.write_shipped_names(base / "models")
    picture = host_path() / "input" / "example.png"
    (base / "input" / "example.png").write_bytes(picture.read_bytes())
    return base


@contextmanager
def serving(base: Path, *arguments: str, **options) -> Iterator[Server]:
    """A server over a base folder while it is needed."""
    running = Server(base, *arguments, **options).start()
    try:
        yield running
    finally:
        running.stop()
