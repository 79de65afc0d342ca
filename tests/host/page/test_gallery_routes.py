"""The route of the memory gallery's pictures over HTTP."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from helpers.gallery_page import ask, prepare_base, story_graph
from helpers.host_server import Server

pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    """A server with the pictures of a story, in which the pack's folder has another name."""
    base = prepare_base(tmp_path_factory.mktemp("gallery_server"), base_folder)
    running = Server(base, "--disable-api-nodes").start()
    running.run(story_graph(tmp_path_factory.mktemp("log") / "log"))
    yield running
    running.stop()


def stored(server) -> list[str]:
    return sorted(p.stem for p in (server.base / "output/.storymem/pictures").glob("*/*.png"))


def test_pictures_are_given_by_digest_made_small_and_kept_by_the_browser(server):
    digest = stored(server)[0]
    for size, side in (("", 192), ("?size=64", 64), ("?size=1024", 256), ("?size=99999", 256)):
        status, headers, body = ask(server, f"/storymem/picture/{digest}{size}")
        assert status == 200
        assert headers["Content-Type"] == "image/jpeg"
        assert "immutable" in headers["Cache-Control"]
        assert max(Image.open(io.BytesIO(body)).size) == side
    assert ask(server, f"/api/storymem/picture/{digest}")[0] == 200


def test_only_digests_of_known_pictures_are_answered(server):
    digest = stored(server)[0]
    secret = server.base / "output" / ".storymem" / "pictures" / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    outside = server.base / "outside.png"
    Image.new("RGB", (4, 4)).save(outside)
    linked = "f" * 64
    (server.base / "temp" / "storymem").mkdir(exist_ok=True)
    (server.base / "temp" / "storymem" / f"{linked}.jpg").symlink_to(outside)
    damaged = "e" * 64
    (server.base / "temp" / "storymem" / f"{damaged}.jpg").write_bytes(b"no picture")
    names = (
        "0" * 64, digest.upper(), digest[:63], digest + "0", "secret", "..%2fsecret", "%2e%2e",
        "..%2f..%2f..%2foutside", f"{digest}%00", f"{digest}%0a", linked, damaged, "x" * 5000,
    )  # fmt: skip
    for name in names:
        assert ask(server, f"/storymem/picture/{name}")[0] == 404, name
    for size in ("-1", "1e3", "%D9%A3", "999999", "a", ""):
        assert ask(server, f"/storymem/picture/{digest}?size={size}")[0] == 404, size
    assert ask(server, f"/storymem/picture/{digest}", method="POST", body=b"{}")[0] == 405


def test_other_sites_get_nothing(server):
    path = f"/storymem/picture/{stored(server)[0]}"
    here = f"127.0.0.1:{server.port}"
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"http://evil.example:{server.port}"},
    ):
        assert ask(server, path, headers=headers)[0] == 403, headers
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": f"http://{here}"}):
        assert ask(server, path, headers=headers)[0] == 200, headers
