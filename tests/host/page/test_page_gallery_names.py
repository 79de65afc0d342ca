"""Who is on a frame, and what a shot saw when its prompt chose, in the host's page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.browser import eventually, find_chromium, settle, wait_for_draft, wait_for_text
from helpers.gallery_page import gallery_server, open_run_story

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LOOK = os.environ.get("STORYMEM_SCREENSHOTS")  # a folder: pictures of the page, to be looked at
PROMPTS = ["Mara walks.", "Pip barks.", *["Mara rows."] * 4, "Pip returns."]
SCRIPT = {"story_name": "Sea", "cast": ["Mara", "Pip"]}
SCRIPT["scenes"] = [{"video_prompts": PROMPTS, "cut": [True] * len(PROMPTS)}]


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    with gallery_server(tmp_path_factory.mktemp("names_server"), base_folder) as running:
        yield running


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    """One page with a story of two characters that ran once."""
    log, script = tmp_path_factory.mktemp("log") / "log", json.dumps(SCRIPT)
    with open_run_story(server, log, script=script, policy="entities") as story:
        yield story


@pytest.fixture
def story(shared):
    """The shared page with no changes in its memory."""
    yield shared
    shared.page.evaluate(
        """() => {
            document.querySelector(".storymem-dialog")?.close();
            document.activeElement?.blur?.();
            const nothing = { pin: [], unpin: [], drop: [], keep: [], images: [], names: {} };
            app.graph.getNodeById(2).storymemGallery.write(nothing);
        }"""
    )
    shared.press()
    assert shared.errors == []


def look(story, name: str) -> None:
    if LOOK:
        story.page.wait_for_timeout(400)
        story.page.screenshot(path=str(Path(LOOK) / f"{name}.png"))


def of_shot(story, number: int) -> list[dict]:
    return [card for card in story.shown() if card["place"].startswith(f"shot {number},")]


def facts(story, digest: str) -> str:
    story.focus(digest)
    return story.focused()["label"]


def test_the_gallery_tells_what_the_last_shot_saw_and_why(story):
    status = story.gallery().inner_text()
    assert (
        "The last shot saw 4 of 21 frames. What the next one sees depends on its prompt" in status
    )
    cards = story.shown()
    saw = [card["digest"] for card in cards if card["role"] in ("sink", "seen", "pinned")]
    assert saw == story.first_run[7], "of the window these would be the frames of shot 6"
    assert [card["role"] for card in of_shot(story, 2)] == ["seen"] * 3
    assert {card["role"] for card in of_shot(story, 6)} == {"waiting"}
    told = facts(story, of_shot(story, 2)[0]["digest"])
    assert "The last shot saw it: it shows Pip" in told
    assert "Who is in it, by its prompt or file name: Pip" in told
    assert "Not seen by the last shot" in facts(story, of_shot(story, 6)[0]["digest"])
    for node_id in (6, 8):  # Remember in the loop, and Preview Memory Bank after it
        assert story.shown(node_id) == cards
    # Nothing is to be made now; what was seen is known all the same.
    assert story.queue() == {}
    story.page.evaluate(
        "() => { app.graph.getNodeById(7).widgets.find((w) => w.name === 'crf').value += 1; }"
    )
    assert story.queue() == {}
    assert story.shown() == cards
    look(story, "names-dark")


def test_who_is_on_a_frame_is_written_by_keyboard(story):
    page, card = story.page, of_shot(story, 1)[0]
    assert card["who"] == "Mara"
    nodes = page.evaluate("() => app.graph._nodes.length")
    story.focus(card["digest"])
    story.press("t")
    field = story.gallery().locator("input.storymem-name")
    assert (field.input_value(), field.evaluate("(f) => f === document.activeElement")) == (
        "Mara",
        True,
    )
    page.keyboard.type("Pip")  # over what was there; p and d mean nothing here
    story.press("Escape")
    assert (field.count(), story.edits()) == (0, {})
    assert story.focused()["key"] == card["digest"]
    story.press("t")
    page.keyboard.type("Pip, d")
    story.press("Backspace", "Backspace", "Backspace", "ArrowLeft", "Delete")
    assert page.evaluate("() => app.graph._nodes.length") == nodes, "Delete meant the node"
    page.keyboard.type("p")
    look(story, "names-typing")
    story.press("Enter")
    assert story.edits() == {"names": {card["digest"]: "Pip"}}
    assert (story.focused()["key"], story.focused()["act"]) == (card["digest"], "enlarge")
    assert of_shot(story, 1)[0]["who"] == "Pip"
    assert "undo" in of_shot(story, 1)[0]["acts"]
    assert "take effect on the next queue: 1" in story.gallery().inner_text()
    assert "The names take effect on the next queue" in facts(story, card["digest"])
    # What is known by itself is no change, and a frame may show nobody.
    story.press("t")
    page.keyboard.type("Mara")
    story.press("Enter")
    assert story.edits() == {}
    story.press("t", "Delete", "Enter")
    assert story.edits() == {"names": {card["digest"]: ""}}
    assert of_shot(story, 1)[0]["who"] == "nobody"
    # Undone by its key, with all others, and by the host.
    story.press("u")
    assert story.edits() == {}
    for undo in (
        lambda: story.gallery().get_by_role("button", name="Undo all changes").click(),
        lambda: story.press("Control+z"),
    ):
        story.focus(card["digest"])
        story.press("t")
        page.keyboard.type("Pip")
        story.press("Enter")
        assert story.edits() != {}
        undo()
        assert eventually(page, lambda: story.edits() == {})
        assert eventually(page, lambda: [c["who"] for c in of_shot(story, 1)[:1]] == ["Mara"])


# Nothing is pending on the card: the page has what the last run made of it, read or remembered.
IN_EFFECT = """(digest) => {
    const card = document.querySelector(`.storymem-card[data-key*='${digest}']`);
    return card && card.querySelector("[data-act=undo]").hidden;
}"""


def test_names_by_mouse_make_anew_what_they_change_and_outlive_clicks_and_a_reload(story):
    page = story.page
    card, other = of_shot(story, 4)[-1], of_shot(story, 1)[0]
    assert card["digest"] not in story.first_run[7]
    place = story.gallery().locator(f".storymem-card[data-key*='{card['digest']}']")
    place.scroll_into_view_if_needed()
    place.get_by_role("button", name="Name who is in").click()
    page.keyboard.type("<b>Pip</b>")
    story.gallery().locator(".storymem-status").click()  # a click elsewhere keeps it
    story.press()
    names = {card["digest"]: "<b>Pip</b>"}
    assert story.edits() == {"names": names}
    used = story.queue()
    assert sorted(used) == [5, 6, 7], "shots up to 4 saw nothing of it"
    assert card["digest"] in used[7]
    assert card["digest"] not in used[5], "it is none of Mara any more"
    (now,) = [one for one in story.shown() if one["digest"] == card["digest"]]
    assert (now["who"], now["acts"]) == ("<b>Pip</b>", ["pin", "drop", "name"])
    assert "as you named them: <b>Pip</b>" in facts(story, card["digest"])
    story.focus(other["digest"])
    story.press("d")
    story.gallery().get_by_role("button", name="Undo all changes").click()
    story.press()
    assert story.edits() == {"names": names}, "what is in effect stays"
    wait_for_draft(page, json.dumps({"names": names}, separators=(",", ":")))
    page.reload()
    page.wait_for_function("window.app?.graph?._nodes?.length === 8")
    page.wait_for_function(IN_EFFECT, arg=card["digest"])
    (again,) = [one for one in story.shown() if one["digest"] == card["digest"]]
    assert (again["who"], again["acts"]) == ("<b>Pip</b>", ["pin", "drop", "name"])


def test_who_is_on_a_frame_is_written_beside_the_large_picture(story):
    page, cards = story.page, story.shown()
    story.focus(cards[0]["digest"])
    story.press("Enter")
    dialog = page.locator(".storymem-dialog")
    field = dialog.get_by_label("Who is in it")
    assert field.input_value() == "Mara"
    field.fill("Mara, Pip")
    story.press("ArrowLeft")
    assert field.input_value() == "Mara, Pip", "the arrow moved in the text"
    story.press("Enter")
    assert story.edits()["names"][cards[0]["digest"]] == "Mara, Pip"
    assert "as you named them: Mara, Pip" in dialog.inner_text()
    field.fill("nonsense")
    look(story, "names-dialog")
    story.press("Escape")
    assert (dialog.count(), field.input_value()) == (1, "Mara, Pip")
    story.press("Escape")
    dialog.wait_for(state="detached")


def test_before_the_first_shot_it_is_said_that_the_prompt_decides(story):
    send = "([node, bank]) => comfyAPI.api.api.dispatchCustomEvent('storymem.bank', { node, bank })"
    frames = [
        {"digest": f"{i:064x}", "role": "open", "shot": -1, "frame": i, "number": i + 1}
        for i in range(6)
    ]
    facts = {"policy": "entities", "tell": "open", "max_frames": 4, "sink": 1, "count": 6}
    story.page.evaluate(send, ["2", {**facts, "frames": frames, "dropped": []}])
    said = "The next shot sees 4 of 6 frames. Which ones depends on its prompt."
    wait_for_text(story.page, story.gallery(), said)
    assert {card["label"] for card in story.shown()} == {"open"}


def test_a_pinned_frame_that_was_left_out_says_why(story):
    send = "([node, bank]) => comfyAPI.api.api.dispatchCustomEvent('storymem.bank', { node, bank })"
    left_out = "shows nobody in the shot, only Bo"
    frames = [
        {"digest": f"{i:064x}", "role": "waiting", "shot": -1, "frame": i, "number": i + 1,
         "pinned": i == 0, "left_out": left_out}
        for i in range(2)
    ]  # fmt: skip
    frames.append({**frames[0], "digest": f"{2:064x}", "role": "pinned", "left_out": ""})
    bank = {"policy": "entities_only", "max_frames": 9, "sink": 1, "count": 3, "dropped": []}
    told = {**bank, "tell": "last", "frames": frames}
    story.page.evaluate(send, ["2", told])
    wait_for_text(story.page, story.gallery(), "The last shot saw 1 of 3 frames.")
    pinned, plain, seen = (facts(story, frame["digest"]) for frame in frames)
    because = "eft out of the last shot: it shows nobody in the shot, only Bo"
    assert f"Pinned, but l{because}" in pinned
    assert f"L{because}" in plain
    assert "Pinned: always seen, except by shots that name only others" in seen
    unknown = [{**frame, "role": "open", "left_out": ""} for frame in frames]
    story.page.evaluate(send, ["2", {**bank, "tell": "open", "frames": unknown}])
    wait_for_text(story.page, story.gallery(), "The next shot sees at most 3 of 3 frames.")


def put_language(story, language: str) -> None:
    """Change the page's language: the host puts every node up anew, some time after."""
    story.page.evaluate(
        """(language) => {
            window.before = app.graph.getNodeById(2).storymemGallery;
            app.extensionManager.setting.set("Comfy.Locale", language);
        }""",
        language,
    )
    story.page.wait_for_function(
        """() => {
            const gallery = app.graph.getNodeById(2)?.storymemGallery;
            return gallery && gallery !== window.before;
        }"""
    )
    settle(story.page)


def test_names_and_roles_in_the_new_nodes_in_a_light_theme_and_in_chinese(story):
    page = story.page
    story.load(script=json.dumps(SCRIPT), policy="entities")
    story.queue()
    cards = story.shown()
    put = "async ([name, value]) => app.extensionManager.setting.set(name, value)"
    page.evaluate(put, ["Comfy.ColorPalette", "light"])
    look(story, "names-light")
    page.evaluate(put, ["Comfy.VueNodes.Enabled", True])
    page.wait_for_selector("[data-node-id] .storymem-gallery")
    story.become(cards)
    card, seen = of_shot(story, 1)[0], of_shot(story, 2)[0]
    story.focus(card["digest"])
    story.press("t")
    page.keyboard.type("Pip")
    look(story, "names-vue-light")
    story.press("Enter")
    assert story.edits() == {"names": {card["digest"]: "Pip"}}
    page.evaluate(put, ["Comfy.VueNodes.Enabled", False])
    page.evaluate(put, ["Comfy.ColorPalette", "dark"])
    put_language(story, "zh")
    wait_for_text(page, story.gallery(), "上一个镜头看到了 21 帧中的 4 帧")
    assert "画面人物（你写的）：Pip" in facts(story, card["digest"])
    assert "画面里有 Pip" in facts(story, seen["digest"])
    look(story, "names-zh")
    put_language(story, "en")
