"""What a seed does between two runs, in the host's page: nothing, unless an artist says so."""

from __future__ import annotations

import pytest

from helpers.browser import eventually, find_chromium, load_workflow, wait_for_text
from helpers.loop_graphs import story

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
# As the node library makes one: by its type, with its widgets as they are at first.
ADD = """(type) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    return node.id;
}"""
SEED = """(id) => {
    const widgets = app.graph.getNodeById(id).widgets;
    const seed = widgets.findIndex((w) => w.name === "seed");
    return [widgets[seed].value, widgets[seed + 1].name, widgets[seed + 1].value];
}"""
HAS_SEED = """() => Object.entries(LiteGraph.registered_node_types)
    .filter(([type, { nodeData }]) => type.startsWith("StoryMem") && nodeData)
    .filter(([, { nodeData: { input } }]) =>
        Object.values({ ...input.required, ...input.optional })
            .some(([, options]) => options?.control_after_generate !== undefined))
    .map(([type]) => type)"""


@pytest.fixture
def empty(page):
    page.page.evaluate("() => app.graph.clear()")
    return page


@pytest.mark.parametrize(
    "kind", ["StoryMemM2VSampler", "StoryMemM2VConditioning", "StoryMemWriteStory"]
)
def test_a_fresh_node_keeps_its_seed_from_run_to_run(empty, kind):
    node = empty.page.evaluate(ADD, kind)
    before = empty.page.evaluate(SEED, node)
    assert before == [0, "control_after_generate", "fixed"]
    # What the page does with each node once a prompt is queued.
    empty.page.evaluate(
        "(id) => app.graph.getNodeById(id).widgets.forEach((w) => w.afterQueued?.())", node
    )
    assert empty.page.evaluate(SEED, node) == before


def test_no_other_node_has_such_a_control(empty):
    kinds = {"StoryMemM2VSampler", "StoryMemM2VConditioning", "StoryMemWriteStory"}
    assert {k for k in empty.page.evaluate(HAS_SEED) if "Test" not in k} == kinds


def open_search_box(page) -> None:
    """A busy page may miss a double click, or take keys before the box has the focus."""
    has_focus = "() => document.activeElement?.tagName === 'INPUT'"
    page.evaluate("() => document.activeElement?.blur()")
    for _ in range(10):
        page.mouse.dblclick(900, 700)
        for _ in range(50):
            if page.evaluate(has_focus):
                return
            page.wait_for_timeout(100)
    raise AssertionError("ten double clicks opened no search box")


def test_a_node_from_the_search_box_keeps_its_seed(empty):
    open_search_box(empty.page)
    empty.page.keyboard.type("M2V Sampler", delay=20)
    option = empty.page.get_by_text("M2V Sampler").first
    option.wait_for()
    empty.page.wait_for_timeout(500)
    empty.page.keyboard.press("Enter")
    look = "() => app.graph._nodes.find((n) => n.type === 'StoryMemM2VSampler')?.id ?? null"
    node = eventually(empty.page, lambda: empty.page.evaluate(look) is not None)
    assert node
    assert empty.page.evaluate(SEED, empty.page.evaluate(look))[1:] == [
        "control_after_generate",
        "fixed",
    ]


@pytest.mark.parametrize("control", ["randomize", "increment", "fixed"])
def test_a_saved_workflow_keeps_its_own_setting(empty, control):
    node = empty.page.evaluate(ADD, "StoryMemM2VSampler")
    saved = empty.page.evaluate("() => app.graph.serialize()")
    (entry,) = saved["nodes"]
    values = entry["widgets_values"]
    values[values.index("fixed")] = control
    load_workflow(empty.page, saved)
    assert empty.page.evaluate(SEED, node)[2] == control


def test_the_note_on_the_loop_names_the_seed_that_changed(page):
    page.load(story(2, name="Seeds"))
    page.page.evaluate(
        """() => {
            const widgets = app.graph.getNodeById(3).widgets;
            widgets.find((w) => w.name.startsWith("control")).value = "randomize";
        }"""
    )
    assert page.run() == [1, 2]
    assert page.run() == [1, 2]
    notice = page.page.locator(".sm-progress .sm-notice").first
    wait_for_text(page.page, notice, "shots 1-2 are regenerated because seed of '")
    words = "(its control after generate is 'randomize', not 'fixed')"
    assert words in notice.inner_text()
