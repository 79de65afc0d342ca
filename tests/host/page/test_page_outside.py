"""A story inside a blueprint: what its node shows on the outside, in both canvases."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.browser import eventually, find_chromium
from helpers.gallery_page import gallery_server, open_story

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PACK = Path(__file__).resolve().parents[3]
LOOK = os.environ.get("STORYMEM_SCREENSHOTS")  # a folder: pictures of the page, to be looked at
# What an artist does with "Convert to Subgraph", and what the shipped blueprint's file says of it.
WRAP = """async () => {
    const { node } = app.graph.convertToSubgraph(new Set(app.graph._nodes));
    node.properties.storymem_outside = true;
    node.setSize([460, 400]);
    await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    app.canvas.ds.scale = 0.9;
    app.canvas.ds.offset = [400 - app.graph._nodes[0].pos[0], 90 - app.graph._nodes[0].pos[1]];
    app.canvas.setDirty(true, true);
}"""
NAMES = "() => app.graph._nodes[0].widgets.map((widget) => widget.name)"
INSIDE = """(name) => {
    const nodes = [...app.graph._nodes[0].subgraph._nodes];
    return nodes.find((node) => node.comfyClass === name).id;
}"""
DISPLAYS = ["storymem_shots", "storymem_progress", "gallery"]


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    base = tmp_path_factory.mktemp("outside_server")
    with gallery_server(base, base_folder, folder="outside") as running:
        yield running


@pytest.fixture
def story(server, tmp_path):
    with open_story(server, tmp_path / "log") as opened:
        yield opened
        assert opened.errors == []


def use_nodes_two(story, is_on: bool) -> None:
    setting = "(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    story.page.evaluate(setting, is_on)


def look(story, name: str) -> None:
    if LOOK:
        story.page.screenshot(path=f"{LOOK}/{name}.png")


@pytest.mark.parametrize("is_two", [False, True], ids=["classic", "nodes_two"])
def test_a_blueprint_shows_how_its_story_stands(story, is_two):
    page = story.page
    use_nodes_two(story, is_two)
    try:
        story.load(shots=3)
        page.evaluate(WRAP)
        page.wait_for_function("app.graph._nodes.length === 1 && app.graph._nodes[0].subgraph")
        assert eventually(page, lambda: page.evaluate(NAMES)[-3:] == DISPLAYS)
        outside = page.locator(".sm-outside")
        outside.wait_for()
        story.queue()
        words = outside.locator(".sm-summary")
        assert eventually(page, lambda: "Finished: 3" in words.inner_text())
        line = page.locator(".sm-progress:visible")
        assert eventually(page, lambda: line.locator(".sm-line").inner_text() == "done: 3 shots")
        video = line.locator("video")
        assert eventually(page, lambda: video.is_visible() and video.evaluate("v => v.videoWidth"))
        gallery = page.locator(".storymem-gallery:visible")
        assert eventually(page, lambda: gallery.locator(".storymem-card").count() == 9)
        look(story, f"outside_{'nodes_two' if is_two else 'classic'}")
        # What is clicked outside is changed inside.
        card = gallery.locator(".storymem-card").first
        digest = card.get_attribute("data-key")[1:65]
        card.locator("[data-act='drop']").click()
        bank = page.evaluate(INSIDE, "StoryMemMemoryBank")
        edits = page.evaluate(
            """(id) => app.graph._nodes[0].subgraph.getNodeById(id).widgets
                .find((widget) => widget.name === "edits").value""",
            bank,
        )
        assert json.loads(edits) == {"drop": [digest]}
        line.locator(".sm-seen").click()
        seen = page.locator("dialog.storymem-seen .storymem-status")
        assert eventually(page, lambda: seen.inner_text().startswith("Shot 3 "))
        story.press("Escape")
        outside.get_by_role("button", name="Edit story").click()
        page.locator(".sm-editor li[data-label='01_03']").wait_for()
        story.press("Escape")
        # It is not part of the workflow's file, and there again after a reload.
        saved = page.evaluate("() => app.graph.serialize().nodes[0]")
        assert len(saved.get("widgets_values") or []) <= len(page.evaluate(NAMES)) - 3
        assert page.evaluate("async () => Object.keys((await app.graphToPrompt()).output).length")
    finally:
        use_nodes_two(story, False)


def test_the_shipped_blueprint_shows_itself_when_it_is_opened(story):
    blueprint = json.loads((PACK / "subgraphs" / "StoryMem Story.json").read_text("utf-8"))
    story.page.evaluate("(workflow) => app.loadGraphData(workflow)", blueprint)
    names = eventually(story.page, lambda: story.page.evaluate(NAMES)[-3:] == DISPLAYS)
    assert names
    shown = {entry["name"] for entry in blueprint["nodes"][0]["inputs"]}
    assert {
        "negative", "policy", "redo_shots", "redo_take", "after_redo", "t2v_high", "t2v_low",
    } <= shown  # fmt: skip
    values = story.page.evaluate(
        "() => app.graph._nodes[0].widgets.map((widget) => [widget.name, widget.value])"
    )
    assert dict(values)["after_redo"] == "recompute"
    assert dict(values)["policy"] == "window"
    words = story.page.locator(".sm-outside .sm-summary")
    assert eventually(story.page, lambda: "Shots: 4" in words.inner_text())
