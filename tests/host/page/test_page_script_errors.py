"""What is wrong with a script stands on Load Story while the artist types, before any run."""

from __future__ import annotations

import json

import pytest

from helpers.browser import eventually, find_chromium, wait_until_ready
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
WRONG = "[length: 80]\nA quiet sea."
DOUBTFUL = "A girl runs.\n\nThe kite rises."
NOTE = ".sm-panel-on-node .sm-notice"
TOLD = """(at) => {
    const note = document.querySelector(at);
    return note && !note.hidden ? [note.dataset.kind, note.textContent] : ["", ""];
}"""
DRAWN = """() => {
    const words = [];
    const context = document.createElement("canvas").getContext("2d");
    context.fillText = (text) => words.push(text);
    app.graph.getNodeById(1).drawBadges(context);
    return words;
}"""
NODES_TWO = """async (on) => {
    await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on);
    [localStorage, sessionStorage].forEach((kept) => kept.clear());
}"""


def told(page) -> list[str]:
    """The kind of what stands on the node, and its words."""
    return page.page.evaluate(TOLD, NOTE)


def wait_for(page, kind: str, words: str = "") -> None:
    assert eventually(page.page, lambda: told(page)[0] == kind and words in told(page)[1], 60), (
        told(page)
    )


def badges(page) -> list[str]:
    return [text for text in page.page.evaluate(DRAWN) if "script" in text]


def type_as_artist(page, field, text: str) -> None:
    field.click()
    page.press("Control+a")
    page.page.keyboard.insert_text(text)


def test_errors_and_warnings_follow_what_is_typed_on_the_classic_canvas(page):
    page.load("A quiet sea.")
    page.wait_on_node(["waiting"])
    assert (told(page), badges(page)) == (["", ""], [])
    field = page.page.locator("textarea.comfy-multiline-input").first
    type_as_artist(page, field, WRONG)
    wait_for(page, "error", "length must be 4n+1 frames")
    assert badges(page) == ["script error"]
    assert page.on_node() == []
    look(page, "node-script-error")
    page.page.evaluate("() => app.graph.getNodeById(1).collapse()")
    assert badges(page) == ["script error"]  # a folded node tells it too
    page.page.evaluate("() => app.graph.getNodeById(1).collapse()")
    type_as_artist(page, field, DOUBTFUL)
    wait_for(page, "warning", "2 paragraphs")
    assert badges(page) == ["1 note on the script"]
    type_as_artist(page, field, "A quiet sea.")
    wait_for(page, "")
    page.wait_on_node(["waiting"])
    assert badges(page) == []
    goes_with_its_reason(page, field)
    saved = page.page.evaluate("() => JSON.stringify(app.graph.serialize())")
    assert "script error" not in saved


def goes_with_its_reason(page, field) -> None:
    """An empty script that a run refused: told until it is typed, and again when that is undone."""
    stopped = page.page.locator(".sm-notice-on-node")
    type_as_artist(page, field, "")
    page.press("Delete")
    page.page.evaluate("() => { app.queuePrompt(0); }")
    assert eventually(page.page, lambda: "script is empty" in stopped.text_content())
    type_as_artist(page, field, "A quiet sea.")
    assert eventually(page.page, lambda: stopped.count() == 0)
    page.wait_on_node(["waiting"])
    type_as_artist(page, field, "")
    page.press("Delete")
    assert eventually(page.page, lambda: stopped.count() == 1)
    type_as_artist(page, field, "A quiet sea.")
    assert eventually(page.page, lambda: stopped.count() == 0)


def test_a_name_that_cannot_be_a_folder_is_told_before_the_run(page):
    page.load(story(1, name="../up"))
    wait_for(page, "warning", "path separator")
    page.wait_on_node(["waiting"])
    page.edit_table()
    page.page.locator("[data-head=name]").fill("up")
    page.save()
    wait_for(page, "")
    assert json.loads(page.widget("script"))["story_name"] == "up"


def test_errors_and_warnings_follow_what_is_typed_in_nodes_two(page):
    page.page.evaluate(NODES_TWO, True)
    page.page.reload()
    wait_until_ready(page.page)
    page.load("A quiet lake.")
    page.wait_on_node(["waiting"])
    wait_for(page, "")
    field = page.page.locator("[data-node-id='1'] textarea").first
    type_as_artist(page, field, WRONG)
    wait_for(page, "error", "length must be 4n+1 frames")
    look(page, "node-script-error-two")
    type_as_artist(page, field, DOUBTFUL)
    wait_for(page, "warning", "2 paragraphs")
    goes_with_its_reason(page, field)
    page.page.evaluate(NODES_TWO, False)
    page.page.reload()
    wait_until_ready(page.page)
