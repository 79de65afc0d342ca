"""How long the shots of a headless run took, and what is left of it, in the log and the records."""

from __future__ import annotations

import json
import logging

import pytest

from helpers.not_empty import not_empty
from helpers.record_files import body_of
from storymem import __main__ as program

pytestmark = pytest.mark.slow  # whole stories on tiny weights

STORY = "a red dog walks\n---\n[continue]\nthe dog sits\n---\nthe woman runs at night\n"
FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"


def run(tmp_path, model, *more: str) -> int:
    script = tmp_path / "tale.txt"
    script.write_text(STORY)
    arguments = ["run", script, "--out", tmp_path / "out", "--model", model, *FAST.split(), *more]
    return program.main([str(argument) for argument in arguments])


def test_the_log_tells_what_is_left_and_the_records_how_long_it_took(tmp_path, i2v, caplog):
    with caplog.at_level(logging.INFO):
        assert run(tmp_path, i2v) == 0
    lines = caplog.messages
    assert any("time left: unknown until the first shot is finished" in line for line in lines)
    finished = [line for line in lines if line.startswith("finished shot")]
    assert [" in " in line.rpartition(")")[2] for line in finished] == [True] * 3
    assert [" left" in line for line in finished] == [True, True, False]
    shots = json.loads((tmp_path / "out" / "story.json").read_text())["shots"]
    facts = {}
    for record in not_empty((tmp_path / "out" / ".shots" / "shots").rglob("record.json")):
        told = body_of(record.parent)["facts"]
        facts[told["label"]] = told["work"]
    assert [facts[label]["first"] for label in sorted(facts)] == [True, False, False]
    for label, work in facts.items():
        size = [work[name] for name in ("frames", "width", "height", "steps")]
        assert size == [9, 48, 32, 2]
        assert work["seconds"] > 0
        assert shots[label]["work"] == work
    memory = [facts[label]["memory"] for label in sorted(facts)]
    assert memory[0] == 0 < memory[1] <= memory[2]
    caplog.clear()
    (tmp_path / "out" / "story_00001_.mp4").unlink()
    with caplog.at_level(logging.INFO):
        assert run(tmp_path, i2v, "--resume", "--steps", "3") == 0
    (line,) = [one for one in caplog.messages if "3 shots to make" in one]
    assert ", about " in line, "times of the same models with other steps tell"
