"""What a page hears of a story from a real server, and what it is answered."""

from __future__ import annotations

import asyncio
import json

from helpers.gallery_page import ask

CLIENT = "story-events"


async def events_of(server, graph: dict, last: str = "done") -> list[dict]:
    """What the page that queued ``graph`` hears of the story, up to the state ``last``."""
    import aiohttp  # comes with the host; the fast suite, which needs none, reads this file too

    address = f"http://127.0.0.1:{server.port}/ws?clientId={CLIENT}"
    found: list[dict] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await asyncio.to_thread(server.queue, graph, client_id=CLIENT)
        while not found or found[-1]["state"] != last:
            message = await socket.receive(timeout=120)
            if message.type == aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                if event["type"] == "storymem.progress":
                    found.append(event["data"])
    return found


def ask_story(server, text: str) -> dict:
    """What the page is answered that shows a script."""
    body = json.dumps({"script": text, "prefix": "loop"}).encode()
    headers = {"Content-Type": "application/json"}
    status, _, answer = ask(server, "/storymem/story", method="POST", body=body, headers=headers)
    assert status == 200
    return json.loads(answer)
