"""Films in a real Chromium: the colours that its canvas shows are those that were written."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from helpers.browser import FLAGS, find_chromium
from helpers.film_files import write_untagged
from storymem.files.video import write_video

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


def test_without_tags_a_film_in_hd_is_not(page, tmp_path):
    """What this is for: if browsers took such files as they are meant, nothing was to do."""
    size = (720, 1280)
    write_untagged(tmp_path / "a.mp4", [bars(*size)] * 3)
    assert np.abs(shown(page, tmp_path / "a.mp4", *size) - COLOURS).max() > 15
