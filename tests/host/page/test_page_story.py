"""The story editor in the host's page, in headless Chromium; see ``story_page.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.browser import find_chromium, settle, wait_for_draft, wait_for_text
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PACK = Path(__file__).resolve().parents[3]


def test_what_nobody_changed_stays_byte_by_byte(page):
    odd = '{"story_name":"Odd" , "scenes":[{"video_prompts":["a\\r\\nb"],\n\n"cut":["True"]}]}\n'
    page.load(odd)
    page.edit_table()
    page.save()
    assert page.widget("script") == odd
    page.edit_table()
    page.page.keyboard.type("x")
    page.press("Control+z")
    assert page.page.locator("[data-act=undo]").is_disabled()
    page.save()
    assert page.widget("script") == odd
    page.edit_table()
    page.page.keyboard.type("x")
    page.close()
    assert "without saving" in page.questions[-1]
    assert page.widget("script") == odd


# Keeps everything that the editor says: an answer of the server soon takes the place of a message.
LISTEN = """() => {
    window.said = [];
    const message = document.querySelector(".sm-message");
    const changes = { childList: true, characterData: true, subtree: true };
    new MutationObserver(() => window.said.push(message.textContent)).observe(message, changes);
}"""


def test_shots_are_added_moved_split_and_taken_away(page):
    page.load(story(4, name="Order", cuts=[True, False, True, True]))
    page.edit_table()
    page.page.evaluate(LISTEN)
    page.press("Alt+ArrowDown")  # the first one, from its prompt
    prompts = ["shot number 2", "shot number 1", "shot number 3", "shot number 4"]
    assert page.column("prompt") == prompts
    assert page.column("cut")[0]  # a story begins with a cut
    assert (page.focused()["row"], page.focused()["field"]) == ("01_02", "prompt")
    assert any("Now shot 2" in words for words in page.page.evaluate("said"))
    page.tab_to(row="01_03", act="toggle_scene")
    page.press("Enter")
    assert page.column("label") == ["01_01", "01_02", "02_01", "02_02"]
    page.press("Alt+ArrowUp")  # over the edge of the scene: first into the one before it
    assert page.column("label") == ["01_01", "01_02", "01_03", "02_01"]
    assert page.column("prompt") == prompts
    page.press("Alt+ArrowUp")
    assert page.column("prompt") == [prompts[i] for i in (0, 2, 1, 3)]
    page.press("Alt+Enter")
    page.page.keyboard.type("a new one")
    assert page.column("prompt")[2] == "a new one"
    page.tab_to(row="01_03", act="duplicate")
    page.press("Enter")
    assert page.column("prompt")[2:4] == ["a new one", "a new one"]
    page.tab_to(row="01_04", act="remove")
    page.press("Enter")
    assert len(page.rows()) == 5
    handle = page.page.locator(".sm-editor [data-label='02_01'] .sm-handle")
    first = page.page.locator(".sm-editor [data-label='01_01']")
    handle.hover()
    box = handle.bounding_box()
    page.page.mouse.down()
    # Begun before the table scrolls: a browser looks for what is dragged where the mouse went down.
    page.page.mouse.move(box["x"] + 2, box["y"] + 2, steps=3)
    first.hover(position={"x": 300, "y": 8})
    page.page.mouse.up()
    assert page.column("prompt")[0] == "shot number 4"
    assert page.column("label") == [f"01_0{i}" for i in range(1, 6)]
    page.press("Control+z")
    assert page.column("label")[-1] == "02_01"
    page.press("Control+y")
    assert page.column("label")[-1] == "01_05"
    page.save()
    (scene,) = page.script()["scenes"]
    assert scene["video_prompts"] == [prompts[3], prompts[0], prompts[2], "a new one", prompts[1]]


def test_a_script_with_an_error_is_shown_as_it_is(page):
    broken = '{"story_name": "x", "scenes": [}'
    page.load(broken)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-panel-on-node .sm-notice')?.textContent"
        ".includes('not valid JSON')"
    )
    page.edit()
    page.wait_for_message("not valid JSON")
    text = page.page.locator(".sm-raw")
    assert text.input_value() == broken
    look(page, "editor-error")
    page.save()  # nothing was changed
    assert page.widget("script") == broken
    page.edit()
    page.wait_for_message("not valid JSON")
    text.fill("a cat\n---\n[seed: 7]\nit jumps")
    page.page.wait_for_function(
        "() => document.querySelector('.sm-summary')?.textContent && "
        "!document.querySelector('.sm-editor').classList.contains('sm-wrong')"
    )
    page.page.get_by_role("tab", name="Shots").click()
    assert page.column("prompt") == ["a cat", "it jumps"]
    page.page.locator("[data-label='01_02'] [data-field=length]").fill("80")
    page.wait_for_message("4n+1")
    page.press("Control+s")  # an unfinished script may be kept, once that was said
    page.wait_for_message("Save again")
    page.save()
    assert "[length: 80]" in page.widget("script")


def test_a_script_corrected_or_loaded_where_none_could_be_read_is_kept(page, tmp_path):
    page.load("[length: 80]\nbroken")
    page.edit()
    page.wait_for_message("4n+1")
    text = page.page.locator(".sm-raw")
    text.fill("she walks")
    page.page.wait_for_function("() => document.querySelector('.sm-summary')?.textContent")
    page.close()
    assert "without saving" in page.questions[-1]
    page.edit()
    page.wait_for_message("4n+1")
    text.fill("she walks")
    page.save()
    assert page.widget("script") == "she walks"
    page.load("")
    page.edit()
    page.page.wait_for_selector(".sm-editor.sm-wrong")
    chosen = tmp_path / "loaded.txt"
    chosen.write_text("she loads", encoding="utf-8")
    page.page.locator(".sm-editor input[type=file]").set_input_files(chosen)
    page.wait_for_message("loaded.txt: 1 shot")
    page.save()
    assert page.widget("script") == "she loads"


def test_a_text_with_an_error_is_undone_and_comes_back(page):
    page.load("she walks")
    page.edit_table()
    page.page.get_by_role("tab", name="Text").click()
    text = page.page.locator(".sm-raw")
    text.fill("[length: 80]\na slip")
    page.wait_for_message("4n+1")
    page.page.get_by_role("button", name="Undo").click()
    assert text.input_value() == "she walks"
    assert page.focused()["act"] == "redo"  # Undo can do no more, and hands the keyboard on
    page.page.get_by_role("button", name="Redo").click()
    page.wait_for_message("4n+1")
    assert text.input_value() == "[length: 80]\na slip"
    assert page.focused()["act"] == "undo"
    try:
        page.page.keyboard.down("Control")
        for _ in range(4):  # held down, so that it repeats
            page.page.keyboard.down("s")
            page.page.wait_for_timeout(60)
        page.wait_for_message("Save again")
    finally:
        page.page.keyboard.up("s")
        page.page.keyboard.up("Control")
    page.close()
    assert page.widget("script") == "she walks"


def test_reference_pictures_are_typed_key_by_key(page):
    page.load("she walks")
    page.edit_table()
    page.open_more("01_01")
    pictures = page.page.locator("[data-field=reference_images]")
    pictures.click()
    page.page.keyboard.type("my face.png\nb.png")
    assert pictures.input_value() == "my face.png\nb.png"
    page.page.get_by_role("combobox", name="Format").select_option("json")
    page.save()
    (scene,) = page.script()["scenes"]
    assert scene["reference_images"] == [["my face.png", "b.png"]]


def test_a_script_of_a_file_moves_to_the_node_and_between_the_formats(page, server, tmp_path):
    before = (server.base / "input" / "Filed.txt").read_bytes()
    page.load("", file="Filed.txt")
    assert page.run() == [1, 2]
    page.edit_table()
    assert "Filed.txt" in page.page.locator("p.sm-note").text_content()
    page.open_more("01_02")
    page.page.locator("[data-field=reference_images]").fill("a, b.png\nc.png")
    page.page.get_by_role("combobox", name="Format").select_option("json")
    page.page.get_by_role("tab", name="Text").click()
    page.page.wait_for_function("() => document.querySelector('.sm-raw').value.startsWith('{')")
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "Filed.json"
    page.save()
    assert page.widget("file") == "none"
    data = page.script()
    assert data["story_name"] == "Filed"  # as the file was called: its shots are found again
    assert data["scenes"][0]["reference_images"] == [None, ["a, b.png", "c.png"]]
    assert (server.base / "input" / "Filed.txt").read_bytes() == before
    page.wait_on_node(["done", "waiting"])
    page.edit_table()
    chosen = tmp_path / "other.txt"
    chosen.write_text("[title: Other]\n---\none\n---\ntwo\n---\nthree", encoding="utf-8")
    page.page.locator(".sm-editor input[type=file]").set_input_files(chosen)
    page.wait_for_message("other.txt: 3 shots")
    assert page.column("prompt") == ["one", "two", "three"]
    page.save()
    assert page.widget("script") == chosen.read_text()


# The labels of the rows that change when a letter is typed in the 151st; bench_page.py has times.
ROWS_CHANGED = """async () => {
    const changed = new Set();
    const watch = new MutationObserver((changes) => {
        for (const { target } of changes) {
            const element = target.nodeType === 1 ? target : target.parentElement;
            changed.add(element?.closest("li[data-id]")?.dataset.label ?? "the table");
        }
    });
    const table = document.querySelector(".sm-editor .sm-shots");
    const everything = { attributes: true, characterData: true, childList: true, subtree: true };
    watch.observe(table, everything);
    const prompt = table.querySelectorAll("li[data-id] [data-field=prompt]")[150];
    prompt.value += "x";
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => setTimeout(done));
    watch.disconnect();
    return [...changed];
}"""


LINES_OF_THE_PLAN = """(count) => [...document.querySelectorAll(".sm-editor .sm-plan-line")]
    .filter((line) => line.textContent).length === count"""


def test_a_letter_in_one_of_two_hundred_shots_touches_no_other_row(page):
    page.load(story(200, name="Long", cuts=[True] * 200))
    page.wait_on_node(["waiting"] * 200)
    page.edit_table()
    # What the next run will make comes into every row, some of them in each frame.
    page.page.wait_for_function(LINES_OF_THE_PLAN, arg=200)
    settle(page.page)
    assert len(page.rows()) == 200
    assert set(page.page.evaluate(ROWS_CHANGED)) <= {"01_151"}
    assert page.column("prompt")[150] == "shot number 151x"
    look(page, "editor-200")


def test_every_control_is_reached_by_tab_and_has_a_name(page):
    page.load(shots=2)
    page.edit_table()
    page.open_more("01_02")
    wanted = page.page.evaluate(
        """() => {
            const controls = ".sm-editor :is(button, input, select, textarea)";
            return [...document.querySelectorAll(controls)]
                .filter((e) => !e.disabled && e.checkVisibility() && e.tabIndex >= 0)
                .map((e, i) => {
                    e.dataset.seen = i;
                    return e.getAttribute("aria-label") || e.textContent;
                });
        }"""
    )
    assert all(wanted)
    reached = set()
    for _ in range(len(wanted) + 3):
        page.press("Tab")
        reached.add(page.page.evaluate("() => document.activeElement.dataset.seen"))
    assert {str(i) for i in range(len(wanted))} <= reached
    outlined = page.page.evaluate(
        "() => getComputedStyle(document.querySelector('.sm-editor :focus-visible')).outlineStyle"
    )
    assert outlined == "solid"


def test_the_story_of_a_blueprint_is_edited_from_outside(page):
    page.open_blueprint("a cat\n---\na dog", "StoryMem.EditStory")
    page.page.wait_for_selector(".sm-editor li[data-id]")
    page.press("Control+End")
    page.page.keyboard.type(" sleeps")
    page.save()
    queued = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = (n["inputs"] for n in queued.values() if n["class_type"] == "StoryMemLoadStory")
    assert inputs["script"] == "a cat sleeps\n---\na dog\n"


def test_what_is_typed_while_the_server_answers_a_save_is_saved_too(page):
    page.load(story(2, name="Slow"))
    page.edit_table()
    page.page.locator("[data-label='01_02'] textarea").first.focus()
    page.press("Control+End")
    page.page.evaluate(
        """async () => {
            const { api } = await import("/scripts/api.js");
            const answered = new Promise((answer) => { window.answer = answer; });
            api.fetchApi = async function (path, ...more) {
                if (path === "/storymem/script") await answered;
                return Object.getPrototypeOf(this).fetchApi.call(this, path, ...more);
            };
        }"""
    )
    page.page.keyboard.type(" first")
    page.press("Control+s")
    page.page.keyboard.type(" second")
    page.page.evaluate("() => window.answer()")
    page.page.wait_for_selector("dialog.sm-editor", state="detached")
    page.page.evaluate("""async () => { delete (await import("/scripts/api.js")).api.fetchApi; }""")
    assert page.script()["scenes"][0]["video_prompts"][1] == "shot number 2 first second"


def test_news_of_a_run_leave_an_error_of_the_text_in_view(page):
    page.load(story(2, name="Told"))
    page.edit_table()
    page.page.locator("[data-tab=text]").click()
    page.page.locator(".sm-raw").focus()
    page.press("Control+End")
    page.page.keyboard.type("]]")
    page.wait_for_message("not valid JSON")
    page.press("Control+s")
    page.wait_for_message("Save again")
    asked = page.message()
    page.page.evaluate(
        """async () => {
            const { api } = await import("/scripts/api.js");
            const detail = { node: "4", open: "2", story: "Told", of: 2, finished: 1, position: 1 };
            const states = { "01_01": "done" };
            const all = { ...detail, states, state: "finished", workflow: app.rootGraph.id };
            api.dispatchEvent(new CustomEvent("storymem.progress", { detail: all }));
        }"""
    )
    page.page.wait_for_timeout(1000)
    assert page.message() == asked
    page.close()


def test_a_template_opened_twice_is_two_workflows(page):
    template = json.loads((PACK / "workflows" / "storymem_core_loop.json").read_text("utf-8"))
    opened = [
        page.page.evaluate(
            """async (workflow) => {
                await app.loadGraphData(workflow, true, true, "template");
                return app.rootGraph.id;
            }""",
            template,
        )
        for _ in range(2)
    ]
    assert opened[0] != opened[1]


def test_nodes_two_in_chinese_and_light(page):
    page.load(story(3, name="Edited2"))
    page.use_nodes_two_in_chinese_and_light()
    wait_for_draft(page.page, '"Edited2"')
    page.reload()
    assert page.page.locator(".sm-edit").text_content() == "编辑故事"
    page.wait_on_node(["waiting"] * 3)
    assert page.run() == [1, 2, 3]
    page.wait_on_node(["done"] * 3)
    wait_for_text(page.page, page.page.locator(".sm-progress"), "完成")
    look(page, "nodes-two-light")
    page.edit_table()
    page.press("Control+End")
    page.page.keyboard.type("!")
    look(page, "editor-light")
    page.save()
    assert page.script()["scenes"][0]["video_prompts"][0] == "shot number 1!"
    inputs = page.page.evaluate("async () => (await app.graphToPrompt()).output['1'].inputs")
    assert set(inputs) == {"script", "file", "character", "prompt_weights"}
