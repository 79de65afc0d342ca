"""Joined films find their number: the present one stays when nothing changed, else the next is
taken."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.disk import write_whole
from ..files.hashing import checksum, digest_of
from ..script.story import Story
from .manifest import read_manifest, update_manifest
from .subtitle_files import Cue, put_vtt, srt_text, vtt_text
from .versions import (
    FilmVersion,
    forget_scripts,
    is_unchanged,
    keep_script,
    next_file,
    present_version,
    read_history,
    take_name,
    with_version,
    write_history,
)

logger = logging.getLogger(__name__)


def describe_content(sources: Sequence[str], fps: float, fades: Sequence[int]) -> str:
    """Digest of what a film shows and for how long.

    Args:
        sources: SHA-256 of the files that it is joined from.
    """
    return digest_of([list(sources), float(fps), any(fades) and list(fades)])


@dataclass(frozen=True)
class FilmSeries:
    """The numbered films of one stem in a story's folder. Use it with the folder held (see
    :func:`storymem.film.folder_lock.changing`)."""

    folder: Path
    story: Story
    stem: str

    def find(self, version: FilmVersion) -> FilmVersion | None:
        """The present film, when joining ``version`` would give it again; its file may be gone."""
        known = present_version(self._history(), self.stem)
        return known if known is not None and known.shows_the_same(version) else None

    def is_there(self, known: FilmVersion | None) -> bool:
        """Whether the file of ``known`` lies in the folder as it was written."""
        return known is not None and is_unchanged(self.folder, known)

    def of_same_pictures(self, version: FilmVersion) -> list[FilmVersion]:
        """Films with the pictures of ``version``, newest first; their files may be gone."""
        return [known for known in reversed(self._history()) if known.has_pictures_of(version)]

    def publish(self, film: Path, version: FilmVersion) -> FilmVersion:
        """Give a joined film its number; the one that was lost gets the number back that it had."""
        known = self.find(version)
        films = self._history()
        file = known.file if known else ""
        while True:
            if not file or os.path.lexists(self.folder / file):
                file = next_file(self.folder, self.stem, films)
            named = replace(version, file=file)
            # First in the history: a run that is killed in between takes the same number again.
            history = write_history(with_version(films, named))
            update_manifest(self.folder, self.story, films=history)
            if take_name(film, self.folder / file):
                return named

    def put_beside(
        self, known: FilmVersion, version: FilmVersion, subtitles: Sequence[Cue] | None
    ) -> FilmVersion:
        """Put subtitles and a copy of the script beside a film, and make it the present one.

        Args:
            version: whose shots it was joined from.
            subtitles: what their files hold, of which there are none when it is empty; ``None``
                leaves what lies there.
        """
        written = known.subtitles
        if subtitles is not None:
            film = self.folder / known.file
            text = srt_text(subtitles, version.fps) if subtitles else ""
            written = _put_subtitles(film, text, written)
            put_vtt(film, vtt_text(subtitles, version.fps) if subtitles else None)
        script = keep_script(self.folder, self.story.source)
        known = replace(known, shots=version.shots, script=script, subtitles=written)
        films = write_history(with_version(self._history(), known))
        update_manifest(self.folder, self.story, stopped="", video=known.file, films=films)
        forget_scripts(self.folder, self._history())
        return known

    def _history(self) -> list[FilmVersion]:
        return read_history(read_manifest(self.folder))


def _put_subtitles(film: Path, text: str, written: str) -> str:
    """Put subtitles beside a film, but not over an artist's own; the checksum of what we wrote.

    Args:
        text: empty for none.
        written: the checksum of those that lie there, if they are ours.
    """
    path, data = film.with_suffix(".srt"), text.encode()
    digest = hashlib.sha256(data).hexdigest()
    there = checksum(path) if path.is_file() else None
    if there not in (None, digest, written):
        logger.info("StoryMem: %s was changed since it was written, and is kept", path)
        return written
    if not text:
        path.unlink(missing_ok=True)
        return ""
    if there != digest:
        write_whole(path, data)
    return digest
