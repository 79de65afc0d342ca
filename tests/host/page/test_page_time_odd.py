"""The time that is left in the page, where things go another way than planned."""

from __future__ import annotations

import pytest

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import hold, release, story

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
MODULE = "/extensions/renamed/js/shared/time_left.js"
LINE = f"async ([left, ago]) => (await import('{MODULE}')).lineOfTime(left, Date.now() - ago).text"
RANGE = f"async ([least, most]) => (await import('{MODULE}')).rangeOfTime(least, most)"
HEAD = f"async ([left, ago]) => (await import('{MODULE}')).timeToMake(1, left, Date.now() - ago)"
FAIL_ONCE = f"""async () => {{
    const {{ eachSecond }} = await import('{MODULE}');
    const calls = window.calls = {{ failing: 0, other: 0 }};
    eachSecond(() => {{ calls.failing += 1; throw new Error("one that fails"); }});
    eachSecond(() => (calls.other += 1) < 3);
}}"""
WATCH_TIMERS = """() => {
    if (window.secondTimers) return;
    const [start, stop] = [window.setInterval, window.clearInterval];
    window.secondTimers = new Set();
    window.setInterval = (...given) => {
        const id = start.call(window, ...given);
        if (new Error().stack.includes("time_left.js")) window.secondTimers.add(id);
        return id;
    };
    window.clearInterval = (id) => { window.secondTimers.delete(id); stop.call(window, id); };
}"""
COUNTS, IS_STILL = "window.secondTimers.size === 1", "window.secondTimers.size === 0"
UNKNOWN = "time left: unknown until the first shot is finished"


@pytest.mark.parametrize(
    ("left", "ago", "text"),
    [
        ({}, 0, UNKNOWN),
        ({"shot": None, "least": 5, "most": 5}, 0, UNKNOWN),
        ({"shot": "soon", "least": 5, "most": 5}, 0, UNKNOWN),
        ({"shot": 55, "least": 0, "most": 0}, 0, "time left: about 1 min"),
        ({"shot": 55, "least": 0, "most": 0}, -7_200_000, "time left: about 1 min"),
        ({"shot": -40, "least": 0, "most": 0}, 0, "time left: longer than expected"),
        ({"shot": 0, "least": 1e9, "most": 1e9}, 0, "time left: about 277777 h 47 min"),
    ],
)
def test_odd_figures_and_clocks_give_no_odd_words(page, left, ago, text):
    assert page.page.evaluate(LINE, [left, ago]) == text


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (3, 30, "up to 30 s"),
        (0, 55, "up to 1 min"),
        (10, 30, "10 s to 30 s"),
        (3, 3, "less than 10 s"),
    ],
)
def test_a_range_begins_with_a_figure(page, least, most, text):
    assert page.page.evaluate(RANGE, [least, most]) == text


def test_a_last_shot_that_is_late_is_not_said_to_be_nearly_done(page):
    last = {"shot": 60, "least": 0, "most": 0}
    assert page.page.evaluate(HEAD, [last, 40_000]) == "To make: about 20 s"
    assert page.page.evaluate(HEAD, [last, 90_000]) == "To make: longer than expected"
    assert page.page.evaluate(HEAD, [{**last, "most": 100}, 90_000]) == "To make: up to 1 min 40 s"


def test_one_that_fails_is_not_asked_again_and_keeps_no_other_from_it(page):
    page.page.evaluate(WATCH_TIMERS)
    known = len(page.errors)
    page.page.evaluate(FAIL_ONCE)
    page.page.wait_for_function(f"window.calls.other === 3 && {IS_STILL}")
    assert page.page.evaluate("window.calls.failing") == 1
    assert len(page.errors) == known + 1
    assert "one that fails" in str(page.errors.pop())


def run_to_the_second_shot(page, name: str) -> None:
    """A story is being made, and its second shot is held; the page counts down."""
    page.page.evaluate(WATCH_TIMERS)
    page.load(story(3, name=name), fail_on=f"never: {name}")
    hold(page.log, 2)
    page.queue()
    page.wait_on_node(["done", "running", "waiting"])
    page.page.wait_for_function(COUNTS)


def test_no_timer_goes_on_for_a_workflow_that_was_left(page):
    run_to_the_second_shot(page, "Left")
    page.page.evaluate(
        "() => { for (const one of app.graph._nodes) (window.old ??= []).push(one); }"
    )
    page.page.evaluate("() => app.graph.clear()")
    assert page.page.evaluate("() => window.old.every((node) => node.graph)"), "or nothing is tried"
    page.page.wait_for_function(IS_STILL)
    release(page.log)
    eventually(page.page, lambda: not page.server.get("/queue")["queue_running"])


def test_a_loop_that_is_taken_out_while_it_runs_leaves_nothing_running(page):
    run_to_the_second_shot(page, "Taken out")
    page.page.evaluate(
        "() => { for (const id of [2, 4]) app.graph.remove(app.graph.getNodeById(id)); }"
    )
    release(page.log)
    page.wait_on_node(["waiting"] * 3)  # in the folder of a Load Story without a loop
    page.page.wait_for_function(IS_STILL)
