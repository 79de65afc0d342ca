"""Which shots the story editor's filter shows: its rules, run by node without a page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).resolve().parents[2] / "web" / "js" / "story" / "filter_rules.js"
SHOTS = [
    {"prompt": "Mara walks on along the shore.", "label": "01_01", "scene": 1, "who": ["Mara"]},
    {"prompt": "She looks at the sea.", "label": "01_02", "scene": 1, "who": ["Mara"]},
    {"prompt": "Teo, SHORE, rain: scene 2", "label": "02_01", "scene": 2, "who": ["Teo"]},
    {"prompt": "雨中的海岸", "label": "12_01", "scene": 12, "who": []},
]
FACTS = {
    "waiting": {"state": "waiting"},
    "edited since": {"state": "waiting", "hasVideo": True},
    "edited here": {"state": "done", "isFinished": True, "isEdited": True},
    "done": {"state": "done", "isFinished": True, "hasVideo": True, "plan": {"state": "finished"}},
    "other nodes": {"state": "done", "isFinished": True, "plan": {"state": "make", "why": "again"}},
    "made anew": {"state": "done", "isFinished": True, "plan": {"state": "make", "why": "redo"}},
    "depends": {"state": "depends", "hasVideo": True, "plan": {"state": "depends"}},
    "failed": {"state": "failed"},
    "lost": {"state": "done", "isFinished": True, "plan": {"state": "make", "why": "lost"}},
    "noted": {"state": "locked", "isFinished": True, "isNamed": True},
}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def ask(expression: str, *values) -> object:
    """What an expression over the rules and ``values`` gives."""
    script = (
        RULES.read_text(encoding="utf-8").replace("export ", "")
        + f"const values = {json.dumps(values)};"
        + f"process.stdout.write(JSON.stringify({expression}));"
    )
    run = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def shown(asked: list[str]) -> dict[str, list[int]]:
    """By what is asked for, the numbers of the shots that are shown."""
    shots = [{**shot, "number": i + 1} for i, shot in enumerate(SHOTS)]
    found = ask(
        "values[0].map((text) => values[1].filter((shot) => matchesWords(readWords(text), shot))"
        ".map(({ number }) => number))",
        asked,
        shots,
    )
    return dict(zip(asked, found, strict=True))


def test_all_words_must_be_there_in_the_prompt_the_label_or_the_cast():
    assert shown(["shore", "SHORE  mara", "mara", "01_", "海岸", "a.*", "", "shore sea"]) == {
        "shore": [1, 3],
        "SHORE  mara": [1],
        "mara": [1, 2],
        "01_": [1, 2],
        "海岸": [4],
        "a.*": [],  # signs mean themselves
        "": [1, 2, 3, 4],
        "shore sea": [],
    }


def test_numbers_of_scenes_and_shots_are_meant_as_numbers():
    assert shown(
        ["scene 1", "Scene 2 rain", "场景12", "shot 3", "镜头 2", "shot 3 sea", "scene", "scene 1s"]
    ) == {
        "scene 1": [1, 2],
        "Scene 2 rain": [3],
        "场景12": [4],
        "shot 3": [3],
        "镜头 2": [2],
        "shot 3 sea": [],
        "scene": [3],  # a word like any other
        "scene 1s": [],
    }


def test_every_state_shows_what_the_table_and_the_look_ahead_say():
    found = ask(
        "Object.fromEntries(STATES.map((name) => [name, Object.entries(values[0])"
        ".filter(([, facts]) => isOfState(name, facts)).map(([of]) => of)]))",
        FACTS,
    )
    assert found == {
        "all": list(FACTS),
        "make": [
            "waiting",
            "edited since",
            "other nodes",
            "made anew",
            "depends",
            "failed",
            "lost",
        ],
        "finished": ["edited here", "done", "other nodes", "made anew", "lost", "noted"],
        "changed": ["edited since", "edited here", "other nodes", "made anew"],
        "failed": ["failed", "lost", "noted"],
    }


def test_shots_are_known_by_the_sentences_that_name_them():
    sentences = ["scene 1, shot 2: 'cut' is not true or false", "shot 31 (scene 12, shot 10: 'x')"]
    assert ask("[...namedIn(values[0])]", sentences) == ["01_02", "12_10"]
    assert ask("[...namedIn(values[0])]", ["the story has no shots"]) == []
