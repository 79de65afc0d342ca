"""The memory gallery: what an artist does with it in the host's page."""

from __future__ import annotations

import base64
import io
import json
import os
import uuid
from pathlib import Path

import pytest
from PIL import Image

from helpers.browser import eventually, find_chromium, wait_for_draft, wait_for_text
from helpers.gallery_page import WITH_ID, gallery_server, open_run_story
from helpers.loop_graphs import hold, release

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LOOK = os.environ.get("STORYMEM_SCREENSHOTS")  # a folder: pictures of the page, to be looked at


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    """A server in which the pack's folder has another name."""
    with gallery_server(tmp_path_factory.mktemp("gallery_server"), base_folder) as running:
        yield running


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    """One page with a story that ran once."""
    with open_run_story(server, tmp_path_factory.mktemp("log") / "log") as story:
        yield story


@pytest.fixture
def story(shared):
    """The shared page with no changes in its memory."""
    yield shared
    release(shared.log)  # what a failed test still holds back
    shared.page.evaluate(
        """() => {
            document.querySelector(".storymem-dialog")?.close();
            for (const node of app.graph._nodes) {
                if (node.comfyClass === "StoryMemMemoryBank") node.storymemGallery.write(
                    { pin: [], unpin: [], drop: [], keep: [], images: [] });
            }
        }"""
    )
    assert shared.errors == []


def look(story, name: str) -> None:
    if LOOK:
        story.page.wait_for_timeout(400)
        story.page.screenshot(path=str(Path(LOOK) / f"{name}.png"))


def test_the_memory_is_shown_in_order_with_what_each_frame_is(story):
    cards = story.shown()
    assert [card["role"] for card in cards] == ["sink", *["waiting"] * 14, *["window"] * 3]
    assert [card["label"] for card in cards] == ["opening", *["not seen"] * 14, *["window"] * 3]
    assert cards[0]["place"] == "shot 1, frame 0"
    assert [card["acts"] for card in cards] == [["pin", "drop", "name"]] * 18
    for node_id in (6, 8):  # Remember in the loop, and Preview Memory Bank after it
        assert story.shown(node_id) == cards
    gallery = story.gallery()
    assert "4 of 18 frames" in gallery.inner_text()
    picture = gallery.locator("img").first
    assert eventually(story.page, lambda: picture.evaluate("(img) => img.naturalWidth") == 192)
    raw = story.page.evaluate(
        """() => {
            const widget = app.graph.getNodeById(2).widgets.find((w) => w.name === "edits");
            return [widget.hidden, app.graph.getNodeById(2).isWidgetVisible?.(widget)];
        }"""
    )
    assert raw == [True, False]
    look(story, "dark")


def test_facts_are_told_on_focus_and_on_hover(story):
    cards = story.shown()
    story.focus(cards[2]["digest"])
    story.press("ArrowLeft")
    bubble = story.page.locator(".storymem-facts")
    assert bubble.is_visible()
    for words in (cards[1]["place"], "Number 2", "not seen by the next shot", "Why: "):
        assert words in bubble.inner_text()
        assert words in story.focused()["label"]
    story.press("Escape")
    assert not bubble.is_visible()
    story.gallery().locator(".storymem-card").first.hover()
    assert "Opening frame: one of the memory's first" in bubble.inner_text()
    story.page.mouse.move(5, 500)
    assert not bubble.is_visible()


def test_a_pin_and_a_drop_by_keyboard_change_what_the_shots_see(story):
    page, cards = story.page, story.shown()
    pinned, dropped = cards[1], cards[4]  # of shots 1 and 2
    nodes = page.evaluate("() => app.graph._nodes.length")
    story.focus(cards[0]["digest"])
    story.press("ArrowRight", "p")
    assert story.focused()["key"] == pinned["digest"]
    story.press("ArrowRight", "ArrowRight", "ArrowRight", "Delete")
    assert page.evaluate("() => app.graph._nodes.length") == nodes, "Delete meant the node"
    assert story.edits() == {"pin": [pinned["digest"]], "drop": [dropped["digest"]]}
    now = story.shown()
    assert [now[1]["next"], now[4]["next"]] == ["next: pinned", "next: dropped"]
    assert (now[1]["acts"], now[4]["acts"]) == (
        ["unpin", "drop", "name", "undo"],
        ["restore", "name", "undo"],
    )
    assert [c["next"] for c in story.shown(8)] == [c["next"] for c in now]
    assert "take effect on the next queue: 2" in story.gallery().inner_text()
    look(story, "pending")

    used = story.queue()
    assert min(used) == 3, "shots 1 and 2 saw nothing of it"
    assert all(pinned["digest"] in digests for digests in used.values())
    assert not any(dropped["digest"] in digests for digests in used.values())
    assert dropped["digest"] in story.first_run[3]
    now = {card["digest"]: card for card in story.shown()}
    assert [now[card["digest"]]["role"] for card in (pinned, dropped)] == ["pinned", "dropped"]
    assert {card["next"] for card in now.values()} == {""}
    assert "take effect" not in story.gallery().inner_text()
    assert story.focused()["key"] == dropped["digest"], "the focus went with the frame"

    # Undone one by one, the story is the first one again, and nothing has to be made.
    story.press("r")
    story.focus(pinned["digest"])
    story.press("p")
    assert story.edits() == {}
    assert story.queue() == {}
    assert story.shown() == cards


def test_changes_are_undone_one_by_one_and_all_at_once(story):
    cards, gallery = story.shown(), story.gallery()
    for card in cards[:3]:
        story.focus(card["digest"])
        story.press("d")
    story.focus(cards[0]["digest"])
    story.press("u")
    assert story.edits() == {"drop": [card["digest"] for card in cards[1:3]]}
    gallery.get_by_role("button", name="Undo all changes").click()
    story.press()
    assert story.edits() == {}
    assert story.shown() == cards
    # Tab reaches one card and its buttons, then leaves the grid, however many cards there are.
    story.focus(cards[0]["digest"])
    reached = []
    for _ in range(4):
        reached.append(story.focused()["act"])
        story.press("Tab")
    assert reached == ["enlarge", "pin", "drop", "name"]
    assert story.focused()["key"] == ""
    # The host's own undo knows the changes too.
    story.focus(cards[1]["digest"])
    story.press("p", "Control+z")
    assert eventually(story.page, lambda: story.edits() == {})
    story.become(cards)


def test_a_frame_is_enlarged_and_the_focus_comes_back(story):
    cards = story.shown()
    story.focus(cards[3]["digest"])
    story.press("Enter")
    dialog = story.page.locator(".storymem-dialog")
    story.page.wait_for_function("document.querySelector('.storymem-dialog img').naturalWidth > 0")
    assert "size=1024" in dialog.locator("img").get_attribute("src")
    assert cards[3]["place"] in dialog.inner_text()
    story.press("ArrowRight")
    assert cards[4]["place"] in dialog.inner_text()
    dialog.get_by_role("button", name="Drop").press("Enter")
    story.press()
    assert "Dropped on the next queue" in dialog.inner_text()
    look(story, "dialog")
    story.press("Escape")
    dialog.wait_for(state="detached")
    assert story.focused()["key"] == cards[3]["digest"]
    assert story.edits() == {"drop": [cards[4]["digest"]]}


def test_pictures_are_added_with_the_chooser_and_by_dragging_and_taken_off_again(story, server):
    page, gallery = story.page, story.gallery()
    picture = io.BytesIO()
    Image.new("RGB", (90, 60), (200, 40, 40)).save(picture, "PNG")
    chosen = {"name": "mara.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    gallery.locator("input[type=file]").set_input_files([chosen])
    gallery.locator(".storymem-image").wait_for()
    assert story.edits() == {"images": ["mara.png"]}
    assert (server.base / "input" / "mara.png").is_file()
    assert "next queue" in gallery.locator(".storymem-image").inner_text()
    Image.new("RGB", (60, 60), (40, 200, 40)).save(picture := io.BytesIO(), "PNG")
    gallery.evaluate(
        """(gallery, data) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const dragged = new DataTransfer();
            dragged.items.add(new File([bytes], "<b>dog.png", { type: "image/png" }));
            dragged.items.add(new File(["no"], "notes.txt", { type: "text/plain" }));
            const send = (kind) => gallery.dispatchEvent(new DragEvent(kind, {
                bubbles: true, cancelable: true, dataTransfer: dragged }));
            send("dragover");
            send("drop");
        }""",
        base64.b64encode(picture.getvalue()).decode(),
    )
    gallery.locator(".storymem-image").nth(1).wait_for()
    wait_for_text(page, gallery, "notes.txt is not a picture")
    names = story.edits()["images"]
    assert [len(names), names[0]] == [2, "mara.png"]
    assert page.evaluate("() => app.graph._nodes.length") == 8, "the host opened the picture"
    used = story.queue()
    references = [card for card in story.shown() if card["place"] in names]
    assert [card["digest"] for card in references] == used[1]
    look(story, "pictures")
    gallery.get_by_role("button", name="Remove mara.png").press("Enter")
    story.press()
    assert story.edits() == {"images": names[1:]}


def put_seed(page, seed: int) -> None:
    """Another seed for the loop's body, so that every shot is regenerated."""
    page.evaluate(
        """(seed) => {
            const { widgets } = app.graph.getNodeById(4);
            widgets.find((widget) => widget.name === "seed").value = seed;
        }""",
        seed,
    )


# The page was told of the bank after so many shots: another one than it showed before.
SHOTS_SHOWN = """(count) => {
    const { bank } = app.graph.getNodeById(2).storymemGallery;
    return bank !== window.before && bank?.frames.at(-1)?.shot === count - 1;
}"""


def begin_shots(story, count: int, *, seed: int) -> None:
    """Queue the story again; a shot is held back, and the gallery shows the ``count`` before it."""
    hold(story.log, count + 1)
    put_seed(story.page, seed)
    story.page.evaluate("() => { window.before = app.graph.getNodeById(2).storymemGallery.bank; }")
    story.page.evaluate("() => app.queuePrompt(0)")
    if count:
        story.page.wait_for_function(SHOTS_SHOWN, arg=count)


def test_a_reload_in_the_middle_of_a_run_loses_nothing(story, server):
    page = story.page
    known = set(server.get("/history"))
    begin_shots(story, 2, seed=11)
    clicked = story.shown()[1]["digest"]
    story.focus(clicked)
    story.press("p")
    wait_for_draft(page, json.dumps({"pin": [clicked]}, separators=(",", ":")))
    assert set(server.get("/history")) == known, "the run is still going on"
    page.reload()
    page.wait_for_function("window.app?.graph?._nodes?.length === 8")
    page.wait_for_function("document.querySelectorAll('.storymem-card').length > 0")
    again = {card["digest"]: card for card in story.shown()}
    assert again[clicked]["next"] == "next: pinned"
    release(story.log)
    (fresh,) = eventually(page, lambda: set(server.get("/history")) - known)
    assert server.get(f"/history/{fresh}")[fresh]["status"]["status_str"] == "success"
    page.wait_for_function(LAST_SHOT)
    cards = story.shown()
    assert {card["place"][:6] for card in cards} >= {"shot 1", "shot 6"}
    assert [card["digest"] for card in cards if card["next"] == "next: pinned"] == [clicked]
    story.become(cards, 6)
    story.become(cards, 8)


def test_what_ran_while_the_page_was_closed_is_shown_when_it_is_opened_again(story, server):
    page, address = story.page, story.page.url
    page.evaluate(WITH_ID, str(uuid.uuid4()))
    known = set(server.get("/history"))
    begin_shots(story, 2, seed=12)
    early = [card["digest"] for card in story.shown()]
    wait_for_draft(page, early[-1])
    page.goto("about:blank")
    release(story.log)
    assert eventually(page, lambda: set(server.get("/history")) - known)
    page.goto(address)
    page.wait_for_function("window.app?.graph?._nodes?.length === 8")
    page.wait_for_function(LAST_SHOT)
    cards = story.shown()
    assert [card["digest"] for card in cards][: len(early)] == early
    assert cards[-1]["place"].startswith("shot 6")
    story.become(cards, 6)
    story.become(cards, 8)


def test_an_older_file_of_a_workflow_keeps_the_memory_it_was_saved_with(story):
    page, cards = story.page, story.shown()
    older = page.evaluate("() => app.graph.serialize()")
    put_seed(page, 13)
    story.queue()
    assert not {card["digest"] for card in cards} & {card["digest"] for card in story.shown()}
    page.evaluate("(graph) => app.loadGraphData(graph)", older)
    story.become(cards)


def test_the_same_in_the_new_nodes_and_in_a_light_theme(story):
    page, cards = story.page, story.shown()
    put = "async ([name, value]) => app.extensionManager.setting.set(name, value)"
    page.evaluate(put, ["Comfy.VueNodes.Enabled", True])
    page.wait_for_selector("[data-node-id] .storymem-gallery")
    story.become(cards)

    def height() -> float:
        return (story.gallery().bounding_box() or {"height": 0})["height"]

    assert eventually(page, lambda: 150 < height() < 700), "it scrolls and stretches no node"
    story.focus(cards[6]["digest"])
    story.press("p", "ArrowRight", "d")
    assert story.edits() == {"pin": [cards[6]["digest"]], "drop": [cards[7]["digest"]]}
    look(story, "vue-dark")
    page.evaluate(put, ["Comfy.ColorPalette", "light"])
    look(story, "vue-light")
    page.evaluate(put, ["Comfy.VueNodes.Enabled", False])
    assert eventually(page, lambda: story.shown()[6:7] and story.shown()[6]["next"])
    assert story.shown()[6]["next"] == "next: pinned"
    look(story, "light")
    page.evaluate(put, ["Comfy.ColorPalette", "dark"])


SHOWN_TAB = "() => app.extensionManager.workflow.activeWorkflow.path"
# The page was told of the bank after the last shot.
LAST_SHOT = "app.graph.getNodeById(2).storymemGallery.bank?.frames.at(-1)?.shot === 5"
SEND = """([node, bank]) => comfyAPI.api.api.dispatchCustomEvent("storymem.bank", { node, bank })"""


def bank_of(count: int, workflow: str = "") -> dict:
    """What the server tells of a long story's memory."""

    def frame(i: int, role: str) -> dict:
        facts = {"shot": i // 3, "frame": i % 3, "score": 4.5, "scorer": "hpsv3", "pinned": False}
        words = {"reason": "<img src=x onerror=alert(1)>", "name": "", "edit": "", "number": i + 1}
        return {"digest": f"{i:064x}", "role": role, "similarity": 0.5, **facts, **words}

    return {
        "max_frames": 10, "sink": 3, "count": count + 40, "workflow": workflow,
        "frames": [frame(i, "waiting") for i in range(count)],
        "dropped": [frame(i + count, "dropped") for i in range(32)],
    }  # fmt: skip


# How many cards a gallery makes or moves when it is drawn again; see bench_page.py for the times.
CARDS_MADE = """async (id) => {
    const gallery = app.graph.getNodeById(id).storymemGallery;
    let made = 0;
    const watch = new MutationObserver((changes) => {
        for (const { target, addedNodes } of changes) {
            if (target.matches(".storymem-grid")) made += addedNodes.length;
        }
    });
    watch.observe(gallery.view.element, { childList: true, subtree: true });
    gallery.draw();
    await new Promise((done) => setTimeout(done));
    watch.disconnect();
    return made;
}"""


def test_a_long_story_is_shown_smoothly_and_its_words_stay_words(story):
    page = story.page
    page.on("dialog", lambda dialog: story.errors.append(dialog.message))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(SEND, ["2", bank_of(200)])
    assert eventually(page, lambda: len(story.shown()) == 232)
    assert "40 earlier frames are not shown" in story.gallery().inner_text()
    first = story.gallery().locator(".storymem-card")
    wait_for_text(page, first, "picture missing")  # what is not there has a place all the same
    page.wait_for_timeout(500)  # pictures out of sight are not asked for later either
    pictures = {url for url in asked if "/storymem/picture/" in url}
    assert 0 < len(pictures) < 150
    assert page.evaluate(CARDS_MADE, 2) == 0, "drawn again, the cards stay"
    story.focus(f"{150:064x}")
    story.press("p", "End", "r")
    assert story.edits() == {"pin": [f"{150:064x}"], "keep": [f"{231:064x}"]}
    story.press("ArrowUp")
    assert story.focused()["key"] in {f"{i:064x}" for i in range(200, 231)}
    # The workflow file carries the facts, once, in a bearable size.
    saved = page.evaluate("() => app.graph.serialize().nodes.map((n) => n.properties)")
    sizes = [len(json.dumps(properties.get("storymem_bank"))) for properties in saved]
    assert 10_000 < max(sizes) < 120_000
    page.evaluate(SEND, ["8", bank_of(3)])


def test_a_bank_of_another_workflow_waits_until_that_one_is_opened(story):
    page = story.page
    page.evaluate(SEND, ["8", bank_of(3)])
    assert eventually(page, lambda: len(story.shown(8)) == 3 + 32)
    before = story.shown()
    page.evaluate(SEND, ["8", bank_of(5, workflow="another")])
    page.wait_for_timeout(200)
    assert story.shown() == before
    page.evaluate("() => app.loadGraphData({ ...app.graph.serialize(), id: 'another' })")
    assert eventually(page, lambda: len(story.shown()) == 5 + 32)


@pytest.mark.parametrize("left_after", [0, 2], ids=["at-once", "after-two-shots"])
def test_a_tab_that_was_left_in_a_run_shows_what_that_gave_when_it_is_shown_again(
    story, server, left_after
):
    page = story.page
    graph = "{ ...app.graph.serialize(), id: crypto.randomUUID() }"
    page.evaluate(f"() => app.loadGraphData({graph}, true, true, 'left')")
    left = page.evaluate(SHOWN_TAB)
    known = set(server.get("/history"))
    begin_shots(story, left_after, seed=21 + left_after)
    page.evaluate("() => app.loadGraphData(app.graph.serialize(), true, true, 'beside')")
    assert page.evaluate(SHOWN_TAB) != left
    release(story.log)
    assert eventually(page, lambda: set(server.get("/history")) - known)
    page.wait_for_function(LAST_SHOT)  # told where it was in view
    beside = story.shown()
    page.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    assert eventually(page, lambda: page.evaluate(SHOWN_TAB) == left)
    page.wait_for_function(LAST_SHOT)
    story.become(beside)
    page.evaluate("() => app.extensionManager.command.execute('Workspace.NextOpenedWorkflow')")
    assert eventually(page, lambda: page.evaluate(SHOWN_TAB) != left)


def test_a_loop_body_in_a_subgraph_shows_its_memory_and_changes_it(story):
    page = story.page
    story.load()
    page.evaluate(
        """() => {
            const seed = app.graph.getNodeById(4).widgets.find((w) => w.name === "seed");
            seed.value = 8;
            const inside = [4, 5, 6].map((id) => app.graph.getNodeById(id));
            app.graph.convertToSubgraph(new Set(inside));
        }"""
    )
    assert len(story.queue()) == 6
    outer = story.shown()
    assert len(outer) > 6
    shown = page.evaluate(
        """() => {
            const holder = app.graph._nodes.find((node) => node.subgraph);
            const kind = (node) => node.comfyClass === "StoryMemRemember";
            const { storymemGallery: gallery } = holder.subgraph._nodes.find(kind);
            const item = gallery.view.order[1];
            gallery.act("pin", item);
            return { digests: gallery.view.order.map(({ frame }) => frame.digest) };
        }"""
    )
    assert shown["digests"] == [card["digest"] for card in outer]
    assert story.edits() == {"pin": [outer[1]["digest"]]}
    # A Remember that no Memory Bank feeds is only looked at.
    page.evaluate("() => app.graph.remove(app.graph.getNodeById(2))")
    wait_for_text(page, story.gallery(8), "No Memory Bank node feeds this memory")
    assert {tuple(card["acts"]) for card in story.shown(8)} == {()}
