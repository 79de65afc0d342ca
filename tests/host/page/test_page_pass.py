"""A draft and rehearsals in the host's page: which pass is being made, and how far it is."""

from __future__ import annotations

import json

import pytest

from helpers.browser import find_chromium
from helpers.loop_graphs import hold, ran, release, story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
CHOOSE = """([name, value]) => {
  const open = app.graph._nodes.find((node) => node.type === "StoryMemShotLoopOpen");
  open.widgets.find((widget) => widget.name === name).value = value;
}"""
BEGINS = "(words) => document.querySelector('.sm-progress')?.textContent.startsWith(words)"
DONE = "() => document.querySelector('.sm-progress')?.dataset.state === 'done'"


def test_the_line_says_that_it_is_a_draft(page):
    page.load(story(2, name="Sketched"))
    page.page.evaluate(CHOOSE, ["pass", "draft"])
    hold(page.log, 2)
    prompt_id = page.queue()
    page.page.wait_for_function(BEGINS, arg="draft · shot 2 of 2")
    look(page, "pass-draft")
    release(page.log)
    page.server.wait(prompt_id)
    page.page.wait_for_function(BEGINS, arg="draft · done: 2 shots")
    page.page.evaluate(CHOOSE, ["pass", "film"])
    assert page.run() == [1, 2, 1, 2]
    page.page.wait_for_function(BEGINS, arg="done: 2 shots")
    assert page.errors == []


def test_the_line_goes_through_rehearsals_to_the_film(page):
    script = json.loads(story(prompts=["Mara sits.", "Mara walks."], name="Rehearsed"))
    page.load(json.dumps({**script, "cast": ["Mara"]}))
    page.page.evaluate(CHOOSE, ["rehearsals", 2])
    seen = page.page.evaluate_handle(
        """() => {
          const seen = [];
          app.api.addEventListener("storymem.progress", ({ detail }) => {
            seen.push([detail.pass, detail.state]);
          });
          return seen;
        }"""
    )
    hold(page.log, 2)
    prompt_id = page.queue()
    page.page.wait_for_function(BEGINS, arg="draft · shot 2 of 2")
    release(page.log)
    page.server.wait(prompt_id)
    page.page.wait_for_function(DONE)
    heard = [tuple(one) for one in seen.json_value()]
    assert list(dict.fromkeys(name for name, _ in heard)) == ["draft", "draft2", "film"]
    assert [name for name, state in heard if state == "done"] == ["film"]
    assert ran(page.log) == [1, 2] * 3
    assert page.errors == []
