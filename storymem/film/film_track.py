"""The track under a film as a file of its own for editing programs, without the sounds of the
shots."""

from __future__ import annotations

import os
from pathlib import Path

from ..files.disk import remove_link, replacing
from ..sound.files import read_sound, write_sound
from ..sound.sound import Sound
from .masters import FOLDER, is_plain_file, put_aside, track_name


def put_track(folder: Path, film: str, track: Sound) -> str:
    """Write a film's track beside its masters; what the artist should know of it.

    Args:
        folder: the story's.
        film: name of the story video.
        track: as long as the film, with its gain and its fades.

    Raises:
        OSError: when the disk refuses.
    """
    place, note = folder / FOLDER, ""
    path = place / track_name(film)
    if is_plain_file(path) and _is_of(path, track):
        return note
    remove_link(place)
    place.mkdir(exist_ok=True)
    if os.path.lexists(path):
        note = f"{FOLDER}/{path.name} was changed: it is kept as '{put_aside(path)}'"
    with replacing(path) as unfinished:
        write_sound(unfinished, track)
    return note


def find_track(folder: Path, film: str) -> str:
    """Where a film's own track lies, relative to its folder; empty where it has none."""
    path = folder / FOLDER / track_name(film)
    return f"{FOLDER}/{path.name}" if is_plain_file(path) else ""


def _is_of(path: Path, track: Sound) -> bool:
    try:
        return read_sound(path).digest == track.digest
    except ValueError:
        return False
