"""Codecs for editing programs: what each is encoded with, and its file.

H.264 is what every browser plays, and what the shots and films of a story always have. The others
are written beside it (see :mod:`storymem.film.masters`), with ten bits for each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .messages import shown

H264 = "h264"  # as every shot and film is written: the one that adds no file
# BT.709 (Rec. ITU-R BT.709-6, 3.2 and 3.3): from R'G'B' to Y'CbCr.
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
BLUE_SPAN, RED_SPAN = 1.8556, 1.5748


@dataclass(frozen=True)
class Codec:
    """How frames are encoded.

    ``across`` and ``down`` say how many pixels share one value of colour.
    """

    name: str
    encoder: str  # FFmpeg's name
    suffix: str
    container: str  # FFmpeg's name
    across: int
    down: int
    bits: int
    options: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""  # four characters that players look for
    is_intra: bool = True  # every frame stands for itself
    has_crf: bool = False
    smallest: int = 1  # pixels on a side

    def fit(self, width: int, height: int) -> Codec:
        """This codec for frames of a size; odd ones have a value of colour for each pixel.

        Raises:
            ValueError: for a size that the encoder cannot do.
        """
        if min(width, height) < self.smallest:
            raise ValueError(
                f"codec is {self.name}, which needs pictures of at least {self.smallest} pixels on "
                f"a side, but these are {width}x{height}; choose another codec"
            )
        if width % self.across == 0 and height % self.down == 0:
            return self
        options = {**self.options, **({"profile": "4444"} if self.name == "prores" else {})}
        return Codec(**{**self.__dict__, "across": 1, "down": 1, "options": options})

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of how values lie in memory."""
        kind = {(1, 1): "yuv444p", (2, 1): "yuv422p", (2, 2): "yuv420p"}[self.across, self.down]
        return kind if self.bits == 8 else f"{kind}{self.bits}le"


_X264 = {"preset": "veryfast", "bf": "0", "forced-idr": "1", "x264-params": "mbtree=0"}
# With open-gop, x265 makes frames that are not refreshed of those that are to stand for themselves.
_X265 = {
    "preset": "fast",
    "forced-idr": "1",
    "x265-params": "bframes=0:open-gop=0:frame-threads=2:log-level=error",
}
_PRORES = {"profile": "hq", "vendor": "apl0"}
_FFV1 = {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}
CODECS = {
    codec.name: codec
    for codec in (
        Codec(H264, "libx264", ".mp4", "mp4", 2, 2, 8, _X264, "", False, True),
        # hvc1 is what QuickTime and Final Cut Pro open. x265 4.1 writes past its buffers below 64.
        Codec("h265", "libx265", ".mp4", "mp4", 2, 2, 10, _X265, "hvc1", False, True, 64),
        Codec("prores", "prores_ks", ".mov", "mov", 2, 1, 10, _PRORES),
        Codec("ffv1", "ffv1", ".mkv", "matroska", 1, 1, 10, _FFV1),
    )
}


def find_codec(name: str) -> Codec:
    """The codec of a name, when it can be written here.

    Raises:
        ValueError: for an unknown name, or an encoder that the installed PyAV lacks.
    """
    import av

    codec = CODECS.get(name)
    if codec is None:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, but it is {shown(name)}")
    try:
        av.Codec(codec.encoder, "w")
    except ValueError as error:  # PyAV's own for what it does not know
        there = [other.name for other in CODECS.values() if _is_there(other)]
        raise ValueError(
            f"codec is {name}, but the installed PyAV {av.__version__} has no encoder "
            f"{codec.encoder}; choose {' or '.join(there) or 'none'}, or install PyAV from PyPI "
            "(pip install --force-reinstall av)"
        ) from error
    return codec


def to_planes(pixels: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture as Y', Cb and Cr of BT.709 in limited range.

    Args:
        pixels: ``[H, W, 3]``, ``uint8`` or float in [0, 1]; more bits than eight are kept.

    Returns:
        Planes ``[H, W]`` and two ``[H / down, W / across]``, ``uint8`` or ``uint16``.
    """
    values = pixels.astype(np.float32)
    if pixels.dtype == np.uint8:
        values /= 255
    luma = values @ LUMA
    blue, red = (values[..., 2] - luma) / BLUE_SPAN, (values[..., 0] - luma) / RED_SPAN
    step, kind = 1 << (codec.bits - 8), np.uint8 if codec.bits == 8 else np.uint16

    def rounded(plane: np.ndarray, low: int, span: int) -> np.ndarray:
        plane = np.rint((low + span * plane) * step)
        return plane.clip(step, 255 * step - 1).astype(kind)

    chroma = (rounded(_shrink(plane, codec), 128, 224) for plane in (blue, red))
    return rounded(luma, 16, 219), *chroma


# --- inside ----------------------------------------------------------------------------------


def _is_there(codec: Codec) -> bool:
    import av

    try:
        return bool(av.Codec(codec.encoder, "w"))
    except ValueError:
        return False


def _shrink(plane: np.ndarray, codec: Codec) -> np.ndarray:
    """Colour for fewer pixels: across it stands at the left one of two, as H.264 and ProRes have
    it (Rec. ITU-T H.273, location 0), down it lies between them."""
    if codec.across == 2:
        left = np.concatenate([plane[:, :1], plane[:, :-1]], axis=1)
        plane = 0.25 * left[:, ::2] + 0.5 * plane[:, ::2] + 0.25 * plane[:, 1::2]
    if codec.down == 2:
        plane = 0.5 * (plane[::2] + plane[1::2])
    return plane
