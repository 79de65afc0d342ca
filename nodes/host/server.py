"""The host's server, and the pack's routes on it.

Every route is below ``/storymem/``, answers only the host's own page, and reads only the host's
folders. Routes are added when the pack is loaded by a server; without one nothing happens.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from pathlib import Path

from aiohttp import web
from yarl import URL

from ...storymem.files.json_text import JsonError, parse_json
from ...storymem.views.same_origin import is_same_origin
from . import executor as host_cache

logger = logging.getLogger(__name__)


PREFIX = "/storymem/"
MAX_BODY = 8 * 2**20  # bytes of a JSON body: a script of 2 000 long shots
PLAIN_NAME = "comfyui-storymem"  # of the pack, where its folder's name cannot be part of an address
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
