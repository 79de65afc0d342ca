"""``python -m storymem takes``: lists the takes of a story's shots, removes those that nothing
uses."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

from ..files.messages import counted, listed, short
from ..film.finished_story import read_script
from ..film.manifest import find_script
from ..film.passes import pass_of
from ..film.restore import check_story_folder, find_store
from ..film.take_uses import find_unused, find_uses, remove_take, remove_unused
from ..loop.shot_store import ShotStore
from ..loop.take_names import find_key, take_name
from ..loop.takes import Take, read_takes, takes_of
from ..script.captions import words_of
from ..script.fields import TAKE
from ..script.story import Story
from .listing import tell
from .words import said_date, said_size

MOST_USERS = 3  # that are named of one take


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem takes`` to its parser."""
    parser.add_argument("folder", type=Path, help="folder of a story: the one with shot_01_01.mp4")
    parser.add_argument(
        "--shot",
        type=int,
        default=0,
        metavar="N",
        help="only the takes of shot N, counted through the whole story from 1",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--remove", metavar="TAKE", help="remove one take, given by its name as listed"
    )
    what.add_argument(
        "--clean",
        action="store_true",
        help="list the takes that no film, lock or script uses and the space that frees; with "
        "--yes, remove them",
    )
    parser.add_argument("--yes", action="store_true", help="with --clean: remove them")


def run(options: argparse.Namespace) -> int:
    """The command: 0 when it is done, 2 when nothing could be done."""
    return tell(options, _lines)


def _lines(options: argparse.Namespace) -> list[str]:
    check_story_folder(options.folder)
    store, story = find_store(options.folder), _story(options.folder)
    if options.remove is not None:
        return _remove(store, options.remove)
    if options.clean:
        return _clean(store, story, options.yes)
    takes = read_takes(store, story.name, pass_of(options.folder))
    return _list(store, story, takes, options.shot)


def _story(folder: Path) -> Story:
    script = find_script(folder)
    if script is None:
        raise ValueError(f"{folder} holds no script; queue the story once more, which writes it")
    return read_script(script, folder.name)


def _list(store: ShotStore, story: Story, takes: list[Take], number: int) -> list[str]:
    if not 0 <= number <= len(story.shots):
        raise ValueError(f"--shot must be from 1 to {len(story.shots)}, but it is {number}")
    uses, lines = find_uses(store), []
    found = takes_of(story, takes)
    for shot, takes in zip(story.shots, found, strict=True):
        if number and shot.index != number - 1:
            continue
        lines.append(f"shot {shot.index + 1} ({shot.label})  {short(shot.words, 60)}")
        for take in takes:
            seed = take.facts.get("seed")
            when = datetime.fromtimestamp(take.when, timezone.utc).isoformat()
            parts = [take_name(take.key), said_date(when), counted(take.frames, "frame")]
            parts.append(said_size(take.size))
            parts += [] if seed is None else [f"seed {seed}"]
            if take.prompt and take.prompt != shot.prompt:
                parts.append(f"made for '{short(words_of(take.prompt), 40)}'")
            if users := uses.of(take.key):
                parts.append(f"used by {listed(users, MOST_USERS)}")
            lines.append("  " + "  ".join(parts))
    return lines


def _remove(store: ShotStore, name: str) -> list[str]:
    key = find_key(store, name) if TAKE.fullmatch(name) else ""
    if not key:
        raise ValueError(f"there is no take {name!r}; list them without --remove")
    return [f"take {take_name(key)} removed, {said_size(remove_take(store, key))} freed"]


def _clean(store: ShotStore, story: Story, is_meant: bool) -> list[str]:
    unused = find_unused(store, story.name)
    if not unused.takes:
        return ["no take to remove: films, locks and scripts use them all"]
    lines = [f"{take_name(take.key)}  {take.facts.get('label', '')}" for take in unused.takes]
    what = counted(len(unused.takes), "take")
    if not is_meant:
        return [*lines, f"{what} would free {said_size(unused.size)}; pass --yes to remove them"]
    return [*lines, f"{what} removed, {said_size(remove_unused(store, unused))} freed"]
