"""A finished story on one picture: the shots of a story's folder, and its memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..files.disk import remove_unfinished, replacing
from ..files.video import read_info
from ..film.finished_story import watch
from ..film.manifest import read_manifest
from ..memory.bank_folder import load_bank
from .contact_sheet import story_sheet

SHEET = "contact_sheet.png"
SHOT = re.compile(r"shot_[0-9]{1,7}_[0-9]{1,7}\.mp4")
FRAMES = 5  # of each shot


def save_story_sheet(folder: str | Path, target: str | Path | None = None) -> Path:
    """Draw the contact sheet of a story's folder, as Shot Loop Close or a headless run leaves it.

    Args:
        target: where to write it; ``contact_sheet.png`` in the folder when not given.

    Raises:
        ValueError: for a folder without finished shots, or with one that cannot be read.
        OSError: when ``target`` cannot be written.
    """
    folder = Path(folder)
    shots = list(_shots(folder))
    if not shots:
        raise ValueError(f"{folder} holds no finished shots of a story; pass a story's own folder")
    bank = load_bank(folder / "bank", skip_damaged=True) if (folder / "bank").is_dir() else None
    target = Path(target) if target else folder / SHEET
    remove_unfinished(target.parent)
    with replacing(target) as unfinished:
        Image.fromarray(story_sheet(shots, bank).numpy()).save(unfinished, "PNG")
    return target


def _shots(folder: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Title and a few frames of every shot that the folder shows, in order."""
    entries = read_manifest(folder)["shots"]
    shots = (path for path in folder.glob("shot_*.mp4") if SHOT.fullmatch(path.name))
    for path in sorted(shots, key=_place):
        label = path.stem.removeprefix("shot_")
        entry = entries.get(label)
        prompt = entry.get("prompt") if isinstance(entry, Mapping) else None
        text = " ".join(prompt.split()) if isinstance(prompt, str) else ""
        yield f"{label}  {text if len(text) <= 200 else text[:197] + '...'}", _pick(path)


def _place(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", path.stem)]


def _pick(path: Path) -> list[np.ndarray]:
    """Evenly spaced frames, first and last included."""
    last = read_info(path).frames - 1
    wanted = {round(i * last / (FRAMES - 1)) for i in range(FRAMES)}
    return [frame for _, frame in watch(path, wanted.__contains__, last)]
