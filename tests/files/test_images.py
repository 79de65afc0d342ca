"""Pictures of the artist: which are read, how large they may be, and what is said of others."""

from __future__ import annotations

import logging
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, features

from helpers.fakes import noise_image
from storymem.files.images import (
    FORMATS,
    MAX_PIXELS,
    OTHER_PICTURES,
    PICTURE_SUFFIXES,
    WORKING_FILES,
    is_picture,
    read_picture,
    to_uint8,
)
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.frame import REFERENCE_SHOT, MemoryFrame
from storymem.sampling.start_images import from_folder
from storymem.script.reader import load_story
from storymem.views.thumbnails import read_small

PACK = Path(__file__).resolve().parents[2]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{ } loop\nshowpage\n%%EOF\n"


def save(path: Path, kind: str = "PNG", colour=(200, 80, 40), size=(64, 48)) -> Path:
    Image.new("RGB", size, colour).save(path, kind, **({"quality": 95} if kind != "PNG" else {}))
    return path


def vast_png(path: Path, side: int) -> Path:
    """A whole picture of one colour: tiny on disk, of any size in memory."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    packer, rows = zlib.compressobj(9), []
    for _ in range(side):
        rows.append(packer.compress(b"\0" + bytes(3 * side)))
    rows.append(packer.flush())
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    return path


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_every_listed_ending_is_read_in_any_case(tmp_path, suffix, case):
    kind = next(kind for kind, suffixes in FORMATS.items() if suffix in suffixes)
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = save(tmp_path / f"picture{case(suffix)}", kind)
    assert is_picture(path)
    assert (read_picture(path)[5, 5].int() - torch.tensor([200, 80, 40])).abs().max() <= 8
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["picture"]


def test_of_a_moving_picture_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name, options in (("a.gif", {}), ("b.apng", {"format": "PNG"}), ("c.webp", {})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        red, green, blue = read_picture(tmp_path / name)[0, 0].tolist()
        assert (red > 240, green < 20, blue < 20) == (True, True, True)


@pytest.mark.parametrize("kind", sorted(set(OTHER_PICTURES.values())))
def test_a_picture_of_another_kind_is_named_instead_of_passed_over(tmp_path, caplog, kind):
    suffix = next(suffix for suffix, name in OTHER_PICTURES.items() if name == kind)
    save(tmp_path / "one.png")
    (tmp_path / f"Two{suffix.upper()}").write_bytes(b"\0\0\0\x18ftypheic")
    words = rf"Two{re.escape(suffix.upper())} cannot be read as a picture: it is {re.escape(kind)}"
    with pytest.raises(ValueError, match=words):
        load_bank(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [f.name for f in load_bank(tmp_path, skip_damaged=True).frames] == ["one"]
    assert f"Two{suffix.upper()}" in caplog.text


def test_a_picture_of_another_kind_beside_the_same_one_is_not_missed(tmp_path, caplog):
    save(tmp_path / "hero.png")
    (tmp_path / "hero.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert [f.name for f in load_bank(tmp_path).frames] == ["hero"]
    assert caplog.text == ""


@pytest.mark.parametrize("kind", sorted(set(WORKING_FILES.values())))
def test_a_working_file_is_told_and_not_in_the_way(tmp_path, caplog, kind):
    suffix = next(suffix for suffix, name in WORKING_FILES.items() if name == kind)
    save(tmp_path / "one.png")
    working = tmp_path / f"Sheet{suffix.upper()}"
    working.write_bytes(b"8BPS")
    with caplog.at_level(logging.WARNING):
        assert [f.name for f in load_bank(tmp_path).frames] == ["one"]
    assert f"ignoring {working.name} in {tmp_path}; to use it, save it as PNG" in caplog.text
    with pytest.raises(ValueError, match=rf"it is {re.escape(kind)}; save it as PNG"):
        read_picture(working)


def test_pictures_whose_names_begin_with_numbers_come_after_others(tmp_path):
    """The order decides over the keys of shots that see the references."""
    for i, name in enumerate(["2.png", "10.png", "hero 10.png", "hero 2.png", "Anna.png"]):
        save(tmp_path / name, colour=(40 * i, 0, 0))
    names = [frame.name for frame in load_bank(tmp_path).frames]
    assert names == ["Anna", "hero 2", "hero 10", "2", "10"]


def test_what_is_no_picture_is_passed_over(tmp_path):
    save(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["one"]


def test_the_page_takes_what_the_server_reads():
    script = (PACK / "web" / "js" / "shared" / "input_pictures.js").read_text(encoding="utf-8")
    listed = script.split("PICTURE_ENDINGS = [")[1].split("]")[0]
    assert sorted(re.findall(r'"(\.[a-z]+)"', listed)) == sorted(PICTURE_SUFFIXES)


# --- what is not -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a"])
def test_postscript_starts_no_program_under_any_name(tmp_path, monkeypatch, name):
    def never(*_, **__):
        raise AssertionError("a picture started a program")

    monkeypatch.setattr("subprocess.Popen", never)
    monkeypatch.setattr("os.system", never)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a picture"):
        read_picture(tmp_path / name)
    assert read_small(tmp_path / name, 64) is None


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX", "SGI", "DDS", "JPEG2000"])
def test_formats_that_are_not_listed_are_not_opened(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(path, kind)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture: it is not a PNG"):
        read_picture(path)


def test_a_vast_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = vast_png(tmp_path / "vast.png", 13_300)
    assert path.stat().st_size < 600_000

    def never(*_, **__):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(ValueError, match=r"vast\.png cannot be read.*at most 64 megapixels"):
        read_picture(path)
    assert read_small(path, 64) is None


def test_the_limit_is_sixty_four_megapixels(tmp_path, monkeypatch):
    assert MAX_PIXELS == 64_000_000
    monkeypatch.setattr("storymem.files.images.MAX_PIXELS", 48 * 64)
    assert read_picture(save(tmp_path / "a.png")).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="it has 65x48 pixels; at most"):
        read_picture(save(tmp_path / "b.png", size=(65, 48)))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0"])
def test_what_is_damaged_is_said_in_one_line_with_its_name(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png cannot be read as a picture") as refused:
        read_picture(tmp_path / "bad.png")
    assert str(refused.value).count(str(tmp_path)) == 1
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_pipe_are_no_pictures(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    for name in ("pipe.png", "missing.png"):
        with pytest.raises(ValueError, match="there is no such file"):
            read_picture(tmp_path / name)


def test_the_store_opens_only_what_it_writes(tmp_path):
    """A picture of the store may have been replaced by anybody, with the same pixels even."""
    store, frame = ShotStore(tmp_path), MemoryFrame.from_pixels(torch.rand(8, 8, 3), shot=0)
    record, _ = store.commit("ab" * 32, torch.rand(5, 16, 16, 3), MemoryBank((frame,)), {})
    (path,) = (tmp_path / "pictures").rglob("*.png")
    assert store.load(record).bank.frames[0].digest == frame.digest
    Image.fromarray(frame.image.numpy()).save(path, "BMP")
    with pytest.raises(ValueError, match="cannot be read"):
        store.load(record)
    assert read_small(path, 8) is None


# --- banks and start images --------------------------------------------------------------------


def test_a_picture_whose_name_is_no_unicode_is_told_before_it_is_remembered(tmp_path):
    """As an old zip file leaves it; no log, page or bank.json could hold the name."""
    save(tmp_path / "hero.png")
    try:
        os.rename(bytes(tmp_path / "hero.png"), bytes(tmp_path) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system has Unicode names only")
    with pytest.raises(ValueError, match=r"caf\\udce9\.png cannot be read.*rename it") as refused:
        load_bank(tmp_path)
    str(refused.value).encode()
    save(tmp_path / "other.png")
    bank = load_bank(tmp_path, skip_damaged=True)
    assert [frame.name for frame in bank.frames] == ["other"]
    save_bank(tmp_path, bank)


def test_copies_of_the_last_frame_are_no_keyframes_either(tmp_path):
    save(released(tmp_path) / "last_frame (1).jpg", "JPEG", (9, 9, 9))
    save(tmp_path / "last_frame - Copy.jpg", "JPEG", (8, 9, 9))
    (tmp_path / "10_01_keyframe0.jpg").rename(tmp_path / "10_01_KEYFRAME0.JPG")
    assert len(load_bank(tmp_path).frames) == 6
    only = tmp_path / "one"
    only.mkdir()
    save(only / "01_02_Keyframe0.JPG", "JPEG")
    save(only / "last_frame.jpg", "JPEG")
    assert [frame.shot for frame in load_bank(only).frames] == [0]


def released(folder: Path) -> Path:
    """What the released code leaves of a story of two scenes with one reference picture."""
    for i, label in enumerate(["00_00", "01_01", "01_02", "01_02", "02_01", "10_01"]):
        number = 1 if i == 3 else 0
        save(folder / f"{label}_keyframe{number}.jpg", "JPEG", (40 * i, 10, 200))
    save(folder / "last_frame.jpg", "JPEG", (1, 2, 3))
    (folder / "01_01.mp4").write_bytes(b"")
    return folder


def test_a_results_folder_of_the_released_code_is_a_bank(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "storymem"):
        bank = load_bank(released(tmp_path))
    places = [(frame.name, frame.shot, frame.frame) for frame in bank.frames]
    assert places == [
        ("00_00_keyframe0", REFERENCE_SHOT, 0),
        ("01_01_keyframe0", 0, 0),
        ("01_02_keyframe0", 1, 0),
        ("01_02_keyframe1", 1, 1),
        ("02_01_keyframe0", 2, 0),
        ("10_01_keyframe0", 3, 0),
    ]
    assert [frame.place for frame in bank.frames][3] == "shot 2, frame 1"
    assert "last_frame.jpg is the end of a shot, not a keyframe" in caplog.text


def test_a_last_frame_alone_is_a_picture_like_others(tmp_path):
    save(tmp_path / "last_frame.jpg", "JPEG")
    assert [frame.name for frame in load_bank(tmp_path).frames] == ["last_frame"]


@pytest.mark.parametrize("name", ["1²2.png", "٣.png", "①.png", f"{'9' * 150}.png", "½.png"])
def test_digits_of_any_kind_in_a_name_are_no_trouble(tmp_path, name):
    save(tmp_path / name)
    save(tmp_path / "2.png", colour=(1, 1, 1))
    assert len(load_bank(tmp_path).frames) == 2


STORY = load_story({"scenes": [{"video_prompts": ["a", "b"], "cut": [True, True]}]})


@pytest.mark.parametrize(
    "names",
    [
        ("shot_01_01.PNG", "Shot_01_02.Jpg"),
        ("01_01.jfif", "01_02.avif"),
        ("shot_01_01_00001_.png", "shot_01_02_00001_.png"),
        ("01_01_00001_.webp", "shot_01_02.gif"),
    ],
)
def test_start_images_are_found_by_every_name_that_they_come_with(tmp_path, names):
    for i, name in enumerate(names):
        kind = next(k for k, s in FORMATS.items() if Path(name).suffix.lower() in s)
        if kind == "AVIF" and not features.check("avif"):
            pytest.skip("this Pillow has no AVIF")
        save(tmp_path / name, kind, (100 * i, 0, 0))
    found = from_folder(tmp_path, STORY)
    assert [round(int(found[i][0, 0, 0]) / 100) for i in range(2)] == [0, 1]


def test_of_what_comfyui_saved_the_latest_counts_and_a_plain_name_before_it(tmp_path):
    for number in (1, 12, 3):
        save(tmp_path / f"shot_01_01_{number:05d}_.png", colour=(number, 0, 0))
    save(tmp_path / "01_02.png", colour=(7, 0, 0))
    save(tmp_path / "shot_01_02_00009_.png", colour=(9, 0, 0))
    found = from_folder(tmp_path, STORY)
    assert [int(found[i][0, 0, 0]) for i in range(2)] == [12, 7]


def test_a_start_image_that_cannot_be_read_is_named(tmp_path):
    save(tmp_path / "shot_01_01.png")
    (tmp_path / "shot_01_02.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(ValueError, match=r"shot_01_02\.HEIC.*it is HEIC; save it as PNG"):
        from_folder(tmp_path, STORY)


def test_pixels_are_as_pillow_gives_them(tmp_path):
    pixels = noise_image(3)
    Image.fromarray(pixels.numpy()).save(tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png"), pixels)
    deep = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    Image.fromarray(deep).save(tmp_path / "b.png")
    assert torch.equal(
        read_picture(tmp_path / "b.png")[..., 0],
        torch.from_numpy((deep.astype(np.float64) / 65535 * 255).round().astype(np.uint8)),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_no_numbers_never_become_a_picture(value):
    pixels = torch.zeros(2, 3, 4)
    pixels[1, 2, 3] = value
    assert to_uint8(pixels, "frame 3").shape == (2, 3, 3)  # in alpha, which is dropped
    pixels[0, 0, 0] = value
    with pytest.raises(ValueError, match="frame 3 holds NaN or infinite pixels"):
        to_uint8(pixels, "frame 3")
