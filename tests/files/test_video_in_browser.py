"""Films in a real Chromium: the colours that its canvas shows are those that were written."""

from __future__ import annotations

import base64

import av
import numpy as np
import pytest

from helpers.browser import FLAGS, find_chromium
from helpers.film_files import write_untagged
from storymem.files.video import read_frames, write_video

# Without a graphics card Chromium's converter (libyuv) cuts BT.709's coefficient of blue to 2.0:
# strong blues and yellows are off by up to nine levels, whoever wrote the film.
COLOURS = [(220, 30, 40), (100, 140, 115), (230, 195, 175), (60, 70, 90), (128, 128, 128)]
SIZES = [(832, 480), (480, 832), (1280, 720), (720, 1280), (1080, 1920)]  # portrait and landscape
SHOW = """async ([address, places]) => {
    const video = document.createElement("video");
    video.muted = true;
    document.body.append(video);
    const drawn = new Promise((done, fail) => {
        video.requestVideoFrameCallback(done);
        video.onerror = () => fail(video.error);
    });
    video.src = address;
    await video.play();
    await drawn;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    video.remove();
    return places.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
}"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: no film is played"),
]


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser.new_page()
        browser.close()


def bars(height: int, width: int) -> np.ndarray:
    """Upright bars, one of each colour."""
    edges = np.arange(width) * len(COLOURS) // width
    return np.broadcast_to(np.array(COLOURS, np.uint8)[edges], (height, width, 3))


def shown(page, path, height: int, width: int) -> np.ndarray:
    address = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    places = [[(2 * i + 1) * width // (2 * len(COLOURS)), height // 2] for i in range(len(COLOURS))]
    return np.array(page.evaluate(SHOW, [address, places]))


@pytest.mark.parametrize("size", SIZES)
def test_flat_colours_are_shown_as_they_were_written(page, tmp_path, size):
    write_video(tmp_path / "a.mp4", [bars(*size)] * 3)
    assert np.abs(shown(page, tmp_path / "a.mp4", *size) - COLOURS).max() <= 2


@pytest.mark.parametrize(
    ("layout", "tags", "space"),
    [
        ("yuv420p", (6, 6, 6, 1), 5),
        ("yuv420p", (5, 5, 6, 1), 5),
        ("yuv420p", (1, 1, 13, 1), 1),
        ("yuv420p", (1, 1, 4, 1), 1),
        ("yuv420p", (1, 1, 1, 2), 1),
        ("yuv444p", (1, 1, 1, 1), 1),
        ("yuv420p10le", (1, 1, 1, 1), 1),
        ("yuv420p10le", (9, 9, 1, 1), 9),
        ("yuv420p", (1, 12, 13, 1), 1),
    ],
)
def test_films_of_other_programs_are_read_as_they_are_shown(page, tmp_path, layout, tags, space):
    """``tags``: matrix, primaries, curve and range in numbers of H.273."""
    size = (480, 832)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "4"})
        (stream.height, stream.width), stream.pix_fmt = size, layout
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags[:3]
        context.color_range = tags[3]
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(bars(*size)), format="rgb24")
            how = {"dst_color_range": "JPEG"} if tags[3] == 2 else {}
            frame = frame.reformat(format=layout, dst_colorspace=space, **how)
            frame.color_range, frame.pts = tags[3], number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    read = next(iter(read_frames(tmp_path / "a.mp4"))).astype(int)
    width = size[1]
    places = [(2 * i + 1) * width // (2 * len(COLOURS)) for i in range(len(COLOURS))]
    assert np.abs(read[size[0] // 2, places] - shown(page, tmp_path / "a.mp4", *size)).max() <= 4


def test_without_tags_a_film_in_hd_is_not(page, tmp_path):
    """What this is for: if browsers took such files as they are meant, nothing was to do."""
    size = (720, 1280)
    write_untagged(tmp_path / "a.mp4", [bars(*size)] * 3)
    assert np.abs(shown(page, tmp_path / "a.mp4", *size) - COLOURS).max() > 15
