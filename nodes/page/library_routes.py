"""The stories in the output folder, for the page's list of them. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.film.library import StoryEntry, find_story, list_stories, read_story_script
from ...storymem.film.passes import film_folder, pass_of
from ...storymem.film.shot_status import shot_states
from ...storymem.film.stored_graph import stored_graph
from ...storymem.script.reader import load_story
from ..host.folders import short_places
from ..host.output_files import shown_file
from .running import is_running


async def show_stories(request: web.Request) -> web.Response:
    """``GET /storymem/library``: every story, the latest first."""
    return web.json_response({"stories": await asyncio.to_thread(_stories)})


async def show_one(request: web.Request) -> web.Response:
    """``GET /storymem/library/story?folder=prefix/Tale``: script and shots, and whether a run
    makes it now."""
    return await _about(request, _story)


async def show_graph(request: web.Request) -> web.Response:
    """``GET /storymem/library/graph?folder=prefix/Tale``: the ``workflow`` or the ``prompt`` that
    it was made with, as its films keep it; neither when none does."""
    return await _about(request, stored_graph)


async def _about(request: web.Request, look) -> web.Response:
    folder = find_story(_output(), request.query.get("folder", ""))
    if folder is None:
        return web.json_response({"error": "no such story"}, status=404)
    return web.json_response(await asyncio.to_thread(look, folder))


def _output() -> Path:
    return Path(folder_paths.get_output_directory())


def _name_of(folder: Path) -> str:
    return folder.relative_to(_output()).as_posix()


def _stories() -> list[dict]:
    return [_shown(story) for story in list_stories(_output())]


def _shown(story: StoryEntry) -> dict:
    name = _name_of(story.folder)
    return {
        "folder": name,
        "path": os.path.abspath(story.folder),
        "title": story.title,
        "pass": pass_of(story.folder),
        "film_folder": _name_of(film_folder(story.folder)),
        "shots": story.shots,
        "finished": story.finished,
        "changed": round(story.changed, 3),
        "poster": _file(story.poster),
        "film": _file(story.film),
        "stopped": short_places(story.stopped),
    }


def _file(path: Path | None) -> dict | None:
    return shown_file(path, Path(folder_paths.get_output_directory())) if path else None


def _story(folder: Path) -> dict:
    """Script and shots; an ``error`` and no shots for one that cannot be read."""
    script = read_story_script(folder)
    is_made = is_running(_name_of(folder))
    answer = {"script": script or "", "error": "", "shots": [], "running": is_made}
    if script is None:
        return {**answer, "error": "the folder holds no script that can be read"}
    try:
        story = load_story(script, default_name=folder.name, quiet=True)
    except ValueError as error:
        return {**answer, "error": short_places(str(error))}
    for shot, found in zip(story.shots, shot_states(story, folder), strict=True):
        video = found.video if found.video and not found.video.is_symlink() else None
        facts = {"number": shot.index + 1, "label": shot.label, "prompt": shot.prompt}
        answer["shots"].append({**facts, "video": _file(video)})
    return answer


ROUTES = {
    ("GET", "/storymem/library"): show_stories,
    ("GET", "/storymem/library/story"): show_one,
    ("GET", "/storymem/library/graph"): show_graph,
}
