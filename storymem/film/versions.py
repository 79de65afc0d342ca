"""The films of one story, numbered as the host counts: ``The Lighthouse_00002_.mp4``.

``story.json`` keeps a history of them: what each was joined from, and the digest of the script,
whose copy lies in ``versions/``. The last entry of a stem is its present film: a run that would
join the same one again keeps it, any other run takes the next number.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from ..files.disk import remove_link, write_whole
from ..files.hashing import checksum
from ..files.json_text import is_finite
from ..files.names import is_digest, is_label, is_plain_name

VERSIONS_FOLDER = "versions"  # in the story's folder: copies of scripts
SCRIPT_SUFFIXES = (".json", ".txt")
MOST_FILMS = 1000  # in the history
MOST_STATES = 100  # of them that keep their shots and script
MOST_STATE_SHOTS = 20_000  # in all of those together: 1.6 MB of story.json
LONGEST_DATE = 40  # characters
_FILE = re.compile(r"(?P<stem>[^.].*)_(?P<number>[0-9]{5,9})_\.mp4", re.DOTALL)
_RULES = {  # what else an entry of the history holds, and whether a value can stand there
    "when": lambda value: isinstance(value, str) and len(value) <= LONGEST_DATE,
    "content": is_digest,
    "shots": lambda value: (
        isinstance(value, dict) and all(is_label(k) and is_digest(v) for k, v in value.items())
    ),
    "script": lambda value: value == "" or is_digest(value),
    "fps": lambda value: _is_number(value) and 1 <= value <= 240,
    "crf": lambda value: _is_count(value) and value <= 100,
    "fade_frames": lambda value: _is_count(value),
    "is_copied": lambda value: isinstance(value, bool),
    "sha256": lambda value: value == "" or is_digest(value),
    "size": lambda value: _is_count(value),
    "subtitles": lambda value: value == "" or is_digest(value),
}
_OF_SOUND = {"pictures": is_digest, "sound": is_digest}  # left out by films without sound
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmVersion:
    """One film of a story, and the state of the story it was joined from."""

    file: str = ""  # name in the story's folder; empty: it has no number yet
    when: str = ""  # ISO 8601, UTC
    content: str = ""  # digest of the files it was joined from, and of how
    shots: Mapping[str, str] = field(default_factory=dict)  # label -> key; empty: no longer known
    script: str = ""  # SHA-256 of its text, UTF-8
    fps: float = 16.0
    crf: int = 17
    fade_frames: int = 0
    is_copied: bool = True  # packets were copied, so that crf changed nothing
    sha256: str = ""  # of the film; empty: a state without a film, kept before another came back
    size: int = 0  # bytes
    subtitles: str = ""  # SHA-256 of the .srt beside it, as it was written; empty: none
    pictures: str = ""  # of a film with sound: what ``content`` would be without
    sound: str = ""  # digest of what it sounds like; empty: it has no sound

    @property
    def stem(self) -> str:
        """What its file's name has before the number; empty while it has no file."""
        match = _FILE.fullmatch(self.file)
        return match["stem"] if match else ""

    @property
    def number(self) -> int:
        """The number in its file's name; 0 while it has no file."""
        match = _FILE.fullmatch(self.file)
        return int(match["number"]) if match else 0

    def shows_the_same(self, other: FilmVersion) -> bool:
        """Whether joining ``other`` would give this film again."""
        is_same_quality = self.is_copied or self.crf == other.crf
        return bool(self.sha256) and self.content == other.content and is_same_quality

    def has_pictures_of(self, other: FilmVersion) -> bool:
        """Whether ``other`` would have this film's pictures, whatever either sounds like."""
        is_same_quality = self.is_copied or self.crf == other.crf
        own, wanted = (version.pictures or version.content for version in (self, other))
        return bool(self.sha256) and own == wanted and is_same_quality


# --- the history ---------------------------------------------------------------------------------


def check_history(value: object) -> list[dict]:
    """The entries of a history that a file holds, without those that cannot stand there; of two of
    a name the last."""
    found: dict[str, FilmVersion] = {}
    for entry in value if isinstance(value, list) else ():
        version = _read_version(entry)
        if version:
            found.pop(version.file, None)
            found[version.file] = version
    return [_entry(version) for version in found.values()]


def read_history(manifest: Mapping) -> list[FilmVersion]:
    """The films of a manifest (see :func:`storymem.film.manifest.read_manifest`)."""
    return [FilmVersion(**entry) for entry in manifest["films"]]


def write_history(versions: Sequence[FilmVersion]) -> list[dict]:
    """The history for the manifest; the oldest films lose shots and script first, which bounds
    it."""
    versions, states, shots = list(versions)[-MOST_FILMS:], 0, 0
    for i in reversed(range(len(versions))):
        if not versions[i].shots:
            continue
        states, shots = states + 1, shots + len(versions[i].shots)
        if states > 1 and (states > MOST_STATES or shots > MOST_STATE_SHOTS):
            logger.info("StoryMem: %s can no longer be restored: too many newer films have been "
                "made since",
                        versions[i].file)  # fmt: skip
            versions[i] = replace(versions[i], shots={}, script="")
    return [_entry(version) for version in versions]


def present_version(versions: Iterable[FilmVersion], stem: str) -> FilmVersion | None:
    """The version of ``stem`` that the folder shows now."""
    return next((v for v in reversed(list(versions)) if is_of_stem(v, stem)), None)


def is_of_stem(version: FilmVersion, stem: str) -> bool:
    """Whether a film's name begins with ``stem``, on a file system of any kind."""
    return _is_same(version.stem, stem)


def with_version(versions: Iterable[FilmVersion], version: FilmVersion) -> list[FilmVersion]:
    """The history after ``version`` became the present one; its earlier entry is replaced."""
    return [*(v for v in versions if v.file != version.file), version]


def next_file(folder: Path, stem: str, versions: Iterable[FilmVersion]) -> str:
    """The name of the next film: one above the highest number in the folder and in the history.

    Whatever file is called ``<stem>_<number>`` counts, as the host counts.
    """
    taken = [version.number for version in versions if is_of_stem(version, stem)]
    numbered = re.compile(re.escape(_folded(stem)) + r"_([0-9]{1,9})(_|\.|$)")
    found = (numbered.match(_folded(name)) for name in os.listdir(folder))
    taken += [int(match[1]) for match in found if match]
    return f"{stem}_{max(taken, default=0) + 1:05d}_.mp4"


def now() -> str:
    """The present time as histories keep it: UTC, ISO 8601, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def is_numbered(name: str) -> bool:
    """Whether a film's file has a number, so that no other film takes its name."""
    return bool(_FILE.fullmatch(name))


# --- files ---------------------------------------------------------------------------------------


def is_unchanged(folder: Path, version: FilmVersion) -> bool:
    """Whether the film lies there as it was written."""
    path = folder / version.file
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == version.size:
            return checksum(path) == version.sha256
    return False


def take_name(film: Path, target: Path) -> bool:
    """Give a finished file its name in one step; ``False`` when something has that name by now."""
    try:
        os.link(film, target)  # unlike a rename, it never replaces another process's film
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            return False
        os.rename(film, target)
    return True


def keep_script(folder: Path, text: str) -> str:
    """Keep a copy of a script beside the films; its digest."""
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()
    place = folder / VERSIONS_FOLDER
    remove_link(place)
    place.mkdir(exist_ok=True)
    suffix = SCRIPT_SUFFIXES[not text.lstrip("\ufeff \t\r\n").startswith("{")]
    path = place / f"{digest}{suffix}"
    if kept_script(folder, digest) is None:
        write_whole(path, data)
    return digest


def kept_script(folder: Path, digest: str) -> str | None:
    """The script of a digest; ``None`` when its copy is gone or was changed."""
    for suffix in SCRIPT_SUFFIXES if is_digest(digest) else ():
        with suppress(OSError):
            data = (folder / VERSIONS_FOLDER / f"{digest}{suffix}").read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                return data.decode("utf-8", "surrogatepass")
    return None


def forget_scripts(folder: Path, versions: Iterable[FilmVersion]) -> None:
    """Remove copies of scripts that no version has any more."""
    kept = {version.script for version in versions}
    with suppress(OSError):
        for path in list((folder / VERSIONS_FOLDER).iterdir()):
            if path.suffix in SCRIPT_SUFFIXES and is_digest(path.stem) and path.stem not in kept:
                path.unlink()


# --- inside --------------------------------------------------------------------------------------


def _read_version(entry: object) -> FilmVersion | None:
    if not isinstance(entry, dict) or not all(name in entry for name in ("file", *_RULES)):
        return None
    file = entry["file"]
    if not is_plain_name(file) or not _FILE.fullmatch(file):
        return None
    if not all(fits(entry[name]) for name, fits in _RULES.items()):
        return None
    of_sound = {k: entry[k] for k, fits in _OF_SOUND.items() if k in entry and fits(entry[k])}
    return FilmVersion(file, **{name: entry[name] for name in _RULES}, **of_sound)


def _entry(version: FilmVersion) -> dict:
    """A version as the history holds it; one without sound as before there was any."""
    entry = asdict(version)
    return {k: v for k, v in entry.items() if v or k not in _OF_SOUND}


def _is_same(name: str, other: str) -> bool:
    """Whether two names are one file on some file system."""
    return _folded(name) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_number(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and is_finite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
