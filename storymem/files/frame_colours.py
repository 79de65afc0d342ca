"""Decoded frames in the colours that players show.

A file says of its colours, in numbers of Rec. ITU-T H.273, which matrix, which range, which
primaries and which curve they have. What it does not say is as earlier versions of this pack wrote:
BT.601 in limited range.
"""

from __future__ import annotations

from functools import cache

import numpy as np

UNKNOWN = 2
FULL_RANGE, LIMITED_RANGE = 2, 1
BT601 = 5  # swscale's number of the matrix
MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}  # swscale's numbers of those that are not BT.601
# Bilinear, accurate rounding, chroma at full width: without these reds come out 3 levels too dark.
ACCURATE = 2 | 0x40000 | 0x2000
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # x and y of red, green and blue
PRIMARIES = {  # under the same white, D65; others are shown as they are
    5: ("PAL", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
WHITE = (0.3127, 0.3290)
POWERS = {4: 2.2, 5: 2.8, 8: 1.0}  # curves other than those that are shown as sRGB's
PQ, HLG = 16, 18
HDR = {PQ: "PQ", HLG: "HLG"}
HDR_WHITE = 203  # nits (Rep. ITU-R BT.2408): what is white in standard range; brighter is clipped
HLG_PEAK = 1000  # nits


def to_rgb(frame) -> np.ndarray:
    """A decoded frame as sRGB, ``uint8 [H, W, 3]``, not turned."""
    primaries = int(getattr(frame, "color_primaries", UNKNOWN))  # PyAV before 17 does not tell
    curve = int(getattr(frame, "color_trc", UNKNOWN))
    if primaries not in PRIMARIES and curve not in POWERS and curve not in HDR:
        return _decode(frame)
    light = _light_of(curve)[_decode(frame)]
    if curve == HLG:
        luma = light @ _to_xyz(primaries)[1]
        light *= (luma**0.2)[..., None] * HLG_PEAK / HDR_WHITE
    light = (light @ _to_srgb(primaries).T).clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * curved).astype(np.uint8)


def unusual_colours(primaries: int, curve: int) -> str:
    """What colours a film has that were converted to be shown; empty for usual ones."""
    name = PRIMARIES.get(primaries, ("",))[0]
    return " ".join(filter(None, [name, HDR.get(curve, "")])) if curve in HDR or name else ""


# --- inside ----------------------------------------------------------------------------------


def _decode(frame) -> np.ndarray:
    """As the file's own RGB, ``uint8 [H, W, 3]``: of sixteen bits PyAV 17 and 18 mix up chroma."""
    kind = frame.format.name
    if frame.format.is_rgb or kind.startswith(("gray", "pal", "mono")):
        return frame.to_ndarray(format="rgb24")
    # All said, as PyAV before 17 takes nothing from the frame, and asks swscale for a conversion
    # only where the two sides differ; RGB itself has neither a matrix nor a range.
    matrix = MATRICES.get(int(frame.colorspace), BT601)
    is_full = kind.startswith("yuvj") or int(frame.color_range) == FULL_RANGE
    return frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=BT601 if matrix != BT601 else 1,
        src_color_range=FULL_RANGE if is_full else LIMITED_RANGE,
        dst_color_range=FULL_RANGE,
        interpolation=ACCURATE,
    ).to_ndarray()


@cache
def _light_of(curve: int) -> np.ndarray:
    """Linear light of each level, float32 ``[256]``: 1.0 is white (of HLG, the brightest)."""
    value = np.linspace(0, 1, 256)
    if curve == PQ:
        root = value ** (1 / 78.84375)
        nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
            1 / 0.1593017578125
        )
        light = nits / HDR_WHITE
    elif curve == HLG:
        bright = (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = np.where(value <= 0.5, value**2 / 3, bright)
    elif curve in POWERS:
        light = value ** POWERS[curve]
    else:
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _to_srgb(primaries: int) -> np.ndarray:
    return (np.linalg.inv(_to_xyz(UNKNOWN)) @ _to_xyz(primaries)).astype(np.float32)


@cache
def _to_xyz(primaries: int) -> np.ndarray:
    """From linear RGB to CIE XYZ, float64 ``[3, 3]``; white has Y = 1."""
    _, places = PRIMARIES.get(primaries, ("", SRGB_PRIMARIES))
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in places]).T
    x, y = WHITE
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])
