"""What nodes tell the page of a bank, and what every route of the pack keeps to, without a page."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from helpers.keyframe_graphs import WATCHED, clip_of, detailed, node, select, start
from helpers.loop_graphs import loop_graph, story


class Body:
    """A request whose body comes in chunks."""

    def __init__(self, *chunks: bytes):
        self.content = self
        self._chunks = chunks

    async def iter_chunked(self, _size):
        for chunk in self._chunks:
            yield chunk


@pytest.fixture
def page(host):
    return host.pack("nodes.page.bank_ui")


@pytest.fixture
def server_module(host):
    return host.pack("nodes.host.server")


def test_bodies_are_json_objects_of_bounded_size(server_module, page):
    assert asyncio.run(server_module.read_json(Body(b'{"a"', b": 1}"))) == {"a": 1}
    for wrong in (b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000):
        with pytest.raises(page.web.HTTPBadRequest):
            asyncio.run(server_module.read_json(Body(wrong)))
    endless = Body(*[b" " * 2**20] * (server_module.MAX_BODY // 2**20 + 1), b"never read")
    with pytest.raises(page.web.HTTPRequestEntityTooLarge):
        asyncio.run(server_module.read_json(endless))


def test_routes_are_only_below_the_packs_prefix(server_module):
    with pytest.raises(ValueError, match="/storymem/"):
        server_module.add_routes({("GET", "/other/path"): None})


def test_the_nodes_show_their_banks(host, clips):
    host.restart()
    clips["shot"] = detailed(1, 9)
    clips["faces"] = detailed(2, 2)
    graph = {
        "shot": clip_of("shot"),
        "faces": clip_of("faces"),
        "start": start(images=["faces", 0]),
        "select": select(["shot", 0], bank=["start", 0]),
        "remember": node("StoryMemRemember", keyframes=["select", 0], bank=["start", 0], pin=False),
        "edit": node(
            "StoryMemEditMemoryBank",
            bank=["remember", 0],
            pin="3",
            unpin="",
            forget="1",
            restore="",
        ),
        "preview": node("StoryMemPreviewMemoryBank", bank=["edit", 0]),
    }
    workflow = {"extra_pnginfo": {"workflow": {"id": "my-story"}}}
    host.run(graph, extra_data={**WATCHED, **workflow})
    shown = {
        name: host.ui(name)["storymem_bank"] for name in ("start", "remember", "edit", "preview")
    }
    assert [len(banks) for banks in shown.values()] == [1, 1, 1, 1]
    shown = {name: banks[0] for name, banks in shown.items()}
    assert {bank["workflow"] for bank in shown.values()} == {"my-story"}
    assert [f["place"] for f in shown["start"]["frames"]] == ["reference 1", "reference 2"]
    assert len(shown["remember"]["frames"]) == 3
    assert [f["role"] for f in shown["edit"]["dropped"]] == ["dropped"]
    assert shown["preview"] == shown["edit"]
    assert host.ui("preview")["images"], "the sheet is still given"
    folders = host.pack("nodes.page.bank_ui").picture_folders()
    for frame in (*shown["edit"]["frames"], *shown["edit"]["dropped"]):
        assert folders.find(frame["digest"]), (
            "the page can ask for every picture that it is told of"
        )
    # A second run gives the same from the host's cache.
    host.run(graph, extra_data={**WATCHED, **workflow})
    assert host.ui("preview")["storymem_bank"] == [shown["preview"]]


def test_a_loop_tells_of_each_shot_and_its_history_holds_only_the_end(host, tmp_path, monkeypatch):
    host.restart()
    told = []
    server = SimpleNamespace(
        client_id="me", send_sync=lambda event, data, sid: told.append((event, data, sid))
    )
    monkeypatch.setattr(host.pack("nodes.page.bank_ui"), "find_server", lambda: server)
    graph = loop_graph(story(3, name="Told"), prefix="told")
    graph["select"] = select(["body", 0], bank=["open", 2], shot=["open", 1])
    graph["remember"] = node("StoryMemRemember", keyframes=["select", 0], bank=["open", 2])
    graph["close"]["inputs"]["bank"] = ["remember", 0]
    host.run(graph, extra_data=WATCHED)
    assert [(event, data["node"], sid) for event, data, sid in told] == [
        ("storymem.bank", "remember", "me")
    ] * 3
    counts = [data["bank"]["count"] for _, data, _ in told]
    assert counts == sorted(counts)
    assert counts[0] > 0
    assert host.ui("remember") == {}
    (end,) = host.ui("close")["storymem_bank"]
    assert end == told[-1][1]["bank"]
    assert host.ui("close")["images"], "the story video is still shown"
