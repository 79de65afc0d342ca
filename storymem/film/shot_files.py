"""The visible shot files of a story's folder: what was written to each, and what artists made of
them.

``story.json`` keeps what was written to each file. An edit belongs to the take that it was made
over: when another take is to lie there, the edited file is put aside under a name that says so, and
it comes back with its take.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path

from ..files.disk import explain_write_errors, remove_when_free, when_free
from ..files.hashing import checksum
from ..files.names import is_digest
from ..files.video import FRAME_RATE
from ..loop.shot_store import ShotStore
from ..script.story import Story
from .edited_shots import Edit, Look, Written, examine, keep_tail, plays, written_from
from .folder_lock import changing
from .manifest import MANIFEST, read_manifest, write_manifest

NAME = re.compile(r"shot_([0-9]{1,7}_[0-9]{1,7})(?: edited [0-9]{1,4})?\.mp4")
MOST_ASIDE = 10_000  # files that were put aside for one shot
TABLE = "files"  # in story.json
logger = logging.getLogger(__name__)


class ShotFiles:
    """The shot files of one folder. Whoever changes something holds ``changing(folder)``."""

    def __init__(self, folder: Path, story: Story, notes: MutableMapping[str, str]):
        """``notes``: what the artist should know of a file, by its name."""
        self.folder, self.story, self.notes = folder, story, notes

    def written(self) -> dict[str, Written]:
        """What was written to each file of the folder, by name."""
        return written_files(self.folder, read_manifest(self.folder))

    def look(self, name: str) -> tuple[Look, Edit | None]:
        """What a visible file is, and the edit that it holds, if it is one."""
        return examine(self.folder / name, self.written().get(name))

    def is_current(
        self,
        name: str,
        key: str,
        fps: float,
        table: Mapping[str, Written] | None = None,
        sound: str = "",
    ) -> bool:
        """Whether a file shows the record ``key`` at ``fps``, or an artist's edit of it.

        Args:
            table: what ``written`` gave, where it is known already.
            sound: what it is to sound like (see ``Written``).
        """
        table = self.written() if table is None else table
        known = table.get(name)
        if known is None or known.key != key:
            return False
        look, edit = examine(self.folder / name, known)
        if look is Look.OURS:
            return known.fps == fps and known.sound == sound
        if edit and edit.sha256 != known.edited:
            self.keep({name: known.with_edit(edit.sha256)})
        if look is Look.BUSY:
            self.tell(
                name,
                f"{name} is being written by another program: the story video shows the shot as "
                "it was generated; queue again when the file is finished",
            )
        return look in (Look.EDITED, Look.BUSY)

    def make_way(self, name: str, why: str, instead: Path | None = None) -> None:
        """Put aside what must not be lost when a file is replaced or removed.

        Args:
            why: what becomes of its shot, as in "another take lies there now".
            instead: what will lie there.
        """
        look, edit = self.look(name)
        if look is Look.DAMAGED:
            kept = ""  # such as an edit put back by hand, older than the file that it replaced
            known, path = self.written().get(name), self.folder / name
            is_folder = path.is_dir() and not path.is_symlink()
            if is_folder or (known and plays(path, known)):
                kept = f"; what was there is kept as '{self._put_aside(name, 'other')}'"
            self.tell(
                name,
                f"{name} was damaged or changed since it was written; it is restored from the "
                f"finished shot{kept}",
            )
        elif look is Look.EDITED:
            known = self.written()[name]
            aside = self._put_aside(name, "edited", known.with_edit(edit.sha256))
            self.tell(aside, f"{name} was edited, but {why}: the edited file is kept as '{aside}'")
        elif look is Look.UNKNOWN and not self._is_same(name, instead):
            aside = self._put_aside(name, "other")
            self.tell(
                aside, f"{name} was not written by StoryMem: what was there is kept as '{aside}'"
            )
        elif look in (Look.CUT_OFF, Look.BUSY):
            aside = self._put_aside(name, "cut off")
            self.tell(
                aside,
                f"{name} was changed and is no mp4 file that plays to its end: what was there is "
                f"kept as '{aside}', and not used",
            )

    def bring_back(self, name: str, key: str) -> bool:
        """Put the edit of record ``key`` that lies elsewhere to ``name``, if there is one."""
        edit = self._elsewhere(self.written(), name, key)
        if edit is None:
            return False
        # In this order, a run that is killed in between finds the edit again, and no false one.
        remove_when_free(self.folder / name)
        self.keep({name: edit.written.with_edit(edit.sha256)})
        when_free(os.rename, edit.path, self.folder / name)
        self.keep({edit.path.name: None})
        self.notes.pop(edit.path.name, None)
        logger.info("StoryMem: the edit in %s is moved to %s", edit.path.name, name)
        return True

    def edits(self) -> dict[str, Edit]:
        """The artist's edits by the key of their record, also those that were put aside."""
        return _edits_in(self.folder, self.written())

    def clear(self, kept_labels: Iterable[str]) -> None:
        """Put aside the edits of shots that the script no longer has."""
        kept = set(kept_labels)
        for name in self.written():
            is_gone = not _is_aside(name) and NAME.fullmatch(name)[1] not in kept
            if is_gone and self.look(name)[0] in (Look.EDITED, Look.CUT_OFF, Look.BUSY):
                with suppress(PermissionError):  # it is being played: the next run puts it aside
                    self.make_way(name, "its shot is no longer in the script")

    def keep(self, changes: Mapping[str, Written | None]) -> None:
        """Change what ``story.json`` says of files; ``None`` takes one out."""
        with changing(self.folder):
            table: dict[str, Written | None] = {**self.written(), **changes}
            # The folder may show another film than this story's; whose it is stays.
            write_manifest(self.folder, {**read_manifest(self.folder), **as_changes(table)})

    def tell(self, name: str, text: str) -> None:
        """Note what the artist should know of the file ``name``, and log it when it is new."""
        if self.notes.get(name) != text:
            self.notes[name] = text
            logger.warning("StoryMem: %s (in %s)", text, self.folder)

    # --- inside ---

    def _elsewhere(self, table: Mapping[str, Written], name: str, key: str) -> Edit | None:
        """An edit of a record that lies aside, or where another shot is to lie."""
        others = {n: written for n, written in table.items() if n != name and written.key == key}
        return _edits_in(self.folder, others).get(key)

    def _put_aside(self, name: str, word: str, edit: Written | None = None) -> str:
        """Give a file a name of its own; ``edit`` is what is known of it, if it may come back."""
        stem = name.removesuffix(".mp4")
        for number in range(1, MOST_ASIDE):
            aside = f"{stem} {word} {number}.mp4"
            if not os.path.lexists(self.folder / aside):
                # First in the table: a run that is killed in between finds it again.
                self.keep({aside: edit} if edit else {})
                when_free(os.rename, self.folder / name, self.folder / aside)
                return aside
        raise OSError(f"too many files are named '{stem} {word}'")

    def _is_same(self, name: str, other: Path | None) -> bool:
        return other is not None and checksum(self.folder / name) == checksum(other)


def find_edits(
    folder: Path | None, story: Story, store: ShotStore, *, writes: bool = True
) -> dict[str, tuple[str, ...]]:
    """For each record that an artist edited the file of: digests of the edit's last frames, whose
    pictures are in the store from then on.

    What is known of the folder's files is written down, so that files of an earlier version count
    from now on as those of this one.

    Args:
        writes: whether that is done; a store that keeps no pictures goes with ``False``.

    Raises:
        StoreError: when the disk refuses.
    """
    if folder is None or not (folder / MANIFEST).is_file():
        return {}
    files = ShotFiles(folder, story, {})
    held = changing(folder) if writes else nullcontext()
    with explain_write_errors("what is known of the shots", folder), held:
        manifest = read_manifest(folder)
        table = written_files(folder, manifest, store)
        tails = {}
        for key, edit in _edits_in(folder, table).items():
            known = edit.written
            is_known = known.edited == edit.sha256 and known.tail and store.has_pictures(known.tail)
            tails[key] = known.tail if is_known else keep_tail(edit, store)
            table[edit.path.name] = known.with_edit(edit.sha256, tails[key])
        if writes and table and as_changes(table)[TABLE] != manifest.get(TABLE):
            files.keep(table)
        return tails


def written_files(
    folder: Path, manifest: Mapping, store: ShotStore | None = None
) -> dict[str, Written]:
    """What ``story.json`` says was written to each file; values that cannot be are left out.

    Earlier versions kept no times: a file that differs from what they wrote is an edit when it is
    newer than ``story.json``, which every run changed after its last shot.
    """
    table = {}
    known = manifest.get(TABLE)
    for name, entry in known.items() if isinstance(known, Mapping) else ():
        is_there = NAME.fullmatch(name) and (not _is_aside(name) or (folder / name).is_file())
        if is_there and (written := _checked(entry)):
            table[name] = written
    for label, entry in manifest["shots"].items():
        name = f"shot_{label}.mp4"
        if name in table or entry.get("file") != name or not is_digest(entry.get("key", "")):
            continue
        if found := _of_earlier_version(folder, name, entry, store):
            table[name] = replace(found, key=entry["key"])
    return table


def as_changes(table: Mapping[str, Written | None]) -> dict:
    """``table`` as ``update_manifest`` takes it."""
    kept = {name: asdict(table[name]) for name in sorted(table) if table[name]}
    for entry in kept.values():
        entry["tail"] = list(entry["tail"])
        if not entry["sound"]:  # as before there was any
            del entry["sound"]
    return {TABLE: kept}


def _edits_in(folder: Path, table: Mapping[str, Written]) -> dict[str, Edit]:
    found: dict[str, Edit] = {}
    for name in sorted(table, key=_is_aside, reverse=True):  # a visible one counts
        path, written = folder / name, table[name]
        # Most files are as they were written; no need to read them.
        if written.edited or (path.is_file() and path.stat().st_mtime_ns > written.time):
            _, edit = examine(path, written)
            if edit:
                found[edit.key] = edit
    return found


def _checked(entry) -> Written | None:
    kinds = {"key": str, "sha256": str, "time": int, "fps": (int, float), "edited": str}
    if not (isinstance(entry, Mapping) and all(isinstance(entry.get(k), kinds[k]) for k in kinds)):
        return None
    if not (is_digest(entry["key"]) and is_digest(entry["sha256"]) and 1 <= entry["fps"] <= 240):
        return None
    tail = entry.get("tail")
    tail = tuple(tail) if isinstance(tail, list) and all(map(is_digest, tail)) else ()
    sound = entry.get("sound", "")
    sound = sound if isinstance(sound, str) and is_digest(sound) else ""
    return Written(**{name: entry[name] for name in kinds}, tail=tail, sound=sound)


def _of_earlier_version(
    folder: Path, name: str, entry: Mapping, store: ShotStore | None
) -> Written | None:
    path = folder / name
    try:
        last_run = (folder / MANIFEST).stat().st_mtime_ns
        digest, fps = entry.get("sha256", ""), entry.get("fps", FRAME_RATE)
        if is_digest(digest) and 1 <= fps <= 240:
            is_ours = path.is_file() and checksum(path) == digest
            time = path.stat().st_mtime_ns if is_ours else last_run
            return Written("", digest, time, float(fps))
        record = store.find(entry["key"]) if store else None
        return written_from(path, record.video, last_run) if record else None
    except OSError:
        return None


def _is_aside(name: str) -> bool:
    return " " in name
