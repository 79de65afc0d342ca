"""Colours of the artist's pictures: profiles are applied, transparency shows white, and values on
another scale never pass as white."""

from __future__ import annotations

import logging
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from helpers.not_empty import not_empty
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
    for path in not_empty(tmp_path.iterdir()):
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


def grey_profile(gamma: float) -> bytes:
    """A grey ICC profile of version 2 whose curve is a power, as Photoshop's Gray Gamma 2.2."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)  # D50
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    text += bytes(-len(text) % 4)
    notice = b"text" + bytes(4) + b"none" + bytes(4)
    parts = [(b"wtpt", white), (b"kTRC", curve), (b"desc", text), (b"cprt", notice)]
    offset, table, body = 128 + 4 + 12 * len(parts), struct.pack(">I", len(parts)), b""
    for name, part in parts:
        table += struct.pack(">4sII", name, offset + len(body), len(part))
        body += part
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(68 - len(head)) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + body


@pytest.mark.parametrize("gamma", [1.0, 1.8])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_a_profile_of_its_own(tmp_path, gamma, bits):
    level = np.full((6, 8), 128 if bits == 8 else 128 * 257, np.uint8 if bits == 8 else np.uint16)
    Image.fromarray(level).save(tmp_path / "x.png", icc_profile=grey_profile(gamma))
    light = (128 / 255) ** gamma
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    read = read_picture(tmp_path / "x.png")[3, 3].numpy()
    assert np.abs(read - expected).max() < 2
    assert expected - 128 > 8


def test_a_profile_goes_with_avif_rotation_and_palettes(tmp_path):
    colour, profile = (231, 60, 50), wide_profile()
    wanted = in_srgb(colour, profile)
    of_one_colour(colour).save(tmp_path / "x.avif", quality=100, icc_profile=profile)
    turned = Image.Exif()
    turned[0x112] = 6  # as a phone held upright
    of_one_colour(colour).save(tmp_path / "x.jpg", quality=100, icc_profile=profile, exif=turned)
    palette = of_one_colour((*colour, 255), "RGBA")
    palette.putpixel((0, 0), (0, 0, 0, 0))
    palette.quantize(4).save(tmp_path / "x.png", icc_profile=profile)
    for name, shape in (("x.avif", (6, 8)), ("x.jpg", (8, 6)), ("x.png", (6, 8))):
        read = read_picture(tmp_path / name)
        assert tuple(read.shape[:2]) == shape, name
        assert np.abs(read[3, 3].numpy() - wanted).max() < 4, name
    assert read_picture(tmp_path / "x.png")[0, 0].tolist() == [255, 255, 255]


def test_levels_of_bytes_in_wider_types_are_never_black_or_white(tmp_path):
    levels = np.arange(48, dtype=np.int32).reshape(6, 8) * 5
    for values, white in ((levels, 65535), ((levels // 20).astype(np.float32), 1)):
        Image.fromarray(values).save(tmp_path / "x.tif")
        highest = int(values.max())
        with pytest.raises(PictureError, match=f"values go up to {highest}, but {white} is white"):
            read_picture(tmp_path / "x.tif")
