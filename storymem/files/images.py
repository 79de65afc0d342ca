"""Pictures of the artist: which files count as pictures, and how one is read.

One reader for references, banks, start images and whatever is dropped onto the page. It opens the
formats below and no other that Pillow knows (some of those start programs), looks at the size
before it decodes, and says in words what is wrong.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from .messages import is_unicode, listed, reason_of

FORMATS = {  # Pillow's name -> endings
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),  # of a film, the first frame
    "AVIF": (".avif",),  # where this Pillow has it
}
PICTURE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
OTHER_PICTURES = {  # endings of pictures that are not read: one that is meant must not be lost
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), "HEIC"),
    **dict.fromkeys((".jxl", ".jxr"), "JPEG XL or XR"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".jpc"), "JPEG 2000"),
    **dict.fromkeys((".avifs", ".mpo"), "a series of pictures"),
    **dict.fromkeys(
        (".tga", ".dds", ".dib", ".pcx", ".qoi", ".pbm", ".pgm", ".ppm", ".pnm"), "a rare format"
    ),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".pef", ".raf", ".rw2", ".srw"),
        "a camera's raw format",
    ),
}
WORKING_FILES = {  # that lie beside the pictures made from them, and are not meant themselves
    **dict.fromkeys((".psd", ".psb"), "Photoshop's own format"),
    **dict.fromkeys((".xcf", ".kra", ".ora"), "the own format of a painting program"),
    **dict.fromkeys((".exr", ".hdr"), "a format with high dynamic range"),
    **dict.fromkeys((".svg", ".eps", ".ai"), "a vector format"),
    **dict.fromkeys((".ico",), "an icon"),
}
BACKDROP = (255, 255, 255)  # of what is transparent
BRIGHTEST = 16.0  # where 1.0 is white: highlights are clipped; more is another scale, as 0 ... 255
OVERSHOOT = 1.5  # sharpening and resizing reach that far beyond white
DARKEST = -0.5  # where 0.0 is black: what resizing overshoots is clipped; less is -1 ... 1
MAX_PIXELS = 64_000_000  # 8000 x 8000: 200 MB when decoded, twice that on the way
READABLE = "PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF"
_LIMIT = f"at most {MAX_PIXELS // 1_000_000} megapixels are read: make it smaller"
logger = logging.getLogger(__name__)


class PictureError(ValueError):
    """A file that is no picture, too large, or damaged, and why."""

    def __init__(self, path: Path, reason: str):
        # A name that is no Unicode, as old zip files have them, fits no log and no page.
        place = str(path).encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{place} cannot be read as a picture: {reason}")


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; older Pillows have no AVIF."""
    return tuple(name for name in FORMATS if name != "AVIF" or _has_avif())


def _has_avif() -> bool:
    return "avif" in features.modules and features.check("avif")


def is_picture(name: str | Path) -> bool:
    """Whether a file's ending, in any case, is one of the pictures that are read."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def other_format(name: str | Path) -> str:
    """Which format a file's ending says, when it is a picture that is not read; else empty."""
    suffix = Path(name).suffix.lower()
    return OTHER_PICTURES.get(suffix) or WORKING_FILES.get(suffix, "")


def find_pictures(folder: Path) -> list[str]:
    """Names of the pictures right in ``folder``.

    Those of a format that is not read are among them, for the reader to refuse, unless the same
    picture is there in one that is. Working files are passed over, which is logged; so are hidden
    files and what is no picture, in silence.
    """
    found = [p for p in folder.iterdir() if p.name[0] != "." and p.is_file()]
    read = [path.name for path in found if is_picture(path)]
    stems = {Path(name).stem for name in read}
    others = [p for p in found if p.suffix.lower() in OTHER_PICTURES and p.stem not in stems]
    if working := sorted(p.name for p in found if p.suffix.lower() in WORKING_FILES):
        logger.warning(
            "StoryMem: ignoring %s in %s; to use it, save it as %s",
            listed(working), folder, READABLE,
        )  # fmt: skip
    return read + [path.name for path in others]


@contextmanager
def open_picture(path: str | Path, formats: tuple[str, ...] = ()) -> Iterator[Image.Image]:
    """A picture whose size is checked and which is not decoded yet.

    Args:
        formats: Pillow's names of those that may be read; empty means all of ``FORMATS``.

    Raises:
        PictureError: when it is none, too large, or damaged, also while it is used.
    """
    path = Path(path)
    if kind := other_format(path):
        raise PictureError(path, f"it is {kind}; save it as {READABLE}")
    if not is_unicode(path.name):
        raise PictureError(path, "its name is not valid Unicode; rename it")
    if not path.is_file():
        raise PictureError(path, "there is no such file")
    try:
        with Image.open(path, formats=formats or readable_formats()) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise PictureError(path, f"it has {width}x{height} pixels; {_LIMIT}")
            yield picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        reason = f"it is not a {READABLE} picture, whatever its name says"
        if path.suffix.lower() == ".avif" and "AVIF" not in readable_formats():
            reason = "this Python's Pillow reads no AVIF; update Pillow, or save it as PNG"
        raise PictureError(path, reason) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(path, f"it is far too large; {_LIMIT}") from None
    except Exception as error:  # Pillow's readers have errors of every kind
        raise PictureError(path, f"it is damaged ({reason_of(error)})") from None


def read_picture(path: str | Path) -> torch.Tensor:
    """A picture file as sRGB, ``uint8 [H, W, 3]``, turned upright.

    An embedded colour profile is applied, and what is transparent shows white (``BACKDROP``).

    Raises:
        PictureError: when it cannot be read, naming it.
    """
    path = Path(path)
    with open_picture(path) as picture:
        profile = picture.info.get("icc_profile")
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I") or picture.mode == "F":
            picture = Image.fromarray(_read_grey(path, picture))
        alpha = None
        if picture.has_transparency_data:
            picture = picture.convert("LA" if picture.mode == "LA" else "RGBA")
            alpha = picture.getchannel("A")
            picture = picture.convert(picture.mode.removesuffix("A"))
        if profile:
            picture = _apply_profile(path, picture, profile)
        picture = picture.convert("RGB")
        if alpha is not None and alpha.getextrema() != (255, 255):
            logger.info("StoryMem: the transparent parts of %s show white", path)
            picture = Image.composite(picture, Image.new("RGB", picture.size, BACKDROP), alpha)
        return torch.from_numpy(np.array(picture, dtype=np.uint8))


def _read_grey(path: Path, picture: Image.Image) -> np.ndarray:
    """Grey of more than eight bits as ``uint8 [H, W]``: 65535 is white, or 1.0."""
    white, limit = (1, BRIGHTEST) if picture.mode == "F" else (65535, 1)
    grey = np.asarray(picture, dtype=np.float64) / white
    highest = grey.max(initial=0)
    if not np.isfinite(grey).all():
        raise PictureError(path, "some of its pixels are not a number, or infinite")
    are_bytes = picture.mode == "I" and 0 < highest * white <= 255  # they would all be black
    if highest > limit or are_bytes or (white == 1 and _are_levels(grey, highest)):
        raise PictureError(
            path,
            f"its values go up to {highest * white:.5g}, but {white} is white; save it as an 8-bit "
            "PNG",
        )
    warn_of_highlights(highest, str(path))
    return (grey.clip(0, 1) * 255).round().astype(np.uint8)


def _apply_profile(path: Path, picture: Image.Image, profile: bytes) -> Image.Image:
    """The picture in sRGB; unchanged where its profile says hardly anything else."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space, picture.mode)
        if (mode == "CMYK") != (picture.mode == "CMYK"):
            raise ImageCms.PyCMSError(f"it is for {space}, the picture is {picture.mode}")
        picture = picture.convert(mode)
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "RGB" and _is_srgb(transform):
            return picture
        return ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning(
            "StoryMem: the colour profile of %s is not used, its colours are taken as sRGB: %s",
            path, reason_of(error),
        )  # fmt: skip
        return picture


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it moves no colour by more than rounding does."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return bool(np.abs(moved.astype(int) - cube).max() <= 2)


def check_scale(pixels: np.ndarray, name: str) -> float:
    """Refuse float pixels on another scale than 0 ... 1, of any shape; the highest of them.

    Args:
        name: what the pixels are, for the error: ``frame 3``.

    Raises:
        ValueError: for NaN or infinite pixels, and for another scale, such as 0 ... 255.
    """
    lowest, highest = pixels.min(initial=0), pixels.max(initial=0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ValueError(
            f"{name} holds NaN or infinite pixels: the model or VAE that made it failed (often "
            "fp16 overflow); try another precision, or repair the image first"
        )
    if highest > BRIGHTEST or _are_levels(pixels, highest):
        raise ValueError(
            f"{name} holds values up to {highest:.5g}, but 1.0 is white: divide pixels that go to "
            "255 by 255, and tone-map those of a high dynamic range"
        )
    if lowest < DARKEST:
        raise ValueError(
            f"{name} holds values down to {lowest:.5g}, but 0.0 is black: if its pixels go from "
            "-1 to 1, add 1 and divide by 2"
        )
    return float(highest)


def warn_of_highlights(highest: float, name: str) -> None:
    """Log that what is brighter than white shows white; a little comes from resizing."""
    if highest > OVERSHOOT:
        logger.warning(
            "StoryMem: %s goes up to %.3g, where 1.0 is white: all that is brighter shows white; "
            "tone-map it first to keep its detail",
            name, highest,
        )  # fmt: skip


def _are_levels(pixels: np.ndarray, highest: float) -> bool:
    """Whether they are whole numbers beyond 0 and 1: a dark picture of 0 ... 255."""
    return highest >= 2 and bool((pixels == np.rint(pixels)).all())


def on_white(pixels: torch.Tensor) -> torch.Tensor:
    """``[..., 3 or 4]`` as ``[..., 3]``: what is transparent shows white, as in a picture's file.

    A view where nothing is transparent; else float in [0, 1].
    """
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    opaque = 255 if pixels.dtype == torch.uint8 else 1
    if bool((alpha >= opaque).all()):
        return colours
    logger.info("StoryMem: the transparent parts of an IMAGE show white")
    alpha = (alpha / opaque).clamp(0, 1).nan_to_num(1)
    return colours / opaque * alpha + (1 - alpha)


def to_uint8(pixels: torch.Tensor, name: str) -> torch.Tensor:
    """Float pixels ``[..., 3 or 4]`` in [0, 1] as ``uint8 [..., 3]`` on the CPU.

    The memory holds what it is given in eight bits, apart from the tensor: whoever changes that one
    in place afterwards changes nothing here.

    Args:
        pixels: values outside [0, 1] are clamped; ``uint8`` is copied as it is.
        name: what the pixels are, for the error: ``frame 3``.

    Raises:
        ValueError: for NaN or infinite pixels, and for pixels on another scale, such as 0 ... 255.
    """
    pixels = on_white(pixels.detach())
    if pixels.dtype == torch.uint8:
        return pixels.to("cpu", copy=True, memory_format=torch.contiguous_format)
    # numpy, not torch: torch wakes its whole thread pool for each of these small steps.
    values = pixels.to("cpu", torch.float32).numpy()
    check_scale(values, name)
    scaled = np.clip(values, 0, 1)
    scaled *= 255
    return torch.from_numpy(np.rint(scaled, out=scaled).astype(np.uint8)).contiguous()
