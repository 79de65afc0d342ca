"""What regenerates a shot: the rows of docs/regeneration.md that need ComfyUI's graph."""

from __future__ import annotations

import asyncio
import json

import pytest

from helpers.loop_graphs import OTHER_GRAPH, loop_graph, ran, renamed, story
from helpers.pass_graphs import passed, sampled

pytestmark = pytest.mark.usefixtures("fresh")


def made_after(host, log, before: dict, *changes: dict) -> list[int]:
    """Shots that are made when a finished story is queued with other graphs, one by one."""
    host.run(before)
    ran(log)
    for graph in changes:
        host.run(graph)
    return ran(log)


def with_memory(log, script=None, **inputs) -> dict:
    """A story of two shots that starts with one picture, named by the Memory Bank node."""
    graph = loop_graph(script or story(2), log, opened={"bank": ["memory", 0]})
    size = {"width": 32, "height": 16, "batch_size": 1, "color": 3}
    graph["image"] = {"class_type": "EmptyImage", "inputs": size}
    values = {"images": ["image", 0], "max_frames": 10, "sink": 3, "pin_references": True}
    graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": {**values, **inputs}}
    return graph


def test_settings_of_the_memory_bank_node_that_change_no_view(host, log):
    changes = [
        {"max_frames": 6},
        {"max_frames": 5},
        {"sink": 2},
        {"pin_references": False},
        {"reference_names": "Mara"},
        {"policy": "entities"},
        {"edits": json.dumps({"pin": ["0" * 12]})},
    ]
    graphs = [with_memory(log, **change) for change in changes]
    assert made_after(host, log, with_memory(log), *graphs) == []


def test_the_character_of_load_story(host, log):
    graph = loop_graph(story(2), log)
    graph["story"]["inputs"]["character"] = "Mara is tall."
    assert made_after(host, log, loop_graph(story(2), log), graph) == [1, 2]


def test_nodes_of_cards(host, tmp_path, monkeypatch):
    import folder_paths

    import nodes

    if "MultiGPU_WorkUnits" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this host uses one card")

    def on_cards(most: int, device: str, **sampler) -> dict:
        graph = sampled(story(2), **sampler)
        models, vae = graph["sampler"]["inputs"], graph["sampler"]["inputs"]["vae"]
        for name in ("model_high", "model_low"):
            graph[f"device {name}"] = {
                "class_type": "SelectModelDevice",
                "inputs": {"model": models[name], "device": device},
            }
            graph[f"split {name}"] = {
                "class_type": "MultiGPU_WorkUnits",
                "inputs": {"model": [f"device {name}", 0], "max_gpus": most},
            }
            models[name] = [f"split {name}", 0]
        graph["vae device"] = {
            "class_type": "SelectVAEDevice", "inputs": {"vae": vae, "device": "default"},
        }  # fmt: skip
        models["vae"] = ["vae device", 0]
        return graph

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))

    def samples(graph: dict) -> int:
        before = len(list(tmp_path.rglob("record.json")))
        host.run(graph)
        return len(list(tmp_path.rglob("record.json"))) - before

    assert samples(sampled(story(2))) == 2
    for graph in (on_cards(2, "default"), on_cards(3, "cpu"), sampled(story(2))):
        assert samples(graph) == 0
    assert samples(on_cards(2, "default", steps=2)) == 2


def test_the_script_from_a_file(host, log):
    (host.base / "input" / "tale.json").write_text(story(2), encoding="utf-8")
    graph = loop_graph("", log)
    graph["story"]["inputs"]["file"] = "tale.json"
    assert made_after(host, log, loop_graph(story(2), log), graph) == []


@pytest.mark.parametrize(
    "closed",
    [
        {"fps": 24.0},
        {"crf": 30},
        {"transition": "cross_fade", "fade_frames": 3},
        {"subtitles": False},
        {"prompt_subtitles": True},
        {"codec": "ffv1", "timeline": "otio", "audio_gain": -6.0, "shot_audio_gain": 3.0},
    ],
)
def test_everything_on_shot_loop_close(host, log, closed):
    graph = loop_graph(story(2), log, closed=closed)
    assert made_after(host, log, loop_graph(story(2), log), graph) == []


@pytest.mark.parametrize("body", [{"seed": 8}, {"width": 96}, {"length": 17}])
def test_a_widget_of_a_node_between(host, log, body):
    graph = loop_graph(story(2), log, body=body)
    assert made_after(host, log, loop_graph(story(2), log), graph) == [1, 2]


def test_a_file_that_a_node_between_reads(host, log):
    path = host.base / "input" / "model.txt"
    path.write_text("one")
    graph = loop_graph(story(2), log, body={"outside": ["reader", 0]})
    reader = {"name": "model.txt", "log": ""}
    graph["reader"] = {"class_type": "StoryMemTestCounter", "inputs": reader}
    host.run(graph)
    assert ran(log) == [1, 2]
    path.write_text("another")
    assert made_after(host, log, graph) == []
    path.write_text("a third one")
    host.run(graph)
    assert ran(log) == [1, 2]


def test_ids_and_nodes_that_nothing_depends_on(host, log):
    graph = loop_graph(story(2), log)
    previewed = {**renamed(graph, "_x"), **OTHER_GRAPH}
    shown = {"class_type": "StoryMemPreviewMemoryBank", "inputs": {"bank": ["body_x", 1]}}
    previewed["preview"] = shown
    assert made_after(host, log, graph, previewed) == []


# --- passes --------------------------------------------------------------------------------------


def body_text(host, graph: dict, draft=None) -> str:
    from comfy_execution.graph import DynamicPrompt

    loop = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(graph), "close")
    loop.draft = draft
    return asyncio.run(loop.describe())


def test_pass(host, log):
    film = loop_graph(story(2), log)
    assert made_after(host, log, film, passed(film, "draft")) == [1, 2]
    assert made_after(host, log, film, passed(film, "draft"), film) == []


def test_settings_of_a_draft(host, log):
    film = loop_graph(story(2), log)
    draft, other = passed(film, "draft", steps=4), passed(film, "draft", steps=6)
    host.run(film)
    assert made_after(host, log, draft, other) == [1, 2]
    assert made_after(host, log, film, passed(film, "film", steps=8), draft, other) == []


def test_max_frames_of_a_draft(host, log):
    few, more = (passed(loop_graph(story(3), log), "draft", max_frames=n) for n in (1, 2))
    assert made_after(host, log, few, more) == [3]
    assert (
        made_after(host, log, more, passed(loop_graph(story(3), log), "draft", max_frames=9)) == []
    )


def test_what_a_draft_overrides(host):
    draft = host.pack("storymem.loop.passes").DRAFT
    size = {"width": 832, "height": 480, "steps": 40}
    film = sampled(story(1), **size)
    before = body_text(host, film, draft), body_text(host, film)
    for changed in (
        {"steps": 20}, {"cfg": 5.0}, {"cfg_low": 2.0}, {"width": 1280, "height": 720},
    ):  # fmt: skip
        graph = sampled(story(1), **{**size, **changed})
        assert body_text(host, graph, draft) == before[0]
        assert body_text(host, graph) != before[1]
    for changed in ({"seed": 8}, {"width": 480, "height": 832}, {"steps": 3}):
        graph = sampled(story(1), **{**size, **changed})
        assert body_text(host, graph, draft) != before[0]


def test_rehearsals(host, log):
    def graph(count: int) -> dict:
        script = json.loads(story(prompts=["Mara sits.", "Mara walks."]))
        opened = {"rehearsals": count}
        return loop_graph(json.dumps({**script, "cast": ["Mara"]}), log, opened=opened)

    assert made_after(host, log, graph(0), graph(1)) == [1, 2, 1, 2]
    assert made_after(host, log, graph(1), graph(0)) == []
