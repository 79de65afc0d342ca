"""Load Story: what it says of a script before the first shot, and that headless reads the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers.loop_graphs import loop_graph, story
from helpers.not_empty import not_empty
from helpers.shared_data import COLLECTED, needs_collected
from storymem.film.finished_story import read_script

pytestmark = pytest.mark.usefixtures("fresh")

JSON = json.dumps(
    {
        "story_name": "Kite",
        "scenes": [{"scene_num": 1, "video_prompts": ["She runs.", "Her hands."], "cut": [1, 0]}],
    }
)
PLAIN = "She runs.\n---\n[continue]\nHer hands."
TEXTS = {
    "fence": f"```json\n{JSON}\n```",
    "preface": f"Sure! Here is the script:\n{JSON}",
    "thoughts": f"<think>hm</think>\n{JSON}",
    "python": JSON.replace('"', "'"),
    "plain": PLAIN,
    "dashes": PLAIN.replace("---", "—"),
    "numbers": "1. She runs.\n2. [continue] Her hands.",
    "paragraphs": PLAIN.replace("---\n", "\n"),
    "cut off": JSON[:-9],
    "empty": " \n",
    "null": "null",
    "handle": "@home alone.\n---\n@home again.",
}


def read_by_both(host, path: Path) -> list:
    """What the node and the command line make of a file: the stories, or what they say."""
    node = host.pack("nodes.story")
    (host.base / "input" / path.name).write_bytes(path.read_bytes())
    answers = []
    for read in (lambda: node._load("", path.name, ""), lambda: read_script(path)):
        try:
            found = read()
            shots = [(str(shot), shot.cut, found.prompt_of(shot)) for shot in found.shots]
            answers.append((found.name, shots, found.cast, found.warnings))
        except ValueError as error:
            answers.append(re.split(" cannot be read(?: as a script)?: ", str(error))[-1])
    return answers


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("name", TEXTS)
def test_headless_and_node_read_alike(host, tmp_path, name, encoding):
    path = tmp_path / f"{name}.{'txt' if name == 'plain' else 'json'}"
    path.write_bytes(TEXTS[name].encode(encoding))
    node, headless = read_by_both(host, path)
    assert node == headless
    if name not in ("cut off", "empty", "null", "handle", "paragraphs"):
        assert [(words.split("\n")[-1], cut) for _, cut, words in node[1]] == [
            ("She runs.", True),
            ("Her hands.", False),
        ]


@needs_collected
def test_headless_and_node_read_the_collected_scripts_alike(host):
    broken = []
    for path in not_empty(COLLECTED.iterdir()):
        node, headless = read_by_both(host, path)
        assert node == headless
        broken += [path.name] if isinstance(node, str) else []
    assert broken == ["cut_short.json"]


def test_every_warning_is_on_the_node_before_the_first_shot(host, log, caplog):
    client = {"client_id": "test"}
    text = "[title: Told]\n[odd]\n---\nA girl runs.\n---\n---\nClose-up."
    host.messages.clear()
    host.run(loop_graph(text, log), extra_data=client)
    told = host.ui("story")["storymem_notice"]
    assert any("begins with [odd], which is no tag" in words for words in told)
    assert any("an empty block after block 2" in words for words in told)
    events = [(kind, data.get("display_node")) for kind, data in host.messages]
    assert events.index(("executed", "story")) < events.index(("executing", "body"))
    assert caplog.text.count("an empty block after block 2") == 1  # not at every check as well
    host.run(loop_graph(story(2), log), extra_data=client)
    assert "storymem_notice" not in host.ui("story")
