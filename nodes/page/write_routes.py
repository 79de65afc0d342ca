"""What the story editor asks of a script by language model: requests, and answers read.

No model is asked here: the artist takes the request to one and brings its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from aiohttp import web

from ...storymem.script.fields import ScriptError
from ...storymem.script.remembered import read_remembered, written
from ...storymem.views.script import dialogue_text, script_of_view
from ...storymem.writing.answer import read_answer
from ...storymem.writing.request import again_request, story_request
from ...storymem.writing.rewrite import NewShot, read_rewrite, rewrite_faults, rewrite_request
from ...storymem.writing.wish import Wish, make_wish
from ..host.folders import short_places
from ..host.server import read_json
from .story_routes import in_thread, text_of

TEXTS = ("idea", "style", "cast", "language")
NO_IDEA = "(only an answer is given)"


async def show_request(request: web.Request) -> web.Response:
    """``POST /storymem/write/request``: what to ask a language model for a story; with ``answer``,
    what to ask it after that."""
    return await _told(request, _request_of)


async def show_answer(request: web.Request) -> web.Response:
    """``POST /storymem/write/answer``: the script in an answer, and what is wrong with it."""
    return await _told(request, _answer_of)


async def show_rewrite(request: web.Request) -> web.Response:
    """``POST /storymem/rewrite/request``: what to ask to have shots of a script written anew;
    with ``answer``, what to ask after that."""
    return await _told(request, _rewrite_of)


async def show_rewritten(request: web.Request) -> web.Response:
    """``POST /storymem/rewrite/answer``: what stands in place of the shots, and doubts."""
    return await _told(request, _rewritten_of)


async def _told(request: web.Request, work) -> web.Response:
    asked = await read_json(request)
    try:
        return web.json_response({"error": "", **await in_thread(work, asked)})
    except ValueError as error:
        return web.json_response({"error": short_places(str(error))})


def _request_of(asked: Mapping) -> dict:
    wish = _wish_of(asked)
    return _again(asked, story_request(wish), lambda answer: read_answer(answer, wish).faults)


def _again(asked: Mapping, request: str, faults_of: Callable[[str], Iterable[str]]) -> dict:
    """A request, after an answer with what is wrong with that."""
    answer = text_of(asked, "answer")
    if not answer.strip():
        return {"request": request}
    try:
        faults = list(faults_of(answer))
    except ScriptError as error:
        faults = [str(error)]
    return {"request": again_request(request, answer, faults) if faults else request}


def _answer_of(asked: Mapping) -> dict:
    wish = _wish_of(asked)
    found = read_answer(text_of(asked, "answer"), wish)
    return {
        "script": found.text,
        "name": found.story.name,
        "prompts": [shot.prompt for shot in found.story.shots],
        "warnings": list(found.warnings),
    }


def _wish_of(asked: Mapping) -> Wish:
    texts = {key: text_of(asked, key) for key in TEXTS}
    if text_of(asked, "answer").strip() and not texts["idea"].strip():
        texts["idea"] = NO_IDEA
    texts["language"] = texts["language"] or "english"
    shots, minutes = asked.get("shots") or 0, asked.get("minutes") or 0
    if isinstance(shots, bool) or not isinstance(shots, int):
        raise ScriptError("shots must be a whole number")
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)):
        raise ScriptError("minutes must be a number")
    return make_wish(**texts, shots=shots, minutes=minutes, dialogue=asked.get("dialogue") is True)


def _rewrite_of(asked: Mapping) -> dict:
    script, indices = script_of_view(_object(asked, "story")), _indices(asked)

    def faults_of(answer: str) -> list[str]:
        return rewrite_faults(read_rewrite(answer, script, indices), script, indices)

    request = rewrite_request(script, indices, text_of(asked, "instruction"))
    return _again(asked, request, faults_of)


def _rewritten_of(asked: Mapping) -> dict:
    script, indices = script_of_view(_object(asked, "story")), _indices(asked)
    shots = read_rewrite(text_of(asked, "answer"), script, indices)
    warnings = rewrite_faults(shots, script, indices)
    return {"shots": [_view(shot) for shot in shots], "warnings": warnings}


def _view(shot: NewShot) -> dict:
    remember = written(read_remembered(shot.remember)) if shot.remember else ""
    facts = {"of": shot.of, "prompt": shot.prompt, "cut": shot.cut, "remember": remember}
    return {**facts, "dialogue": dialogue_text(shot.dialogue)}


def _object(asked: Mapping, key: str) -> Mapping:
    value = asked.get(key)
    if not isinstance(value, Mapping):
        raise ScriptError(f"{key} must be an object")
    return value


def _indices(asked: Mapping) -> list[int]:
    shots = asked.get("shots")
    if not isinstance(shots, list) or not all(type(shot) is int for shot in shots):
        raise ScriptError("shots must be a list of whole numbers, from 0")
    return shots


ROUTES = {
    ("POST", "/storymem/write/request"): show_request,
    ("POST", "/storymem/write/answer"): show_answer,
    ("POST", "/storymem/rewrite/request"): show_rewrite,
    ("POST", "/storymem/rewrite/answer"): show_rewritten,
}
