"""``python -m storymem films``: lists a story's films, puts one's state back, removes old ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..files.messages import counted, listed
from ..film.manifest import read_manifest
from ..film.restore import (
    ListedFilm,
    check_story_folder,
    film_files,
    films_to_remove,
    find_store,
    find_version,
    list_films,
    remove_films,
    restore,
)
from ..film.versions import read_history
from ..views.story_sheet import SHEET, save_story_sheet
from .listing import tell
from .words import said_date, said_size

KEEP = 3  # films that --clean leaves unless told otherwise


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem films`` to its parser."""
    parser.add_argument("folder", type=Path, help="folder of a story: the one with shot_01_01.mp4")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--restore",
        metavar="FILM",
        help="bring back the shots, the script and story.json of this film, given by its number or "
        "its name as listed; the current state is kept",
    )
    what.add_argument(
        "--clean",
        action="store_true",
        help="list the older films that can go and the space that frees; with --yes, remove them. "
        "Shots are never removed, so every film can still be restored, unless --forget is given",
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=KEEP,
        metavar="K",
        help="how many films --clean keeps of the whole story and of each part (default: "
        "%(default)s); the current one always stays",
    )
    parser.add_argument(
        "--forget",
        action="store_true",
        help="with --clean: films that go, and those that went before, can no longer be restored; "
        "takes that nothing else uses can be removed then",
    )
    parser.add_argument("--yes", action="store_true", help="with --clean: remove them")


def run(options: argparse.Namespace) -> int:
    """The command: 0 when it is done, 2 when nothing could be done."""
    return tell(options, _lines)


def _lines(options: argparse.Namespace) -> list[str]:
    check_story_folder(options.folder)
    if options.restore is not None:
        return _restore(options.folder, options.restore)
    if options.clean:
        return _clean(options.folder, options.keep, options.yes, options.forget)
    return _list(options.folder)


def _list(folder: Path) -> list[str]:
    films = list_films(folder, find_store(folder))
    if not films:
        return ["no film yet: films of earlier versions have no number and are not listed"]
    width = max(len(_name(film)) for film in films)
    return [f"{_name(film):{width}}  {_describe(folder, film)}" for film in films]


def _restore(folder: Path, wanted: str) -> list[str]:
    version = find_version(read_history(read_manifest(folder)), wanted)
    lines = restore(folder, find_store(folder), version)
    if (folder / SHEET).is_file():
        with suppress(ValueError):  # a sheet is no reason to call a restored story a failure
            save_story_sheet(folder)
    shots = len(version.shots)
    done = f"{version.file.removesuffix('.mp4')} is back: {counted(shots, 'shot')} and the script"
    return [done, *lines]


def _clean(folder: Path, keep: int, is_meant: bool, forgets: bool) -> list[str]:
    films = films_to_remove(list_films(folder, find_store(folder)), keep, forgets=forgets)
    if not films:
        return ["no film to remove"]
    sizes = [sum(p.stat().st_size for p in film_files(folder, f.version)) for f in films]
    lines = [f"{_name(f)}  {said_size(size)}" for f, size in zip(films, sizes, strict=True)]
    if not is_meant:
        total = f"{counted(len(films), 'film')} would free {said_size(sum(sizes))}"
        return [*lines, f"{total}; pass --yes to remove them"]
    freed = remove_films(folder, films, forgets=forgets)
    done = "removed and forgotten" if forgets else "removed"
    return [*lines, f"{counted(len(films), 'film')} {done}, {said_size(freed)} freed"]


# --- words ---------------------------------------------------------------------------------------


def _name(film: ListedFilm) -> str:
    return film.version.file.removesuffix(".mp4")


def _describe(folder: Path, film: ListedFilm) -> str:
    version = film.version
    size = sum(path.stat().st_size for path in film_files(folder, version))
    parts = [said_date(version.when), counted(len(version.shots), "shot"), f"{version.fps:g} fps"]
    parts.append(said_size(size) if film.state == "whole" else _STATES[film.state])
    if film.is_present:
        parts.append("current")
    if not version.shots:
        parts[1] = "shots no longer known: it cannot be restored"
    elif film.lost:
        parts.append(f"incomplete, finished shots are gone: {listed(_sorted(film.lost))}")
    return "  ".join(parts)


_STATES = {
    "changed": "changed since it was written",
    "removed": "removed",
    "no film": "a state without a film",
}


def _sorted(labels: Sequence[str]) -> list[str]:
    return sorted(labels, key=lambda label: [int(number) for number in label.split("_")])
