"""The model's own portrait of the cast: the identity frame of a shot, beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from ..files.disk import explain_write_errors, remove_when_free, replacing
from ..files.images import to_uint8
from ..script.story import Shot


def portrait_path(out: Path, shot: Shot) -> Path:
    """Where a shot's portrait is, such as ``shot_01_02_identity.png``."""
    return out / f"shot_{shot.label}_identity.png"


def remove_portrait(out: Path, shot: Shot) -> None:
    """Take away the portrait of a shot that was made again without an identity frame."""
    remove_when_free(portrait_path(out, shot))


def save_portrait(out: Path, shot: Shot, pixels: torch.Tensor) -> Path:
    """Write the decoded identity frame ``[H, W, 3]`` of a shot; its path.

    Raises:
        ValueError: when it cannot be written.
    """
    path = portrait_path(out, shot)
    picture = Image.fromarray(to_uint8(pixels, "the identity frame").numpy())
    with explain_write_errors("the identity frame", out), replacing(path) as unfinished:
        picture.save(unfinished, "PNG")
    return path
