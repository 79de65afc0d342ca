"""Sounds of finished shots, each in the folder of its shot's record::

    shots/ab/ab12.../sound_<key>.wav     as it was given, floats, none lost
                     sound_<key>.json    its checksum; without one it counts as not there

A sound's key holds the key of its pictures, and theirs holds nothing of it: a new voice makes no
picture again, and earlier voices stay beside it. Of silence there is no ``.wav``.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..files.disk import explain_write_errors, sync_later, unfinished_file, when_free
from ..files.hashing import checksum
from ..files.json_text import parse_json
from ..sound.files import write_sound
from ..sound.shot_sound import ShotSound
from ..sound.sound import Sound
from .shot_record import MALFORMED, Record
from .shot_store import ShotStore

SOUND_FORMAT = 1
logger = logging.getLogger(__name__)


class SoundStore:
    """The sounds beside the records of a store."""

    def __init__(self, store: ShotStore):
        self.store = store

    def has(self, record: Record, key: str) -> bool:
        """Whether the sound of a key was made, silence included, and is whole."""
        return self._read(record, key) is not None

    def find(self, record: Record, key: str) -> ShotSound | None:
        """The sound of a key; ``None`` for silence, and for one that is not there."""
        known = self._read(record, key)
        if not known or not known["sha256"]:
            return None
        return ShotSound(_wav(record, key), known["sha256"], known["overlap"])

    def keep(self, record: Record, key: str, sound: Sound | None, overlap: int) -> None:
        """Put a sound beside its shot, whole or not at all.

        Args:
            sound: from the first frame that the shot was made with on; ``None`` is silence. What
                goes beyond the shot at one frame a second is left out.
            overlap: frames at its beginning that the film does not show.

        Raises:
            StoreError: when the disk refuses.
        """
        with explain_write_errors("the sound of a shot", self.store.root):
            digest = ""
            if sound is not None:
                most = (record.frames + overlap) * sound.rate
                kept = sound.cut(0, min(sound.length, most))
                digest = self._put(_wav(record, key), lambda path: write_sound(path, kept))
            known = {"format": SOUND_FORMAT, "key": key, "sha256": digest, "overlap": overlap}
            text = json.dumps(known).encode()
            self._put(_facts(record, key), lambda path: path.write_bytes(text))

    def _put(self, target: Path, write: Callable[[Path], object]) -> str:
        """Write a file where leftovers of killed processes are looked for; its checksum."""
        writing = self.store.root / "writing"
        writing.mkdir(parents=True, exist_ok=True)
        with unfinished_file(writing / target.name) as unfinished:
            write(unfinished)
            digest = checksum(unfinished)
            when_free(os.replace, unfinished, target)
        sync_later(target)
        return digest

    def _read(self, record: Record, key: str) -> dict | None:
        try:
            known = parse_json(_facts(record, key).read_bytes())
            if known["format"] != SOUND_FORMAT or known["key"] != key:
                return None
            digest, overlap = known["sha256"], known["overlap"]
            is_count = isinstance(overlap, int) and 0 <= overlap <= 1000
            if is_count and (not digest or checksum(_wav(record, key)) == digest):
                return known
        except FileNotFoundError:
            return None
        except MALFORMED as error:
            logger.warning("StoryMem: the sound of a shot cannot be read: %s", error)
            return None
        logger.warning(
            "StoryMem: the sound of a shot is damaged and counts as missing: %s", _wav(record, key)
        )
        return None


def _wav(record: Record, key: str) -> Path:
    return record.folder / f"sound_{key}.wav"


def _facts(record: Record, key: str) -> Path:
    return record.folder / f"sound_{key}.json"
