"""Which takes films use, and how the others are removed. A finished shot is an artist's hours: what
cannot be told for certain stays.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files.disk import explain_write_errors, unfinished_beside
from ..files.json_text import parse_json
from ..files.messages import listed
from ..files.names import is_digest
from ..loop.passes import pass_of_facts
from ..loop.shot_store import ShotStore, picture_path
from ..loop.takes import Take, every_key, held_pictures, read_takes
from .folder import SHOT_FILE, STORES
from .folder_lock import is_claimed
from .manifest import MANIFEST, SCRIPTS, read_manifest
from .passes import pass_of
from .promote import read_table
from .shot_files import written_files
from .versions import SCRIPT_SUFFIXES, VERSIONS_FOLDER

# What may be a take or a picture, in a script that names some.
NAMED_TAKE = re.compile(r"\b[0-9a-f]{12,64}\b")
ABOVE = 1 << 24  # bytes of a script that is looked through
logger = logging.getLogger(__name__)


class TakeInUse(ValueError):
    """A take that something still shows or names."""


@dataclass(frozen=True)
class Unused:
    """What can go: takes, pictures that only they hold, and what that frees."""

    takes: tuple[Take, ...]
    pictures: tuple[str, ...]  # digests
    size: int  # bytes


def folders_of(store: ShotStore) -> list[Path]:
    """The folders of all stories that were made in a store."""
    if store.root.name == STORES[1]:  # of a headless run, with one folder
        return [store.root.parent]
    output, found = store.root.parent, []
    for prefix in _folders(output):
        if prefix.name.casefold() not in STORES:
            found += [folder for folder in _folders(prefix) if _is_of_story(folder)]
    return sorted(found)


def _is_of_story(folder: Path) -> bool:
    """Whether a folder holds a story, also one whose story.json was lost."""
    if (folder / MANIFEST).is_file():
        return True
    return any(SHOT_FILE.fullmatch(path.name) for path in _files(folder))


def find_uses(store: ShotStore, scripts: Iterable[str] = ()) -> Uses:
    """What films, locks and scripts of a store's stories use.

    Args:
        scripts: further scripts, such as the one that the page shows.

    Raises:
        ValueError: when a folder's story.json cannot be read, so that nobody knows.
    """
    uses = Uses()
    for folder in folders_of(store):
        try:
            is_manifest = isinstance(parse_json((folder / MANIFEST).read_bytes()), dict)
        except (OSError, ValueError):
            is_manifest = False
        if not is_manifest:
            raise ValueError(
                f"{folder / MANIFEST} cannot be read, so nobody can tell which takes its films "
                "use; queue that story once more, which writes it anew, or move its folder out of "
                "the output folder"
            )
        uses.add_folder(folder)
    for text in scripts:
        uses.add_script(text, "the script")
    return uses


class Uses:
    """Who uses which take."""

    def __init__(self):
        self._by_key: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)  # how keys begin, in scripts
        self.pictures: set[str] = set()  # of edited and promoted shots
        self._pictures: set[str] = set()  # how digests begin that scripts promote
        # By story and pass: when its story.json last changed.
        self._written: dict[tuple[str, str], float] = {}

    def of(self, key: str) -> list[str]:
        """Who uses the take ``key``, for people; empty for nobody."""
        found = list(self._by_key.get(key, ()))
        for name, users in self._by_name.items():
            found += users if key.startswith(name) else []
        return list(dict.fromkeys(found))

    def written_for(self, take: Take) -> float:
        """When a folder of a take's story and pass last changed; 0 where there is none."""
        return self._written.get((take.facts.get("story"), pass_of_facts(take.facts)), 0.0)

    def of_picture(self, digest: str) -> bool:
        """Whether anything but takes uses a picture."""
        return digest in self.pictures or any(map(digest.startswith, self._pictures))

    def add_script(self, text: str, who: str) -> None:
        """Takes that a script of any format names, and pictures that it promotes."""
        takes, pictures = "use_take" in text, "promote" in text
        for name in NAMED_TAKE.findall(text[:ABOVE]) if takes or pictures else ():
            if takes:
                self._by_name[name].append(who)
            if pictures:
                self._pictures.add(name)

    def add_folder(self, folder: Path) -> None:
        """What the films, locks and edited files of a story's folder use."""
        manifest = read_manifest(folder)
        self._add_film(manifest, folder.name)
        for film in manifest["earlier"]:
            self._add_film(film, f"an earlier film in {folder.name}")
        for version in manifest["films"]:
            for key in version["shots"].values():
                self._by_key[key].append(version["file"] or f"a kept state of {folder.name}")
        for name, written in written_files(folder, manifest).items():
            self._by_key[written.key].append(name)
            self.pictures.update(written.tail)
        for entry in read_table(folder).values():
            self.pictures.update(entry["pictures"])
        for path in _scripts(folder):
            try:
                self.add_script(path.read_bytes()[:ABOVE].decode("utf-8", "replace"), path.name)
            except OSError:
                continue
        name, time = manifest.get("name") or folder.name, (folder / MANIFEST).stat().st_mtime
        of = name, pass_of(folder)
        self._written[of] = max(time, self._written.get(of, 0.0))

    def _add_film(self, film: Mapping, who: str) -> None:
        for entry in film["shots"].values():
            if is_digest(entry.get("key")):
                self._by_key[entry["key"]].append(who)
        for key in film["locks"].values():
            self._by_key[key].append(f"a lock of {who}")


def find_unused(store: ShotStore, story: str, scripts: Iterable[str] = ()) -> Unused:
    """The takes of a story that no film, lock or script uses, and what their removal frees.

    A take that is newer than the folder of its story and pass stays, for its run may have been
    killed before the folder showed it; and so do all without such a folder, which may have been
    moved.

    Raises:
        ValueError: when a folder's story.json cannot be read, so that nobody knows.
    """
    uses = find_uses(store, scripts)
    return _unused(store, uses, [
        take
        for take in read_takes(store, story)
        if not uses.of(take.key) and take.when < uses.written_for(take)
    ])  # fmt: skip


def remove_take(
    store: ShotStore, key: str, scripts: Iterable[str] = (), *, is_meant: bool = True
) -> int:
    """Remove one take; the bytes that became free, or that would unless it ``is_meant``.

    Raises:
        TakeInUse: when a film, lock or script uses it, saying which.
        ValueError: when there is no such take, or nobody can tell whether it is used.
        StoreError: when a run is on, or the disk refuses.
    """
    uses = find_uses(store, scripts)
    if users := uses.of(key):
        raise TakeInUse(
            f"this take stays, because it is used by {listed(users, 4)}; choose another take for "
            "the shot and make the film again, or forget those films first (python -m storymem "
            "films --clean --forget)"
        )
    found = [take for take in read_takes(store) if take.key == key]
    if not found:
        raise ValueError(f"there is no take {key[:16]} any more")
    if not uses.written_for(found[0]):
        raise TakeInUse(
            "this take stays, because its story's folder is not there: it may have been moved, "
            "with films that use it"
        )
    unused = _unused(store, uses, found)
    return remove_unused(store, unused) if is_meant else unused.size


def remove_unused(store: ShotStore, unused: Unused) -> int:
    """Remove what ``find_unused`` found; the bytes that became free.

    Raises:
        StoreError: when a run of a story of this store is on, or the disk refuses.
    """
    for folder in folders_of(store):
        if is_claimed(folder):
            raise ValueError(
                f"a run is making the story in {folder.name}, and may need what is to be removed; "
                "wait until it is done, or cancel it"
            )
    with explain_write_errors("the list of takes", store.root):
        for take in unused.takes:
            _remove_record(store, take.key)
        for digest in unused.pictures:
            picture_path(store.root, digest).unlink(missing_ok=True)
    logger.info("StoryMem: removed %s takes, %s bytes", len(unused.takes), unused.size)
    return unused.size


# --- inside --------------------------------------------------------------------------------------


def _unused(store: ShotStore, uses: Uses, takes: list[Take]) -> Unused:
    """What goes with ``takes``: pictures of theirs that no other record holds go, too."""
    going = {take.key for take in takes}
    theirs: set[str] = set()
    kept: set[str] = set()
    for key in every_key(store):  # one that cannot be read now may hold any of them
        (theirs if key in going else kept).update(held_pictures(store, key))
    sizes = {
        digest: _size(picture_path(store.root, digest))
        for digest in theirs - kept
        if not uses.of_picture(digest)
    }
    pictures = {digest: size for digest, size in sizes.items() if size}
    size = sum(take.size for take in takes) + sum(pictures.values())
    return Unused(tuple(takes), tuple(sorted(pictures)), size)


def _remove_record(store: ShotStore, key: str) -> None:
    """Remove a record so that it is there whole, or gone."""
    folder = store.folder_of(key)
    if not is_digest(key) or not folder.is_dir():
        return
    going = unfinished_beside(store.root / "writing" / key)
    going.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)  # the next run removes what stays


def _scripts(folder: Path) -> Iterator[Path]:
    """Scripts that are kept beside the films."""
    yield from (path for name in SCRIPTS if (path := folder / name).is_file())
    for path in _files(folder / VERSIONS_FOLDER):
        if path.suffix in SCRIPT_SUFFIXES:
            yield path


def _folders(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.is_dir()]
    except OSError:
        return []


def _files(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.is_file()]
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
