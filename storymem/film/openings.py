"""Which clip stands at the head of a story's films, for whoever reads the folder later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.names import is_digest
from ..loop.opening_memory import FOLDER
from ..script.story import Story
from .manifest import read_manifest, update_manifest

TABLE = "openings"  # in story.json: by the film's file
SUFFIX = ".mp4"


@dataclass(frozen=True)
class Opening:
    """A clip at a film's head."""

    path: Path  # in the store of the shots
    sha256: str


def keep_opening(folder: Path, story: Story, film: str, clips: Sequence) -> None:
    """Write down what stands at the head of a film; nothing where no film ever had anything.

    Args:
        clips: one (:class:`storymem.film.joining.Clip`), or none.
    """
    known = _table(read_manifest(folder))
    wanted = {name: entry for name, entry in known.items() if name != film}
    for clip in clips:
        wanted[film] = {"name": clip.path.stem, "sha256": clip.sha256}
    if wanted != known:
        update_manifest(folder, story, **{TABLE: wanted})


def find_opening(folder: Path, manifest: Mapping, film: str, store: Path | None) -> Opening | None:
    """What stands at the head of a film; its file may be gone.

    Args:
        store: the root of the shots' store, where it is known.
    """
    entry = _table(manifest).get(film)
    if entry is None:
        return None
    return Opening((store or folder) / FOLDER / f"{entry['name']}{SUFFIX}", entry["sha256"])


def _table(manifest: Mapping) -> dict[str, dict]:
    """What ``story.json`` says, without what cannot be."""
    entries = manifest.get(TABLE)
    return {
        film: {"name": entry["name"], "sha256": entry["sha256"]}
        for film, entry in (entries.items() if isinstance(entries, Mapping) else ())
        if isinstance(entry, Mapping)
        and all(isinstance(entry.get(k), str) and is_digest(entry[k]) for k in ("name", "sha256"))
    }
