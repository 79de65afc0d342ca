"""What the page asks before a run: which shots it will make, and why."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..host.server import read_json
from .plan_ahead import look_ahead


class PlanRoute:
    """``POST /storymem/plan``: ``prompt`` in API form, ``node`` of its loop and, where the page
    has it, ``workflow``; the answer of ``look_ahead``.

    One at a time, in a thread: a sampler that runs needs the processor too.
    """

    def __init__(self):
        self._place = asyncio.Semaphore(1)

    async def __call__(self, request: web.Request) -> web.Response:
        asked = await read_json(request)
        async with self._place:
            if request.transport is None or request.transport.is_closing():
                return web.Response(status=499)  # the page has asked anew
            answer = await asyncio.to_thread(
                look_ahead, asked.get("prompt"), asked.get("node"), asked.get("workflow")
            )
        return web.json_response(answer)


ROUTES = {("POST", "/storymem/plan"): PlanRoute()}
