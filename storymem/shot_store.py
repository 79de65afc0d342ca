"""Finished shots on disk: content-addressed records that a crash, a full disk or a second process
cannot spoil.

Layout below ``root``::

    shots/ab/ab12.../record.json      what was made, from what, and the checksums of its files
                     shot.mp4         the shot without the frames that repeat the one before it
                     tail_0.png ...   its last frames, 8-bit and lossless: what the next shot
                     continues from
    pictures/cd/cd34....png           pictures of memory banks, stored once by content
    writing/                          records being written; one rename makes a record appear whole

A record is read only when every checksum holds; anything else counts as not finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .bank_edits import BankEdits
from .disk import checksum, is_running, sync_later, telling
from .memory_bank import MemoryBank, MemoryFrame
from .video import DEFAULT_CRF, FRAME_RATE, read_info, write_video

TAIL_FRAMES = 5  # MM2V continues from five frames (paper 3.3)
RECORD_FORMAT = 1
ABANDONED_SECONDS = (
    24 * 3600
)  # a record "being written" for longer than this by another machine is dead
logger = logging.getLogger(__name__)


class DamagedError(ValueError):
    """A record or picture that is missing, truncated or altered."""


@dataclass(frozen=True)
class Record:
    """A finished shot on disk, its checksums verified."""

    key: str
    folder: Path
    frames: int
    facts: Mapping  # label, prompt, seed ...: provenance for people and for locks
    bank: Mapping

    @property
    def video(self) -> Path:
        return self.folder / "shot.mp4"


@dataclass(frozen=True)
class ShotResult:
    """What the next shot needs of a finished one: the bank, and its last frames ``uint8 [n, H, W,
    3]``."""

    bank: MemoryBank
    tail: torch.Tensor


@dataclass(frozen=True)
class ListedFrame:
    """A frame of a record's bank by what is written of it, without its picture."""

    digest: str
    order: tuple[int, int]
    pinned: bool
    edited: str
    story: str
    shot: int
    name: str
    prompt: str

    @classmethod
    def of(cls, entry: Mapping) -> ListedFrame:
        order = (entry["shot"], entry["frame"])
        where = (entry["story"], entry["shot"], entry["name"], entry.get("prompt", ""))
        return cls(entry["sha256"], order, entry["pinned"], entry.get("edited", ""), *where)


class ShotStore:
    """The records below one folder."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._pictures_there: set[str] = set()  # digests that need no second look in this run

    def folder_of(self, key: str) -> Path:
        return self.root / "shots" / key[:2] / key

    def find(self, key: str) -> Record | None:
        """The record of ``key`` when it is there and whole, else ``None`` (damage is logged)."""
        folder = self.folder_of(key)
        try:
            return _read_record(folder, key)
        except FileNotFoundError:
            if folder.exists():
                logger.warning(
                    "StoryMem: a finished shot lost its files and counts as missing: %s", folder
                )
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "StoryMem: a finished shot is damaged and counts as missing: %s (%s)", folder, error
            )
        return None

    def records_of(self, story: str) -> Iterator[Record]:
        """Every whole record of stories of this name."""
        for path in sorted(self.root.glob("shots/*/*/record.json")):
            try:
                facts = json.loads(json.loads(path.read_bytes())["record"])["facts"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if facts.get("story") == story and (record := self.find(path.parent.name)):
                yield record

    def load(self, record: Record) -> ShotResult:
        """The bank and the last frames of a record.

        Raises:
            DamagedError: when a picture is missing or altered.
        """
        return ShotResult(_read_bank(record.bank, self._read_frame), self.load_tail(record))

    def outline(self, record: Record) -> MemoryBank:
        """The bank of a record without its pictures: enough to say what a shot would see."""
        return _read_bank(record.bank, ListedFrame.of)

    def load_tail(self, record: Record) -> torch.Tensor:
        """The last frames of a record, ``uint8 [n, H, W, 3]``.

        Raises:
            DamagedError: when a picture is missing or altered.
        """
        tails = sorted(record.folder.glob("tail_*.png"))
        if not tails:
            raise DamagedError(f"{record.folder} lost its last frames")
        return torch.stack([_read_png(path) for path in tails])

    def keep_pictures(self, frames: Iterable[MemoryFrame]) -> None:
        """Write the pictures of ``frames`` that the store does not hold whole.

        Raises:
            StoreError: when the disk refuses.
        """
        with telling("pictures of the memory bank", self.root):
            for frame in frames:
                try:  # a file that is there may be cut off, and would stay so
                    self._read_picture(frame.digest)
                except DamagedError:
                    self._write_picture(frame)
                self._pictures_there.add(frame.digest)

    def commit(
        self,
        key: str,
        frames: torch.Tensor,
        bank: MemoryBank,
        facts: Mapping,
        *,
        crf: int = DEFAULT_CRF,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Record, ShotResult]:
        """Write a finished shot, so that it appears whole or not at all.

        Args:
            frames: float ``[T, H, W, 3]`` in [0, 1] (values outside are clamped), repeated frames
            taken off.

        Raises:
            StoreError: when the disk refuses (full, read-only, vanished).
            ValueError: for frames that are not a finite picture.
        """
        with telling("the finished shot", self.root):
            self._remove_abandoned()
            folder = self._writing_folder()
            try:
                tail: list[np.ndarray] = []
                video = folder / "shot.mp4"
                write_video(
                    video, _eight_bit(frames, tail), fps=FRAME_RATE, crf=crf, metadata=metadata
                )
                if (written := read_info(video).frames) != len(frames):
                    raise OSError(
                        f"only {written} of {len(frames)} frames arrived in the video file"
                    )
                for i, pixels in enumerate(tail):
                    Image.fromarray(pixels).save(folder / f"tail_{i}.png", compress_level=1)
                held = (*bank.frames, *bank.dropped)
                self.keep_pictures(f for f in held if f.digest not in self._pictures_there)
                _write_record(folder, key, len(frames), facts, bank)
                record = self._publish(folder, key)
            finally:
                for leftover in (folder, folder.with_name(f"{folder.name}-damaged")):
                    shutil.rmtree(leftover, ignore_errors=True)
        return record, ShotResult(bank, torch.from_numpy(np.stack(tail)))

    def free_bytes(self) -> int:
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
            os.rename(target, folder.with_name(f"{folder.name}-damaged"))
        if record := self.find(key):
            return record
        raise OSError(f"{target} does not hold what was just written to it")

    def _writing_folder(self) -> Path:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        folder = self.root / "writing" / name
        folder.mkdir(parents=True)
        return folder

    def _remove_abandoned(self) -> None:
        """Drop what killed processes left half written."""
        for folder in (self.root / "writing").glob("*"):
            host, _, process = folder.name.rpartition("-")[0].rpartition("-")
            here = host == socket.gethostname() and process.isdigit()
            try:
                old = time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
            except OSError:
                continue
            if (here and not is_running(int(process))) or old:
                shutil.rmtree(folder, ignore_errors=True)

    def _picture(self, digest: str) -> Path:
        return picture_path(self.root, digest)

    def _write_picture(self, frame: MemoryFrame) -> None:
        path = self._picture(frame.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            picture = Image.fromarray(frame.image.contiguous().numpy())
            picture.save(temporary, "PNG", compress_level=1)
            os.replace(temporary, path)
            sync_later(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _read_picture(self, digest: str) -> MemoryFrame:
        frame = MemoryFrame(_read_png(self._picture(digest)))
        if frame.digest != digest:
            raise DamagedError(f"{self._picture(digest)} was altered")
        return frame

    def _read_frame(self, entry: Mapping) -> MemoryFrame:
        image = self._read_picture(entry["sha256"]).image
        known = {field.name for field in fields(MemoryFrame)}
        return MemoryFrame(image, **{name: entry[name] for name in entry if name in known})


def picture_path(root: Path, digest: str) -> Path:
    """Where the store below ``root`` keeps the picture of a memory frame."""
    return root / "pictures" / digest[:2] / f"{digest}.png"


def describe_bank(bank: MemoryBank) -> dict:
    """A bank as JSON: pictures by their digest, provenance as it is."""

    def entry(frame: MemoryFrame) -> dict:
        provenance = {f.name: getattr(frame, f.name) for f in fields(frame) if f.name != "image"}
        for name in ("edited", "prompt"):  # as before there were these: a hash of it finds shots
            if not provenance[name]:
                del provenance[name]
        return {"sha256": frame.digest, **provenance}

    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "frames": [entry(frame) for frame in bank.frames],
        "dropped": [entry(frame) for frame in bank.dropped],
    }


def _read_bank(entry: Mapping, read: Callable[[Mapping], object]) -> MemoryBank:
    kept, dropped = (tuple(map(read, entry[name])) for name in ("frames", "dropped"))
    return MemoryBank(
        kept,
        max_frames=entry["max_frames"],
        sink=entry["sink"],
        dropped=dropped,
        edits=BankEdits.of(kept, dropped),
        seen=entry.get("seen", {}),
    )


def digest_of(value) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _write_record(folder: Path, key: str, frames: int, facts: Mapping, bank: MemoryBank) -> None:
    files = sorted(path.name for path in folder.iterdir())
    body = {
        "format": RECORD_FORMAT,
        "key": key,
        "frames": frames,
        "files": {name: checksum(folder / name) for name in files},
        "facts": dict(facts),
        "bank": {**describe_bank(bank), **({"seen": dict(bank.seen)} if bank.seen else {})},
    }
    # The text is checked as it stands, so that NaN scores and the like survive as they are.
    text = json.dumps(body, ensure_ascii=False)
    document = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "record": text})
    (folder / "record.json").write_bytes(document.encode())


def _read_record(folder: Path, key: str) -> Record:
    document = json.loads((folder / "record.json").read_bytes())
    text = document["record"]
    if hashlib.sha256(text.encode()).hexdigest() != document["sha256"]:
        raise DamagedError("record.json was altered")
    body = json.loads(text)
    if body["format"] != RECORD_FORMAT or body["key"] != key:
        raise DamagedError("record.json belongs to another shot or version")
    for name, known in body["files"].items():
        if checksum(folder / name) != known:
            raise DamagedError(f"{name} was altered or cut off")
    return Record(key, folder, body["frames"], body["facts"], body["bank"])


def _eight_bit(frames: torch.Tensor, tail: list[np.ndarray]) -> Iterable[np.ndarray]:
    """Frames as ``uint8`` one by one; the last ones are left in ``tail``."""
    # numpy, not torch: torch wakes its whole thread pool for each of these small steps.
    for i, frame in enumerate(frames):
        pixels = frame.detach().to("cpu", torch.float32).numpy()
        if not (np.isfinite(pixels.min()) and np.isfinite(pixels.max())):
            raise ValueError(
                f"frame {i} of the shot holds NaN or infinite pixels: the sampler or the VAE "
                "failed (often fp16 overflow); nothing was saved"
            )
        scaled = np.clip(pixels, 0, 1)
        scaled *= 255
        pixels = np.rint(scaled, out=scaled).astype(np.uint8)
        tail.append(pixels)
        del tail[:-TAIL_FRAMES]
        yield pixels


def _read_png(path: Path) -> torch.Tensor:
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB")))
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
