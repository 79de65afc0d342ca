"""Check my setup on the page: its report, with any workflow or none, in a run, and its faults."""

from __future__ import annotations

import json
import re

import pytest

from helpers.browser import find_chromium, load_workflow, wait_for_text
from helpers.host_server import PACK
from helpers.loop_graphs import hold, ran, release, story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
RUN = "() => app.extensionManager.command.execute('StoryMem.CheckSetup')"
DIALOG = "dialog.sm-setup"
SUMMARY = ".sm-setup-summary"
ROUTE = re.compile(r"/storymem/setup$")
PROGRESS = re.compile(r"/storymem/setup\?id=")
LINES = """() => [...document.querySelectorAll(".sm-setup li")].map((line) => [
    line.dataset.level, line.querySelector(".sm-level").innerText,
    line.querySelector(".sm-words").innerText.trim()])"""
TITLES = """() => [...document.querySelectorAll(".sm-setup-sections > details")].map((one) => [
    one.querySelector(".sm-title").textContent, one.querySelector(".sm-level").innerText,
    one.open])"""
COPYING = """(works) => {
    window.copied = null;
    const writeText = async (text) => {
        if (!works) throw new Error("not allowed");
        window.copied = text;
    };
    Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
}"""
WEIGHTS = (".safetensors", ".pth", ".pt")
EMPTY = {"version": 0.4, "nodes": [], "links": []}
MISSING = {
    "1": {"class_type": "VAELoader", "inputs": {"vae_name": "not_here.safetensors"}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "3": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", 0]}},
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
}
OPEN_ALL = """() => document.querySelectorAll(".sm-setup-sections details")
    .forEach((one) => { one.open = true; })"""
# The body has it while the browser's own bar has.
HELD = """() => document.activeElement === document.body
    || Boolean(document.activeElement.closest("dialog.sm-setup"))"""
SIDEBAR = (
    "() => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.storymem-stories')"
)
QUEUEING = """() => window.comfyAPI.api.api.dispatchCustomEvent(
    "promptQueueing", { requestId: 0, batchCount: 1 })"""
ENGLISH = re.compile(r"[A-Za-z]+(?: [A-Za-z]+){3}")  # four words in a row


def finding(level: str, text: str, values=None, names=None) -> dict:
    return {"level": level, "text": text, "values": values or {}, "private": names or {}}


PYTHON = finding("ok", "Python {version}", {"version": "3.12"})
VAE = finding(
    "ok",
    "{place}, file {number}: a {kind}",
    {"place": "vae", "number": 1, "kind": "VAE"},
    {"file": "wan.safetensors"},
)
HALF = finding(
    "error",
    "{place}, file {number} is cut off",
    {"place": "loras", "number": 2},
    {"file": "<b>half</b>.safetensors"},
)
OTHERS = finding("note", "{count} files of other models", {"count": 3})
SLOW = finding("warning", "one is slow")
REPORT = {
    "error": "",
    "level": "error",
    "sections": [
        {"key": "machine", "title": "Machine", "findings": [PYTHON]},
        {"key": "files", "title": "Model files", "findings": [VAE, HALF, OTHERS]},
        {"key": "needs", "title": "Workflow", "findings": [SLOW]},
    ],
    "text": "Machine\n  ok      Python 3.12\n\nModel files\n  ERROR   loras, file 2 is cut off\n",
}


def checked(page) -> tuple[dict, dict]:
    """Open the dialog by its command, and wait: what was asked, and what was answered."""
    with page.page.expect_response(ROUTE) as answer:
        page.page.evaluate(RUN)
    page.page.wait_for_selector(f"{DIALOG}[open][aria-busy=false]")
    return json.loads(answer.value.request.post_data), answer.value.json()


def close(page) -> None:
    page.press("Escape")
    page.page.wait_for_selector(DIALOG, state="detached")


def close_hosts_dialog(page) -> None:
    """Older hosts say in a dialog what a workflow lacks."""
    while page.page.locator(".p-dialog-mask").count():
        page.press("Escape")
        page.page.wait_for_timeout(300)


@pytest.fixture
def told(page):
    """The page with a report that the server is said to have given."""
    page.page.route(ROUTE, lambda route: route.fulfill(json=REPORT))
    page.load(story(2))
    yield page
    page.page.unroute(ROUTE)


# --- what is shown ---


def test_the_worst_stands_first_with_its_word_and_the_names_of_files(told):
    checked(told)
    assert not told.page.get_by_text("wan.safetensors").is_visible()  # what is fine is folded
    assert told.page.evaluate(TITLES) == [
        ["Model files", "Error", True],
        ["Workflow", "Warning", True],
        ["Machine", "Fine", False],
    ]
    told.page.evaluate(OPEN_ALL)
    assert told.page.evaluate(LINES)[:4] == [
        ["error", "Error", "loras, file 2 is cut off\n<b>half</b>.safetensors"],
        ["note", "Note", "3 files of other models"],
        ["ok", "Fine", "vae, file 1: a VAE\nwan.safetensors"],
        ["warning", "Warning", "one is slow"],
    ]
    assert told.page.locator(SUMMARY).inner_text() == "1 thing to put right · 1 warning · 1 note"
    look(told, "setup-told")
    close(told)


def test_what_is_copied_is_what_is_shown_to_be_copied(told):
    told.page.evaluate(COPYING, True)
    checked(told)
    told.tab_to(tag="BUTTON", act="copy")
    told.press("Enter")
    wait_for_text(told.page, told.page.locator(".sm-setup-said"), "Copied")
    shown = told.page.locator(".sm-setup-report pre")
    assert shown.is_visible()
    assert told.page.evaluate("() => window.copied") == REPORT["text"] == shown.text_content()
    close(told)


def test_where_the_browser_forbids_it_the_report_is_marked_to_be_copied_by_hand(told):
    told.page.evaluate(COPYING, False)
    checked(told)
    told.page.locator(f"{DIALOG} [data-act=copy]").click()
    wait_for_text(told.page, told.page.locator(".sm-setup-said"), "Ctrl+C")
    assert told.page.evaluate("() => getSelection().toString().trim()") == REPORT["text"].strip()
    close(told)


def test_the_keyboard_stays_in_the_dialog_and_comes_back_from_it(told):
    told.page.locator("#graph-canvas").focus()
    checked(told)
    nodes = told.page.evaluate("() => app.graph._nodes.length")
    seen = set()
    for _ in range(24):
        told.press("Tab")
        seen.add(told.page.evaluate(HELD))
    assert seen == {True}
    for key in ("Delete", "Control+a", "Control+z"):  # nothing of it reaches the canvas
        told.press(key)
    close(told)
    assert told.page.evaluate("() => app.graph._nodes.length") == nodes
    assert told.page.evaluate("() => document.activeElement.id") == "graph-canvas"


# --- what the server finds ---


def test_the_report_on_this_host_is_shown_and_can_be_asked_for_again(page):
    page.load(story(2))
    asked, answer = checked(page)
    assert asked["prompt"]["2"]["class_type"] == "StoryMemShotLoopOpen"
    assert len(asked["workflow"]["nodes"]) == 4
    assert re.fullmatch(r"[\d.]+", asked["front_end"])
    assert answer["sections"]
    lines = page.page.evaluate(LINES)
    assert len(lines) == sum(len(one["findings"]) for one in answer["sections"])
    assert page.page.locator(".sm-setup-report pre").text_content() == answer["text"]
    look(page, "setup")
    again = page.page.locator(f"{DIALOG} [data-act=again]")
    again.focus()
    with page.page.expect_response(ROUTE):
        page.press("Enter")
    page.page.wait_for_selector(f"{DIALOG}[open][aria-busy=false]")
    assert page.focused()["act"] == "again"
    close(page)


def test_without_a_workflow_the_rest_is_told(page):
    page.page.evaluate("(graph) => app.loadGraphData(graph)", EMPTY)
    page.page.wait_for_function("() => app.graph._nodes.length === 0")
    asked, answer = checked(page)
    assert not {"workflow", "prompt"} & set(asked)
    assert answer["sections"]
    close(page)


def test_a_node_that_this_comfyui_does_not_have_is_asked_about_by_its_name(page):
    node = {"id": 1, "type": "NoSuchNode", "pos": [0, 0], "size": [200, 100], "widgets_values": []}
    page.page.evaluate("(graph) => app.loadGraphData(graph)", {**EMPTY, "nodes": [node]})
    asked, _ = checked(page)
    assert asked["prompt"]["1"]["class_type"] == "NoSuchNode"
    close(page)
    close_hosts_dialog(page)


def test_a_workflow_in_a_subgraph_is_asked_about_with_all_of_its_nodes(page):
    page.open_blueprint("a cat\n---\na dog", "StoryMem.GoToLoop")
    asked, _ = checked(page)
    assert any(":" in name for name in asked["prompt"])
    kinds = {node["class_type"] for node in asked["prompt"].values()}
    assert "StoryMemM2VSampler" in kinds
    assert asked["workflow"]["definitions"]["subgraphs"]
    close(page)
    page.page.evaluate("() => app.canvas.setGraph(app.rootGraph)")  # the command went inside


def test_a_shipped_workflow_without_its_models_names_each_of_them(page):
    workflow = json.loads((PACK / "workflows" / "storymem_story.json").read_text("utf-8"))
    load_workflow(page.page, workflow)
    close_hosts_dialog(page)
    asked, answer = checked(page)
    inputs = [value for node in asked["prompt"].values() for value in node["inputs"].values()]
    wanted = {value for value in inputs if isinstance(value, str) and value.endswith(WEIGHTS)}
    assert len(wanted) > 5
    shown = page.page.locator(".sm-setup-sections [data-key=workflow]")
    assert {
        name for name in wanted if shown.get_by_text(name, exact=True).first.is_visible()
    } == wanted
    assert not [name for name in wanted if name in answer["text"]]
    look(page, "setup-shipped")
    close(page)


def test_it_is_checked_while_a_run_goes_on_and_the_run_is_the_same(page):
    page.load(story(2, name="Checked"))
    hold(page.log, 2)
    prompt_id = page.queue()
    page.wait_on_node(["done", "running"])
    _, answer = checked(page)
    assert answer["sections"]
    close(page)
    release(page.log)
    assert page.wait(prompt_id)["status"]["status_str"] == "success"
    assert ran(page.log) == [1, 2]


# --- faults, and waiting ---


def test_a_fault_of_the_server_is_told_and_the_check_can_be_repeated(page):
    page.load(story(2))
    answers = [
        lambda route: route.fulfill(status=500, body="500 Internal Server Error"),
        lambda route: route.abort(),
        lambda route: route.fulfill(json=REPORT),
    ]
    page.page.route(ROUTE, lambda route: answers.pop(0)(route))
    page.page.evaluate(RUN)
    summary = page.page.locator(SUMMARY)
    wait_for_text(page.page, summary, "The server did not answer the check: 500")
    copy = page.page.locator(f"{DIALOG} [data-act=copy]")
    assert copy.is_disabled()
    page.page.locator(f"{DIALOG} [data-act=again]").click()
    wait_for_text(page.page, summary, "did not answer the check: ")
    wait_for_text(page.page, summary, "fetch")
    page.page.locator(f"{DIALOG} [data-act=again]").click()
    wait_for_text(page.page, summary, "1 thing to put right")
    assert copy.is_enabled()
    page.page.unroute(ROUTE)
    close(page)


def test_waiting_shows_how_far_it_is_and_can_be_stopped(page):
    page.load(story(2))
    waiting = []
    page.page.route(ROUTE, lambda route: waiting.append(route))
    page.page.route(PROGRESS, lambda route: route.fulfill(json={"done": 7, "of": 90}))
    page.page.evaluate(RUN)
    summary = page.page.locator(SUMMARY)
    wait_for_text(page.page, summary, "7 of 90")
    assert page.page.locator(f"{DIALOG} progress").evaluate("(bar) => [bar.value, bar.max]") == [
        7,
        90,
    ]
    look(page, "setup-waiting")
    page.page.locator(f"{DIALOG} [data-act=stop]").click()
    wait_for_text(page.page, summary, "The check was stopped.")
    assert page.focused()["act"] == "again"
    waiting[0].abort()
    page.page.unroute(PROGRESS)
    page.page.unroute(ROUTE)
    assert page.page.locator(SUMMARY).inner_text() == "The check was stopped."
    close(page)


def test_a_workflow_whose_file_is_not_here_leads_to_the_check(page):
    own = {"5": {"class_type": "StoryMemMemoryBank", "inputs": {}}}
    for graph in ({**MISSING, **own}, MISSING):
        page.page.evaluate("(graph) => app.loadApiJson(graph, 'missing')", graph)
        page.page.wait_for_function("(n) => app.graph._nodes.length === n", arg=len(graph))
        page.page.evaluate("() => void app.queuePrompt(0)")
        toast = page.page.locator(".p-toast-detail").get_by_text("not_here.safetensors")
        toast = toast.filter(has_text="check my setup")
        if graph is MISSING:  # nothing of this pack is in it
            page.page.wait_for_timeout(3500)
            assert toast.count() == 0
        else:
            toast.first.wait_for()
        page.page.evaluate("() => app.extensionManager.toast.removeAll()")
        close_hosts_dialog(page)


def test_files_of_the_prompt_before_are_not_told_again(page):
    """While the host has not answered, it still has its errors of the last one."""
    own = {"5": {"class_type": "StoryMemMemoryBank", "inputs": {}}}
    page.page.evaluate("(graph) => app.loadApiJson(graph, 'missing')", {**MISSING, **own})
    page.page.wait_for_function("() => app.graph._nodes.length === 5")
    toast = page.page.locator(".p-toast-detail").filter(has_text="check my setup").first
    page.page.evaluate("() => void app.queuePrompt(0)")
    toast.wait_for()
    page.page.wait_for_timeout(3200)  # what is looked at after it was queued
    page.page.evaluate("() => app.extensionManager.toast.removeAll()")
    toast.wait_for(state="detached")
    close_hosts_dialog(page)
    # As the host says it for a prompt that it has not answered yet.
    page.page.evaluate(QUEUEING)
    page.page.wait_for_timeout(3500)
    assert toast.count() == 0
    page.page.evaluate("() => void app.queuePrompt(0)")
    toast.wait_for()
    page.page.evaluate("() => app.extensionManager.toast.removeAll()")
    close_hosts_dialog(page)


def test_the_list_of_stories_leads_to_the_check(told):
    told.page.evaluate(SIDEBAR)
    told.page.locator(".sm-stories [data-act=setup]").click()
    told.page.wait_for_selector(f"{DIALOG}[open][aria-busy=false]")
    close(told)
    assert told.page.evaluate("() => document.activeElement.dataset.act") == "setup"
    told.page.evaluate(SIDEBAR)


def test_all_of_it_is_said_in_chinese_and_drawn_in_a_light_theme(page):
    page.load(story(2))
    page.use_nodes_two_in_chinese_and_light()
    page.reload()
    checked(page)
    page.page.evaluate(OPEN_ALL)
    said = page.page.locator(DIALOG).inner_text()
    assert "检查我的环境" in said
    report = page.page.locator(".sm-setup-report pre").text_content()
    assert ENGLISH.findall(said.replace(report, "")) == []
    look(page, "setup-chinese")
    close(page)
