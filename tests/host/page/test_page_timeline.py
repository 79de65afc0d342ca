"""The timeline over the story editor's table; see ``story_page.py``."""

from __future__ import annotations

import json

import pytest

from helpers.browser import eventually, find_chromium
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import story
from helpers.page_work import watch_list
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
BLOCKS = """() => [...document.querySelectorAll(".sm-timeline > div")].map((block) => ({
    number: block.querySelector(".sm-number").textContent,
    scene: block.querySelector(".sm-of-scene").textContent,
    name: block.querySelector("button").getAttribute("aria-label"),
    cuts: block.classList.contains("sm-cuts"),
    state: block.dataset.state,
    width: Math.round(block.getBoundingClientRect().width),
    gap: Math.round(block.getBoundingClientRect().left
        - (block.previousElementSibling?.getBoundingClientRect().right ?? 0)),
    picture: block.querySelector("img").getAttribute("src") ?? "",
    isChosen: block.querySelector("[aria-current]") !== null,
    stops: block.querySelector("button").tabIndex === 0,
}))"""
TELL = """async (states) => {
    const { api } = await import("/scripts/api.js");
    const detail = { node: "4", open: "2", of: Object.keys(states).length, finished: 1, states };
    const story = { story: "Run", folder: "page/Run", script: window.mark };
    const more = { state: "shot", position: 2, prompt: "x", ...story };
    const all = { ...detail, ...more, workflow: app.rootGraph.id };
    api.dispatchEvent(new CustomEvent("storymem.progress", { detail: all }));
}"""
SCENES = json.dumps(
    {
        "story_name": "Strip",
        "scenes": [
            {"video_prompts": ["a", "b", "c"], "cut": [True, False, True], "length": [13, 26, 39]},
            {"video_prompts": ["d", "e"], "cut": [True, False]},
        ],
    }
)


def blocks(page) -> list[dict]:
    return page.page.evaluate(BLOCKS)


def of(page, name: str) -> list:
    return [block[name] for block in blocks(page)]


def block(page, number: int):
    return page.page.locator(".sm-timeline button").nth(number - 1)


def in_hand(page) -> str:
    """The number of the block that has the keyboard."""
    return page.page.evaluate(
        "() => document.activeElement.closest('.sm-timeline > div')"
        "?.querySelector('.sm-number').textContent ?? ''"
    )


def test_blocks_tell_lengths_cuts_and_scenes(page):
    page.load(SCENES.replace("26", "25").replace("39", "37"))
    page.edit_table()
    first, second, third, fourth, fifth = blocks(page)
    assert of(page, "number") == list("12345")
    assert of(page, "scene") == ["Scene 1", "", "", "Scene 2", ""]
    assert of(page, "cuts") == [True, False, True, True, False]
    assert first["width"] == fourth["width"] == fifth["width"]  # as long as the sampler's are
    assert second["width"] == pytest.approx(first["width"] * 25 / 13, abs=1)
    assert third["width"] == pytest.approx(first["width"] * 37 / 13, abs=1)
    assert second["gap"] == fifth["gap"] == 0 < third["gap"] < fourth["gap"]
    assert second["name"] == "Shot 2, scene 1, 25 frames, continues shot 1, waiting"
    assert fourth["name"] == "Shot 4, scene 2, 13 frames, begins with a cut, waiting"
    page.page.locator(".sm-editor [data-label='01_01'] [data-field=length]").fill("45")
    page.page.locator(".sm-editor [data-label='01_02'] [data-field=cut]").check()
    now = blocks(page)
    assert now[0]["width"] > 3 * first["width"]
    assert now[1]["cuts"]
    look(page, "timeline-scenes")
    page.press("Control+z", "Control+z")
    assert of(page, "width")[0] == first["width"]
    page.save()


def test_a_click_goes_to_the_row_and_the_row_marks_its_block(page):
    page.load(story(40, name="Rows", cuts=[True] * 40))
    page.edit_table()
    assert of(page, "isChosen") == [True] + [False] * 39
    block(page, 30).scroll_into_view_if_needed()
    block(page, 30).click()
    assert (page.focused()["row"], page.focused()["field"]) == ("01_30", "prompt")
    assert [i + 1 for i, is_chosen in enumerate(of(page, "isChosen")) if is_chosen] == [30]
    page.page.locator(".sm-editor [data-label='01_02'] [data-field=prompt]").focus()
    box = block(page, 2).bounding_box()
    panel = page.page.locator(".sm-timeline").bounding_box()
    assert panel["x"] <= box["x"] <= panel["x"] + panel["width"]
    page.close()


def test_shots_are_moved_by_keys_and_by_dragging(page):
    page.load(SCENES.replace("26", "25").replace("39", "37"))
    page.edit_table()
    assert of(page, "stops") == [True] + [False] * 4
    for _ in range(12):  # from the first prompt backwards
        if not in_hand(page):
            page.press("Shift+Tab")
    assert in_hand(page) == "1"
    page.press("ArrowRight", "ArrowRight")
    assert in_hand(page) == "3"
    page.press("Alt+ArrowLeft")
    assert (page.column("prompt"), in_hand(page)) == (list("acbde"), "2")
    page.press("Alt+ArrowRight", "Alt+ArrowRight")
    assert (page.column("prompt"), in_hand(page)) == (list("abcde"), "3")
    assert page.column("label")[2] == "02_01"  # over the edge: into the scene beside it
    page.press("End", "Home", "ArrowRight", "Enter")
    assert (page.focused()["row"], page.focused()["field"]) == ("01_02", "prompt")
    size = block(page, 1).bounding_box()
    block(page, 5).drag_to(block(page, 1), target_position={"x": 3, "y": size["height"] / 2})
    assert page.column("prompt") == list("eabcd")
    assert in_hand(page) == "1"
    assert page.column("cut")[0]
    page.press("Control+z")
    assert page.column("prompt") == list("abcde")
    page.press("Control+y")
    page.save()
    prompts = [scene["video_prompts"] for scene in page.script()["scenes"]]
    assert prompts == [["e", "a", "b"], ["c", "d"]]


def test_finished_shots_show_pictures_and_a_run_its_states(page):
    page.load(story(3, name="Run", cuts=[True] * 3))
    assert page.run() == [1, 2, 3]
    page.wait_on_node(["done"] * 3)
    page.edit_table()
    assert of(page, "state") == ["done"] * 3
    assert all("/storymem/poster?" in picture for picture in of(page, "picture"))
    page.page.wait_for_function(
        "() => [...document.querySelectorAll('.sm-timeline img')].every((i) => i.naturalWidth)"
    )
    look(page, "timeline-done")
    body = {"script": page.widget("script"), "file": "none", "character": "", "prefix": "page"}
    mark = page.server.post("/storymem/story", body)["mark"]
    page.page.evaluate("(mark) => { window.mark = mark; }", mark)
    states = {"01_01": "done", "01_02": "running", "01_03": "waiting"}
    page.page.evaluate(TELL, states)
    assert of(page, "state") == list(states.values())
    page.close()


@pytest.mark.usefixtures("unplanned")
def test_two_hundred_blocks_are_cheap(page, server):
    write_results(server.base / "output", "page", 200)
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.load(long_script(200))
    page.wait_on_node(["done"] * 200)
    page.edit_table()
    assert len(blocks(page)) == 200
    assert eventually(page.page, lambda: any("/storymem/poster?" in url for url in asked))

    def type_in_the_last() -> None:
        page.page.evaluate(
            """() => {
                [...document.querySelectorAll(".sm-editor [data-field=prompt]")].at(-1).focus();
                document.execCommand("insertText", false, "x");
            }"""
        )

    type_in_the_last()
    page.page.wait_for_function(
        "() => document.querySelector('.sm-timeline > :last-child').dataset.state === 'waiting'"
    )
    seen = watch_list(page.page, ".sm-timeline", type_in_the_last)
    assert (seen.nodes, seen.lines) == (0, [])  # nothing of the timeline shows a prompt
    moved = watch_list(page.page, ".sm-timeline", lambda: page.press("Alt+ArrowUp"))
    assert moved.nodes == 2  # one block, taken out and put in
    assert sum("/storymem/poster?" in url for url in asked) < 100
    page.close()
