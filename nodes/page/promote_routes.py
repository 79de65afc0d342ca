"""What the story editor asks about a pass before the film: its frames, and to keep one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.files.disk import StoreError
from ...storymem.film.folder import story_folder
from ...storymem.loop.shot_store import ShotStore
from ...storymem.views.draft_frames import choose_frame, view_draft
from ..host.folders import short_places
from ..host.server import read_json
from ..host.store import STORE_FOLDER
from .story_routes import DEFAULT_PREFIX, in_thread, story_of, text_of
from .take_routes import SCRIPT


async def show_frames(request: web.Request) -> web.Response:
    """``POST /storymem/promote/frames``: the passes, shots and frames that there are to take."""
    return web.json_response(await in_thread(_told, view_draft, await _asked(request)))


async def choose(request: web.Request) -> web.Response:
    """``POST /storymem/promote/choose``: keep one frame in the store; its name in a script."""
    return web.json_response(await in_thread(_told, choose_frame, await _asked(request)))


async def _asked(request: web.Request) -> dict:
    asked = await read_json(request)
    found: dict = {key: text_of(asked, key) for key in (*SCRIPT, "prefix")}
    found["source"] = text_of(asked, "source")
    for name in ("shot", "frame"):
        value = asked.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise web.HTTPBadRequest(text=f"{name} must be a whole number")
        found[name] = value
    return found


def _told(work, asked: Mapping) -> dict:
    """What ``work`` answers, with an ``error`` in words when it refuses."""
    output = Path(folder_paths.get_output_directory())
    try:
        story = story_of(**{key: asked[key] for key in SCRIPT})
        folder = story_folder(output, asked["prefix"] or DEFAULT_PREFIX, story)
        of = [story, folder, ShotStore(output / STORE_FOLDER), asked["source"], asked["shot"]]
        of += [asked["frame"]] if work is choose_frame else []
        found = dict(work(*of))
        if found.get("damaged"):
            found["damaged"] = short_places(found["damaged"])
        return {"error": "", **found}
    except (StoreError, ValueError) as error:
        return {"error": short_places(str(error))}


ROUTES = {
    ("POST", "/storymem/promote/frames"): show_frames,
    ("POST", "/storymem/promote/choose"): choose,
}
