"""What each shot of a story saw of the memory when it was made, for the page."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.film.earlier_films import find_film
from ...storymem.film.folder import find_folder
from ...storymem.loop.passes import FILM
from ...storymem.loop.shot_store import ShotStore
from ...storymem.loop.take_names import find_key
from ...storymem.views.seen import view_seen, view_shots
from ..host.folders import short_places
from ..host.server import read_json
from ..host.store import STORE_FOLDER
from .story_routes import DEFAULT_PREFIX, in_thread, story_of, text_of

TEXTS = ("script", "file", "character", "prefix", "pass")  # as a page sends them


async def show_seen(request: web.Request) -> web.Response:
    """``POST /storymem/seen``: the shots of a script, and the memory of the one with the label
    ``shot``, or the latest finished one. Nothing is changed."""
    asked = await read_json(request)
    texts = {key: text_of(asked, key) for key in (*TEXTS, "shot")}
    return web.json_response(await in_thread(read_seen, **texts))


def read_seen(script: str, file: str, character: str, prefix: str, shot: str, **asked: str) -> dict:
    """The answer of ``show_seen``: ``shots``, and of one ``shot`` (its index) the ``memory``;
    ``pass`` is the one whose shots are meant.

    ``memory`` is null for a shot that is not made, or whose record is gone. ``error`` says what is
    wrong with the script.
    """
    output = Path(folder_paths.get_output_directory())
    answer: dict = {"error": "", "shots": [], "shot": None, "memory": None}
    try:
        story = story_of(script, file, character)
        pass_ = asked.get("pass") or FILM
        folder = find_folder(output, prefix or DEFAULT_PREFIX, story, pass_)
    except ValueError as error:
        return {**answer, "error": short_places(str(error))}
    store = ShotStore(output / STORE_FOLDER)
    keys = [
        (shot.take and find_key(store, shot.take, pass_)) or entry.get("key") or ""
        for shot, entry in zip(story.shots, find_film(folder, story).results(story), strict=True)
    ]
    shots = view_shots(story, keys)
    index = _find(shots, shot)
    if index is None:
        return {**answer, "shots": shots}
    memory = view_seen(store, story, shots[index]["record"])
    return {**answer, "shots": shots, "shot": index, "memory": memory}


def _find(shots: list[dict], label: str) -> int | None:
    """Index of the shot with this label, else of the last one that was made."""
    labels = [shot["label"] for shot in shots]
    if label:
        return labels.index(label) if label in labels else None
    made = [i for i, shot in enumerate(shots) if shot["record"]]
    return made[-1] if made else None


ROUTES = {("POST", "/storymem/seen"): show_seen}
