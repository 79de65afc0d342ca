"""Takes of a shot: roll again, compare, choose and delete, in the host's page."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import hold, loop_graph, ran, release, story
from helpers.story_page import look
from storymem.film.restore import films_to_remove, find_store, list_films, remove_films

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
DIALOG = "dialog.sm-takes"
TAKES = """() => [...document.querySelectorAll(".sm-take-list > li")].map((line) => ({
    key: line.dataset.key,
    words: line.textContent,
    active: line.getAttribute("aria-selected") === "true",
    chosen: line.classList.contains("sm-chosen"),
    at: [...line.querySelectorAll("[data-at]:not([hidden])")].map((one) => one.dataset.at).join(),
}))"""
PLAYED = """() => [...document.querySelectorAll("figure:not([hidden]) video")].map((video) => ({
    time: video.currentTime, ready: video.readyState, paused: video.paused,
    film: new URL(video.src, location.href).searchParams.get("subfolder"),
}))"""


def takes(page) -> list[dict]:
    return page.page.evaluate(TAKES)


def played(page) -> list[dict]:
    return page.page.evaluate(PLAYED)


def open_takes(page, label: str, count: int) -> None:
    page.page.locator(f"[data-label='{label}'] textarea").first.focus()
    page.press("Alt+t")
    page.page.wait_for_selector(f"{DIALOG}[open]")
    assert eventually(page.page, lambda: len(takes(page)) == count), takes(page)


def said(page) -> str:
    return page.page.locator(f"{DIALOG} .sm-message").text_content()


def wait_until_said(page, words: str) -> None:
    assert eventually(page.page, lambda: words in said(page)), said(page)


def close_takes(page) -> None:
    page.press("Escape")
    page.page.wait_for_selector(DIALOG, state="detached")


def roll(page, label: str) -> int:
    """Put a seed of its own into a shot's row by its key, and save; the seed."""
    page.edit_table()
    page.page.locator(f"[data-label='{label}'] textarea").first.focus()
    page.press("Alt+Shift+r")
    page.wait_for_message("is rolled again with seed")
    seed = int(page.message().split("seed ")[1].split()[0])
    page.save()
    return seed


def shown(server, name: str) -> dict:
    manifest = json.loads((server.base / "output/page" / name / "story.json").read_text())
    return {label: entry["key"] for label, entry in manifest["shots"].items()}


def test_a_shot_is_rolled_again_compared_and_chosen_by_keyboard(page, server):
    page.load(story(3, name="Takes", cuts=[True] * 3))
    assert page.run() == [1, 2, 3]
    first = shown(server, "Takes")
    seed = roll(page, "01_02")
    scene = page.script()["scenes"][0]
    assert scene["seed"] == [None, seed, None]
    row = scene["video_prompts"][1]["id"]  # by which its takes go with it
    page.wait_on_node(["done", "waiting", "depends"])
    assert page.run() == [2, 3]
    second = shown(server, "Takes")
    assert [first[label] == second[label] for label in sorted(first)] == [True, False, False]

    page.edit_table()
    count = page.page.locator("[data-label='01_02'] .sm-count")
    assert eventually(page.page, lambda: count.text_content() == "2")
    open_takes(page, "01_02", 2)
    listed = takes(page)
    assert [take["key"] for take in listed] == [second["01_02"], first["01_02"]]
    assert [take["at"] for take in listed] == ["left", "right"]
    assert f"seed {seed}" in listed[0]["words"]
    assert "in the film" in listed[0]["words"]
    assert f"seed that of the nodes instead of {seed}" in listed[1]["words"]
    assert listed[1]["active"]
    assert eventually(page.page, lambda: all(video["ready"] >= 2 for video in played(page)))
    assert [video["film"].rpartition("/")[2] for video in played(page)] == [
        second["01_02"], first["01_02"]
    ]  # fmt: skip
    page.press("Space")
    moved = eventually(page.page, lambda: all(video["time"] > 0.1 for video in played(page)))
    assert moved, played(page)
    look(page, "takes")
    page.press("Space")
    assert all(video["paused"] for video in played(page))
    page.press("1")  # the active one, on the left: they change places
    assert [take["at"] for take in takes(page)] == ["right", "left"]
    page.press("Enter")
    wait_until_said(page, "Later shots see the memory that this take left")
    field = page.page.locator("[data-label='01_02'] [data-field=seed]")
    assert field.input_value() == ""  # that of take 1, which has none of its own
    page.page.locator(f"{DIALOG} [data-act=free]").click()
    assert field.input_value() == str(seed)
    page.page.locator(f"{DIALOG} [role=listbox]").focus()
    page.press("Enter")
    wait_until_said(page, "Take 1 is used from the next run on.")
    assert field.input_value() == ""
    assert [take["chosen"] for take in takes(page)] == [False, True]
    close_takes(page)
    # The folder does not know it, and the plan does: shot 3 was made with that take once.
    assert eventually(page.page, lambda: page.column("state") == ["done", "chosen", "done"])
    page.save()
    scene = page.script()["scenes"][0]
    assert scene["use_take"] == [None, first["01_02"][:16], None]
    assert scene["video_prompts"][1]["id"] == row
    page.wait_on_node(["done", "chosen", "depends"])
    assert page.run() == []
    page.wait_on_node(["done", "chosen", "done"])
    assert shown(server, "Takes") == first
    assert page.errors == []


def test_takes_that_no_film_uses_are_deleted(page, server):
    page.load(story(2, name="Deleted", cuts=[True] * 2))
    assert page.run() == [1, 2]
    first = shown(server, "Deleted")
    for _ in range(2):
        roll(page, "01_01")
        assert page.run() == [1, 2]
    now = shown(server, "Deleted")
    store = server.base / "output/.storymem/shots"
    (server.base / "output/page/Deleted/story.json").touch()

    page.edit_table()
    open_takes(page, "01_01", 3)
    assert [take["active"] for take in takes(page)] == [False, True, False]
    assert takes(page)[0]["key"] == now["01_01"]
    page.press("ArrowUp", "Delete")  # the one in the film
    wait_until_said(page, "stays, because it is used by Deleted")
    assert not page.questions  # nobody is asked for what will be refused
    assert len(takes(page)) == 3
    # Takes of films that can be restored stay as well; the first one is of such a film.
    page.press("End", "Delete")
    wait_until_said(page, "Deleted_00001_.mp4")
    assert (store / first["01_01"][:2] / first["01_01"]).is_dir()
    # Without those films they go, and the takes that stay have other numbers.
    folder = server.base / "output/page/Deleted"
    films = films_to_remove(list_films(folder, find_store(folder)), 1)
    remove_films(folder, films, forgets=True)
    names = page.page.locator(".sm-takes figcaption span")
    assert names.all_inner_texts() == ["Take 3", "Take 2"]
    page.press("End", "Delete")
    wait_until_said(page, "Take 1 is deleted")
    assert page.questions[-1].startswith("Delete take 1 (")
    assert names.all_inner_texts() == ["Take 2", "Take 1"]
    assert not (store / first["01_01"][:2] / first["01_01"]).is_dir()
    close_takes(page)
    page.close()


def test_the_takes_of_a_story_without_any(page):
    page.load(story(2, name="None yet", cuts=[True] * 2))
    page.edit_table()
    open_takes(page, "01_01", 0)
    wait_until_said(page, "No take of this shot is finished yet.")
    page.press("Space", "Enter", "Delete", "1", "ArrowDown")
    page.press("Alt+Shift+r")
    wait_until_said(page, "Shot 1 is rolled again with seed")
    close_takes(page)
    assert eventually(page.page, lambda: page.focused()["act"] == "takes")
    page.press("Control+z")
    page.close()


def made_next(page, before: set[str]) -> list[int]:
    """The shots that a run made which the page queued by itself."""
    (prompt_id,) = eventually(page.page, lambda: set(page.prompts()) - before)
    assert page.wait(prompt_id)["status"]["status_str"] == "success"
    return ran(page.log)


def test_one_key_rolls_a_shot_again_saves_and_queues(page, server):
    page.load(story(3, name="One key", cuts=[True] * 3))
    assert page.run() == [1, 2, 3]
    first = shown(server, "One key")
    page.edit_table()
    page.page.locator("[data-label='01_03'] textarea").first.focus()
    before, asked = set(page.prompts()), len(page.questions)
    page.press("Alt+r")
    page.wait_for_message("the script is saved, and the workflow is queued")
    assert made_next(page, before) == [3]
    assert len(page.questions) == asked  # nothing else is made
    now = shown(server, "One key")
    assert [first[label] == now[label] for label in sorted(first)] == [True, True, False]
    seed = int(page.message().split("seed ")[1].split(":")[0])
    assert page.script()["scenes"][0]["seed"] == [None, None, seed]
    count = page.page.locator("[data-label='01_03'] .sm-count")
    assert eventually(page.page, lambda: count.text_content() == "2")  # the editor is open yet
    assert eventually(page.page, lambda: page.column("state") == ["done"] * 3)

    # Shots after it may see something else: that is asked first, and a No queues nothing.
    page.page.evaluate("() => { window.asked = []; window.sure = window.confirm; }")
    page.page.evaluate("() => { window.confirm = (text) => { asked.push(text); return false; }; }")
    before = set(page.prompts())
    page.page.locator("[data-label='01_02'] [data-act=roll]").click()
    page.wait_for_message("Nothing was queued; seed")
    (question,) = page.page.evaluate("asked")
    assert question.startswith("Roll shot 2 again?")
    assert question.endswith("Made again if what they see changes: 3")
    assert set(page.prompts()) == before
    assert page.script()["scenes"][0]["seed"] == [None, None, seed]
    page.page.evaluate("() => { window.confirm = window.sure; }")
    page.page.locator("[data-label='01_01'] [data-act=roll]").click(modifiers=["Shift"])
    page.wait_for_message("Shot 1 is rolled again with seed")
    page.page.locator("[data-label='01_02'] [data-act=roll]").click()
    page.wait_for_message("the script is saved, and the workflow is queued")
    assert page.questions[-1].endswith("Made as well: 1\nMade again if what they see changes: 3")
    assert made_next(page, before) == [1, 2, 3]
    page.close()  # there is nothing to save


@contextmanager
def held_plans(page):
    """While the server does not say what a run would make; gives how many it was asked for."""
    waiting = []
    page.page.route("**/storymem/plan", lambda route: waiting.append(route))
    try:
        yield lambda: len(waiting)
    finally:
        while waiting:
            waiting.pop().continue_()
        page.page.unroute("**/storymem/plan")


def test_what_the_artist_does_while_a_roll_is_prepared_counts(page):
    page.load(story(2, name="Meanwhile", cuts=[True] * 2))
    assert page.run() == [1, 2]
    page.edit_table()
    before, script = set(page.prompts()), page.widget("script")
    page.page.locator("[data-label='01_02'] textarea").first.focus()
    with held_plans(page) as asked:
        page.press("Alt+r")
        assert eventually(page.page, asked)
        page.press("Control+z")
        page.wait_for_message("Undone")
    page.wait_for_message("Nothing was queued: shot 2 no longer has seed")
    assert (set(page.prompts()), page.widget("script")) == (before, script)

    open_takes(page, "01_02", 1)
    with held_plans(page) as asked:
        page.press("r")
        wait_until_said(page, "Shot 2 is rolled again with seed")
        assert eventually(page.page, asked)
        close_takes(page)
    page.wait_for_message("the script is saved, and the workflow is queued")
    assert made_next(page, before) == [2]
    page.close()


def test_shots_of_another_loop_are_asked_about_whatever_is_set(page):
    page.load(story(1, name="One of two"))
    assert page.run() == [1]
    other = loop_graph(story(3, name="Other of two"), page.log, prefix="page")
    numbers = dict(zip(other, "6789", strict=False))
    api = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    for name, number in numbers.items():
        node = api[number] = other[name]
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = [numbers[value[0]], value[1]]
    page.page.evaluate("(g) => app.loadApiJson(g, 'two')", api)
    page.page.wait_for_function("app.graph._nodes.length === 8")
    set_confirm = "(is) => app.extensionManager.setting.set('StoryMem.Confirm', is)"
    page.page.evaluate(set_confirm, False)  # "Ask before work is lost"
    page.page.evaluate("() => { window.sure = window.confirm; }")
    page.page.evaluate("() => { window.confirm = (text) => { window.asked = text; }; }")
    try:
        page.page.locator(".sm-edit").first.click()
        page.page.locator("[data-label='01_01'] [data-act=roll]").click()
        page.wait_for_message("Nothing was queued; seed")
        assert page.page.evaluate("asked").endswith("loop of the workflow, Shot Loop Open: 1-3")
    finally:
        page.page.evaluate(set_confirm, True)
        page.page.evaluate("() => { window.confirm = window.sure; }")
    page.close()


def test_a_workflow_that_cannot_be_queued_keeps_the_seed(page):
    page.load(story(2, name="Invalid", cuts=[True] * 2))
    page.wait_on_node(["waiting", "waiting"])
    page.edit_table()
    page.page.route("**/api/prompt", lambda route: route.fulfill(
        status=400, json={"error": {"type": "x", "message": "no", "details": ""}, "node_errors": {
            "3": {"class_type": "x", "dependent_outputs": [], "errors": [
                {"type": "x", "message": "Value not in list", "details": "length", "extra_info": {}}
            ]}}},
    ))  # fmt: skip
    try:
        page.page.locator("[data-label='01_02'] [data-act=roll]").click()
        page.wait_for_message("The workflow could not be queued.")
    finally:
        page.page.unroute("**/api/prompt")
    assert "Value not in list: length" in page.message()
    assert page.script()["scenes"][0]["seed"][1] > 0
    page.errors.clear()  # the host's own word of it
    page.close()


def test_takes_in_chinese_and_light(page):
    page.load(story(2, name="Chinese", cuts=[True] * 2))
    assert page.run() == [1, 2]
    roll(page, "01_01")
    assert page.run() == [1, 2]
    page.use_nodes_two_in_chinese_and_light()
    page.reload()
    page.edit_table()
    open_takes(page, "01_01", 2)
    assert page.page.locator("#sm-takes-title").text_content() == "镜头 1 的条次"
    assert "影片中" in takes(page)[0]["words"]
    assert eventually(page.page, lambda: all(video["ready"] >= 2 for video in played(page)))
    look(page, "takes-light")


def test_nothing_is_deleted_while_the_queue_is_not_empty(page, server):
    page.load(story(2, name="Busy", cuts=[True] * 2))
    body = {"script": page.widget("script"), "file": "none", "character": "", "prefix": "page"}
    hold(page.log, 1)
    try:
        page.queue()
        for path, more in (("remove", {"key": "ab" * 32}), ("clean", {"remove": True})):
            answer = server.post(f"/storymem/takes/{path}", {**body, **more})
            assert "the queue is not empty" in answer["error"]
    finally:
        release(page.log)
    assert eventually(page.page, lambda: not server.get("/queue")["queue_running"])
    answer = server.post("/storymem/takes/remove", {**body, "key": "ab" * 32})
    assert "there is no take" in answer["error"]
