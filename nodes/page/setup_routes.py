"""The check of a setup for the page: this host, its model files and the open workflow.

Nothing is loaded or changed, so it may be asked for during a run. Of each model file only the
beginning is read, and that once: what a file is, is kept while its size and date stay.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import folder_paths
from aiohttp import web

from ...storymem.setup.checkup import CheckupInputs, check
from ...storymem.setup.report import Finding, Report, Section
from ..host.machine import machine
from ..host.server import read_json
from ..host.setup_facts import host_facts, model_folders, node_types, pack_folders
from .story_routes import text_of

VERSION = re.compile(  # of the page, as it is told in the report
    r"v?\d{1,5}(\.\d{1,5}){0,3}([.+-]?(a|b|rc|alpha|beta|dev|post|nightly)?[.-]?\d{1,12}){0,2}",
    re.ASCII,
)
MOST_KNOWN = 20_000  # files whose kinds are kept
ABANDONED = 499  # nobody waits for the answer


class Abandoned(BaseException):
    """The page does not wait any more. No ``Exception``: a part of the check that fails is told."""


class SetupRoute:
    """``POST /storymem/setup``: the report on this setup, as the page shows it, and as ``text``.

    Asked with the open ``workflow``, the ``prompt`` that it makes where the page has it, its own
    version as ``front_end``, and an ``id``, by which ``GET /storymem/setup?id=`` tells how many
    of the files were looked at. One check at a time; it ends when its page does not wait for it.
    """

    def __init__(self):
        self._place = asyncio.Semaphore(1)
        self._known: dict = {}  # kinds of files, of all checks
        self._looked: dict[str, tuple[int, int]] = {}

    async def __call__(self, request: web.Request) -> web.Response:
        asked = await read_json(request)
        texts = {name: text_of(asked, name) for name in ("front_end", "id")}
        workflow = _object(asked, "prompt") or _object(asked, "workflow")

        def tell(done: int, of: int) -> None:
            if request.transport is None or request.transport.is_closing():
                raise Abandoned
            self._looked[texts["id"]] = (done, of)

        async with self._place:
            try:
                tell(0, 0)
                found = await asyncio.to_thread(
                    _look, texts["front_end"], workflow, self._known, tell
                )
            except Abandoned:
                return web.Response(status=ABANDONED)
            finally:
                self._looked.pop(texts["id"], None)
                for path in [*self._known][:-MOST_KNOWN]:  # those that were met first
                    del self._known[path]
        return web.json_response(found)

    async def show_progress(self, request: web.Request) -> web.Response:
        """``GET /storymem/setup?id=``: files looked at, and how many there are."""
        done, of = self._looked.get(request.query.get("id", ""), (0, 0))
        return web.json_response({"done": done, "of": of})


def _object(asked: Mapping, name: str) -> Mapping | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise web.HTTPBadRequest(text=f"{name} must be an object")
    return value


def _look(front_end: str, workflow: Mapping | None, known: dict, tell) -> dict:
    page = front_end if VERSION.fullmatch(front_end) else ""
    faults: list[Finding] = []
    inputs = CheckupInputs(
        folders=_asked(model_folders, {}, faults),
        host=_asked(lambda: host_facts(page), None, faults),
        output=Path(folder_paths.get_output_directory()),
        temp=Path(folder_paths.get_temp_directory()),
        custom_nodes=_asked(pack_folders, (), faults),
        workflow=workflow,
        node_types=_asked(node_types, None, faults),
        known=known,
        tell=tell,
        machine=machine(),
    )
    report = check(inputs)
    if faults:
        own = Section("host", "ComfyUI", tuple(faults))
        report = Report((own, *report.sections))
    return {"error": "", **report.as_dict()}


def _asked(ask, otherwise, faults: list[Finding]):
    """What the host says; a host of another make is told of, and hides nothing else."""
    try:
        return ask()
    except Exception as error:
        text = "ComfyUI could not be asked about itself ({error}); please report it"
        faults.append(Finding("error", text, {"error": type(error).__name__}))
        return otherwise


_SETUP = SetupRoute()
ROUTES = {
    ("POST", "/storymem/setup"): _SETUP,
    ("GET", "/storymem/setup"): _SETUP.show_progress,
}
