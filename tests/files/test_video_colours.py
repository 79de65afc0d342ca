"""Colours of the films: BT.709, tagged so, and what becomes of films from before that."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from helpers.film_files import write_untagged
from storymem.files.video import join_videos, read_frames, read_info, write_video

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


@pytest.mark.parametrize("size", SIZES)
def test_flat_colours_come_back_and_the_file_says_what_they_are(tmp_path, size):
    for colour in COLOURS:
        write_video(tmp_path / "a.mp4", of_one_colour(colour, size))
        frame = first_frame(tmp_path / "a.mp4")
        tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
        assert [int(tag) for tag in tags] == [1, 1, 1, 1]
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


def test_a_film_in_full_range_is_read_as_it_plays(tmp_path):
    """As screen recorders and phones write them."""
    path = tmp_path / "full.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1
        context.color_range = 2
        for pixels in of_one_colour((220, 30, 40)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(
                format="yuvj420p", dst_colorspace="ITU709", dst_color_range="JPEG"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(next(iter(read_frames(path))).astype(int) - (220, 30, 40)).max() <= 2
