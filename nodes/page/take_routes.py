"""What the story editor asks about takes: which there are of a shot, what tells them apart, and the
removal of those that nothing uses.

Nothing here chooses a take: that is written into the script by the page itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import folder_paths
from aiohttp import web

import nodes

from ...storymem.files.disk import StoreError
from ...storymem.files.names import is_digest
from ...storymem.film.earlier_films import find_film
from ...storymem.film.folder import find_folder
from ...storymem.film.take_uses import TakeInUse, Unused, find_unused, remove_take, remove_unused
from ...storymem.loop.changed_inputs import BodyNames
from ...storymem.loop.passes import FILM
from ...storymem.loop.shot_record import VIDEO_FILE
from ...storymem.loop.shot_store import ShotStore
from ...storymem.loop.take_names import take_name
from ...storymem.loop.takes import Take, differences, read_takes, takes_of
from ...storymem.script.story import Shot, Story
from ..host import executor as host_cache
from ..host.folders import short_places
from ..host.server import find_server, read_json
from ..host.store import STORE_FOLDER
from ..story import NO_FILE, read_source
from .story_routes import DEFAULT_PREFIX, in_thread, story_of, text_of

SCRIPT = ("script", "file", "character", "default_name")  # what a page sends of it
PLACE = ("prefix", "pass")  # and of where its shots are
MOST_TAKES = 500  # of one shot, the newest; the page shows no more
logger = logging.getLogger(__name__)


async def show_takes(request: web.Request) -> web.Response:
    """``POST /storymem/takes``: how many takes each shot of a script has and, of the shot whose
    number (from 0) is given, all of them."""
    asked = await read_json(request)
    shot = asked.get("shot")
    if shot is not None and (isinstance(shot, bool) or not isinstance(shot, int)):
        raise web.HTTPBadRequest(text="shot must be a whole number")
    return web.json_response(await in_thread(list_takes, _script(asked), shot))


async def remove_one(request: web.Request) -> web.Response:
    """``POST /storymem/takes/remove``: remove the take ``key`` unless something uses it; with
    ``remove`` false only say whether that is so, and what it frees."""
    asked = await read_json(request)
    key = text_of(asked, "key")
    if not is_digest(key):
        raise web.HTTPBadRequest(text="key must be the key of a take")
    is_meant = asked.get("remove") is not False
    return web.json_response(await in_thread(_told, _remove_one, key, _script(asked), is_meant))


async def clean(request: web.Request) -> web.Response:
    """``POST /storymem/takes/clean``: what of a story no film uses and what its removal frees;
    with ``remove``, it is removed."""
    asked = await read_json(request)
    is_meant = asked.get("remove") is True
    return web.json_response(await in_thread(_told, _clean, _script(asked), is_meant))


def list_takes(script: Mapping[str, str], number: int | None = None) -> dict:
    """The answer of ``show_takes``."""
    try:
        story = _story(script)
    except ValueError as error:
        return {"error": short_places(str(error)), "counts": [], "takes": []}
    store = _store()
    found = takes_of(story, read_takes(store, story.name, script["pass"] or FILM))
    answer: dict = {"error": "", "counts": [len(takes) for takes in found], "takes": []}
    if number is None or not 0 <= number < len(found):
        return answer
    shot, takes = story.shots[number], found[number]
    shown = _shown_key(story, script, shot)
    shown = next((take for take in takes if take.key == shown), None)
    first = max(0, len(takes) - MOST_TAKES)
    answer["takes"] = [
        _describe(store, take, shot, i + 1, shown)
        for i, take in enumerate(takes[first:], start=first)
    ]
    return answer


# --- inside --------------------------------------------------------------------------------------


def _describe(store: ShotStore, take: Take, shot: Shot, number: int, shown: Take | None) -> dict:
    names = BodyNames(kinds=nodes.NODE_DISPLAY_NAME_MAPPINGS)
    differs = differences(store, take, shown, names) if shown not in (None, take) else []
    seed = take.facts.get("seed")
    folder = Path(STORE_FOLDER) / store.folder_of(take.key).relative_to(store.root)
    return {
        "key": take.key,
        "name": take_name(take.key),
        "number": number,
        "when": round(take.when, 3),
        "seed": None if seed is None else str(seed),  # a browser rounds large numbers
        "prompt": str(take.facts.get("shot_prompt", take.facts.get("prompt", ""))),
        "frames": take.frames,
        "size": take.size,
        "shown": take is shown,
        "chosen": bool(shot.take) and take.key.startswith(shot.take),
        "differs": [{name: _exact(value) for name, value in d.items()} for d in differs],
        "video": {
            "filename": VIDEO_FILE,
            "subfolder": folder.as_posix(),
            "type": "output",
            "version": str(int(take.when * 1000)),
        },
    }


def _exact(value: object) -> object:
    return str(value) if isinstance(value, int) and abs(value) >= 2**53 else value


def _shown_key(story: Story, script: Mapping[str, str], shot: Shot) -> str:
    """The key of what the story's folder has of a shot, whatever take the script names."""
    plain = replace(story, shots=tuple(replace(other, take="") for other in story.shots))
    try:
        prefix, pass_ = script["prefix"] or DEFAULT_PREFIX, script["pass"] or FILM
        folder = find_folder(folder_paths.get_output_directory(), prefix, story, pass_)
    except ValueError:
        return ""
    return str(find_film(folder, plain).results(plain)[shot.index].get("key", ""))


def _check_idle() -> None:
    """Raise ValueError while the host makes anything: a run finds out which takes it needs before
    it says so."""
    server = find_server()
    if server is not None and host_cache.is_busy(server):
        raise ValueError(
            "the queue is not empty, and what it makes may need what is to be removed; wait until "
            "it is, or clear it"
        )


def _remove_one(key: str, script: Mapping[str, str], is_meant: bool) -> dict:
    _check_idle()
    text, _name = read_source(script["script"], script["file"] or NO_FILE)
    return {"freed": remove_take(_store(), key, [text], is_meant=is_meant)}


def _clean(script: Mapping[str, str], is_meant: bool) -> dict:
    store, story = _store(), _story(script)
    unused: Unused = find_unused(store, story.name, [story.source])
    if is_meant:
        _check_idle()
    freed = remove_unused(store, unused) if is_meant else 0
    return {"takes": len(unused.takes), "size": unused.size, "freed": freed}


def _told(work, *arguments) -> dict:
    """What ``work`` answers, with an ``error`` in words when it refuses."""
    try:
        return {"error": "", **work(*arguments)}
    except TakeInUse as error:
        return {"error": short_places(str(error)), "is_used": True}
    except (StoreError, ValueError) as error:
        return {"error": short_places(str(error))}


def _script(asked: Mapping) -> dict[str, str]:
    return {key: text_of(asked, key) for key in (*SCRIPT, *PLACE)}


def _story(script: Mapping[str, str]) -> Story:
    return story_of(**{key: script[key] for key in SCRIPT})


def _store() -> ShotStore:
    return ShotStore(Path(folder_paths.get_output_directory()) / STORE_FOLDER)


ROUTES = {
    ("POST", "/storymem/takes"): show_takes,
    ("POST", "/storymem/takes/remove"): remove_one,
    ("POST", "/storymem/takes/clean"): clean,
}
