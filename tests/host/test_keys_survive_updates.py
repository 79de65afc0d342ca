"""What an update of the pack leaves of a finished story: every shot whose pixels do not change."""

from __future__ import annotations

import pytest
from loop_graphs import loop_graph, ran, story

pytestmark = pytest.mark.usefixtures("fresh")


def raise_version(host, monkeypatch, part: str) -> None:
    module = host.pack("storymem.render_version")
    monkeypatch.setitem(module.PARTS, part, module.Part(module.PARTS[part].version + 1, ()))


@pytest.mark.parametrize("part", ["memory", "hand-over"])
def test_a_raised_version_of_a_used_part_regenerates_the_shots(host, log, monkeypatch, part):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == [1, 2]


@pytest.mark.parametrize("part", ["selection", "sampling", "colour", "headless"])
def test_a_raised_version_of_a_part_that_the_loop_does_not_use_keeps_them(
    host, log, monkeypatch, part
):
    graph = loop_graph(story(2), log)
    host.run(graph)
    assert ran(log) == [1, 2]
    raise_version(host, monkeypatch, part)
    host.restart()
    host.run(graph)
    assert ran(log) == []
