"""Groups of clips on disk, and what one training example draws from them."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange

from ..files.video import FRAME_RATE, open_video, to_pixels
from ..memory.policies import MAX_MEMORY_FRAMES
from ..sampling.continuity import OVERLAP_FRAMES

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")
MAX_TRIES = 50  # other draws before clips that are too short are an error
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A video to train on, and the caption that says what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class ExampleSettings:
    """What examples look like."""

    width: int = 832
    height: int = 480
    length: int = 81
    max_memory: int = MAX_MEMORY_FRAMES
    modes: tuple[float, float, float] = (0.5, 0.25, 0.25)  # how often M2V, MI2V, MM2V
    text_dropout: float = 0.1  # how often the caption is left out, for guidance
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_memory < 1:
            raise ValueError(f"max_memory must be 1 or more, but it is {self.max_memory}")
        are_shares = all(share >= 0 for share in self.modes) and 0 < sum(self.modes) < math.inf
        if len(self.modes) != 3 or not are_shares:
            raise ValueError(
                f"modes must be three shares (M2V, MI2V, MM2V), such as 0.5 0.25 0.25, not "
                f"{self.modes}"
            )
        if not 0 <= self.text_dropout <= 1:
            raise ValueError(f"text_dropout must be from 0 to 1, but it is {self.text_dropout}")


@dataclass(frozen=True)
class Example:
    """One shot with its memory, as pixels in [0, 1]."""

    shot: torch.Tensor  # [T, H, W, 3]
    memory: torch.Tensor  # [M, H, W, 3], 1 to max_memory frames of other clips of the group
    mode: str  # m2v, mi2v or mm2v
    caption: str

    @property
    def given(self) -> torch.Tensor | None:
        """The frames that the shot continues from: its own first ones."""
        count = OVERLAP_FRAMES[self.mode]
        return self.shot[:count] if count else None


def find_groups(folder: Path) -> list[list[Clip]]:
    """One group per subfolder: clips of one scene or character, each with a caption in a .txt.

    Raises:
        ValueError: naming what is missing.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no data folder at {folder}; check the path")
    groups = []
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        clips = [p for p in sorted(group.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES]
        for clip in clips:
            if not clip.with_suffix(".txt").is_file():
                raise ValueError(f"{clip} has no caption: write it into {clip.stem}.txt beside it")
        if len(clips) < 2:
            logger.warning("%s is left out: memory comes from other clips, so it needs two", group)
            continue
        groups.append([Clip(p, _caption(p.with_suffix(".txt"))) for p in clips])
    if not groups:
        raise ValueError(
            f"{folder} holds no groups: make one folder per scene or character, each with two "
            f"clips or more ({', '.join(VIDEO_SUFFIXES)}) and a .txt caption beside every clip"
        )
    return groups


class Examples(torch.utils.data.Dataset):
    """Example ``i`` depends on the seed and ``i`` alone, so that training resumes exactly."""

    def __init__(self, groups: list[list[Clip]], settings: ExampleSettings, count: int):
        self.groups, self.settings, self.count = groups, settings, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        short = ""
        for attempt in range(MAX_TRIES):
            generator = seeded(self.settings.seed, "example", index, attempt)
            try:
                return draw_example(self.groups, self.settings, generator)
            except TooShort as error:
                short = str(error)
                logger.warning("%s", short)
        raise ValueError(f"{MAX_TRIES} clips in a row are too short; the last: {short}")


class TooShort(ValueError):
    """A clip with fewer frames than a shot takes."""


def seeded(*parts) -> torch.Generator:
    """A generator that depends on all of ``parts``."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)


def draw_example(groups, settings: ExampleSettings, generator: torch.Generator) -> Example:
    """A group, a clip of it, a stretch of the clip, and memory from the group's other clips."""

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    group = groups[pick(len(groups))]
    chosen = pick(len(group))
    others = [clip for i, clip in enumerate(group) if i != chosen]
    size = (settings.height, settings.width)
    shares = torch.tensor(settings.modes, dtype=torch.float64)
    mode = ("m2v", "mi2v", "mm2v")[int(torch.multinomial(shares, 1, generator=generator))]
    count = 1 + pick(settings.max_memory)
    wanted: dict[Path, list[float]] = {}
    for _ in range(count):
        place = float(torch.rand((), generator=generator))
        wanted.setdefault(others[pick(len(others))].path, []).append(place)
    start = float(torch.rand((), generator=generator))
    is_mute = float(torch.rand((), generator=generator)) < settings.text_dropout
    return Example(
        shot=read_stretch(group[chosen].path, settings.length, start, size),
        memory=torch.cat([read_places(path, places, size) for path, places in wanted.items()]),
        mode=mode,
        caption="" if is_mute else group[chosen].caption,
    )


def read_stretch(path: Path, length: int, start: float, size: tuple[int, int]) -> torch.Tensor:
    """``length`` frames at 16 fps, ``[T, H, W, 3]``; ``start`` in [0, 1] is where in the clip.

    Raises:
        TooShort: when the clip has fewer.
    """
    count, rate = _count(path)
    at_16 = int((count - 1) * FRAME_RATE / rate) + 1
    if at_16 < length:
        raise TooShort(f"{path} is too short: {at_16} frames at {FRAME_RATE} fps, {length} wanted")
    first = min(int(start * (at_16 - length + 1)), at_16 - length)
    indices = [round((first + i) * rate / FRAME_RATE) for i in range(length)]
    return _read(path, [min(index, count - 1) for index in indices], size)


def read_places(path: Path, places: list[float], size: tuple[int, int]) -> torch.Tensor:
    """One frame for each place in [0, 1), ``[N, H, W, 3]``."""
    count, _ = _count(path)
    return _read(path, [int(place * count) for place in places], size)


def _caption(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as UTF-8 text: {error}; save it again as UTF-8"
        ) from error


def _unreadable(path: Path, reason: object) -> ValueError:
    return ValueError(
        f"{path} cannot be read as a video: {reason}; take it out of the data, or replace it"
    )


def _count(path: Path) -> tuple[int, float]:
    import av

    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or FRAME_RATE)
            count = sum(1 for packet in container.demux(stream) if packet.size)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise _unreadable(path, error) from error
    if not count:
        raise _unreadable(path, "it is cut off, and holds no whole picture")
    return count, rate


def _read(path: Path, indices: list[int], size: tuple[int, int]) -> torch.Tensor:
    """Frames by index, in the order asked for; decoded from the beginning, exact to the frame."""
    import av

    wanted, found = set(indices), {}
    try:
        with open_video(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i in wanted:
                    pixels = torch.from_numpy(to_pixels(frame))
                    found[i] = fill(pixels, size)
                if len(found) == len(wanted):
                    break
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise _unreadable(path, error) from error
    if len(found) < len(wanted):
        raise _unreadable(path, f"it ends before frame {max(wanted)}")
    return torch.stack([found[i] for i in indices])


def fill(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``uint8 [H, W, 3]`` scaled to cover ``size`` and cropped in the middle; float in [0, 1]."""
    height, width = size
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = (max(s, round(n * scale)) for s, n in zip(size, pixels.shape[:2], strict=True))
    image = rearrange(pixels, "h w c -> 1 c h w").float() / 255
    if image.shape[2:] != (rows, columns):
        image = F.interpolate(image, (rows, columns), mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (rows - height) // 2, (columns - width) // 2
    part = image[:, :, top : top + height, left : left + width]
    return rearrange(part, "1 c h w -> h w c")
