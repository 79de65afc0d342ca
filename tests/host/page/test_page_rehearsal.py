"""Rehearsal Memory in the host's page: whom the draft gives the film, and other choices."""

from __future__ import annotations

import json

import pytest

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PROMPTS = ["Mara waits", "Pip sleeps", "Mara and Pip run", "Mara asleep"]
SET_PASS = """(value) => {
    const widget = app.graph.getNodeById(2).widgets.find((one) => one.name === "pass");
    widget.value = value;
    widget.callback?.(value);
}"""
ADD = """() => {
    const node = LiteGraph.createNode("StoryMemRehearsal");
    app.graph.add(node);
    node.pos = [520, 560];
    const slot = (of, name) => of.inputs.findIndex((input) => input.name === name);
    app.graph.getNodeById(1).connect(0, node, slot(node, "story"));
    const open = app.graph.getNodeById(2);
    node.connect(0, open, slot(open, "bank"));
    node.widgets.find((one) => one.name === "filename_prefix").value = "page";
    return node.id;
}"""
SHOWN = """(id) => {
    const { bank } = app.graph.getNodeById(id).storymemGallery;
    return bank && { kept: bank.frames.map((f) => f.name), waiting: bank.dropped.map((f) => f.name),
        reasons: bank.frames.map((f) => f.reason.split(",")[0]) };
}"""
CLICK = """([id, kind, at, act]) => {
    const gallery = app.graph.getNodeById(id).storymemGallery;
    gallery.act(act, { frame: gallery.bank[kind][at] });
}"""


def script(name: str) -> str:
    text = json.loads(story(prompts=PROMPTS, name=name, cuts=[True] * 4))
    return json.dumps({**text, "cast": ["Mara", "Pip"]})


@pytest.fixture
def rehearsed(page):
    """A film of which the draft is finished; the id of its Rehearsal Memory."""
    page.load(script("Rehearsed"))
    page.page.evaluate(SET_PASS, "draft")
    assert page.run() in ([1, 2, 3, 4], [])
    page.page.evaluate(SET_PASS, "film")
    return page.page.evaluate(ADD)


def test_the_choice_is_shown_and_changed_by_click(page, rehearsed):
    made = page.run()
    assert made == [1, 2, 3, 4]
    shown = eventually(page.page, lambda: page.page.evaluate(SHOWN, rehearsed))
    assert shown["kept"] == ["Mara", "Pip"]
    assert "from the draft's shot 2" in shown["reasons"]
    assert shown["waiting"], "the next best wait for a click"
    look(page, "rehearsal")
    for click in (("frames", 0, "drop"), ("dropped", 0, "restore")):
        page.page.evaluate(CLICK, [rehearsed, *click])
    assert page.run() == [1, 2, 3, 4]
    changed = page.page.evaluate(SHOWN, rehearsed)
    assert len(changed["kept"]) == 2
    assert changed["reasons"] != shown["reasons"]
    edits = page.page.evaluate(
        "(id) => app.graph.getNodeById(id).widgets.find((one) => one.name === 'edits').value",
        rehearsed,
    )
    clicks = json.loads(edits)
    assert set(clicks) == {"drop", "keep", "pin"}
    assert clicks["pin"] == clicks["keep"]  # pinned, as what was chosen


def test_clicks_on_it_go_to_a_memory_bank_that_feeds_it(page, rehearsed):
    kind = page.page.evaluate(
        """(id) => {
            const bank = LiteGraph.createNode("StoryMemMemoryBank");
            app.graph.add(bank);
            const node = app.graph.getNodeById(id);
            bank.connect(0, node, node.inputs.findIndex((input) => input.name === "bank"));
            return node.storymemGallery.source.comfyClass;
        }""",
        rehearsed,
    )
    assert kind == "StoryMemMemoryBank"
