"""What the page asks about LoRA files: which one a workflow's name means, and which there are."""

from __future__ import annotations

import asyncio

import folder_paths
from aiohttp import web

from ...storymem.sampling.lora_names import offered_names
from ..host.server import read_json
from .lora import find_name

MOST_NAMES = 1000  # of one workflow


async def find_names(request: web.Request) -> web.Response:
    """``POST /storymem/loras``: the host's name of each of ``names`` that is found."""
    names = (await read_json(request)).get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise web.HTTPBadRequest(text="names must be a list of texts")
    found = await asyncio.to_thread(_find, names[:MOST_NAMES])
    return web.json_response({"found": found})


def _find(names: list[str]) -> dict[str, str]:
    return {name: found for name in names if "\0" not in name and (found := find_name(name))}


async def list_names(_: web.Request) -> web.Response:
    """``GET /storymem/loras``: names that a script's ``loras`` may use, a pair of files as one."""
    files = await asyncio.to_thread(folder_paths.get_filename_list, "loras")
    return web.json_response({"names": offered_names(files)})


ROUTES = {
    ("POST", "/storymem/loras"): find_names,
    ("GET", "/storymem/loras"): list_names,
}
