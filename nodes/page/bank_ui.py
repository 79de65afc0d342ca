"""What the pack's own page needs of the server: routes below one prefix, and the memory's pictures.

Every route is below ``/storymem/``, answers only the host's own page, and reads only the host's
folders. Routes are added when the pack is loaded by a server; without one nothing happens.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from pathlib import Path

import folder_paths
from aiohttp import web
from comfy_api.latest import io
from yarl import URL

from ...storymem.files.json_text import JsonError, parse_json
from ...storymem.files.names import is_digest
from ...storymem.memory.bank import MemoryBank
from ...storymem.views.bank import shown_frames, view_bank
from ...storymem.views.same_origin import is_same_origin
from ...storymem.views.thumbnails import SMALL, PictureFolders, read_small
from ..host import executor as host_cache
from ..host.store import STORE_FOLDER

PREFIX = "/storymem/"
MAX_BODY = 8 * 2**20  # bytes of a JSON body: a script of 2 000 long shots
PICTURE_CACHE = "private, max-age=31536000, immutable"  # a digest always names the same picture
PICTURES_AT_ONCE = 2  # a page asks for hundreds; a running sampler needs the processor too
PLAIN_NAME = "comfyui-storymem"  # of the pack, where its folder's name cannot be part of an address
BANK_EVENT = "storymem.bank"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


def find_server():
    """The host's server, ``None`` in a host without one (which has not loaded its module)."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def add_routes(routes: Mapping[tuple[str, str], Handler]) -> None:
    """Register handlers by ``(method, path)``, guarded; a host without a server has none.

    Raises:
        ValueError: for a path outside of the pack's prefix.
    """
    server = find_server()
    for (method, path), handler in routes.items():
        if not path.startswith(PREFIX):
            raise ValueError(f"routes of this pack begin with {PREFIX}, but this one is {path}")
        if server is not None:
            server.routes.route(method, path)(guard(handler))


def serve_web_files(pack: Path) -> None:
    """Serve the page's own files under another name, when they cannot be under the folder's.

    The host lists them percent-encoded, as an address must be. Its web server (aiohttp) keeps the
    prefix of a folder encoded, too, but looks for it in the decoded address, and finds nothing: a
    space or a letter outside of ASCII in the folder's name, and each file is "not found". Help
    pages and templates are asked for under the folder's name whatever is done here.
    """
    if URL.build(path=f"/{pack.name}").raw_path == f"/{pack.name}":
        return
    if not host_cache.rename_web_folder(pack.name, PLAIN_NAME):
        return
    logger.warning(
        "StoryMem: ComfyUI cannot show the help pages and the templates of a folder called %r; "
        "rename it to ComfyUI-StoryMem (letters from a to z, no spaces) and start ComfyUI again",
        pack.name,
    )


def guard(handler: Handler) -> Handler:
    """The handler, for requests of the host's own page only."""

    @wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        if not is_same_origin(request.headers):
            return web.json_response({"error": "only ComfyUI's own page may ask"}, status=403)
        return await handler(request)

    return guarded


async def read_json(request: web.Request, limit: int = MAX_BODY) -> dict:
    """The JSON object that a page sent.

    Raises:
        web.HTTPException: for a body that is too large or no JSON object.
    """
    body = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        body += chunk
        if len(body) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, len(body))
    try:
        value = parse_json(bytes(body))
    except JsonError:
        value = None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="a JSON object is expected")
    return value


def picture_folders() -> PictureFolders:
    return PictureFolders(
        Path(folder_paths.get_output_directory()) / STORE_FOLDER,
        Path(folder_paths.get_temp_directory()),
    )


class PictureRoute:
    """``GET /storymem/picture/{digest}?size=192``: a memory picture as a JPEG, made small."""

    def __init__(self):
        self._places = asyncio.Semaphore(PICTURES_AT_ONCE)

    async def __call__(self, request: web.Request) -> web.Response:
        digest, size = request.match_info["digest"], request.query.get("size", str(SMALL))
        if not is_digest(digest) or not (size.isascii() and size.isdecimal() and len(size) < 6):
            return web.json_response({"error": "no such picture"}, status=404)
        async with self._places:
            picture = await asyncio.get_running_loop().run_in_executor(
                None, self._read, digest, int(size)
            )
        if picture is None:
            return web.json_response({"error": "no such picture"}, status=404)
        headers = {"Cache-Control": PICTURE_CACHE, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=picture, content_type="image/jpeg", headers=headers)

    @staticmethod
    def _read(digest: str, size: int) -> bytes | None:
        path = picture_folders().find(digest)
        return read_small(path, size) if path else None


def bank_ui(bank: MemoryBank, hidden) -> dict:
    """The ``ui`` of a node that gives ``bank``; its pictures can be asked for from now on."""
    picture_folders().keep(shown_frames(bank))
    given = hidden.extra_pnginfo if isinstance(hidden.extra_pnginfo, dict) else {}
    graph = given.get("workflow") if isinstance(given.get("workflow"), dict) else {}
    # A page may show another workflow by now, whose nodes have the same numbers.
    return {"storymem_bank": [{**view_bank(bank), "workflow": str(graph.get("id") or "")}]}


def with_bank(output: io.NodeOutput, hidden) -> io.NodeOutput:
    """The result of Shot Loop Close, with its bank shown beside its video."""
    bank = output.args[1]
    return io.NodeOutput(*output.args, ui={**output.ui, **bank_ui(bank, hidden)})


def show_bank(bank: MemoryBank, hidden) -> dict:
    """``bank_ui``, but in a loop's copies of a node the page is told at once and nothing returned.

    The host keeps what each copy returns in its history, and a long story has hundreds of them.
    """
    shown = bank_ui(bank, hidden)
    node_id, dynprompt, server = hidden.unique_id, hidden.dynprompt, find_server()
    artists_node = dynprompt.get_display_node_id(node_id) if dynprompt else node_id
    if artists_node == node_id or server is None:
        return shown
    asking = host_cache.asking_page(server)
    if asking is not None:  # without one every page would get it
        event = {"node": artists_node, "bank": shown["storymem_bank"][0]}
        server.send_sync(BANK_EVENT, event, asking)
    return {}


HIDDEN = [io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.extra_pnginfo]  # for show_bank
ROUTES = {("GET", "/storymem/picture/{digest}"): PictureRoute()}
