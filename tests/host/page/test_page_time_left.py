"""The time that is left, in the host's page: unknown at first, then counted down by itself."""

from __future__ import annotations

import re

import pytest

from helpers.browser import eventually, find_chromium, wait_for_draft, wait_for_text
from helpers.loop_graphs import begun, hold, release, story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
UNKNOWN = "time left: unknown until the first shot is finished"
KEEP_LATEST = """() => window.comfyAPI.api.api.addEventListener(
    "storymem.progress", ({ detail }) => { window.latestProgress = detail; })"""
TELL = """(left) => window.comfyAPI.api.api.dispatchEvent(new CustomEvent(
    "storymem.progress", { detail: { ...window.latestProgress, time_left: left } }))"""
STAND_AT = """(seconds) => {
    window.trueNow ??= Date.now;
    window.stoppedAt ??= window.trueNow.call(Date);
    Date.now = () => window.stoppedAt + 1000 * seconds;
}"""
GO_ON = "() => { Date.now = window.trueNow; }"
# Each test has a body of its own (by a widget that changes nothing), of which nothing is known.
HIDDEN = "() => [...document.querySelectorAll('.sm-time')].every((line) => line.hidden)"


def wait_for_times(page, text: str) -> None:
    """Both nodes of the loop say it."""
    page.page.wait_for_function(
        "(text) => [...document.querySelectorAll('.sm-time')]"
        ".filter((one) => !one.hidden && one.textContent === text).length === 2",
        arg=text,
    )


def summary(page) -> str:
    return page.page.locator(".sm-panel-on-node .sm-summary").text_content()


def test_the_line_is_honest_first_then_counts_down_and_goes_with_the_run(page):
    page.load(story(3, name="Timed"), fail_on="never: Timed")
    page.wait_on_node(["waiting"] * 3)
    unknown = "To make: time unknown until the first shot is finished"
    assert eventually(page.page, lambda: summary(page).endswith(unknown)), summary(page)
    page.page.evaluate(KEEP_LATEST)
    hold(page.log, 1)
    page.queue()
    page.wait_on_node(["running", "waiting", "waiting"])
    wait_for_times(page, UNKNOWN)
    look(page, "time-unknown")
    hold(page.log, 2)
    page.wait_on_node(["done", "running", "waiting"])
    wait_for_times(page, "left: shot less than 10 s, story less than 10 s")
    page.page.evaluate(STAND_AT, 0)
    page.page.evaluate(TELL, {"shot": 600.0, "least": 1180.0, "most": 3000.0})
    wait_for_times(page, "left: shot about 10 min, story 30 min to 1 h")
    assert "1 h" in summary(page)
    line = page.page.locator(".sm-time").first
    assert "if the shots that depend on another one change" in line.get_attribute("title")
    look(page, "time-left")
    page.page.evaluate(STAND_AT, 65)
    wait_for_times(page, "left: shot about 9 min, story 29 min to 59 min")
    wait_for_text(page.page, page.page.locator(".sm-panel-on-node .sm-summary"), "29 min to 59 min")
    page.page.evaluate(STAND_AT, 520)
    wait_for_times(page, "left: shot about 1 min 20 s, story 21 min to 52 min")
    page.page.evaluate(STAND_AT, 597)
    wait_for_times(page, "left: shot less than 10 s, story 20 min to 51 min")
    page.page.evaluate(STAND_AT, 4000)  # the story's part does not go down with a shot that is late
    wait_for_times(page, "left: shot longer than expected, story 20 min to 50 min")
    page.page.evaluate(GO_ON)
    release(page.log)
    page.wait_on_node(["done"] * 3)
    page.page.wait_for_function(HIDDEN)
    assert eventually(
        page.page, lambda: "Finished: 3" in summary(page) and "To make" not in summary(page)
    )
    page.edit_table()
    took = page.page.locator(".sm-editor .sm-took").all_text_contents()
    assert len(took) == 3
    assert all(re.fullmatch(r"\d+ s", one) for one in took), took
    assert "To make" not in page.page.locator(".sm-editor .sm-summary").text_content()
    look(page, "time-took")
    page.tab_to(row="01_03", field="prompt")
    page.page.keyboard.type("!")
    head = page.page.locator(".sm-editor .sm-summary")
    wait_for_text(page.page, head, "To make: less than 10 s")
    look(page, "time-to-make")
    page.close()


def test_a_reload_shows_it_again_and_cancel_takes_it_away(page):
    page.load(story(3, name="Reloaded"), fail_on="never: Reloaded")
    hold(page.log, 2)
    page.queue()
    eventually(page.page, lambda: begun(page.log)[-1:] == [2])
    wait_for_draft(page.page, '"Reloaded"')
    page.reload()
    page.wait_on_node(["done", "waiting", "waiting"])
    cancel = page.page.get_by_role("button", name="Cancel, keep finished shots").first
    cancel.wait_for()
    line = page.page.locator(".sm-time").first
    wait_for_text(page.page, line, "left: shot ")
    cancel.press("Enter")
    page.page.wait_for_function(HIDDEN)
    release(page.log)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.dataset.state === 'stopped'"
    )
    assert line.is_hidden()


def test_in_chinese_and_nodes_two(page):
    """Last: the settings stay with the page's user."""
    page.load(story(4, name="Chinese"), fail_on="never: Chinese")
    page.use_nodes_two_in_chinese_and_light()
    wait_for_draft(page.page, '"Chinese"')
    page.reload()
    page.page.evaluate(KEEP_LATEST)
    hold(page.log, 1)
    page.queue()
    page.wait_on_node(["running", "waiting", "waiting", "waiting"])
    wait_for_times(page, "剩余时间：完成第一个镜头后才能估算")
    look(page, "time-unknown-light")
    hold(page.log, 2)
    page.wait_on_node(["done", "running", "waiting", "waiting"])
    page.page.evaluate(STAND_AT, 0)
    page.page.evaluate(TELL, {"shot": 361.0, "least": 2400.0, "most": 4100.0})
    wait_for_times(page, "剩余时间：本镜头约 7 分钟，全片约 47 分钟到 1 小时 15 分")
    look(page, "time-left-light")
    page.page.evaluate(GO_ON)
    release(page.log)
    page.wait_on_node(["done"] * 4)
    page.edit_table()
    look(page, "time-took-light")
    page.close()
