"""Finished passes of tiny shots, as runs leave them, whose frames say which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from storymem.files.hashing import checksum, digest_of
from storymem.files.video import write_video
from storymem.film.manifest import update_manifest, write_script_copy
from storymem.film.passes import PASS, split_pass

HEIGHT, WIDTH = 32, 48


def striped(width: int, base: int = 60) -> np.ndarray:
    """``uint8 [H, W, 3]``: stripes, the sharper the narrower."""
    columns = (np.arange(WIDTH) // width) % 2 * 100 + base
    return np.broadcast_to(columns.astype(np.uint8)[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def shot(stripes: int, frames: int = 5, base: int = 60) -> list[np.ndarray]:
    """A shot whose middle frame has stripes of that width; the others are grey."""
    grey = np.full((HEIGHT, WIDTH, 3), base, np.uint8)
    return [striped(stripes, base) if i == frames // 2 else grey for i in range(frames)]


def show_shots(folder: Path, story, shots: dict[int, list[np.ndarray]], **changes) -> Path:
    """A folder that shows these shots of ``story``, by their index, as after a run."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for index, frames in shots.items():
        one = story.shots[index]
        path = folder / f"shot_{one.label}.mp4"
        write_video(path, frames)
        entries[one.label] = {
            "key": digest_of([folder.name, index]),
            "own": digest_of([folder.name, "own", index]),
            "prompt": story.prompt_of(one),
            "shot_prompt": one.prompt,
            "file": path.name,
            "sha256": checksum(path),
        }
    if (pass_ := split_pass(folder.name)[1]) != "film":
        changes = {PASS: pass_, **changes}
    update_manifest(folder, story, shots=entries, **changes)
    write_script_copy(folder, story)
    return folder


def stripes_of(picture: torch.Tensor) -> int:
    """How wide the stripes of a frame are; 0 for a grey one."""
    row = picture[picture.shape[0] // 2].float().mean(dim=-1)
    changes = (row.diff().abs() > 50).nonzero()[:, 0].tolist()
    return changes[0] + 1 if changes else 0
