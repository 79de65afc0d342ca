"""The board of a story for the page: drawn when it is asked for, and kept nowhere."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from urllib.parse import quote

import folder_paths
from aiohttp import web

from ...storymem.film.library import find_story
from ...storymem.views.board import save_board
from ..host.folders import short_places

KINDS = {"png": "image/png", "pdf": "application/pdf"}


class BoardRoute:
    """``GET /storymem/board?folder=prefix/Tale&as=png`` or ``pdf``: the board of that folder."""

    def __init__(self):
        self._place = asyncio.Semaphore(1)  # it decodes every shot, beside a sampler

    async def __call__(self, request: web.Request) -> web.Response:
        kind = request.query.get("as", "png")
        output = Path(folder_paths.get_output_directory())
        folder = find_story(output, request.query.get("folder", ""))
        if folder is None or kind not in KINDS:
            return web.json_response({"error": "no such story"}, status=404)
        try:
            async with self._place:
                board = await asyncio.to_thread(_draw, folder, kind)
        except (ValueError, OSError) as error:
            return web.Response(text=short_places(str(error)), status=422)
        name = quote(f"{folder.name} board.{kind}", safe="")
        headers = {
            "Content-Disposition": f"inline; filename*=UTF-8''{name}",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=board, content_type=KINDS[kind], headers=headers)


def _draw(folder: Path, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as temp:
        return save_board(folder, Path(temp) / f"board.{kind}").read_bytes()


ROUTES = {("GET", "/storymem/board"): BoardRoute()}
