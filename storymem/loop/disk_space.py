"""The disk that a run will take, estimated before it begins."""

from __future__ import annotations

from ..files.codecs import H264
from ..files.messages import count_shots
from .plan import Step
from .shot_store import TAIL_FRAMES, ShotStore

BYTES_PER_PIXEL = 0.08  # of one frame in a crf 17 mp4, generous
# Of one frame in a master, generous: ProRes 422 HQ has 3.6 bits, FFV1 at most the 30 of its values.
MASTER_BYTES_PER_PIXEL = {H264: 0, "h265": 0.08, "prores": 0.6, "ffv1": 2.5}
PICTURE_BYTES_PER_PIXEL = 2.2  # of a lossless 8-bit PNG, generous
PICTURES_PER_SHOT = TAIL_FRAMES + 6  # last frames, keyframes kept and dropped
SPARE_BYTES = 200 * 2**20  # left free for everything else on the disk


def estimate_bytes(
    steps: list[Step], width: int, height: int, length: int, codec: str = H264
) -> int:
    """Disk that the shots to be computed will take, the story video included; generous: those that
    depend on another one count as well.

    Args:
        codec: of their masters.
    """
    todo = [step for step in steps if step.record is None]
    if not todo:
        return 0
    frames = sum(step.plan.shot.length or length for step in todo)
    return bytes_of_shots(len(todo), frames, width, height, codec)


def bytes_of_shots(shots: int, frames: int, width: int, height: int, codec: str = H264) -> int:
    """Disk that shots will take which have so many frames together (see ``estimate_bytes``)."""
    video = frames * width * height * (BYTES_PER_PIXEL + MASTER_BYTES_PER_PIXEL[codec])
    pictures = shots * PICTURES_PER_SHOT * width * height * PICTURE_BYTES_PER_PIXEL
    return int(3 * video + pictures)  # the record, the visible copy, the story video


def check_disk(
    store: ShotStore, needed: int, free: int | None = None, *, undecided: int = 0
) -> str:
    """A part of a line about the disk for the artist; empty when nothing is needed.

    Args:
        undecided: how many of the shots counted may turn out to be finished.

    Raises:
        ValueError: when the story does not fit.
    """
    free = store.free_bytes() if free is None else free
    most = f" at most ({count_shots(undecided)} may turn out to be finished)" if undecided else ""
    megabytes = max(needed / 2**20, 1)
    line = f"about {megabytes:.0f} MB needed{most}, {free / 2**20:.0f} MB free"
    if needed and free < needed + SPARE_BYTES:
        raise ValueError(
            f"the disk of the output folder is too full for this story: {line} (and "
            f"{SPARE_BYTES / 2**20:.0f} MB stay in reserve); free some space, or work on a part "
            "with start_shot and end_shot"
        )
    return f"; disk: {line}" if needed else ""
