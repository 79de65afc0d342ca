"""``run --rehearsal`` and ``promote`` without a host: a draft, then the film, on tiny weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from storymem import __main__ as program
from storymem.memory.bank_folder import load_bank

pytestmark = pytest.mark.slow  # whole stories on tiny weights

STORY = "[cast: Mara, Pip]\nMara walks\n---\nPip sits\n---\nMara and Pip at night\n"
FAST = "--embedder no_weights --width 64 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"


@pytest.fixture
def run(tmp_path, i2v):
    """Run a script; the program's exit code."""

    def run(text: str, *more: str) -> int:
        script = tmp_path / "tale.txt"
        script.write_text(text)
        arguments = ["run", script, "--out", tmp_path / "tale", "--model", i2v, "--quiet"]
        return program.main([*map(str, arguments), *FAST.split(), *more, "--resume"])

    return run


def facts(folder: Path) -> dict[str, dict]:
    shots = json.loads((folder / "story.json").read_text())["shots"]
    found = {}
    for label, entry in shots.items():
        path = folder / ".shots" / "shots" / entry["key"][:2] / entry["key"] / "record.json"
        found[label] = json.loads(json.loads(path.read_text())["record"])["facts"]
    return found


def test_a_film_begins_with_its_rehearsal(run, tmp_path, caplog):
    assert run(STORY, "--pass", "draft", "--draft-steps", "1") == 0
    draft = str(tmp_path / "tale.draft")
    assert run(STORY, "--rehearsal", draft) == 0
    opening = load_bank(tmp_path / "tale" / "bank").frames[:2]
    assert [frame.name for frame in opening] == ["Mara", "Pip"]
    assert [frame.reason.split(",")[0] for frame in opening] == [
        "from the draft's shot 1", "from the draft's shot 2",
    ]  # fmt: skip
    first = facts(tmp_path / "tale")
    assert run(STORY, "--rehearsal", draft) == 0
    assert facts(tmp_path / "tale") == first


def test_a_rehearsal_that_is_not_there_is_told(run, tmp_path, caplog):
    assert run(STORY, "--rehearsal", str(tmp_path / "none")) == 2
    assert "there is no folder" in caplog.text


def test_no_film_is_its_own_rehearsal(run, tmp_path, caplog):
    assert run(STORY) == 0
    before = facts(tmp_path / "tale")
    assert run(STORY, "--rehearsal", str(tmp_path / "x" / ".." / "tale")) == 2
    assert "is what is to be made itself" in caplog.text
    assert facts(tmp_path / "tale") == before


def test_a_shot_takes_over_from_the_draft_beside_the_film(run, tmp_path):
    assert run(STORY, "--pass", "draft", "--draft-steps", "1", "--seed", "70") == 0
    promoting = STORY.replace("Pip sits", "[promote: seed, start 2, memory]\nPip sits")
    assert run(promoting) == 0
    second = facts(tmp_path / "tale")["01_02"]
    assert second["seed"] == 71
    assert [one.split()[0] for one in second["pictures"]][-1] == "start"
    assert second["pictures"][0].split()[0] == "promoted"
