"""Finished shots on disk: content-addressed records that a crash, a full disk or a second process
cannot spoil.

Layout below ``root``::

    shots/ab/ab12.../record.json      what was made, from what, and the checksums of its files
                     shot.mp4         the shot without the frames that repeat the one before it
                     tail_0.png ...   its last frames, 8-bit and lossless: what the next shot
                     continues from
    pictures/cd/cd34....png           pictures of memory banks, stored once by content
    bodies/ef/ef56....json            what made the shots, to compare later runs with
    writing/                          records being written; one rename makes a record appear whole

A record is read only when every checksum holds; anything else counts as not finished.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..files.disk import (
    explain_write_errors,
    remove_unfinished,
    replacing,
    sync_later,
    unfinished_beside,
    unfinished_folder,
    write_whole,
)
from ..files.hashing import digest_of
from ..files.images import PictureError, open_picture, to_uint8
from ..files.messages import shown
from ..files.names import is_digest
from ..files.video import DEFAULT_CRF, FRAME_RATE, read_info, write_video
from ..memory.bank import MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.picture import Picture
from .shot_master import write_shot_master
from .shot_record import (
    MALFORMED,
    RECORD_FILE,
    VIDEO_FILE,
    DamagedError,
    Record,
    read_bank,
    read_facts,
    read_record,
    write_record,
)

FRAME_FIELDS = tuple(f.name for f in fields(MemoryFrame) if f.name != "picture")
LONGEST_BODY = 1 << 20  # characters; of a longer one only its hash is kept
TAIL_FRAMES = 5  # MM2V continues from five frames (paper 3.3)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShotResult:
    """What the next shot needs of a finished one: the bank, and its last frames ``uint8 [n, H, W,
    3]``."""

    bank: MemoryBank
    tail: torch.Tensor


class ShotStore:
    """The records below one folder."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._pictures_there: set[str] = set()  # digests that need no second look in this run

    def folder_of(self, key: str) -> Path:
        """Where the record of ``key`` lies once the shot is finished."""
        return self.root / "shots" / key[:2] / key

    def find(self, key: str) -> Record | None:
        """The record of ``key`` when it is there and whole, else ``None`` (damage is logged)."""
        if not is_digest(key):  # keys come from files, too
            return None
        folder = self.folder_of(key)
        try:
            return read_record(folder, key)
        except FileNotFoundError:
            if folder.exists():
                logger.warning(
                    "StoryMem: a finished shot lost its files and counts as missing: %s", folder
                )
        except MALFORMED as error:
            logger.warning(
                "StoryMem: a finished shot is damaged and counts as missing: %s (%s)", folder, error
            )
        return None

    def records_of(self, story: str) -> Iterator[Record]:
        """Every whole record of stories of this name."""
        for path in sorted(self.root.glob("shots/*/*/record.json")):
            try:
                is_ours = read_facts(path).get("story") == story
            except MALFORMED:
                continue
            if is_ours and (record := self.find(path.parent.name)):
                yield record

    def load(self, record: Record, known: Mapping[str, Picture] | None = None) -> ShotResult:
        """The bank and the last frames of a record; pictures of ``known`` digests are not read.

        Raises:
            DamagedError: when a picture is missing or altered.
        """
        bank = read_bank(record, lambda entry: self._read_frame(entry, known))
        return ShotResult(self._in_view_only(bank), self.load_tail(record))

    def outline(self, record: Record) -> MemoryBank:
        """The bank of a record without a look at its pictures, which are read when asked for:
        enough to say what a shot would see.

        Raises:
            DamagedError: for a record that says no such thing.
        """
        return read_bank(record, self._outline_frame)

    def tail_digests(self, record: Record, count: int) -> list[str]:
        """Who the last ``count`` frames of a record are.

        Raises:
            DamagedError: when that has to be looked up, and a picture is missing or altered.
        """
        if count <= 0:
            return []
        tail = record.tail or [Picture(frame).digest for frame in self.load_tail(record)]
        return list(tail[-count:])

    def load_tail(self, record: Record) -> torch.Tensor:
        """The last frames of a record, ``uint8 [n, H, W, 3]``.

        Raises:
            DamagedError: when a picture is missing or altered.
        """
        names = (record.folder / f"tail_{i}.png" for i in range(TAIL_FRAMES))
        tails = [_read_png(path) for path in names if path.is_file()]
        if not tails or any(tail.shape != tails[0].shape for tail in tails):
            raise DamagedError(f"{record.folder} lost its last frames")
        return torch.stack(tails)

    def keep_pictures(self, frames: Iterable[MemoryFrame]) -> None:
        """Write the pictures of ``frames`` that the store does not hold whole.

        Raises:
            StoreError: when the disk refuses.
        """
        with explain_write_errors("pictures of the memory bank", self.root):
            for frame in frames:
                try:  # a file that is there may be cut off, and would stay so
                    self._read_picture(frame.digest)
                except DamagedError:
                    self._write_picture(frame)
                self._pictures_there.add(frame.digest)

    def keep_body(self, body: str) -> None:
        """Write down what makes the shots of a run, so that a later one can say what changed.

        Raises:
            StoreError: when the disk refuses.
        """
        path = self._body(digest_of(body))
        if len(body) > LONGEST_BODY or path.exists():
            return
        with explain_write_errors("what made the shot", self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, body.encode("utf-8", "surrogatepass"))

    def find_body(self, digest: str) -> str | None:
        """A body that ``keep_body`` wrote, when it is there as it was."""
        if not is_digest(digest):
            return None
        try:
            body = self._body(digest).read_bytes().decode("utf-8", "surrogatepass")
        except MALFORMED:
            return None
        return body if digest_of(body) == digest else None

    def find_facts(self, key: object) -> Mapping | None:
        """What the record of ``key`` says of its shot, without a look at its files."""
        if not is_digest(key):
            return None
        try:
            facts = read_facts(self.folder_of(key) / RECORD_FILE)
        except MALFORMED:
            return None
        return facts if isinstance(facts, Mapping) else None

    def read_picture(self, digest: str) -> torch.Tensor:
        """A picture that ``keep_pictures`` wrote, ``uint8 [H, W, 3]``.

        Raises:
            DamagedError: when it is missing or altered.
        """
        return self._read_picture(digest).image

    def has_pictures(self, digests: Iterable[str]) -> bool:
        """Whether all of these pictures are there whole."""
        try:
            for digest in digests:
                self._read_picture(digest)
        except DamagedError:
            return False
        return True

    def commit(
        self,
        key: str,
        frames: torch.Tensor,
        bank: MemoryBank,
        facts: Mapping,
        *,
        crf: int = DEFAULT_CRF,
        metadata: Mapping[str, str] | None = None,
        head: torch.Tensor | Sequence = (),
    ) -> tuple[Record, ShotResult]:
        """Write a finished shot, so that it appears whole or not at all.

        Args:
            frames: float ``[T, H, W, 3]`` in [0, 1] (values outside are clamped), repeated frames
            taken off.
            head: those frames, for the master that ``facts`` may tell of.

        Raises:
            StoreError: when the disk refuses (full, read-only, vanished).
            ValueError: for frames that are not a finite picture.
        """
        with explain_write_errors("the finished shot", self.root):
            self._remove_abandoned()
            with unfinished_folder(self._in_writing(key)) as folder:
                tail: list[np.ndarray] = []
                video = folder / VIDEO_FILE
                write_video(
                    video, _eight_bit(frames, tail), fps=FRAME_RATE, crf=crf, metadata=metadata
                )
                if (written := read_info(video).frames) != len(frames):
                    raise OSError(
                        f"only {written} of {len(frames)} frames arrived in the video file"
                    )
                write_shot_master(folder, frames, head, facts, crf=crf)
                for i, pixels in enumerate(tail):
                    Image.fromarray(pixels).save(folder / f"tail_{i}.png", compress_level=1)
                held = (*bank.frames, *bank.dropped)
                self.keep_pictures(f for f in held if not self._is_there(f.digest))
                digests = [Picture(torch.from_numpy(pixels)).digest for pixels in tail]
                write_record(folder, key, len(frames), facts, bank, digests)
                record = self._publish(folder, key)
        tail_frames = torch.from_numpy(np.stack(tail))
        return record, ShotResult(self._in_view_only(bank), tail_frames)

    def remove_unfinished(self) -> None:
        """Remove what killed processes left half written, records and pictures."""
        self._remove_abandoned()
        for part in ("pictures", "bodies"):
            for folder in (self.root / part).glob("*"):
                remove_unfinished(folder)

    def free_bytes(self) -> int:
        """Free bytes on the disk of ``root``, which need not exist yet."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    # --- inside ---

    def _publish(self, folder: Path, key: str) -> Record:
        target = self.folder_of(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                os.rename(folder, target)
                sync_later(target)
                break
            except OSError:
                if not target.exists():
                    raise
            if record := self.find(key):  # another process was first: same key, same shot
                return record
            making_way = unfinished_beside(self._in_writing(key))
            os.rename(target, making_way)
            shutil.rmtree(making_way, ignore_errors=True)
        if record := self.find(key):
            return record
        raise OSError(f"{target} does not hold what was just written to it")

    def _in_writing(self, key: str) -> Path:
        return self.root / "writing" / key

    def _remove_abandoned(self) -> None:
        """Drop records that killed processes left half written."""
        remove_unfinished(self.root / "writing", is_ours_alone=True)

    def _body(self, digest: str) -> Path:
        return self.root / "bodies" / digest[:2] / f"{digest}.json"

    def _is_there(self, digest: str) -> bool:
        """Whether this run has seen a picture whole, and nobody removed it since."""
        return digest in self._pictures_there and self._picture(digest).is_file()

    def _picture(self, digest: str) -> Path:
        return picture_path(self.root, digest)

    def _write_picture(self, frame: MemoryFrame) -> None:
        path = self._picture(frame.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(frame.image.numpy())
        with replacing(path) as unfinished:
            picture.save(unfinished, "PNG", compress_level=1)
        sync_later(path)

    def _read_picture(self, digest: str) -> MemoryFrame:
        frame = MemoryFrame(_read_png(self._picture(digest)))
        if frame.digest != digest:
            raise DamagedError(f"{self._picture(digest)} was altered")
        return frame

    def _read_frame(self, entry: Mapping, known: Mapping | None = None) -> MemoryFrame:
        """A frame as it is written of, after a look at its picture."""
        if found := (known or {}).get(entry["sha256"]):
            return MemoryFrame(found, **_provenance(entry))
        picture = self._read_picture(entry["sha256"]).picture
        self._pictures_there.add(picture.digest)
        return MemoryFrame(self._put_away(picture), **_provenance(entry))

    def _outline_frame(self, entry: Mapping) -> MemoryFrame:
        digest = entry["sha256"]
        picture_path(self.root, digest)  # a record may be anybody's
        picture = Picture.on_disk(digest, lambda: self._read_picture(digest).image)
        return MemoryFrame(picture, **_provenance(entry))

    def _in_view_only(self, bank: MemoryBank) -> MemoryBank:
        """``bank`` with the pictures that the next shot sees in memory, and the others on disk."""
        try:
            in_view = {frame.digest for frame in bank.used()}
        except ValueError:  # more pins than places, which the next shot will tell
            in_view = set()

        def placed(frame: MemoryFrame) -> MemoryFrame:
            picture = frame.picture
            if frame.digest in in_view:
                picture = picture if picture.is_in_memory else Picture(picture.pixels)
            elif frame.digest in self._pictures_there:
                picture = self._put_away(picture)
            return frame if picture is frame.picture else replace(frame, picture=picture)

        frames, dropped = (tuple(map(placed, part)) for part in (bank.frames, bank.dropped))
        return replace(bank, frames=frames, dropped=dropped)

    def _put_away(self, picture: Picture) -> Picture:
        """A picture that the store holds, without its pixels."""
        if not picture.is_in_memory:
            return picture
        digest = picture.digest
        return Picture.on_disk(digest, lambda: self._read_picture(digest).image)


def picture_path(root: Path, digest: str) -> Path:
    """Where the store below ``root`` keeps the picture of a memory frame.

    Raises:
        DamagedError: for what is no digest, as a file may hold.
    """
    if not is_digest(digest):
        raise DamagedError(f"a picture is named by 64 hexadecimal digits, not {shown(digest)}")
    return root / "pictures" / digest[:2] / f"{digest}.png"


def _provenance(entry: Mapping) -> dict:
    return {name: entry[name] for name in FRAME_FIELDS if name in entry}


def _eight_bit(frames: torch.Tensor, tail: list[np.ndarray]) -> Iterable[np.ndarray]:
    """Frames as ``uint8`` one by one; the last ones are left in ``tail``."""
    for i, frame in enumerate(frames):
        pixels = to_uint8(frame, f"frame {i} of the shot").numpy()
        tail.append(pixels)
        del tail[:-TAIL_FRAMES]
        yield pixels


def _read_png(path: Path) -> torch.Tensor:
    try:
        with open_picture(path, ("PNG",)) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB")))
    except PictureError as error:
        raise DamagedError(str(error)) from error
