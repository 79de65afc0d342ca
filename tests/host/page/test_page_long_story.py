"""A long story in the host's page: how much work it is, counted and not timed.

``bench_page.py`` has the times.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import pytest

from helpers.browser import eventually, find_chromium, settle, wait_until_ready
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import story
from helpers.page_work import count_calls, watch_list

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LONG = 2_000
TABLE, ON_NODE = ".sm-shots", ".sm-list"
TELL = """async ([states, finished]) => {
    const { api } = await import("/scripts/api.js");
    const detail = { node: "4", open: "2", of: Object.keys(states).length, finished, states };
    const more = { state: "finished", position: finished, script: window.mark, story: "Long" };
    const all = { ...detail, ...more, prompt: "x", workflow: app.rootGraph.id };
    api.dispatchEvent(new CustomEvent("storymem.progress", { detail: all }));
}"""
DROP = """([from, to]) => {
    const rows = document.querySelectorAll(".sm-editor li[data-id]");
    const handle = rows[from].querySelector(".sm-handle");
    const { bottom } = rows[to].getBoundingClientRect();
    const dataTransfer = new DataTransfer();
    handle.focus();
    handle.dispatchEvent(new DragEvent("dragstart", { bubbles: true, dataTransfer }));
    const drop = { bubbles: true, cancelable: true, dataTransfer, clientY: bottom - 1 };
    rows[to].dispatchEvent(new DragEvent("drop", drop));
}"""


@pytest.fixture(autouse=True)
def unplanned(page):
    """Nobody says what the next run will make: that comes a second later, in every row."""
    page.page.route("**/storymem/plan", lambda route: route.abort())
    yield
    page.page.unroute("**/storymem/plan")


def load(page, shots: int, **options) -> None:
    page.load(long_script(shots, **options))
    page.wait_on_node(["waiting"] * shots)


def open_table(page, shots: int) -> None:
    page.edit_table()
    assert len(page.rows()) == shots


def click(page, act: str, at: int = 0) -> None:
    page.page.evaluate(
        """([act, at]) => {
            const row = document.querySelectorAll(".sm-editor li[data-id]")[at];
            row.querySelector(`[data-act=${act}]`).click();
        }""",
        [act, at],
    )


def type_in(page, shot: int, letter: str = "x") -> None:
    """Type a letter in a shot's prompt, as a browser does for a key."""
    page.page.evaluate(
        """([at, letter]) => {
            const prompts = document.querySelectorAll(".sm-editor [data-field=prompt]");
            prompts[at].focus();
            document.execCommand("insertText", false, letter);
        }""",
        [shot - 1, letter],
    )


def watch(page, act):
    """The calls that ``act`` takes, and what it changes in the table."""
    seen = []
    calls = count_calls(page.page, lambda: seen.append(watch_list(page.page, TABLE, act)))
    return calls, *seen


def step(page, name: str) -> None:
    page.page.evaluate(
        "(name) => document.querySelector(`.sm-editor [data-act=${name}]`).click()", name
    )


class Questions:
    """What the page asks the server about stories; nothing is answered before ``answer()``."""

    def __init__(self):
        self.counts = {"story": 0, "script": 0}
        self.bodies: list[str] = []
        self.waiting: list | None = []

    def take(self, route) -> None:
        self.counts[route.request.url.rpartition("/")[2]] += 1
        self.bodies.append(route.request.post_data)
        if self.waiting is None:
            route.continue_()
        else:
            self.waiting.append(route)

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, None
        for route in waiting or ():
            route.continue_()


@contextmanager
def questions(page, *, asked_for: int | None = None):
    """Holds the answers back.

    Args:
        asked_for: a shot in which a letter is typed first. The editor asks a third of a second
            after a change, which is work; with a question open it asks nothing more.
    """
    pattern = re.compile(r"/storymem/(story|script)$")
    asked = Questions()
    page.page.route(pattern, asked.take)
    try:
        if asked_for is not None:
            type_in(page, asked_for)
            assert eventually(page.page, lambda: asked.counts["script"])
        yield asked
    finally:
        asked.answer()
        page.page.unroute(pattern)


def test_two_thousand_shots_are_rows_each_made_and_changed_once_only(page):
    load(page, LONG)
    calls = count_calls(page.page, lambda: open_table(page, LONG))
    assert calls["story/table.js build"] == calls["story/table.js fill"] == LONG
    assert len(page.column("label")) == LONG  # all of them, for whoever looks for words in them

    with questions(page, asked_for=1):
        calls, seen = watch(page, lambda: type_in(page, LONG))
    assert set(seen.lines) <= {page.column("label")[-1]}
    assert seen.nodes == 0
    assert calls["story/table.js fill"] == 1
    for name in ("build", "show", "number", "showFacts", "put"):
        assert calls[f"story/table.js {name}"] == 0, name
    assert calls.total() < 3 * LONG  # the list of rows is copied, for undo
    page.close()


def test_of_two_thousand_rows_only_those_are_moved_that_move(page):
    load(page, LONG)
    open_table(page, LONG)
    changes = [  # what is done, rows that are built, rows that come or go (twice: one that moves)
        (lambda: click(page, "add"), 1, 1),
        (lambda: click(page, "down"), 0, 2),
        (lambda: step(page, "undo"), 0, 2),
        (lambda: click(page, "remove", 1), 0, 1),
        (lambda: step(page, "undo"), 1, 1),
        (lambda: step(page, "undo"), 0, 1),
        (lambda: page.page.evaluate(DROP, [0, LONG - 1]), 0, 2),
        (lambda: page.page.evaluate(DROP, [LONG - 1, 2]), 0, 2),
    ]
    for number, (act, built, moves) in enumerate(changes):
        calls, seen = watch(page, act)
        assert (calls["story/table.js build"], seen.moves) == (built, moves), number
        assert calls["story/table.js number"] <= LONG + 1
    page.close()


def test_ten_times_as_many_shots_are_ten_times_the_work(page):
    def work(shots: int) -> dict[str, int]:
        load(page, shots)
        found = {"open": count_calls(page.page, lambda: open_table(page, shots)).total()}
        acts = {
            "letter": lambda: type_in(page, shots),
            "add": lambda: click(page, "add"),
            "move": lambda: click(page, "down"),
            "drop": lambda: page.page.evaluate(DROP, [0, shots - 1]),
            "scene": lambda: click(page, "toggle_scene", 1),
            "remove": lambda: click(page, "remove", 1),
            "undo": lambda: step(page, "undo"),
            "text": lambda: page.page.locator("[data-tab=text]").click(),
        }
        with questions(page, asked_for=1):
            for name, act in acts.items():
                found[name] = count_calls(page.page, act).total()
            page.close()
        return found

    short, long = work(30), work(300)
    # The node may read its script while the editor opens, which a square of the shots is far above.
    limits = {name: (15 if name == "open" else 10.5) * count for name, count in short.items()}
    assert {name: (long[name], limits[name]) for name in long if long[name] > limits[name]} == {}


def test_the_server_is_asked_about_one_change_at_a_time(page):
    load(page, 30)
    page.edit_table()
    with questions(page) as asked:
        type_in(page, 30, "a")
        eventually(page.page, lambda: asked.waiting)
        for letter in "bcd":
            type_in(page, 30, letter)
            page.page.wait_for_timeout(500)  # longer than what is waited for the next letter
        assert asked.counts["script"] == 1
        asked.answer()
        eventually(page.page, lambda: asked.counts["script"] == 2)
        page.page.wait_for_function(
            "() => document.querySelector('.sm-message')?.textContent === ''"
        )
        assert json.loads(asked.bodies[-1])["shots"][-1]["prompt"].endswith("abcd")
        page.save()
        assert asked.counts["script"] == 2  # what the server said is still known
        assert page.script()["scenes"][0]["video_prompts"][-1].endswith("abcd")


def test_saving_while_the_server_is_asked_asks_nothing_else(page):
    load(page, 30)
    page.edit_table()
    with questions(page, asked_for=30) as asked:
        page.press("Control+s")
        settle(page.page)
        asked.answer()
        page.page.wait_for_selector("dialog.sm-editor", state="detached")
        assert asked.counts["script"] == 1


def test_what_is_sent_of_a_long_story_is_not_much_more_than_its_script(page):
    load(page, 200)
    page.edit_table()
    with questions(page) as asked:
        asked.answer()
        type_in(page, 200)
        page.save()
        (body,) = [body for body in asked.bodies if "shots" in json.loads(body)]
        assert len(body) < len(long_script(200)) + 60 * 200


def test_what_says_nothing_is_not_sent_and_what_says_none_is(page):
    fields = {"seed": [0, None], "negative_prompt": ["", None], "lock": [None, True]}
    page.load(story(2, cuts=[True, False], lora_strength=[0, None], **fields))
    page.edit_table()
    type_in(page, 1)
    page.save()
    (scene,) = page.script()["scenes"]
    assert {name: scene[name] for name in fields} == fields
    assert (scene["cut"], scene["lora_strength"]) == ([True, False], [0, None])


def test_shots_that_are_finished_one_after_the_other_are_told_by_few_questions(page):
    load(page, 200)
    body = {"script": page.widget("script"), "file": "none", "character": "", "prefix": "page"}
    mark = page.server.post("/storymem/story", body)["mark"]
    page.page.evaluate("(mark) => { window.mark = mark; }", mark)
    page.edit_table()
    # What the next run will make is told once, at opening.
    page.page.wait_for_selector(".sm-shots:not(.sm-plan-old)", state="attached")
    labels = page.column("label")
    with questions(page) as asked:
        for finished in range(1, 31):
            states = dict.fromkeys(labels, "waiting") | dict.fromkeys(labels[:finished], "done")
            seen = watch_list(
                page.page,
                TABLE if finished % 2 else ON_NODE,
                lambda s=states, f=finished: page.page.evaluate(TELL, [s, f]),
            )
            assert (seen.lines, seen.nodes) == ([labels[finished - 1]], 0)
            assert page.on_node() == page.column("state") == list(states.values())
        page.page.wait_for_timeout(500)
        assert max(asked.counts.values()) == 1
        asked.answer()
        page.page.wait_for_timeout(2000)  # the node waits half a second before it asks again
        assert max(asked.counts.values()) <= 2
    page.close()


def test_the_keyboard_goes_with_a_shot_that_is_dropped_far_below(page):
    load(page, 30)
    page.edit_table()
    page.page.evaluate(DROP, [0, 29])
    assert page.column("prompt")[-1].startswith("shot number 1:")
    assert page.focused() | {"name": ""} == {
        "act": "handle", "field": "", "row": "01_30", "name": "", "tag": "BUTTON",
    }  # fmt: skip
    page.press("Control+z")
    assert (page.focused()["row"], page.focused()["act"]) == ("01_01", "handle")
    page.press("ArrowDown", "ArrowDown")
    assert page.column("prompt")[2].startswith("shot number 1:")
    page.close()


def test_a_text_that_the_server_has_not_written_yet_is_not_typed_in(page):
    load(page, 30)
    page.edit_table()
    with questions(page) as asked:
        type_in(page, 1)
        page.page.locator("[data-tab=text]").click()
        text = page.page.locator(".sm-raw")
        text.focus()
        page.page.keyboard.type("lost")
        assert text.input_value() == ""
        asked.answer()
        page.page.wait_for_function("() => !document.querySelector('.sm-raw').readOnly")
        assert "lost" not in text.input_value()
        page.close()


def test_pictures_are_asked_for_where_they_are_seen(page, server):
    write_results(server.base / "output", "page", 200)
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))

    def posters() -> int:
        return sum("/storymem/poster?" in url for url in asked)

    page.load(long_script(200))
    page.wait_on_node(["done"] * 200)
    page.edit_table()
    assert all("/storymem/poster?" in source for source in page.column("picture"))
    page.page.wait_for_function("() => document.querySelector('.sm-editor img').naturalWidth > 0")
    assert eventually(page.page, lambda: posters() > 5)
    page.page.wait_for_timeout(500)
    assert posters() < 100
    page.close()


def test_in_nodes_two_the_node_does_not_grow_with_the_story(page):
    set_nodes_two = """async (on) => {
        await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on);
    }"""
    page.page.evaluate(set_nodes_two, True)
    # 0.18 would begin with the workflow of the test before, and then show nothing new on its nodes.
    page.page.evaluate("() => [localStorage, sessionStorage].forEach((kept) => kept.clear())")
    page.page.reload()
    wait_until_ready(page.page)
    load(page, 30)

    def heights() -> list[int]:
        return page.page.locator(".sm-list").evaluate(
            "(list) => [list.clientHeight, list.scrollHeight]"
        )

    assert eventually(page.page, lambda: heights()[0] < 300 < 500 < heights()[1]), heights()
    page.page.evaluate(set_nodes_two, False)
    page.page.reload()
    wait_until_ready(page.page)
