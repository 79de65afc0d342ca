"""What the pack adds around the canvas: settings, commands, menu, toolbox, colours and drops."""

from __future__ import annotations

import base64
import io
from itertools import count

import pytest
from PIL import Image

from helpers.browser import TOASTS, eventually, settle, wait_for_text, wait_until_ready
from helpers.host_server import PACK
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = pytest.mark.usefixtures("unplanned")  # its films are made up

SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
NEW = """async (kind) => {
    await app.loadGraphData({ version: 0.4, nodes: [], links: [], groups: [] });
    const node = LiteGraph.createNode(kind);
    app.graph.add(node);
    node.pos = [60, 60];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [80, 60];
    app.canvas.setDirty(true, true);
    const names = node.widgets?.filter((w) => w.name === "filename_prefix").map((w) => w.value);
    return names?.[0] ?? null;
}"""
SHEETS = """() => [...document.styleSheets]
    .filter((sheet) => sheet.href?.includes("/renamed/css/") && sheet.cssRules.length)
    .map((sheet) => sheet.href.split("/").at(-1))"""
SELECTED = "() => Object.values(app.canvas.selected_nodes).map((node) => node.comfyClass)"
VALUES = """() => Object.fromEntries(app.graph._nodes
    .find((n) => n.comfyClass === "StoryMemShotLoopOpen").widgets.map((w) => [w.name, w.value]))"""
COLOURS = {
    "STORYMEM_STORY": "#d99a3d",
    "STORYMEM_SHOT": "#e0705a",
    "STORYMEM_BANK": "#3fa796",
    "STORYMEM_KEYFRAMES": "#7fb13c",
    "STORYMEM_EMBEDDER": "#6f8ff0",
    "STORYMEM_SCORER": "#b07ae0",
    "STORYMEM_FLOW": "#d0659f",
    "STORYMEM_STATE": "#4a9fd4",
}
DROP = """async ([text, name, type, x, y, vue]) => {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    const place = { clientX: x, clientY: y };
    const where = { bubbles: true, cancelable: true, ...place, dataTransfer: transfer };
    const target = vue
        ? document.querySelector("[data-node-id] .lg-node-header, [data-node-id]")
        : app.canvas.canvas;
    target.dispatchEvent(new DragEvent("dragover", where));
    target.dispatchEvent(new DragEvent("drop", where));
}"""
TITLE_BAR = """(kind) => {
    const node = app.graph._nodes.find((one) => one.comfyClass === kind);
    const { ds, canvas } = app.canvas;
    const { left, top } = canvas.getBoundingClientRect();
    const [x, y] = [node.pos[0] + 60, node.pos[1] - 14];
    return [left + (x + ds.offset[0]) * ds.scale, top + (y + ds.offset[1]) * ds.scale];
}"""

NOTHING_HERE = (1500, 1000)  # on the empty canvas
SOON = 5000  # milliseconds
PUT = """([kind, height]) => {
    const [x, y] = app.graph._nodes.find((one) => one.comfyClass === kind).pos;
    app.canvas.ds.offset = [600 - x, height - y];
}"""
CLICKS = count()


def put(page, setting: str, value) -> None:
    page.page.evaluate(SET, [setting, value])


def finished(page, shots: int, prefix="desk"):
    """A page whose story has a film for each shot."""
    folder = page.server.base / "output" / prefix / f"Long {shots}"
    if not folder.exists():
        write_results(page.server.base / "output", prefix, shots)
    page.load(long_script(shots), prefix=prefix)
    page.wait_on_node(["done"] * shots)


# --- settings ---


@pytest.mark.parametrize("kind", ["StoryMemShotLoopOpen", "StoryMemBeginStory"])
def test_new_loops_write_to_the_folder_that_is_set(page, kind):
    assert page.page.evaluate(NEW, kind) == "storymem"
    put(page, "StoryMem.Prefix", "films")
    assert page.page.evaluate(NEW, kind) == "films"
    page.load(story(2), prefix="storymem")  # and what was saved stays
    assert page.page.evaluate(VALUES)["filename_prefix"] == "storymem"
    put(page, "StoryMem.Prefix", "storymem")


def test_the_newest_shot_stands_still_where_that_is_set(page):
    finished(page, 3)
    playing = "() => document.querySelector('.sm-newest video')?.paused === false"
    page.page.wait_for_function(playing)
    put(page, "StoryMem.Autoplay", False)
    page.page.wait_for_function(f"() => !({playing})()")
    finished(page, 3)  # loaded once more
    page.page.wait_for_function("() => document.querySelector('.sm-newest video')?.readyState >= 2")
    assert page.page.evaluate(playing) is False
    put(page, "StoryMem.Autoplay", True)
    page.page.wait_for_function(playing)


def test_pictures_are_as_large_as_is_set(page):
    finished(page, 3)
    heights = {}
    for size in ("small", "medium", "large"):
        put(page, "StoryMem.PosterSize", size)
        page.edit_table()
        box = page.page.locator(".sm-editor .sm-poster").first.bounding_box()
        heights[size] = round(box["height"])
        assert 1.5 < box["width"] / box["height"] < 1.9
        page.close()
    assert heights == {"small": 56, "medium": 88, "large": 144}
    put(page, "StoryMem.PosterSize", "medium")


def test_nobody_is_asked_who_does_not_want_to_be(page):
    page.load(story(2))
    for wanted in (True, False):
        put(page, "StoryMem.Confirm", wanted)
        page.questions.clear()
        page.edit_table()
        page.page.locator(".sm-editor li[data-id] textarea").first.fill("changed")
        page.close()
        assert len(page.questions) == int(wanted)
    put(page, "StoryMem.Confirm", True)


# --- commands ---


def test_keys_open_the_editor_and_play_the_story(page):
    finished(page, 3)
    page.page.locator("#graph-canvas").focus()
    page.press("Shift+E")
    page.page.wait_for_selector("dialog.sm-editor[open]")
    page.close()
    page.page.locator("#graph-canvas").focus()
    page.press("Shift+P")
    page.page.wait_for_selector("dialog.sm-player[open]")
    wait_for_text(page.page, page.page.locator("#sm-player-title"), "Shot 1 of 3")
    page.press("Escape")


def test_the_keys_type_in_a_text_field(page):
    page.page.evaluate(NEW, "StoryMemLoadStory")
    box = page.page.locator("textarea").first
    box.fill("")
    box.press("Shift+E")
    assert box.input_value() == "E"
    assert page.page.locator("dialog.sm-editor").count() == 0


def test_a_key_leads_to_the_nodes_of_the_loop_in_turn(page):
    page.load(story(2))
    page.page.locator("#graph-canvas").focus()
    seen = []
    for _ in range(3):
        page.press("Shift+L")
        (kind,) = page.page.evaluate(SELECTED)
        seen.append(kind)
    assert seen == ["StoryMemShotLoopOpen", "StoryMemShotLoopClose", "StoryMemShotLoopOpen"]


def test_shots_to_make_again_are_asked_for(page):
    page.load(story(4))
    for shots, take in (("2, 4", 1), ("2, 4", 2), ("3", 2), ("", 2)):
        page.page.locator("#graph-canvas").focus()
        page.press("Shift+R")
        field = page.page.get_by_role("dialog").locator("input").first
        field.fill(shots)
        field.press("Enter")
        field.wait_for(state="detached")
        values = page.page.evaluate(VALUES)
        assert (values["redo_shots"], values["redo_take"]) == (shots, take)


def test_without_a_story_or_a_loop_the_commands_say_so(page):
    page.page.evaluate(NEW, "EmptyImage")
    page.page.locator("#graph-canvas").focus()
    for key, words in (("E", "no Load Story"), ("L", "no story loop")):
        page.press(f"Shift+{key}")
        page.page.locator(TOASTS).get_by_text(words).first.wait_for()


def test_the_menu_lists_the_commands_with_their_keys(page):
    page.page.evaluate(NEW, "StoryMemLoadStory")
    menu = page.page.locator(".comfy-command-menu, [role=menu]")  # a part of it may stand apart
    assert eventually(page.page, lambda: reached(page.page, menu))
    look(page, "desk-menu")
    menu.get_by_text("StoryMem: edit story").first.click()
    page.page.wait_for_selector("dialog.sm-editor[open]")
    page.close()


def reached(page, menu) -> bool:
    """Whether the pack's part of the host's menu stands open. A part opens when the pointer comes
    to its name, and a page that is drawn anew meanwhile can miss that, or close the menu."""
    from playwright.sync_api import TimeoutError

    if not page.locator(".comfy-command-menu").count():
        page.locator(".comfy-menu-button-wrapper, [data-testid=comfy-menu-button]").first.click()
    try:
        page.mouse.move(*NOTHING_HERE)
        for name in ("Extensions", "StoryMem"):
            menu.get_by_text(name, exact=True).first.hover(timeout=SOON)
        menu.get_by_text("StoryMem: make shots again...").first.wait_for(timeout=SOON)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        ("StoryMemLoadStory", ["edit story", "play story"]),
        ("StoryMemShotLoopOpen", ["play story", "make shots again..."]),
        ("StoryMemShotLoopClose", ["play story"]),
        ("StoryMemTestBody", []),
    ],
)
def test_selected_nodes_have_their_commands_over_them(page, kind, commands):
    page.load(story(2))
    select(page, kind)
    toolbox = page.page.locator(".selection-toolbox")
    toolbox.locator("button").first.wait_for()
    ours = toolbox.locator("button[aria-label^='StoryMem']")
    names = [f"StoryMem: {name}" for name in commands]
    assert eventually(page.page, lambda: labels(ours) == names)
    look(page, f"desk-toolbox-{kind}")


def select(page, kind: str) -> None:
    """Click on a node's title: elsewhere than the last time, so that two clicks are no double one,
    and again where the page still moved its view, as it does a moment after a workflow came."""

    def is_selected() -> bool:
        page.page.evaluate(PUT, [kind, 200 + 60 * (next(CLICKS) % 8)])
        settle(page.page)
        page.page.mouse.click(*page.page.evaluate(TITLE_BAR, kind))
        settle(page.page)
        return page.page.evaluate(SELECTED) == [kind]

    assert eventually(page.page, is_selected, seconds=30), page.page.evaluate(SELECTED)


def labels(buttons) -> list[str]:
    return buttons.evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")


# --- colours, panel, drops ---


@pytest.mark.parametrize("palette", ["light", "dark"])
def test_wires_of_our_types_have_colours_in_both_palettes(page, palette):
    put(page, "Comfy.ColorPalette", palette)
    settle(page.page)
    found = page.page.evaluate(
        """(types) => types.map((type) => [
            LGraphCanvas.link_type_colors[type],
            app.canvas.default_connection_color_byType[type],
            getComputedStyle(document.documentElement)
                .getPropertyValue(`--color-datatype-${type}`).trim(),
        ])""",
        list(COLOURS),
    )
    assert found == [[colour] * 3 for colour in COLOURS.values()]


def test_a_palette_of_its_own_colours_is_obeyed(page):
    told = page.page.evaluate(
        """() => {
            const table = LGraphCanvas.link_type_colors;
            Object.assign(table, { STORYMEM_BANK: "#123456" });
            const its = table.STORYMEM_BANK;
            Object.assign(table, { STORYMEM_BANK: "" });
            return [its, table.STORYMEM_BANK];
        }"""
    )
    assert told == ["#123456", COLOURS["STORYMEM_BANK"]]


def test_the_hosts_panel_shows_what_can_be_set_and_nothing_else(page):
    page.page.evaluate(NEW, "StoryMemLoadStory")
    hidden = page.page.evaluate(
        """() => app.graph._nodes[0].widgets
            .filter((w) => w.options?.hideInPanel).map((w) => w.name)"""
    )
    assert "storymem_shots" in hidden
    assert not {"script", "file", "character"} & set(hidden)


def picture() -> str:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def references(page) -> str:
    return page.page.evaluate(
        "() => app.graph._nodes[0].widgets.find((w) => w.name === 'edits').value"
    )


@pytest.mark.parametrize("nodes", ["classic", "nodes-two"])
def test_a_picture_dropped_on_the_title_of_memory_bank_becomes_a_reference(page, nodes):
    is_vue = nodes == "nodes-two"
    put(page, "Comfy.VueNodes.Enabled", is_vue)
    page.page.evaluate(NEW, "StoryMemMemoryBank")
    if is_vue:
        page.page.wait_for_selector("[data-node-id]")
    settle(page.page)
    place = page.page.evaluate(TITLE_BAR, "StoryMemMemoryBank")
    page.page.evaluate(DROP, [picture(), f"mira {nodes}.png", "image/png", *place, is_vue])
    assert eventually(page.page, lambda: f"mira {nodes}.png" in references(page))
    assert page.page.evaluate("app.graph._nodes.length") == 1
    put(page, "Comfy.VueNodes.Enabled", False)


# --- finding a node ---


@pytest.mark.parametrize(
    ("words", "node"),
    [
        ("consistent character", "Memory Bank"),
        ("storyboard", "Load Story"),
        ("multi-shot", "Shot Loop Open"),
        ("分镜", "Load Story"),
    ],
)
def test_nodes_are_found_by_what_people_look_for(page, words, node):
    page.page.evaluate(NEW, "EmptyImage")
    page.page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.page.wait_for_function("() => document.activeElement.tagName === 'INPUT'")
    page.press("Control+a")  # what was looked for before may still stand there
    page.page.keyboard.type(words)
    results = page.page.locator("[role=option], .p-autocomplete-option, [data-testid*=result]")
    results.filter(has_text=node).first.wait_for()
    assert eventually(page.page, lambda: results.filter(has_text="Load Checkpoint").count() == 0)
    assert results.filter(has_text=node).count() > 0
    page.press("Escape")
    results.first.wait_for(state="hidden")


def reload(page, answer) -> list[str]:
    """Load the page again, with ``answer`` for each style sheet; what was asked for."""
    asked = []

    def heard(route) -> None:
        asked.append(route.request.url.split("/")[-1])
        answer(route)

    page.page.route("**/css/*.css", heard)
    try:
        page.page.reload()
        wait_until_ready(page.page)
    finally:
        page.page.unroute("**/css/*.css")
    return sorted(asked)


def test_nothing_is_shown_before_all_its_style_sheets_are_here(page):
    """The page waits for them, however late they come, before it opens the first workflow."""

    def late(route) -> None:
        page.page.wait_for_timeout(300)
        route.continue_()

    all_of_them = sorted(file.name for file in (PACK / "web" / "css").glob("*.css"))
    assert reload(page, late) == all_of_them
    assert sorted(page.page.evaluate(SHEETS)) == all_of_them


def test_a_page_without_its_style_sheets_opens_nevertheless(page):
    assert len(reload(page, lambda route: route.abort())) == 9
