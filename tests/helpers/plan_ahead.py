"""Asks what the next run will do, runs it, and compares."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass

from helpers.loop_graphs import ran


def files_of(host) -> dict:
    """Everything in the host's own folders, with size and time."""
    found = {}
    for folder in ("output", "temp", "input"):
        for path in sorted((host.base / folder).rglob("*")):
            status = path.stat()
            found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def ask_plan(host, graph: dict, node="open", workflow=None) -> dict:
    """The answer for a graph; nothing is written, logged or changed."""
    before, given = files_of(host), copy.deepcopy(graph)
    answer = host.pack("nodes.loop.plan_ahead").look_ahead(graph, node, workflow)
    assert files_of(host) == before
    assert graph == given
    json.dumps(answer)
    return answer


@dataclass
class Said:
    """An answer, and what became of it."""

    answer: dict
    made: list[int]

    def of(self, state: str) -> list[int]:
        return [shot["number"] for shot in self.answer["shots"] if shot["state"] == state]

    def shot(self, number: int) -> dict:
        return self.answer["shots"][number - 1]


def checker(host, log, caplog):
    """Asks, runs, and compares: ``check(graph)``."""

    def checked(graph: dict, node="open", *, others=False, tells_summary=True) -> Said:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            answer = ask_plan(host, graph, node)
            assert not [r for r in caplog.records if "StoryMem" in r.getMessage()]
            assert (answer["error"], answer["failed"], answer["unknown"]) == ("", "", [])
            host.run(graph)
        said = Said(answer, sorted(ran(log)))
        if others:  # loops that were not asked about run, too
            return said
        sure, perhaps = said.of("make"), said.of("depends")
        assert set(sure) <= set(said.made) <= {*sure, *perhaps}
        assert not {*said.of("finished"), *said.of("left out")} & set(said.made)
        # A story that the host still has whole does not begin at all.
        if tells_summary and (said.made or " goes to " in caplog.text):
            assert answer["summary"] in caplog.text
            for change in answer["changes"][:1]:  # of many, a run says some
                assert all(reason in caplog.text for reason in change["reasons"][:3])
        return said

    return checked


def forget_all(host) -> None:
    """A host that was started again."""
    host.restart()
    host.pack("nodes.host.executor")._LATEST.clear()
