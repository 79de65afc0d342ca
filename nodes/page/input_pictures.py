"""What the story editor's picker asks the server for: the pictures of the host's input folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.files.images import is_picture
from ...storymem.sound.files import is_sound_name
from ...storymem.views.input_pictures import list_files, list_pictures, read_thumbnail
from ...storymem.views.thumbnails import SMALL
from ..host.folders import find_inside

PICTURES_AT_ONCE = 2  # decoding one takes a processor that a running sampler needs
OF_A_VERSION = "private, max-age=86400"  # the page asks with the picture's time in the address
LONGEST_WORDS = 200


async def show_list(request: web.Request) -> web.Response:
    """``GET /storymem/input?words=mara``: names of pictures, the latest first; of ``sounds`` with
    ``kind=sound``."""
    words = request.query.get("words", "")[:LONGEST_WORDS]
    folder = Path(folder_paths.get_input_directory()).resolve()
    if request.query.get("kind") == "sound":
        sounds, left_out = await asyncio.to_thread(list_files, folder, words, is_sound_name)
        return web.json_response({"sounds": sounds, "left_out": left_out})
    pictures, left_out = await asyncio.to_thread(list_pictures, folder, words)
    return web.json_response({"pictures": pictures, "left_out": left_out})


class ThumbnailRoute:
    """``GET /storymem/input/picture?name=cast/mara.png&size=192``: one of them as a small JPEG."""

    def __init__(self):
        self._places = asyncio.Semaphore(PICTURES_AT_ONCE)

    async def __call__(self, request: web.Request) -> web.Response:
        name, size = request.query.get("name", ""), request.query.get("size", str(SMALL))
        picture = None
        if size.isascii() and size.isdecimal() and len(size) < 6:
            async with self._places:
                picture = await asyncio.to_thread(_read, name, int(size))
        if picture is None:
            return web.json_response({"error": "no such picture"}, status=404)
        cache = OF_A_VERSION if request.query.get("v") else "no-cache"
        headers = {"Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=picture, content_type="image/jpeg", headers=headers)


def _read(name: str, size: int) -> bytes | None:
    path = find_inside(folder_paths.get_input_directory(), name) if is_picture(name) else None
    return read_thumbnail(path, size) if path is not None and path.is_file() else None


ROUTES = {
    ("GET", "/storymem/input"): show_list,
    ("GET", "/storymem/input/picture"): ThumbnailRoute(),
}
