"""Colours of the films: BT.709, tagged so, and what becomes of films from before that."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from helpers.film_files import write_untagged
from storymem.files.video import (
    copy_video,
    join_videos,
    read_frames,
    read_info,
    to_pixels,
    write_video,
)

SIZES = [(832, 480), (480, 832), (720, 1280), (1280, 720), (1080, 1920), (48, 64), (33, 35)]
COLOURS = [
    (220, 30, 40), (10, 200, 90), (30, 60, 230), (255, 0, 0), (0, 255, 0), (0, 0, 255),
    (255, 255, 0), (128, 128, 128), (255, 255, 255), (0, 0, 0),
]  # fmt: skip
LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. ITU-R BT.709


def of_one_colour(colour, size=(48, 64), count=2) -> list[np.ndarray]:
    return [np.full((*size, 3), colour, dtype=np.uint8)] * count


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize(
    "size", [SIZES[0], *(pytest.param(s, marks=pytest.mark.slow) for s in SIZES[1:])]
)
def test_flat_colours_come_back_and_the_file_says_what_they_are(tmp_path, size):
    for colour in COLOURS:
        write_video(tmp_path / "a.mp4", of_one_colour(colour, size))
        frame = first_frame(tmp_path / "a.mp4")
        info = read_info(tmp_path / "a.mp4")
        tags = (frame.colorspace, frame.color_range, info.matrix, info.primaries, info.curve)
        assert [int(tag) for tag in tags] == [1] * 5
        read = next(iter(read_frames(tmp_path / "a.mp4"))).astype(int)
        assert np.abs(read - colour).max() <= 2, colour


@pytest.mark.parametrize("colour", COLOURS)
def test_what_is_stored_is_what_the_recommendation_says(tmp_path, colour):
    """The equations of BT.709 in float64, against the bytes of the decoded planes."""
    write_video(tmp_path / "a.mp4", of_one_colour(colour))
    y, u, v = (
        np.frombuffer(plane, np.uint8)[0] for plane in first_frame(tmp_path / "a.mp4").planes
    )
    red, _, blue = np.array(colour) / 255
    luma = float(LUMA @ colour) / 255
    assert abs(y - (16 + 219 * luma)) <= 1
    assert abs(u - (128 + 224 * (blue - luma) / 1.8556)) <= 1
    assert abs(v - (128 + 224 * (red - luma) / 1.5748)) <= 1


def test_shots_from_before_and_new_ones_are_one_film_in_right_colours(tmp_path):
    old, new = tmp_path / "old.mp4", tmp_path / "new.mp4"
    write_untagged(old, of_one_colour((220, 30, 40), count=5))
    write_video(new, of_one_colour((10, 200, 90), count=4))
    assert (read_info(old).matrix, read_info(new).matrix) == (2, 1)
    for paths, colours in (
        ([old, new], [(220, 30, 40)] * 5 + [(10, 200, 90)] * 4),
        ([new, old], [(10, 200, 90)] * 4 + [(220, 30, 40)] * 5),
        ([old, old], [(220, 30, 40)] * 10),
    ):
        assert not join_videos(paths, tmp_path / "film.mp4")
        assert read_info(tmp_path / "film.mp4").matrix == 1
        read = np.stack(list(read_frames(tmp_path / "film.mp4"))).astype(int)
        assert np.abs(read - np.array(colours)[:, None, None]).max() <= 3
    assert join_videos([new, new], tmp_path / "film.mp4"), "copied"


tells_primaries = pytest.mark.skipif(
    not hasattr(av.VideoFrame, "color_primaries"), reason="PyAV before 17 does not tell"
)
P3 = np.array(  # from linear Display P3 to linear sRGB, as textbooks print it
    [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]
)
BT2020 = np.array(  # Rec. ITU-R BT.2087, the other way round
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def write_tagged(path, colour, layout="yuv420p", tags=(1, 1, 1, 1), space="ITU709") -> Path:
    """A film as other programs write it; ``tags``: matrix, primaries, curve, range."""
    codec = "libx264rgb" if layout == "bgr24" else "libx264"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=16, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, layout
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags[:3]
        context.color_range = tags[3]
        for number, pixels in enumerate(of_one_colour(colour)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            options = {"dst_colorspace": space} if space else {}
            if tags[3] == 2 and space:
                options["dst_color_range"] = "JPEG"
            frame = frame.reformat(format=layout, **options)
            frame.color_range, frame.pts = tags[3], number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("layout", "tags", "space"),
    [
        ("yuv420p", (1, 1, 13, 1), "ITU709"),  # the host's Save Video
        ("yuv420p", (6, 6, 6, 1), "ITU601"),
        ("yuv420p", (6, 1, 1, 1), "ITU601"),
        ("yuv420p", (2, 2, 2, 0), "ITU601"),
        ("yuv420p", (1, 1, 1, 2), "ITU709"),  # as screen recorders and phones write them
        ("yuvj420p", (1, 1, 1, 2), "ITU709"),
        ("yuv420p10le", (1, 1, 1, 1), "ITU709"),
        ("yuv420p10le", (1, 1, 1, 2), "ITU709"),
        ("yuv422p10le", (6, 6, 6, 1), "ITU601"),
        ("yuv422p", (1, 1, 1, 1), "ITU709"),
        ("yuv444p", (1, 1, 1, 1), "ITU709"),
        ("bgr24", (0, 1, 13, 2), None),
    ],
)
def test_films_of_other_programs_are_read_as_they_play(tmp_path, layout, tags, space):
    for colour in COLOURS:
        path = write_tagged(tmp_path / "a.mp4", colour, layout, tags, space)
        read = next(iter(read_frames(path))).astype(int)
        assert np.abs(read - colour).max() <= 2, colour


@tells_primaries
@pytest.mark.parametrize(("primaries", "matrix", "to_srgb"), [(12, 1, P3), (9, 9, BT2020)])
@pytest.mark.parametrize("colour", [(200, 60, 50), (60, 140, 70), (70, 80, 160), (128, 128, 128)])
def test_wide_primaries_are_converted(tmp_path, primaries, matrix, to_srgb, colour):
    path = write_tagged(
        tmp_path / "a.mp4", colour, "yuv420p10le", (matrix, primaries, 1, 1), space=matrix
    )
    value = np.array(colour) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = (to_srgb @ light).clip(0, 1)
    wanted = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(next(iter(read_frames(path))) - wanted).max() <= 3
    assert (np.abs(wanted - colour).max() > 4) == (len(set(colour)) > 1)


@tells_primaries
@pytest.mark.parametrize("curve", [16, 18])
def test_white_of_standard_range_in_hdr_is_white(tmp_path, curve):
    """Both recommendations put it at 203 nits (BT.2408): 58 % of PQ's signal, 75 % of HLG's."""
    signal = {16: 0.5806, 18: 0.75}[curve]
    for share, wanted in ((1.0, 255), (0.0, 0)):
        level = (round(signal * share * 255),) * 3
        tags = (9, 9, curve, 1)
        path = write_tagged(tmp_path / "a.mp4", level, "yuv420p10le", tags, space=9)
        assert np.abs(next(iter(read_frames(path))).astype(int) - wanted).max() <= 6
    dim = write_tagged(tmp_path / "a.mp4", (90, 90, 90), "yuv420p10le", (9, 9, curve, 1), space=9)
    assert 60 < next(iter(read_frames(dim))).mean() < 160, "between black and white"


def test_colours_of_a_film_are_kept_when_it_is_scaled(tmp_path):
    for tags, space in (((1, 1, 1, 2), "ITU709"), ((6, 6, 6, 1), "ITU601"), ((1, 1, 1, 1), 1)):
        path = write_tagged(tmp_path / "a.mp4", (220, 30, 40), "yuv420p", tags, space)
        pixels = to_pixels(first_frame(path), (96, 128))
        assert pixels.shape == (96, 128, 3)
        assert np.abs(pixels.astype(int) - (220, 30, 40)).max() <= 2


def test_a_shot_at_another_rate_is_the_same_packets(tmp_path):
    old = write_untagged(tmp_path / "old.mp4", of_one_colour((220, 30, 40), count=7))
    copy_video(old, tmp_path / "fast.mp4", fps=24)
    assert read_info(tmp_path / "fast.mp4") == read_info(old)
    with av.open(str(tmp_path / "fast.mp4")) as fast:
        assert fast.streams.video[0].average_rate == 24


def test_fades_between_old_and_new_shots_mix_what_both_show(tmp_path):
    old = write_untagged(tmp_path / "old.mp4", of_one_colour((200, 40, 40), count=6))
    write_video(tmp_path / "new.mp4", of_one_colour((40, 200, 40), count=6))
    assert not join_videos([old, tmp_path / "new.mp4"], tmp_path / "film.mp4", fades=[0, 3])
    read = np.stack(list(read_frames(tmp_path / "film.mp4"))).astype(int)[:, 20, 20]
    assert np.abs(read[:3] - (200, 40, 40)).max() <= 3
    assert np.abs(read[4] - (120, 120, 40)).max() <= 3
    assert np.abs(read[6:] - (40, 200, 40)).max() <= 3
