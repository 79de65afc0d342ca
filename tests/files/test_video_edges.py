"""Films at the edge of what is read and written: with sound, without frames or a rate, turned,
captioned oddly, on a disk that is full."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from storymem.files.video import (
    copy_video,
    is_bt709,
    join_videos,
    quarter_turns,
    read_frames,
    read_info,
    subtitles_text,
    to_pixels,
    write_video,
)

BT709 = 1
on_linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk to fill here")


def greys(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames that differ: each of one grey."""
    return [np.full((height, width, 3), 40 + 9 * i, np.uint8) for i in range(count)]


def write_elsewhere(
    path: Path, count: int, *, kind: str = "mp4", rate: int = 16, sound: bool = False, **options
) -> Path:
    """A film as other programs write them; ``sound``: a track beside the frames, which is first.
    ``options`` are x264's."""
    with av.open(str(path), "w", format=kind) as container:
        track = container.add_stream("aac", rate=48_000) if sound else None
        stream = container.add_stream("libx264", rate=rate, options={"crf": "5"} | options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = BT709
        if track is not None:
            track.layout = "mono"
            for number in range(30):
                silence = np.zeros((1, 1024), np.float32)
                heard = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
                heard.sample_rate, heard.pts = 48_000, 1024 * number
                container.mux(track.encode(heard))
            container.mux(track.encode(None))
        for number, pixels in enumerate(greys(count)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


# --- of other programs ----------------------------------------------------------------------------


def test_of_a_film_with_sound_the_frames_count(tmp_path):
    path = write_elsewhere(tmp_path / "a.mp4", 9, sound=True)
    assert read_info(path)[:5] == (9, 64, 48, "h264", "yuv420p")
    assert len(list(read_frames(path))) == 9
    assert is_bt709(path)
    assert join_videos([path, path], tmp_path / "film.mp4"), "copied"
    copy_video(path, tmp_path / "copy.mp4", fps=16)
    assert not join_videos([path, path], tmp_path / "faded.mp4", fades=[0, 2])
    for name, count in (("film", 18), ("copy", 9), ("faded", 16)):
        assert read_info(tmp_path / f"{name}.mp4").frames == count
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            assert [stream.type for stream in container.streams] == ["video"]
        expected = [Fraction(number, 16) for number in range(count)]
        assert times_of(tmp_path / f"{name}.mp4") == expected


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
def test_what_a_file_says_has_the_types_that_are_promised(tmp_path, kind):
    suffix = {"matroska": ".mkv"}.get(kind, f".{kind}")
    info = read_info(write_elsewhere(tmp_path / f"a{suffix}", 9, kind=kind, rate=30))
    types = [int, int, int, str, str, bytes, int, int, int, int]
    assert [type(value) for value in info] == types
    assert info[:5] == (9, 64, 48, "h264", "yuv420p")
    assert info.delay == (2 if kind == "mp4" else 0)  # the others tell no time below zero


def test_times_that_a_file_has_rounded_become_even(tmp_path):
    """Matroska counts milliseconds: a thirtieth of a second does not fit."""
    path = write_elsewhere(tmp_path / "a.mkv", 9, kind="matroska", rate=30, bf="0")
    copy_video(path, tmp_path / "copy.mp4", fps=24)
    assert times_of(tmp_path / "copy.mp4") == [Fraction(number, 24) for number in range(9)]
    for mine, theirs in zip(read_frames(tmp_path / "copy.mp4"), read_frames(path), strict=True):
        assert np.array_equal(mine, theirs)


def test_a_film_without_a_frame_is_told_as_such(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    info = read_info(path)
    assert (info.frames, info.width, info.height, info.delay) == (0, 64, 48, 0)
    assert list(read_frames(path)) == []


def test_a_film_that_tells_no_rate_is_read(tmp_path):
    path = write_elsewhere(tmp_path / "a.mkv", 1, kind="matroska")
    content = path.read_bytes()
    start = content.index(b"\x23\xe3\x83\x84")  # DefaultDuration, in RFC 9559
    path.write_bytes(content[:start] + b"\xec\x86" + bytes(6) + content[start + 8 :])  # Void
    with av.open(str(path)) as container:
        assert not container.streams.video[0].average_rate  # None, since PyAV 19 zero by zero
    assert read_info(path)[:3] == (1, 64, 48)
    assert read_info(path).delay == 0


# --- rates and times ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), Fraction(30_000, 1001), 1, 25, 240])
def test_a_film_has_even_times_at_any_rate(tmp_path, rate):
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        assert write_video(path, greys(5), fps=float(rate)) == 5
    expected = [number / Fraction(rate) for number in range(5)]
    assert times_of(paths[0]) == expected
    join_videos(paths, tmp_path / "film.mp4", fps=float(rate))
    copy_video(paths[0], tmp_path / "copy.mp4", fps=float(rate))
    assert times_of(tmp_path / "copy.mp4") == expected
    assert times_of(tmp_path / "film.mp4") == [number / Fraction(rate) for number in range(10)]


# --- how a frame is shown -------------------------------------------------------------------------


def test_players_turn_by_the_nearest_quarter():
    for degrees in range(-180, 181):
        turns = quarter_turns(SimpleNamespace(rotation=degrees))
        assert turns in range(4)
        off = abs(degrees - 90 * turns) % 360
        assert min(off, 360 - off) <= 45, degrees


def test_scaling_is_lanczos():
    """Nearer to Pillow's than any other of its filters comes."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 1), dtype=np.uint8)
    picture = np.repeat(noise, 3, axis=2)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p")
    off = {}
    for size in ((120, 160), (240, 320)):
        mine = to_pixels(frame, size).astype(float)
        for name in ("LANCZOS", "BICUBIC", "BILINEAR", "NEAREST"):
            theirs = Image.fromarray(picture).resize(size[::-1], Image.Resampling[name])
            off[name] = np.abs(mine - np.asarray(theirs, float)).mean()
        assert min(off, key=off.get) == "LANCZOS", (size, off)


# --- captions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a", ["a"]),
        ("  a \n\tb\t", ["a", "b"]),
        ("a\n \t\nb\n\n", ["a", "b"]),  # a blank line would end the caption
        ("-->a --> b", ["->a -> b"]),
        ("", []),
        (" \n", []),
    ],
)
def test_a_caption_has_the_lines_of_its_text_and_no_blank_ones(text, lines):
    assert subtitles_text([(0, 16, text)]).split("\n") == [
        "1", "00:00:00,000 --> 00:00:01,000", *lines, "",
    ]  # fmt: skip


def test_clocks_of_captions_follow_each_other():
    seconds = (0, 1, 59, 60, 61, 3599, 3600, 3661, 86_400, 360_000)
    entries = [(16 * first, 16 * last, "x") for first, last in pairwise(seconds)]
    told = [line for line in subtitles_text(entries).split("\n") if "-->" in line]
    clocks = [f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d},000" for s in seconds]
    assert told == [f"{first} --> {last}" for first, last in pairwise(clocks)]


# --- where it is written --------------------------------------------------------------------------


def test_the_name_of_a_film_may_end_as_it_likes(tmp_path):
    """Unfinished ones have an ending of their own."""
    whole = tmp_path / "a.mp4"
    write_video(whole, greys(3))
    for name in (".a.mp4.part", "a", "a.mkv", "a.txt"):
        write_video(tmp_path / name, greys(3))
        assert (tmp_path / name).read_bytes() == whole.read_bytes()
    copy_video(whole, tmp_path / "copy.part", fps=16)
    with av.open(str(tmp_path / "copy.part"), format="mp4") as container:
        assert len(list(container.decode(video=0))) == 3


@on_linux
@pytest.mark.parametrize("is_large", [False, True])
def test_a_full_disk_is_told_by_its_number(is_large):
    """Of a small film when it is closed, of a large one while it is written, and then again."""
    frames = greys(9)
    if is_large:
        frames = list(np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8))
    with pytest.raises(OSError, match="No space left on device") as told:
        write_video("/dev/full", frames, crf=0)
    assert told.value.errno == errno.ENOSPC


@on_linux
def test_a_film_that_failed_is_held_open_no_more(tmp_path):
    """Systems where open files cannot be removed would keep it."""
    path, held = tmp_path / "a.mp4", []

    def look() -> None:
        numbers = os.listdir("/proc/self/fd")
        held.append(str(path) in {os.path.realpath(f"/proc/self/fd/{n}") for n in numbers})

    def frames():
        for _ in range(4):
            yield from greys(20)
        look()
        raise RuntimeError("the sampler stopped")

    with pytest.raises(RuntimeError, match="the sampler stopped") as told:
        write_video(path, frames())
    look()
    assert held == [True, False]
    assert told.value.__traceback__ is not None, "it keeps what the writer held"


def test_of_two_errors_the_first_one_is_told(tmp_path, monkeypatch):
    """A container may refuse to be closed, too."""

    class Refusing:
        def close(self):
            raise av.error.InvalidDataError(1, "there is no end to write")

    monkeypatch.setattr(av, "open", lambda *args, **options: Refusing())

    def frames():
        raise RuntimeError("the sampler stopped")
        yield

    with pytest.raises(RuntimeError, match="the sampler stopped"):
        write_video(tmp_path / "a.mp4", frames())
