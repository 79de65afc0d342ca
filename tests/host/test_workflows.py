"""The shipped workflow files: known to the host, whole in its page, and running headless."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from browser import find_chromium, load_workflow, open_page
from host_server import Server, host_path
from workflow_files import to_api

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
FILES = sorted(WORKFLOWS.glob("*.json"))


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    """A server whose models carry the names that the workflows use."""
    base = tmp_path_factory.mktemp("workflow_server")
    for name in ("input", "output", "temp", "user"):
        (base / name).mkdir()
    (base / "custom_nodes").symlink_to(base_folder / "custom_nodes")
    tiny_models.write_shipped_names(base / "models")
    (base / "input" / "example.png").write_bytes(
        (host_path() / "input" / "example.png").read_bytes()
    )
    running = Server(base).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_node_and_input_of_a_workflow_is_known_to_the_host(path, object_info):
    workflow = read(path)
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        assert node["type"] in object_info
    for node in to_api(workflow, object_info).values():
        sections = object_info[node["class_type"]]["input"]
        declared = {
            name for section in ("required", "optional") for name in sections.get(section, ())
        }
        unknown = {name for name in node["inputs"] if name.split(".")[0] not in declared}
        assert not unknown, node["class_type"]
        given = {name.split(".")[0] for name in node["inputs"]}
        missing = set(sections.get("required", ())) - given
        assert not missing, node["class_type"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_notes_name_every_model_file_and_its_folder(path):
    workflow = read(path)
    notes = " ".join(
        n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote"
    )
    for node in workflow["nodes"]:
        for model in node.get("properties", {}).get("models", ()):
            assert model["name"] in notes
            assert f"models/{model['directory']}" in notes
            assert model["url"] in notes


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_workflow_opens_whole_in_the_hosts_own_page(path, server, object_info):
    workflow = read(path)
    with open_page(server.port) as page:
        seen = load_workflow(page, workflow)
    assert seen["missing"] == []
    assert seen["nodes"] == len(workflow["nodes"])
    assert seen["links"] == len(workflow["links"])
    # What the page would queue is what the headless tests queue.
    ours = to_api(workflow, object_info)
    theirs = {k: v for k, v in seen["prompt"].items() if v["class_type"] != "MarkdownNote"}
    assert {k: (v["class_type"], v["inputs"]) for k, v in theirs.items()} == {
        k: (v["class_type"], v["inputs"]) for k, v in ours.items()
    }
