"""Runs of a story in the host's page: what is regenerated, progress, cancel, reload, failure."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers.browser import eventually, find_chromium, wait_for_draft, wait_for_text
from helpers.loop_graphs import hold, ran, release, story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]


def test_a_shot_edited_by_keyboard_and_all_after_it_are_made_again(page):
    page.load(story(4, name="Edited"))
    assert page.run() == [1, 2, 3, 4]
    page.wait_on_node(["done"] * 4)
    page.edit_table()
    assert page.column("state") == ["done"] * 4
    assert all("/storymem/poster?" in source for source in page.column("picture"))
    assert page.focused()["row"] == "01_01"  # the keyboard is where the work is
    page.tab_to(row="01_03", field="prompt")
    page.press("Control+End")
    page.page.keyboard.type(", at night")
    page.page.wait_for_function(
        "() => document.querySelectorAll('.sm-editor li[data-state=depends]').length === 1"
    )
    assert page.column("state") == ["done", "done", "waiting", "depends"]
    last = page.page.locator(".sm-editor [data-label='01_04'] .sm-state")
    assert last.text_content() == "depends on 3"
    assert last.get_attribute("title").startswith("Depends on shot 3: regenerated only if")
    look(page, "editor-edited")
    page.save()
    assert page.script()["scenes"][0]["video_prompts"][2] == "shot number 3, at night"
    assert page.focused()["name"] == "Edit story"
    page.wait_on_node(["done", "done", "waiting", "depends"])
    assert page.run() == [3, 4]
    page.wait_on_node(["done"] * 4)


def test_the_editor_saves_and_runs_by_one_key_unless_the_script_has_an_error(page, server):
    page.load(story(2, name="At once"))
    page.edit_table()
    page.page.keyboard.type(", changed")
    known = set(page.prompts())
    page.press("Control+Enter")
    (prompt_id,) = eventually(page.page, lambda: set(page.prompts()) - known)
    page.wait(prompt_id)
    assert ran(page.log) == [1, 2]
    assert page.script()["scenes"][0]["video_prompts"][0] == "shot number 1, changed"
    page.edit_table()
    page.page.locator(".sm-editor textarea[data-field=prompt]").first.fill("")
    page.page.locator(".sm-editor [data-act=run]").click()
    page.wait_for_message("empty")
    assert page.page.locator("dialog.sm-editor[open]").count() == 1
    assert set(page.prompts()) == known | {prompt_id}
    page.close()


def test_a_locked_shot_stays_when_one_before_it_changes(page, server):
    page.load(story(3, name="Locked", cuts=[True, True, True]))
    assert page.run() == [1, 2, 3]
    page.edit_table()
    page.tab_to(row="01_02", field="lock")
    page.press("Space")
    page.tab_to(row="01_03", field="prompt")  # on to the next shot, and back up to the first
    page.page.locator("[data-label='01_01'] textarea").first.focus()
    page.press("Control+End")
    page.page.keyboard.type("!")
    page.save()
    scene = page.script()["scenes"][0]
    assert scene["lock"] == [None, True, None]
    row = scene["video_prompts"][1]["id"]  # by which the lock goes with its row
    page.wait_on_node(["waiting", "locked", "done"])
    assert page.run() == [1]
    page.wait_on_node(["done", "locked", "done"])
    locks = json.loads((server.base / "output/page/Locked/story.json").read_text())["locks"]
    assert locks == {"01_02": locks[row], row: locks[row]}


def test_another_film_in_the_folder_is_told_on_the_node_before_its_first_shot(page):
    page.load(story(2, name="Shared"))
    assert page.run() == [1, 2]
    page.load(story(prompts=["another"], name="Shared"))
    hold(page.log, 1)
    page.queue()
    notice = page.page.locator(".sm-progress .sm-notice").first
    wait_for_text(page.page, notice, "Shared holds another film of that title (2 shots, none")
    look(page, "notice")
    release(page.log)
    page.wait_on_node(["done"])
    assert ran(page.log) == [1]
    assert page.run() == []
    page.page.wait_for_function(
        "() => [...document.querySelectorAll('.sm-notice')].every((notice) => notice.hidden)"
    )


def test_cancelling_keeps_finished_shots_and_a_reload_shows_the_run_again(page, server):
    page.load(story(10, name="Stopped"))
    hold(page.log, 2)
    prompt_id = page.queue()
    line = page.page.locator(".sm-progress .sm-line").first
    page.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.textContent.startsWith('shot 2 of 10')"
    )
    wait_for_text(page.page, line, "shot 2 of 10: shot number 2")
    page.wait_on_node(["done", "running"] + ["waiting"] * 8)
    widgets = page.page.evaluate(
        """() => app.graph._nodes.filter((n) => n.comfyClass === "StoryMemShotLoopClose")
            .flatMap((node) => node.widgets.map((widget) => widget.name))"""
    )
    assert "storymem_progress" in widgets
    assert "$$node-text-preview" not in widgets, "the shot is told of twice"
    look(page, "progress")
    wait_for_draft(page.page, '"Stopped"')
    page.reload()
    page.page.wait_for_function(
        "() => document.querySelector('.sm-list > li')?.dataset.state === 'done'"
    )
    cancel = page.page.get_by_role("button", name="Cancel, keep finished shots").first
    cancel.wait_for()
    bar = page.page.get_by_role("progressbar", name="Progress of the story").first
    assert bar.get_attribute("aria-valuemax") == "10"
    cancel.press("Enter")
    entry = server.wait(prompt_id)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert ran(page.log) == [1]
    release(page.log)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.dataset.state === 'stopped'"
    )
    assert cancel.is_hidden()
    kept = json.loads((server.base / "output/page/Stopped/story.json").read_text())["shots"]
    assert len(kept) == 1
    page.wait_on_node(["done"] + ["waiting"] * 9)
    wait_for_text(page.page, line, "1 of 10 shots")
    assert page.run() == list(range(2, 11))
    page.wait_on_node(["done"] * 10)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.dataset.state === 'done'"
    )


def test_what_was_done_with_an_edited_shot_is_said_on_the_node(page, server):
    page.load(story(2, name="Graded"))
    assert page.run() == [1, 2]
    folder = server.base / "output/page/Graded"
    shutil.copyfile(folder / "shot_01_02.mp4", folder / "shot_01_01.mp4")
    assert page.run() == [2]
    note = page.page.locator(".sm-progress .sm-note").last
    wait_for_text(page.page, note, "shot_01_01.mp4 was edited: it is kept and used")
    assert note.is_visible()
    look(page, "edited-shot")
    (folder / "shot_01_01.mp4").unlink()
    assert page.run() == []
    note.wait_for(state="hidden")


def test_a_stopped_story_stays_stopped_while_the_host_still_lists_its_prompt(page, server):
    page.load(story(6, name="Listed"))
    hold(page.log, 2)
    prompt_id = page.queue()
    page.wait_on_node(["done", "running"] + ["waiting"] * 4)
    running = json.dumps(server.get("/queue"))
    page.page.route(
        "**/api/queue", lambda route: route.fulfill(body=running, content_type="application/json")
    )
    with page.page.expect_response("**/api/queue"):  # the page reads after the end, and is misled
        page.page.get_by_role("button", name="Cancel, keep finished shots").first.click()
        server.wait(prompt_id)
    state = "() => document.querySelector('.sm-progress')?.dataset.state"
    page.page.wait_for_function(f"({state})() === 'stopped'")
    page.page.wait_for_timeout(1500)  # the last reading begins half a second after the end
    page.page.unroute("**/api/queue")
    assert page.page.evaluate(state) == "stopped"
    assert page.page.locator(".sm-cancel").first.is_hidden()


def test_the_shot_that_stopped_the_story_is_shown(page, server):
    page.load(story(3, name="Failed"), fail_on="number 2")
    page.page.evaluate("""async () => {
        const { api } = await import("/scripts/api.js");
        const keep = ({ detail }) => { window.script = detail.script; };
        api.addEventListener("storymem.progress", keep);
    }""")
    server.wait(page.queue())
    page.wait_on_node(["done", "failed", "waiting"])
    told = """async (workflow) => {
        const { api } = await import("/scripts/api.js");
        const detail = { node: "4", open: "2", story: "Failed", of: 3, finished: 1, position: 2 };
        const more = { states: { "01_02": "running" }, state: "shot", prompt: "x", workflow };
        const all = { ...detail, ...more, script: window.script };
        api.dispatchEvent(new CustomEvent("storymem.progress", { detail: all }));
    }"""
    page.page.evaluate(told, "of another tab, whose nodes have the same numbers")
    assert page.on_node() == ["done", "failed", "waiting"]
    page.page.evaluate(told, page.page.evaluate("() => app.rootGraph.id"))
    page.wait_on_node(["done", "running", "waiting"])


def test_a_stop_in_a_part_of_the_story_stays_to_be_read(page, server):
    page.load(story(6, name="Part"), fail_on="number 2")
    page.page.evaluate(
        """() => {
            const { widgets } = app.graph.getNodeById(2);
            widgets.find((widget) => widget.name === "end_shot").value = 3;
        }"""
    )
    server.wait(page.queue())
    page.wait_on_node(["done", "failed"] + ["waiting"] * 4)
    page.page.wait_for_timeout(1500)  # the last reading begins half a second after the end
    line = page.page.locator(".sm-progress .sm-line")
    wait_for_text(page.page, line, "stopped: 1 of 3")
    assert "on purpose" in line.first.get_attribute("title")


def test_a_story_edited_while_it_runs_does_not_take_the_states_of_the_old_one(page, server):
    page.load(story(4, name="Written on"))
    hold(page.log, 2)
    prompt_id = page.queue()
    page.wait_on_node(["done", "running", "waiting", "waiting"])
    prompts = ["a new first shot", *(f"shot number {i}" for i in range(1, 5))]
    page.page.evaluate(
        """(script) => {
            const { widgets } = app.graph.getNodeById(1);
            const widget = widgets.find((found) => found.name === "script");
            widget.value = script;
            widget.callback(script);
        }""",
        story(prompts=prompts, name="Written on"),
    )
    # The shot that is made now is the third one of the new script.
    page.wait_on_node(["waiting", "waiting", "running", "waiting", "waiting"])
    cancel = page.page.locator(".sm-cancel").first
    cancel.wait_for()
    release(page.log)
    server.wait(prompt_id)
    cancel.wait_for(state="hidden")
    page.wait_on_node(["waiting"] * 5)


ENDED = """() => {
    const line = document.querySelector(".sm-progress");
    return line.querySelector(".sm-cancel").hidden && line.dataset.state === "finished";
}"""


def test_a_run_that_ended_while_nobody_listened_does_not_run_for_ever(page, server):
    page.load(story(3, name="Asleep"))
    hold(page.log, 2)
    prompt_id = page.queue()
    page.wait_on_node(["done", "running", "waiting"])
    page.page.context.set_offline(True)
    page.page.evaluate("""async () => (await import("/scripts/api.js")).api.socket.close()""")
    release(page.log)
    assert server.wait(prompt_id)["status"]["status_str"] == "success"
    page.page.context.set_offline(False)
    page.page.wait_for_function(ENDED)
    page.wait_on_node(["done"] * 3)


def test_a_server_that_died_is_not_shown_as_running(page, server):
    page.load(story(6, name="Killed"))
    hold(page.log, 2)
    page.queue()
    page.wait_on_node(["done", "running"] + ["waiting"] * 4)
    server.kill()
    server.start()
    page.page.wait_for_function(ENDED)
    assert "running" not in page.on_node()
