"""A host without the private parts that this pack uses: the same films, and each lack told once."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from helpers.host_server import Server
from helpers.loop_graphs import decoded, edited, filtered, loop_graph, ran, story
from helpers.server_base import link_base, serving

pytestmark = pytest.mark.http

# By door of tests/helpers/host_nodes/broken_host.py: what the log says is not there.
TOLD = {
    "executor": "its executor",
    "cache": "its cache of results",
    "messages": "its error messages",
    "progress": "its table of nodes in progress",
    "prompt_id": "the running prompt's id",
    "fingerprints": "its cache of fingerprints",
    "blame": "the node that an error is told of",
    "history": "what goes into its history",
}
ALL = " ".join(TOLD)


@pytest.fixture(scope="module")
def server(base_folder, host, tmp_path_factory):
    base = link_base(tmp_path_factory.mktemp("private"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


@pytest.fixture
def clean(server):
    """The server as it was started, with nothing on disk and nothing in its caches."""
    shutil.rmtree(server.base / "output")
    (server.base / "output").mkdir()
    break_doors(server, "")
    yield server
    break_doors(server, "")


def break_doors(server: Server, doors: str) -> None:
    node = {"class_type": "StoryMemTestBreakHost", "inputs": {"doors": doors}}
    server.run({"break": node})
    server.post("/free", {"free_memory": True})  # its caches are built again


def with_picture(server: Server, graph: dict) -> dict:
    """The graph, with a stock node before the loop that says whether its file changed."""
    from PIL import Image

    picture = server.base / "input" / "red.png"
    if not picture.exists():  # written again, it would be another file
        Image.new("RGB", (8, 8), "red").save(picture)
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "red.png"}}
    graph["body"]["inputs"]["outside"] = ["picture", 0]
    return graph


def films(server: Server, name="Tale") -> dict[str, list[bytes]]:
    folder = server.base / "output" / "loop" / name
    return {path.name: decoded(path) for path in sorted(folder.glob("*.mp4"))}


def story_json(server: Server, name="Tale") -> dict:
    return json.loads((server.base / "output" / "loop" / name / "story.json").read_text())


def failure(entry: dict) -> str:
    """What the host says of a prompt that failed, in whatever form it keeps its messages."""
    assert entry["status"]["status_str"] == "error"
    (data,) = (
        message["data"] if isinstance(message, dict) else message[1]
        for message in entry["status"]["messages"]
        if "execution_error" in (message.values() if isinstance(message, dict) else message)
    )
    return data["exception_message"]


@pytest.fixture(scope="module")
def expected(server, tmp_path_factory):
    """The films of a host with all its parts."""
    log = tmp_path_factory.mktemp("whole") / "log"
    server.run(with_picture(server, loop_graph(story(3), log)))
    assert ran(log) == [1, 2, 3]
    assert "does not have" not in server.log()
    return films(server)


@pytest.mark.parametrize("doors", [*TOLD, ALL])
def test_the_film_is_the_same_and_what_is_missing_is_told_once(clean, expected, log, doors):
    break_doors(clean, doors)
    fails = {"fail_on": f"@{log}.fail"}
    Path(f"{log}.fail").write_text("number 2")
    graph = with_picture(clean, loop_graph(story(3), log, body=fails))
    entry = clean.wait(clean.queue(graph))
    told = story_json(clean)["stopped"]
    assert "stopped in shot 2 (scene 1, shot 2: 'shot number 2')" in told
    if {"executor", "messages"} & set(doors.split()):
        assert failure(entry).strip() == "the body broke on purpose"
        assert "it failed or was cancelled" in told
    else:
        assert "stopped in shot 2 (scene 1, shot 2: 'shot number 2')" in failure(entry)
        assert "the body broke on purpose" in told
    assert "1 of 3 shots are finished" in told
    Path(f"{log}.fail").unlink()
    assert ran(log) == [1]
    clean.run(graph)
    assert ran(log) == [2, 3]
    assert films(clean) == expected
    clean.run(with_picture(clean, loop_graph(edited(3, 3), log, body=fails)))
    assert ran(log) == [3]
    for door in doors.split():
        assert clean.log().count(f"does not have {TOLD[door]} in the") == 1, door
    for door in set(TOLD) - set(doors.split()):
        assert clean.log().count(f"does not have {TOLD[door]} in the") <= 1, door


def test_a_shot_that_the_host_passes_over_is_told_there_too(clean, log):
    break_doors(clean, ALL)
    entry = clean.wait(clean.queue(filtered(loop_graph(story(3), log))), timeout=120)
    assert "output nothing" in failure(entry)
    assert ran(log) == [1]


def test_a_host_that_changes_has_no_shot_made_again(clean, log):
    graph = with_picture(clean, loop_graph(story(2), log))
    clean.run(graph)
    assert ran(log) == [1, 2]
    break_doors(clean, "fingerprints")
    clean.run(graph)
    break_doors(clean, "")
    clean.run(graph)
    assert ran(log) == []


# --- asking a node directly -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
        ("LoadImage", {"image": "red.png"}),
        ("StoryMemLoadStory", {"script": "A cat. || A dog.", "file": "none"}),
        ("StoryMemTestAlwaysChanged", {}),
        ("StoryMemFinishShot", {"state": ["1", 0], "frames": ["2", 0], "bank": ["3", 0]}),
        ("StoryMemTestFileLoader", {"images": ["1", 0], "name": "a.txt"}),
        ("StoryMemLoadMemoryBank", {"folder": "nowhere"}),
    ],
)
def test_a_node_that_is_asked_directly_says_what_it_says_to_the_host(host, kind, inputs):
    import execution
    from comfy_execution.graph import DynamicPrompt
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(host.base / "input" / "red.png")
    node = {"class_type": kind, "inputs": inputs}
    dynprompt = DynamicPrompt({"node": dict(node)})
    of_host = asyncio.run(execution.IsChangedCache("p", dynprompt, None).get("node"))
    assert repr(asyncio.run(host.pack("nodes.host.executor").ask_node(node))) == repr(of_host)


def test_a_node_that_cannot_be_asked_counts_as_changed(host, caplog, monkeypatch):
    import nodes

    class Broken:
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

        @classmethod
        def IS_CHANGED(cls):
            raise RuntimeError("no disk")

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "Broken", Broken)
    node = {"class_type": "Broken", "inputs": {}}
    answer = asyncio.run(host.pack("nodes.host.executor").ask_node(node))
    assert answer != answer
    assert "could not tell whether Broken has changed: no disk" in caplog.text


# --- the smaller doors ------------------------------------------------------------------------


@pytest.fixture
def door(host):
    """The module, as if it had not warned yet."""
    module = host.pack("nodes.host.executor")
    module._warn_once.cache_clear()
    yield module
    module._warn_once.cache_clear()


def test_without_a_list_of_loaded_models_all_are_released(host, door, monkeypatch, caplog):
    import comfy.model_management

    monkeypatch.delattr(comfy.model_management, "current_loaded_models")
    assert door.loaded_models_beside(None) == door.loaded_models_beside(None) == []
    assert caplog.text.count("its list of loaded models") == 1


def test_without_the_page_that_asked_nothing_is_sent(door, caplog):
    assert door.asking_page(None) is None
    assert caplog.text == ""
    assert door.asking_page(object()) is None
    assert "the page that queued a prompt" in caplog.text


def test_without_a_list_of_web_folders_none_is_renamed(host, door, monkeypatch, caplog):
    import nodes

    monkeypatch.delattr(nodes, "EXTENSION_WEB_DIRS")
    assert door.rename_web_folder("a b", "plain") is False
    assert "its list of web folders" in caplog.text
