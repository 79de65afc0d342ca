"""The sidebar's list of stories: watch, edit, continue, and where they are."""

from __future__ import annotations

import os

import pytest

from helpers.browser import TOASTS, eventually, wait_for_text
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import begun, hold, ran, release, story
from helpers.story_page import look
from storymem.film.manifest import update_manifest, write_script_copy
from storymem.script.reader import load_story

TITLES = """() => [...document.querySelectorAll(".sm-stories li .sm-title")]
    .map((one) => one.textContent)"""

TABS = "() => app.extensionManager.workflow.openWorkflows.map(({ path }) => path)"
OTHER_SCRIPTS = """() => app.extensionManager.workflow.openWorkflows
    .map((tab) => JSON.stringify(tab.changeTracker?.activeState ?? null)).join()"""

TO_END = """() => {
    document.querySelector(".sm-stories .sm-end").scrollIntoView();
    return document.querySelectorAll(".sm-stories li .sm-title").length;
}"""


def put(page, setting: str, value) -> None:
    page.page.evaluate("([id, v]) => app.extensionManager.setting.set(id, v)", [setting, value])


@pytest.fixture(scope="module")
def stories(server):
    """Three stories: of films, one of them tall in the latest, and one that stopped."""
    output = server.base / "output"
    for number, (shots, missing) in enumerate([(6, (3,)), (4, ()), (12, range(5, 13))]):
        folder = write_results(output, "listed", shots, missing=missing)
        tale = load_story(long_script(shots), quiet=True)
        write_script_copy(folder, tale)
        if shots == 12:
            update_manifest(folder, tale, stopped="the story stopped in shot 5: no memory")
        os.utime(folder / "story.json", (10**9 + number, 10**9 + number))


@pytest.fixture
def listed(page, stories):
    """The page with the list open, and nothing in the graph but a loop."""
    page.load(story(2, name="Mine"), prefix="stories")
    if page.page.locator(".sm-stories").count() == 0:
        page.page.locator(".storymem-stories-tab-button").click()
    page.page.locator(".sm-stories [data-act=refresh]").click()
    assert eventually(page.page, lambda: "Long 12" in titles(page))
    page.questions.clear()
    return page


def titles(page) -> list[str]:
    return page.page.evaluate(TITLES)


def item(page, shots: int):
    return page.page.locator(f".sm-stories li[data-folder='listed/Long {shots}']")


def test_each_story_is_told_of_the_latest_first(listed):
    known = [title for title in titles(listed) if title.startswith("Long")]
    assert known == ["Long 12", "Long 4", "Long 6"]
    facts = item(listed, 12).locator(".sm-facts")
    assert facts.inner_text().startswith("4 of 12 shots · stopped · ")
    assert "no memory" in facts.get_attribute("title")
    assert item(listed, 4).locator(".sm-facts").inner_text().startswith("4 of 4 shots · Sep ")
    picture = item(listed, 4).locator("img")
    listed.page.wait_for_function(
        "(img) => img.complete && img.naturalWidth > 0", arg=picture.element_handle()
    )
    look(listed, "stories")


def test_the_list_is_filtered_by_title(listed):
    field = listed.page.locator(".sm-stories input[type=search]")
    field.fill("long 1")
    assert eventually(listed.page, lambda: titles(listed) == ["Long 12"])
    field.fill("nothing")
    wait_for_text(listed.page, listed.page.locator(".sm-stories .sm-none"), "No story has such")
    field.press("Delete")  # takes no node out of the graph
    assert listed.page.evaluate("app.graph._nodes.length") == 4
    field.fill("")
    assert eventually(listed.page, lambda: len(titles(listed)) >= 3)


def test_a_story_is_watched_from_the_list_by_the_keyboard(listed):
    item(listed, 6).locator("[data-act=watch]").press("Enter")
    listed.page.wait_for_selector("dialog.sm-player[open]")
    wait_for_text(listed.page, listed.page.locator("#sm-player-title"), "of 6")
    listed.page.wait_for_function(
        "() => document.querySelector('.sm-stage video.sm-front').readyState >= 2"
    )
    listed.press("Escape")


def test_a_storys_script_comes_into_load_story_and_the_editor(listed):
    item(listed, 4).locator("[data-act=edit]").click()
    listed.page.wait_for_selector(".sm-editor li[data-id]")
    assert len(listed.rows()) == 4
    assert listed.rows()[0]["prompt"].startswith("shot number 1")
    (question,) = listed.questions
    assert "by that of Long 4" in question
    listed.close()
    assert "Long 4" in listed.widget("script")
    listed.questions.clear()
    item(listed, 4).locator("[data-act=edit]").click()  # it is there: nobody need be asked
    listed.page.wait_for_selector(".sm-editor li[data-id]")
    assert listed.questions == []
    told = listed.page.locator(".sm-editor > .sm-note")
    where = "lies in the folder listed/Long 4, but the loop here writes to stories"
    assert where in told.inner_text()
    assert "Set filename_prefix of Shot Loop Open to listed" in told.inner_text()
    look(listed, "stories-elsewhere")
    listed.close()


def test_without_a_load_story_one_is_made(listed):
    listed.page.evaluate(
        "() => app.loadGraphData({ version: 0.4, nodes: [], links: [], groups: [] })"
    )
    item(listed, 6).locator("[data-act=edit]").click()
    listed.page.wait_for_selector(".sm-editor li[data-id]")
    assert len(listed.rows()) == 6
    told = listed.page.locator(".sm-editor > .sm-note")
    assert "no loop takes the story here" in told.inner_text()
    listed.close()
    kinds = listed.page.evaluate("() => app.graph._nodes.map((node) => node.comfyClass)")
    assert kinds == ["StoryMemLoadStory"]


def test_a_story_is_edited_in_the_workflow_that_it_was_made_with(listed):
    page = listed
    page.load(story(3, name="Of its own"), prefix="stories")
    page.run()
    page.load(story(2, name="Another"), prefix="others")
    edit = page.page.locator(".sm-stories li[data-folder='stories/Of its own'] [data-act=edit]")
    edit.click()
    page.page.wait_for_selector(".sm-editor li[data-id]")
    assert eventually(page.page, lambda: [row["state"] for row in page.rows()] == ["done"] * 3)
    assert page.page.locator(".sm-editor > .sm-note").is_hidden()
    page.page.locator(".sm-editor li[data-id] textarea").first.fill("another beginning")
    page.save()
    assert eventually(page.page, lambda: "another beginning" in page.widget("script"))
    tabs = page.page.evaluate(TABS)
    edit.click()  # the open workflow is its own
    page.page.wait_for_selector(".sm-editor li[data-id]")
    (question,) = page.questions
    assert "by that of Of its own" in question
    assert page.rows()[0]["prompt"] == "shot number 1"
    assert page.page.evaluate(TABS) == tabs
    page.close()
    assert "Another" in page.page.evaluate(OTHER_SCRIPTS)  # which was neither saved nor replaced


def test_where_a_story_is_can_be_copied(listed):
    item(listed, 6).locator("[data-act=path]").click()
    field = item(listed, 6).locator(".sm-place input")
    field.wait_for()
    assert field.input_value() == str(listed.server.base / "output" / "listed" / "Long 6")
    wait_for_text(listed.page, item(listed, 6).locator("[role=status]"), "path")


def test_films_without_a_workflow_say_why_they_cannot_be_continued(listed):
    item(listed, 6).locator("[data-act=continue]").click()
    toast = listed.page.locator(TOASTS).filter(has_text="hold no workflow")
    toast.first.wait_for()
    assert listed.questions == []


def test_a_story_that_was_cancelled_goes_on_with_its_own_workflow(listed):
    page = listed
    page.load(story(3, name="Cancelled"), prefix="stories", fail_on="number 3")
    entry = page.server.wait(page.queue())
    assert entry["status"]["status_str"] == "error"
    assert ran(page.log) == [1, 2]
    assert eventually(page.page, lambda: "Cancelled" in titles(page))  # told by the page itself
    page.load(story(2, name="Another"), prefix="stories")
    known = set(page.prompts())
    one = page.page.locator(".sm-stories li[data-folder='stories/Cancelled']")
    wait_for_text(page.page, one.locator(".sm-facts"), "2 of 3 shots")
    one.locator("[data-act=continue]").click()
    (prompt_id,) = eventually(page.page, lambda: set(page.prompts()) - known)
    page.server.wait(prompt_id)
    assert "run it?" in page.questions[-1]
    assert page.page.evaluate("app.graph._nodes.length") == 4
    assert "Cancelled" in page.widget("script")
    assert ran(page.log) == []  # the two that are there are not made again, and 3 fails as before


def test_a_story_whose_run_is_on_is_not_queued_once_more_unasked(listed):
    page = listed
    page.load(story(2, name="Busy"), prefix="stories")
    page.run()
    page.load(story(3, name="Busy"), prefix="stories")  # its films hold the shorter one
    hold(page.log, 3)
    busy = page.queue()
    assert eventually(page.page, lambda: begun(page.log) == [3])
    page.load(story(2, name="Another"), prefix="stories", is_held=True)
    one = page.page.locator(".sm-stories li[data-folder='stories/Busy'] [data-act=continue]")
    put(page, "StoryMem.Confirm", False)  # who wants no questions is told
    one.click()
    toast = page.page.locator(TOASTS).filter(has_text="A run of Busy is on")
    toast.first.wait_for()
    put(page, "StoryMem.Confirm", True)
    known = set(page.prompts())
    one.click()
    (again,) = eventually(page.page, lambda: set(page.prompts()) - known)
    assert "is on" in page.questions[-1]
    release(page.log)
    for prompt_id in (busy, again):
        page.server.wait(prompt_id)


def test_of_many_stories_more_come_as_the_list_is_scrolled(listed):
    page, tale = listed, load_story(story(2), quiet=True)
    for i in range(100):
        folder = page.server.base / "output" / "many" / f"Tale {i}"
        folder.mkdir(parents=True)
        update_manifest(folder, tale)
    page.page.locator(".sm-stories [data-act=refresh]").click()
    assert eventually(page.page, lambda: 30 <= len(titles(page)) < 103)
    assert eventually(page.page, lambda: page.page.evaluate(TO_END) >= 103)
    page.page.locator(".sm-stories input[type=search]").fill("long")
    assert eventually(page.page, lambda: titles(page) == ["Long 12", "Long 4", "Long 6"])
