"""Load Story on the canvas: the script is its largest text box, and an empty one is no mistake."""

from __future__ import annotations

import pytest

from helpers.browser import eventually, wait_until_ready
from helpers.story_page import look

FRESH = """async () => {
    await app.loadGraphData({ version: 0.4, nodes: [], links: [], groups: [] });
    const node = LiteGraph.createNode("StoryMemLoadStory");
    app.graph.add(node);
    node.pos = [40, 40];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [120, 60];
    app.canvas.setDirty(true, true);
}"""
CLASSIC_BOXES = """() => Object.fromEntries(app.graph._nodes[0].widgets
    .filter((w) => w.element).map((w) => [w.name, w.computedHeight]))"""
VUE_BOXES = """() => [...document.querySelectorAll("[data-node-id] textarea")]
    .map((box) => box.getBoundingClientRect().height)"""
WRONG = "() => document.querySelector('.sm-panel-on-node').classList.contains('sm-wrong')"


def summary(page) -> str:
    return page.page.locator(".sm-panel-on-node .sm-summary").inner_text()


def test_the_script_is_the_largest_box_of_a_new_node(page):
    page.page.evaluate(FRESH)
    page.page.wait_for_function(f"() => ({CLASSIC_BOXES})().script > 0")
    boxes = page.page.evaluate(CLASSIC_BOXES)
    assert boxes["script"] > 2 * boxes["character"] > 0
    assert boxes["script"] > boxes["storymem_shots"]
    look(page, "load-story-new-classic")


def test_a_saved_node_keeps_its_size_and_the_list_has_room_for_its_shots(page):
    page.load(shots=12)
    page.wait_on_node(["waiting"] * 12)
    assert page.page.evaluate("[...app.graph._nodes[0].size]") == [470, 640]
    page.page.wait_for_function(f"() => ({CLASSIC_BOXES})().storymem_shots > 150")
    boxes = page.page.evaluate(CLASSIC_BOXES)
    assert boxes["script"] > boxes["character"]


def test_nobody_is_told_of_an_error_before_anything_is_written(page):
    page.page.evaluate(FRESH)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-panel-on-node .sm-summary').textContent.length > 5"
    )
    assert summary(page) == "No story yet: write it above, or in the editor"
    assert page.page.evaluate(WRONG) is False
    page.page.evaluate(
        """() => {
            const script = app.graph._nodes[0].widgets.find((w) => w.name === "script");
            script.value = "{";
            script.callback("{");
        }"""
    )
    page.page.wait_for_function(WRONG)
    assert summary(page).startswith("The script cannot be read")


def test_an_empty_script_that_is_queued_is_told_clearly(page):
    page.load(script="")
    graph = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    with pytest.raises(RuntimeError, match="the script is empty"):
        page.server.queue(graph)


def test_in_nodes_two_too(page):  # the last: the page stays so
    page.use_nodes_two_in_chinese_and_light()
    page.page.reload()
    wait_until_ready(page.page)
    page.page.evaluate(FRESH)
    page.page.wait_for_function(f"() => ({VUE_BOXES})().length === 2")
    script, character = page.page.evaluate(VUE_BOXES)
    assert script > 1.5 * character > 0
    assert eventually(page.page, lambda: "还没有故事" in summary(page))
    look(page, "load-story-new-nodes-two")
