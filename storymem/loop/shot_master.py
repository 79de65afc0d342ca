"""The master of a shot: its frames with all their bits, for editing programs, in its record.

It begins with the frames that repeat the shot before, which the film leaves out: an editor can pull
the cut out by as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..files.codecs import CODECS, H264, find_codec
from ..files.images import check_scale, on_white
from ..files.master_video import write_master
from ..files.video import FRAME_RATE
from .shot_record import Record

FACT = "master"  # in the facts of a record
STEM = "master"


@dataclass(frozen=True)
class ShotMaster:
    """A master in a record, and how many of its frames repeat the shot before."""

    path: Path
    head: int


def describe_master(codec: str, head: int) -> dict:
    """What a record says of its master; nothing when it has none.

    Args:
        codec: its name; empty for none. In H.264 the shot itself is all there is, unless it has
            frames that the shot leaves out.
        head: how many those are.
    """
    return {FACT: {"codec": codec, "head": head}} if codec and (codec != H264 or head) else {}


def write_shot_master(
    folder: Path, frames: torch.Tensor, head: torch.Tensor, facts: Mapping, *, crf: int
) -> None:
    """Write the master that ``facts`` tell of, if they do, into a shot's folder.

    Args:
        frames: float ``[T, H, W, 3]`` in [0, 1], what the film shows.
        head: the frames before those.

    Raises:
        OSError: when the disk refuses.
        ValueError: for frames that are no pictures, or a codec that PyAV lacks.
    """
    if FACT in facts:
        codec = find_codec(facts[FACT]["codec"])
        path = folder / f"{STEM}{codec.suffix}"
        pixels = _pixels_of((head, frames))
        write_master(path, pixels, codec, fps=FRAME_RATE, crf=crf, keyframe=len(head))


def find_shot_master(record: Record, codec: str) -> ShotMaster | None:
    """The master of a record in a codec, if it has one."""
    known = record.facts.get(FACT)
    if not isinstance(known, Mapping) or known.get("codec") != codec or codec not in CODECS:
        return None
    head, path = known.get("head"), record.folder / f"{STEM}{CODECS[codec].suffix}"
    is_count = isinstance(head, int) and not isinstance(head, bool) and 0 <= head <= 1000
    return ShotMaster(path, head) if is_count and path.is_file() else None


def _pixels_of(parts: tuple[torch.Tensor, ...]) -> Iterator[np.ndarray]:
    for part in parts:
        for frame in part:
            pixels = on_white(frame.detach()).cpu()
            if pixels.dtype == torch.uint8:
                yield pixels.numpy()
                continue
            values = pixels.float().numpy()
            check_scale(values, "a frame of the shot")
            yield values.clip(0, 1)
