"""A clip at the head of a film, before its shots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files.disk import explain_write_errors, replacing
from ..files.hashing import digest_of
from ..files.images import to_uint8
from ..files.video import DEFAULT_CRF, FRAME_RATE, read_info, write_video
from ..loop.opening_clip import OpeningClip
from ..loop.opening_memory import FOLDER
from ..loop.plan import Loop
from ..sampling.conditioning import resize_frames


@dataclass(frozen=True)
class FilmHead:
    """What stands at a film's head."""

    clip: OpeningClip
    store: Path  # the shot store's root: its files outlive the film

    def video(self, width: int, height: int, crf: int = DEFAULT_CRF) -> Path:
        """The clip in the size of the film's shots, pixels, encoded as shots are; written once,
        and again where its file was damaged.

        Of the same ``crf`` as the shots, it is joined to them without encoding them again.

        Of another size it is resized as start images are: to the whole frame, without a crop.

        Raises:
            StoreError: when the disk refuses.
        """
        name = digest_of([self.clip.digest, width, height, crf])
        path = self.store / FOLDER / f"{name}.mp4"
        if not self._is_whole(path):
            with explain_write_errors("the clip at the film's head", path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as unfinished:
                    frames = self._sized(width, height)
                    write_video(unfinished, frames, fps=FRAME_RATE, crf=crf)
        return path

    def _is_whole(self, path: Path) -> bool:
        try:
            return read_info(path).frames == len(self.clip.frames)
        except ValueError:
            return False

    def _sized(self, width: int, height: int) -> Iterator[np.ndarray]:
        for frame in self.clip.frames:
            if tuple(frame.shape[:2]) == (height, width):
                yield frame.numpy()
            else:
                sized = resize_frames(frame[None].float() / 255, width, height)
                yield to_uint8(sized[0], "opening_frames").numpy()


def head_of(loop: Loop) -> FilmHead | None:
    """What stands before the shots of a run's film; ``None`` for nothing."""
    clip = loop.opening
    return FilmHead(clip, loop.store.root) if clip is not None and clip.is_in_film else None
