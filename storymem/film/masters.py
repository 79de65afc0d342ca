"""Masters: the shots and the film of a story in a codec for editing programs, in the folder
``masters`` beside those that every player shows.

A shot that was made while the codec was chosen has its master in its record, with all its bits and
with the frames that repeat the shot before. What was finished earlier, or edited by the artist, is
encoded from the shot's own file; no shot is ever generated for it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..files.codecs import CODECS, H264, Codec, find_codec
from ..files.disk import remove_link, remove_when_free, replacing
from ..files.hashing import checksum, digest_of
from ..files.master_video import Part, join_masters, write_master
from ..files.names import is_digest, is_label
from ..files.video import DEFAULT_CRF, FRAME_RATE, read_frames
from ..loop.shot_master import ShotMaster, find_shot_master
from ..loop.shot_record import Record
from ..script.story import Story
from .folder_lock import changing
from .manifest import read_manifest, update_manifest

FOLDER = "masters"  # in the story's folder
TABLE = "masters"  # in story.json
OPENING = "opening"  # what the clip at a film's head is called
SUFFIXES = tuple({codec.suffix for codec in CODECS.values()})
MOST_ASIDE = 1000  # changed files of one name
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MasterOf:
    """A shot as the film shows it, or the clip at the film's head."""

    name: str  # of its file, without its ending
    path: Path  # of its film, or of the artist's edit
    sha256: str  # of that
    record: Record | None = None  # of a shot


@dataclass(frozen=True)
class Mastered:
    """What was written to one file of the folder."""

    source: str  # digest of what it was made of
    sha256: str
    codec: str
    of: str = ""  # of a shot: SHA-256 of what the film shows
    head: int = 0  # frames before those that the film shows


@dataclass(frozen=True)
class Masters:
    """How the masters of a story's folder are written."""

    folder: Path
    story: Story
    codec: str
    fps: float = FRAME_RATE
    crf: int = DEFAULT_CRF
    metadata: Mapping[str, str] | None = None

    @property
    def place(self) -> Path:
        return self.folder / FOLDER

    def put(self, shots: Sequence[MasterOf], fades: Sequence[int], film: Path) -> list[str]:
        """Write what is missing or of something else; what the artist should know of it.

        Args:
            fades: frames that fade before each shot of the film.
            film: the story video, whose name its master has.

        Raises:
            OSError: when the disk refuses.
            ValueError: for a codec that PyAV lacks.
        """
        codec = find_codec(self.codec)
        notes: list[str] = []
        masters = [found for shot in shots if (found := self._put_shot(shot, codec, notes))]
        if codec.name != H264:
            parts = [Part(self.place / name, known.head) for name, known in masters]
            sources = [known.sha256 for _, known in masters]
            heads = [known.head for _, known in masters]
            source = digest_of([sources, heads, list(fades), float(self.fps), codec.name])
            name = f"{film.stem}{codec.suffix}"
            if not self._is_there(name, source):

                def write(target: Path) -> None:
                    options = {"fps": self.fps, "crf": self.crf, "fades": fades}
                    join_masters(parts, target, codec, metadata=self.metadata, **options)

                self._write(name, Mastered(source, "", codec.name), write, notes)
        self._clear([shot.label for shot in self.story.shots])
        return notes

    # --- inside ---

    def _put_shot(
        self, shot: MasterOf, codec: Codec, notes: list[str]
    ) -> tuple[str, Mastered] | None:
        """The file of a shot and what is in it; none where the shot's own file is all."""
        record = shot.record
        is_edited = record is not None and shot.path != record.video
        own = find_shot_master(record, codec.name) if record and not is_edited else None
        if own is None and codec.name == H264:
            return None
        name = f"{shot.name}{codec.suffix}"
        given = checksum(own.path) if own else shot.sha256
        source = digest_of([given, codec.name, float(self.fps), not own and self.crf])
        if known := self._is_there(name, source):
            return name, known
        if own is None and not is_edited:
            logger.info("StoryMem: %s is encoded in %s from its film", shot.name, codec.name)

        def write(target: Path) -> None:
            if own and self.fps == FRAME_RATE:
                shutil.copyfile(own.path, target)
            elif own:
                join_masters([Part(own.path)], target, codec, fps=self.fps, crf=self.crf)
            else:
                options = {"fps": self.fps, "crf": self.crf}
                write_master(target, read_frames(shot.path), codec, **options)

        head = own.head if own else 0
        return name, self._write(
            name, Mastered(source, "", codec.name, shot.sha256, head), write, notes
        )

    def _is_there(self, name: str, source: str) -> Mastered | None:
        known = read_masters(read_manifest(self.folder)).get(name)
        is_right = known and known.source == source and _is_ours(self.place, name, known)
        return known if is_right else None

    def _write(self, name: str, wanted: Mastered, write, notes: list[str]) -> Mastered:
        remove_link(self.place)
        self.place.mkdir(exist_ok=True)
        path = self.place / name
        with replacing(path) as unfinished:
            write(unfinished)
            wanted = Mastered(**{**wanted.__dict__, "sha256": checksum(unfinished)})
            with changing(self.folder):
                table = read_masters(read_manifest(self.folder))
                if os.path.lexists(path) and not _is_ours(self.place, name, table.get(name)):
                    aside = put_aside(path)
                    notes.append(f"{FOLDER}/{name} was changed: it is kept as '{aside}'")
                # First in the table: after a crash in between, what lies there counts as changed.
                self._keep({**table, name: wanted})
        return wanted

    def _clear(self, labels: Iterable[str]) -> None:
        """Take away masters of shots that the script no longer has, as they were written."""
        stems = [OPENING, *(f"shot_{label}" for label in labels)]
        kept = {f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES}
        with changing(self.folder):
            table = read_masters(read_manifest(self.folder))
            gone = {name for name, known in table.items() if known.of and name not in kept}
            for name in gone:
                if _is_ours(self.place, name, table[name]):
                    with suppress(PermissionError):
                        remove_when_free(self.place / name)
            if gone:
                self._keep({name: known for name, known in table.items() if name not in gone})

    def _keep(self, table: Mapping[str, Mastered]) -> None:
        entries = {name: dict(known.__dict__) for name, known in sorted(table.items())}
        update_manifest(self.folder, self.story, **{TABLE: entries})


def read_masters(manifest: Mapping) -> dict[str, Mastered]:
    """What ``story.json`` says was written to each master, by name; what cannot be is left out."""
    entries = manifest.get(TABLE)
    found = {}
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        if isinstance(entry, Mapping) and _is_name(name) and (known := _checked(entry)):
            found[name] = known
    return found


def find_master(folder: Path, manifest: Mapping, stem: str, sha256: str) -> ShotMaster | None:
    """The master of a shot that lies in a story's folder.

    Args:
        stem: its name without the ending.
        sha256: of what the film shows of it.
    """
    table = read_masters(manifest)
    for codec in reversed(CODECS.values()):
        name = f"{stem}{codec.suffix}"
        known, path = table.get(name), folder / FOLDER / name
        if known and known.codec == codec.name and known.of == sha256 and is_plain_file(path):
            return ShotMaster(path, known.head)
    return None


def masters_of_film(folder: Path, manifest: Mapping, film: str) -> list[Path]:
    """The masters of a film, as they were written, and its track.

    Args:
        film: name of the story video.
    """
    names = [f"{Path(film).stem}{suffix}" for suffix in SUFFIXES]
    table = read_masters(manifest)
    place = folder / FOLDER
    found = [place / n for n in names if n in table and _is_ours(place, n, table[n])]
    track = place / track_name(film)
    return [*found, track] if is_plain_file(track) else found


def track_name(film: str) -> str:
    """Name of the file with the track under a film.

    Args:
        film: name of the story video.
    """
    return f"{Path(film).stem} track.wav"


def is_plain_file(path: Path) -> bool:
    """Whether a file of the folder is there, and neither it nor the folder is a link."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _is_ours(place: Path, name: str, known: Mastered | None) -> bool:
    path = place / name
    return known is not None and is_plain_file(path) and checksum(path) == known.sha256


def _is_name(name: object) -> bool:
    is_plain = isinstance(name, str) and os.path.basename(name) == name and "\\" not in name
    if not is_plain or Path(name).suffix not in SUFFIXES or name.startswith("."):
        return False
    stem = Path(name).stem
    return not stem.startswith("shot_") or is_label(stem.removeprefix("shot_"))


def _checked(entry: Mapping) -> Mastered | None:
    kinds = {"source": is_digest, "sha256": is_digest, "codec": CODECS.__contains__}
    if not all(isinstance(entry.get(k), str) and fits(entry[k]) for k, fits in kinds.items()):
        return None
    of, head = entry.get("of", ""), entry.get("head", 0)
    is_count = isinstance(head, int) and not isinstance(head, bool) and 0 <= head <= 1000
    if not is_count or not (of == "" or (isinstance(of, str) and is_digest(of))):
        return None
    return Mastered(entry["source"], entry["sha256"], entry["codec"], of, head)


def put_aside(path: Path) -> str:
    """Give a file a name of its own, which is returned."""
    for number in range(1, MOST_ASIDE):
        aside = path.with_name(f"{path.stem} changed {number}{path.suffix}")
        if not os.path.lexists(aside):
            os.rename(path, aside)
            return aside.name
    raise OSError(f"too many files are named '{path.stem} changed'")
