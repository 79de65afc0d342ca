"""LoRAs of single shots in a real server: both kinds of loop, and both ways to sample."""

from __future__ import annotations

import pytest

from helpers.lora_graphs import applied, by_parts, on_one_wire, plain, script, write_style
from helpers.server_base import link_base

pytestmark = [pytest.mark.http]


@pytest.fixture
def server(start_server, base_folder, tmp_path):
    folder = base_folder / "models" / "loras"
    paths = [
        write_style(folder / "ink.safetensors", 1),
        write_style(folder / "styles" / "rain_high_noise.safetensors", 2),
        write_style(folder / "styles" / "rain_low_noise.safetensors", 3),
    ]
    yield start_server("--disable-api-nodes", output=link_base(tmp_path / "kept", base_folder))
    for path in paths:
        path.unlink()


def test_only_shots_whose_loras_changed_are_made_again(server):
    def run(graph, name):
        before = set(server.base.rglob("record.json"))
        server.run(graph)
        folder = server.base / "output" / graph_prefix(graph) / name
        videos = [path.read_bytes() for path in sorted(folder.glob("shot_*.mp4"))]
        return len(set(server.base.rglob("record.json")) - before), videos

    made, bare = run(plain(script(None, None, None)), "Tale")
    assert (made, len(bare)) == (3, 3)
    made, styled = run(applied(plain(script(None, "ink:0.5, styles/rain:0.3", None))), "Tale")
    assert made == 2  # the third sees the second
    assert styled[0] == bare[0]
    assert styled[1] != bare[1]
    stronger = applied(plain(script(None, "ink:0.9, styles/rain:0.3", None)))
    plan = server.post("/storymem/plan", {"prompt": stronger, "node": "open"})
    assert [shot["state"] for shot in plan["shots"]] == ["finished", "make", "depends"]
    assert plan["changes"][0]["reasons"] == [
        "its LoRAs changed from 'ink:0.5, styles/rain:0.3' to 'ink:0.9, styles/rain:0.3'"
    ]
    made, changed = run(stronger, "Tale")
    assert made == 2
    assert changed[0] == bare[0]
    assert changed[1] not in (bare[1], styled[1])
    server.kill()
    server.start()
    assert run(stronger, "Tale") == (0, changed)
    entry = server.wait(server.queue(applied(plain(script("inc", None, None)))))
    errors = [m[1] for m in entry["status"]["messages"] if m[0] == "execution_error"]
    assert errors[0]["node_id"] == "loras"
    assert "near it are ink" in errors[0]["exception_message"]

    # M2V Conditioning and M2V Model Patch, with the memory's keys and values kept.
    settings = {"memory_refresh": "cached"}
    made, bare = run(by_parts(script(None, None, name="Parts"), **settings), "Parts")
    assert made == 2
    styled = applied(by_parts(script(None, "ink", name="Parts"), **settings), "guider", "open")
    made, videos = run(styled, "Parts")
    assert made == 1
    assert videos[0] == bare[0]
    assert videos[1] != bare[1]

    made, bare = run(on_one_wire(script(None, None, name="Wire")), "Wire")
    assert made == 2
    made, videos = run(on_one_wire(script(None, "ink", name="Wire"), has_loras=True), "Wire")
    assert made == 1
    assert videos[0] == bare[0]
    assert videos[1] != bare[1]
    assert run(on_one_wire(script(None, "ink", name="Wire"), has_loras=True), "Wire")[0] == 0


def graph_prefix(graph: dict) -> str:
    """The folder in the output folder that a graph's story goes to."""
    opened = graph["begin" if "begin" in graph else "open"]["inputs"]
    return opened["filename_prefix"]
