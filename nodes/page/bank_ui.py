"""What the page is shown of a memory bank, and its pictures."""

from __future__ import annotations

import asyncio
from pathlib import Path

import folder_paths
from aiohttp import web
from comfy_api.latest import io

from ...storymem.files.names import is_digest
from ...storymem.memory.bank import MemoryBank
from ...storymem.views.bank import shown_frames, view_bank
from ...storymem.views.thumbnails import SMALL, PictureFolders, read_small
from ..host import executor as host_cache
from ..host.server import find_server
from ..host.store import STORE_FOLDER

PICTURE_CACHE = "private, max-age=31536000, immutable"  # a digest always names the same picture
PICTURES_AT_ONCE = 2  # a page asks for hundreds; a running sampler needs the processor too
BANK_EVENT = "storymem.bank"


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
