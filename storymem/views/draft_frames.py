"""Frames of a pass before the film, small, for the page on which an artist chooses among them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..files.messages import short
from ..film.passes import film_folder, passes_of
from ..film.shown_shots import ShownShot, shown_shots
from ..loop.shot_store import ShotStore
from ..memory.frame import MemoryFrame
from ..script.captions import words_of
from ..script.promoted import SOURCES
from ..script.story import Story

SMALL = 256  # pixels of the longer side
MOST_FRAMES = 12  # of a shot, evenly, its first and its last among them
DIGITS = 16  # of a digest, by which a script names the picture that was chosen
WORDS = 60  # characters of a prompt by which a shot is known


def view_draft(
    story: Story, folder: Path, store: ShotStore, source: str = "", number: int = 1
) -> dict:
    """The passes of a film that there are, the finished shots of one, and frames of one of these.

    Args:
        folder: of the film, whether it is there or not.
        source: the pass; empty or not there: the first.
        number: of its shot, from 1.

    Returns:
        ``damaged`` says why frames of the shot cannot be shown; others can be asked for.

    Raises:
        ValueError: when there is no pass.
    """
    passes = {name: path for name, path in passes_of(folder).items() if name in SOURCES}
    if not passes:
        raise ValueError(
            f"there is no draft of this story beside {film_folder(folder)}: choose draft as the "
            "pass of Shot Loop Open and queue it first"
        )
    source = source if source in passes else next(iter(passes))
    shots = {shot.number: shot for shot in shown_shots(passes[source], story, store)}
    answer: dict = {
        "passes": list(passes),
        "source": source,
        "shots": [
            {"number": n, "words": short(words_of(s.prompt), WORDS)} for n, s in shots.items()
        ],
        "shot": number,
        "frames": [],
        "damaged": "",
    }
    try:
        answer["frames"] = _view_frames(shots[number]) if number in shots else []
    except ValueError as error:
        answer["damaged"] = str(error)
    return answer


def choose_frame(
    story: Story, folder: Path, store: ShotStore, source: str, number: int, frame: int
) -> Mapping:
    """Copy a frame into the store, where no other draft changes it; what a script calls it.

    Raises:
        ValueError: when there is no such pass, shot or frame.
        StoreError: when the disk refuses.
    """
    place = passes_of(folder).get(source)
    if place is None or source not in SOURCES:
        raise ValueError(f"there is no {source or 'such pass'} of this story any more")
    shots = {shot.number: shot for shot in shown_shots(place, story, store)}
    if number not in shots:
        raise ValueError(f"shot {number} of {source} is not finished any more")
    picture = MemoryFrame(shots[number].read_frame(frame))
    store.keep_pictures([picture])
    return {"picture": picture.digest[:DIGITS]}


def _view_frames(shot: ShownShot) -> list[dict]:
    count = shot.count_frames()
    steps = max(1, min(MOST_FRAMES, count) - 1)
    numbers = sorted({round(i * (count - 1) / steps) for i in range(steps + 1)})
    return [
        {"frame": number, "src": _as_address(Image.fromarray(pixels))}
        for number, pixels in shot.read_frames(numbers)
    ]


def _as_address(picture: Image.Image) -> str:
    """A small JPEG as the address of a picture."""
    picture.thumbnail((SMALL, SMALL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
