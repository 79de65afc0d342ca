"""Colours of the artist's pictures: profiles are applied, transparency shows white, and values on
another scale never pass as white."""

from __future__ import annotations

import logging
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from storymem.files.images import PictureError, read_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DISPLAY_P3 = {  # its primaries under D50
    "rXYZ": (0.51512, 0.24120, -0.00105),
    "gXYZ": (0.29198, 0.69225, 0.04189),
    "bXYZ": (0.15710, 0.06657, 0.78407),
}
COLOURS = [(231, 60, 50), (40, 180, 60), (90, 90, 90), (10, 20, 200), (255, 255, 255), (0, 0, 0)]


def places(profile: bytes) -> dict[str, int]:
    """Where each tag of an ICC profile begins."""
    count = struct.unpack(">I", profile[128:132])[0]
    entries = [struct.unpack(">4sII", profile[132 + 12 * i :][:12]) for i in range(count)]
    return {name.decode(): offset for name, offset, _ in entries}


def primaries(profile: bytes) -> np.ndarray:
    """From linear RGB to XYZ under D50, as the profile says it, float64 [3, 3]."""
    found = places(profile)
    columns = [
        struct.unpack(">3i", profile[found[name] + 8 :][:12]) for name in ("rXYZ", "gXYZ", "bXYZ")
    ]
    return np.array(columns, dtype=np.float64).T / 65536


def wide_profile() -> bytes:
    """sRGB's profile with the primaries of Display P3."""
    written, found = bytearray(SRGB), places(SRGB)
    for name, values in DISPLAY_P3.items():
        start = found[name] + 8
        written[start : start + 12] = struct.pack(">3i", *(round(v * 65536) for v in values))
    return bytes(written)


def in_srgb(colour, profile: bytes) -> np.ndarray:
    """The textbook's conversion: to light, to XYZ, back with sRGB's primaries, in float64."""
    value = np.array(colour) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = (np.linalg.inv(primaries(SRGB)) @ primaries(profile) @ light).clip(0, 1)
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, 12.92 * light, curved)


def of_one_colour(colour, mode="RGB") -> Image.Image:
    return Image.new(mode, (8, 6), colour)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tif"])
@pytest.mark.parametrize("colour", COLOURS)
def test_an_embedded_profile_is_applied(tmp_path, name, colour):
    options = {"quality": 100} if name == "x.jpg" else {"lossless": True} if "web" in name else {}
    of_one_colour(colour).save(tmp_path / name, icc_profile=wide_profile(), **options)
    with Image.open(tmp_path / name) as picture:
        stored = picture.convert("RGB").getpixel((3, 3))
    expected = in_srgb(stored, wide_profile())
    assert np.abs(read_picture(tmp_path / name)[3, 3].numpy() - expected).max() < 2
    if max(colour) - min(colour) > 100:
        assert np.abs(expected - stored).max() > 8, "without the profile it would show"


def test_pixels_of_srgb_are_what_they_were_to_the_bit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png", icc_profile=SRGB)
    assert (read_picture(tmp_path / "x.png").numpy() == noise).all()


def test_a_profile_and_transparency(tmp_path):
    colour = (231, 60, 50)
    picture = of_one_colour((*colour, 255), "RGBA")
    picture.putpixel((0, 0), (*colour, 0))
    picture.save(tmp_path / "x.png", icc_profile=wide_profile())
    read = read_picture(tmp_path / "x.png")
    assert read[0, 0].tolist() == [255, 255, 255]
    assert np.abs(read[3, 3].numpy() - in_srgb(colour, wide_profile())).max() < 2


def test_grey_with_a_profile_of_rgb_is_read(tmp_path):
    of_one_colour(77, "L").save(tmp_path / "x.png", icc_profile=SRGB)
    assert read_picture(tmp_path / "x.png")[3, 3].tolist() == [77, 77, 77]


@pytest.mark.parametrize("profile", [b"none", SRGB[:200], SRGB[:128] + b"\xff" * 200])
def test_a_damaged_profile_is_said_and_costs_no_picture(tmp_path, caplog, profile):
    of_one_colour((200, 80, 40)).save(tmp_path / "x.png", icc_profile=profile)
    assert read_picture(tmp_path / "x.png")[3, 3].tolist() == [200, 80, 40]
    assert f"the colour profile of {tmp_path / 'x.png'} is not used" in caplog.text


def test_a_profile_of_other_colours_than_the_pictures_is_said(tmp_path, caplog):
    of_one_colour((0, 200, 200, 10), "CMYK").save(tmp_path / "x.jpg", icc_profile=SRGB)
    assert read_picture(tmp_path / "x.jpg").shape == (6, 8, 3)
    assert "it is for RGB, the picture is CMYK" in caplog.text


def test_transparency_of_every_kind_shows_white(tmp_path, caplog):
    colour = (200, 80, 40)
    rgba = of_one_colour((*colour, 255), "RGBA")
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    rgba.save(tmp_path / "rgba.png")
    rgba.save(tmp_path / "rgba.webp", lossless=True)
    rgba.save(tmp_path / "rgba.tif")
    palette = rgba.convert("P")
    palette.save(tmp_path / "palette.gif", transparency=palette.getpixel((0, 0)))
    marked = of_one_colour(colour)
    marked.putpixel((0, 0), (1, 2, 3))
    marked.save(tmp_path / "marked.png", transparency=(1, 2, 3))
    for path in sorted(tmp_path.iterdir()):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            read = read_picture(path)
        assert read[0, 0].tolist() == [255, 255, 255], path.name
        assert np.abs(read[3, 3].numpy().astype(int) - colour).max() <= 26, path.name
        assert f"the transparent parts of {path} show white" in caplog.text


def test_a_picture_that_is_opaque_everywhere_is_as_without_alpha(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    noise[..., 3] = 255
    Image.fromarray(noise).save(tmp_path / "x.png")
    with caplog.at_level(logging.INFO):
        assert (read_picture(tmp_path / "x.png").numpy() == noise[..., :3]).all()
    assert caplog.text == ""


@pytest.mark.parametrize("white", [255, 65535])
def test_float_pictures_on_another_scale_are_refused(tmp_path, white):
    grey = np.linspace(0.2, 1, 48, dtype=np.float32).reshape(6, 8)
    Image.fromarray(grey).save(tmp_path / "x.tif")
    read = read_picture(tmp_path / "x.tif")[..., 0].numpy()
    assert (read == (grey * 255).round()).all()
    Image.fromarray(grey * white).save(tmp_path / "x.tif")
    with pytest.raises(PictureError, match=rf"values go up to {white}, but 1 is white; save it"):
        read_picture(tmp_path / "x.tif")
    Image.fromarray((grey * 65536 * 2).astype(np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(PictureError, match=r"values go up to .*, but 65535 is white"):
        read_picture(tmp_path / "x.tif")
    grey[0, 0] = np.nan
    Image.fromarray(grey).save(tmp_path / "x.tif")
    with pytest.raises(PictureError, match="not a number"):
        read_picture(tmp_path / "x.tif")
