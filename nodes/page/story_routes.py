"""What the story editor on the page asks the server for: scripts as rows and back, and posters.

Nothing here changes anything: a script is written into the workflow by the page itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.film.earlier_films import find_film, notices_of
from ...storymem.film.folder import find_folder, story_folder
from ...storymem.film.passes import passes_of
from ...storymem.film.shot_status import (
    DEPENDS,
    FINISHED,
    ShotState,
    find_present_film,
    script_mark,
    shot_states,
)
from ...storymem.loop.passes import FILM
from ...storymem.loop.run_clock import time_of_waiting
from ...storymem.loop.shot_store import ShotStore
from ...storymem.script.offers import find_offers
from ...storymem.script.reader import load_story
from ...storymem.script.rows import check_written, read_script, write_script
from ...storymem.script.story import DEFAULT_NAME, LENGTH_OF_AUDIO, Story
from ...storymem.views.posters import LARGEST, find_record, find_shot, read_poster
from ...storymem.views.script import script_of_view, view_script
from ..host.folders import short_places
from ..host.machine import machine
from ..host.output_files import shown_file
from ..host.server import read_json
from ..host.store import STORE_FOLDER
from ..story import NO_FILE, read_source
from .running import time_left_of

POSTERS_AT_ONCE = 2  # decoding a video takes a processor that a running sampler needs
POSTER_CACHE = "private, max-age=86400"  # the page asks with the video's time in the address
DEFAULT_PREFIX = "storymem"


async def show_story(request: web.Request) -> web.Response:
    """``POST /storymem/story``: a script as rows, and where each of its shots stands."""
    asked = await read_json(request)
    texts = {key: text_of(asked, key) for key in ("script", "file", "character", "prefix", "pass")}
    return web.json_response(await in_thread(read_story, **texts))


async def show_script(request: web.Request) -> web.Response:
    """``POST /storymem/script``: rows as the text of a script, and what is wrong with it."""
    asked = await read_json(request)
    names = ("node_character", "prefix", "default_name", "pass")
    texts = {key: text_of(asked, key) for key in names}
    return web.json_response(await in_thread(write_story, asked, **texts))


def read_story(script: str, file: str, character: str, prefix: str, **asked: str) -> dict:
    """The answer of ``show_story``; ``pass`` is the one whose shots are shown."""
    pass_ = asked.get("pass") or FILM
    answer: dict = {"error": "", "text": script, "shots": [], "warnings": [], "offers": []}
    answer["pass"] = pass_
    try:
        answer["text"], name = read_source(script, file or NO_FILE)
        own = "" if name == DEFAULT_NAME else name
        answer["offers"] = [asdict(offer) for offer in find_offers(answer["text"], own)]
        story = load_story(answer["text"], default_name=name, character=character, quiet=True)
        answer.update(view_script(read_script(answer["text"])))
    except ValueError as error:
        return {**answer, "error": short_places(str(error))}
    states = _states(story, prefix, answer["shots"], pass_)
    told = {"default_name": name, "told": [*story.warnings, *states["refused"]]}
    return {**answer, **told, **states}


def write_story(
    view: Mapping, node_character: str, prefix: str, default_name: str, **asked: str
) -> dict:
    """The answer of ``show_script``; ``node_character`` is what stands on the node, ``pass`` the
    one whose shots are shown."""
    pass_ = asked.get("pass") or FILM
    answer: dict = {"script": "", "error": "", "shots": [], "warnings": [], "pass": pass_}
    try:
        script = script_of_view(view)
        answer["script"] = write_script(script, script.format)
        check_written(script, answer["script"])
        names = {"default_name": default_name} if default_name else {}
        story = load_story(answer["script"], character=node_character, quiet=True, **names)
    except ValueError as error:
        return {**answer, "error": short_places(str(error))}
    return {**answer, **_states(story, prefix, [{} for _ in story.shots], pass_)}


class PosterRoute:
    """``GET /storymem/poster?folder=storymem/Tale&shot=01_02`` or ``?record=<key>``: a JPEG."""

    def __init__(self):
        self._places = asyncio.Semaphore(POSTERS_AT_ONCE)

    async def __call__(self, request: web.Request) -> web.Response:
        query = request.query
        size = query.get("size", str(LARGEST))
        poster = None
        if size.isascii() and size.isdecimal() and len(size) < 6:
            async with self._places:
                poster = await in_thread(
                    _poster,
                    query.get("folder", ""),
                    query.get("shot", ""),
                    query.get("record", ""),
                    int(size),
                )
        if poster is None:
            return web.json_response({"error": "no such shot"}, status=404)
        headers = {"Cache-Control": POSTER_CACHE, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=poster, content_type="image/jpeg", headers=headers)


def _poster(folder: str, label: str, record: str, size: int) -> bytes | None:
    output = Path(folder_paths.get_output_directory())
    video = find_record(output / STORE_FOLDER, record) if record else None
    video = video or find_shot(output, folder, label)
    return read_poster(video, Path(folder_paths.get_temp_directory()), size) if video else None


def _states(story: Story, prefix: str, shots: list[dict], pass_: str) -> dict:
    """``shots`` with label, number, state, video and how long it took; the story's folder and
    warnings, why it can have no folder (``refused``), the time that is needed for the others, the
    ``passes`` that are there, and the folder of the one that is shown, its ``place``.
    """
    output = Path(folder_paths.get_output_directory())
    film_folder, folder, refused, passes = None, None, [], {}
    try:
        film_folder = story_folder(output, prefix or DEFAULT_PREFIX, story)
        folder = find_folder(output, prefix or DEFAULT_PREFIX, story, pass_)
        passes = passes_of(film_folder)
        film_folder = film_folder if folder or passes else None
    except ValueError as error:
        refused.append(short_places(str(error)))
    place = folder.relative_to(output).as_posix() if folder else ""
    shown, states = [], shot_states(story, folder, ShotStore(output / STORE_FOLDER))
    for row, shot, found in zip(shots, story.shots, states, strict=True):
        video = found.video and shown_file(found.video, output)
        facts = {"label": shot.label, "number": shot.number, "state": found.word, "video": video}
        facts["who"] = list(story.who(shot))
        facts["took"] = round(found.timed.seconds, 3) if found.timed else None
        shown.append({**row, **facts})
    about_folder = _about_folder(output, prefix or DEFAULT_PREFIX, story)
    warnings = [*story.warnings, *refused, *about_folder]
    mark = script_mark(story)
    facts = {"warnings": warnings, "refused": refused, "mark": mark, "place": place}
    facts["folder"] = film_folder.relative_to(output).as_posix() if film_folder else ""
    facts["names"], facts["passes"] = list(story.names), list(passes)
    times = {"waiting": _waiting_time(story, states), **time_left_of(place, mark)}
    film = find_present_film(folder, story)
    shown_film = film and shown_file(film, output)
    return {"shots": shown, "film": shown_film, "times": times, **facts}


def _waiting_time(story: Story, states: list[ShotState]) -> dict[str, float] | None:
    """Seconds that the shots to be made will take; ``None`` while nothing tells."""
    waiting = [
        (found.state != DEPENDS, None if shot.length == LENGTH_OF_AUDIO else shot.length)
        for shot, found in zip(story.shots, states, strict=True)
        if found.state not in FINISHED
    ]
    left = time_of_waiting((found.timed for found in states), waiting, machine())
    return left.as_figures() if left else None


def _about_folder(output: Path, prefix: str, story: Story) -> list[str]:
    """What a run would say about the story's folder before it starts."""
    try:
        place = story_folder(output, prefix, story)
    except ValueError:
        return []
    return [short_places(line) for line in notices_of(find_film(place, story), place, story)]


def text_of(asked: Mapping, key: str) -> str:
    """A text that a page sent; empty for none.

    Raises:
        HTTPBadRequest: for anything else.
    """
    value = asked.get(key)
    if value is not None and not isinstance(value, str):
        raise web.HTTPBadRequest(text=f"{key} must be text")
    return value or ""


def story_of(script: str, file: str, character: str, default_name: str = "") -> Story:
    """The story that a Load Story node has, or that a page has instead of it.

    Raises:
        ValueError: for a script that is wrong, and a file that cannot be read.
    """
    text, name = read_source(script, file or NO_FILE)
    return load_story(text, default_name=default_name or name, character=character, quiet=True)


async def in_thread(work, *arguments, **named):
    """What ``work`` answers, computed beside the server's own loop."""
    return await asyncio.to_thread(work, *arguments, **named)


ROUTES = {
    ("POST", "/storymem/story"): show_story,
    ("POST", "/storymem/script"): show_script,
    ("GET", "/storymem/poster"): PosterRoute(),
}
