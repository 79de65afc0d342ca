"""The shipped story in ComfyUI's own Start Loop and End Loop, run by a host that has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.loop_graphs import decoded
from helpers.server_base import serving, shipped_base
from helpers.tiny_workflows import make_tiny
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[3]
NAME = "storymem_start_loop"
SHOTS = ["shot_01_01.mp4", "shot_01_02.mp4", "shot_01_03.mp4"]


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    import nodes

    if "StartLoop" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"{NAME}.json is not run here: this ComfyUI has no Start Loop")
    base = shipped_base(tmp_path_factory.mktemp("start_loop"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


def graph_of(server, title: str, seeds_of_turns: bool = False) -> dict:
    scene = {
        "scene_num": 1,
        "video_prompts": ["A cat stretches.", "The cat jumps down.", "The cat eats."],
        "cut": [True, False, False],
    }
    script = json.dumps({"story_name": title, "scenes": [scene]})
    workflow = json.loads((PACK / "workflows" / f"{NAME}.json").read_text(encoding="utf-8"))
    prompt = make_tiny(to_api(workflow, server.get("/object_info")), script=script)
    if seeds_of_turns:
        kinds = {node["class_type"]: node_id for node_id, node in prompt.items()}
        prompt[kinds["StoryMemM2VSampler"]]["inputs"]["seed"] = [kinds["StartLoop"], 0]
    return prompt


def records(server) -> dict[str, int]:
    found = (server.base / "output" / ".storymem").rglob("record.json")
    return {str(path): path.stat().st_mtime_ns for path in found}


@pytest.mark.parametrize("seeds_of_turns", [False, True])
def test_it_goes_on_after_a_stop_and_runs_nothing_twice(server, seeds_of_turns):
    """The stopped film is, frame by frame, the one that was made in one go."""
    output = server.base / "output" / NAME
    stopped, whole = f"Stopped {seeds_of_turns}", f"Whole {seeds_of_turns}"
    graph = graph_of(server, stopped, seeds_of_turns)
    before = len(records(server))
    prompt_id = server.queue(graph)
    server.wait_until(lambda: len(records(server)) > before)
    server.post("/interrupt", {})
    ended = server.wait(prompt_id)
    assert ended["status"]["status_str"] == "error", "it was over before it was stopped"
    finished = records(server)
    assert before < len(finished) < before + len(SHOTS)
    server.run(graph)
    assert {path: records(server)[path] for path in finished} == finished
    assert len(records(server)) == before + len(SHOTS)
    server.run(graph_of(server, whole, seeds_of_turns))
    films = [[decoded(output / title / name) for name in SHOTS] for title in (stopped, whole)]
    assert films[0] == films[1]
    made = records(server)
    server.run(graph)
    assert records(server) == made
